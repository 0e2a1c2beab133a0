//! The document of the account's keeper, in the key-value bucket of the router's state.

use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use futures_util::future::BoxFuture;

use super::connect::JetStreamClient;
use super::subjects::Subjects;
use crate::recovery::account::{KeeperDocument, KeeperStore, KeeperStoreError};

/// Key of the document.
const KEY: &str = "account";

/// Reads and replaces the document.
#[derive(Clone, Debug)]
pub struct AccountDocument {
    jetstream_client: JetStreamClient,
    subjects: Subjects,
}

impl AccountDocument {
    /// Opens the document; nothing is sent before the first use.
    #[must_use]
    pub fn new(jetstream_client: JetStreamClient, subjects: Subjects) -> Self {
        Self { jetstream_client, subjects }
    }

    fn subject(&self) -> String {
        format!("$KV.{}.{KEY}", self.subjects.state_bucket())
    }

    /// Reads from the leader of the stream: another server may not have the last change yet.
    async fn find(&self) -> Result<(KeeperDocument, u64), KeeperStoreError> {
        let stream = self.subjects.state_stream();
        let stream = self.jetstream_client.context.get_stream_no_info(stream).await;
        let stream = stream.map_err(unavailable)?;
        match stream.get_last_raw_message_by_subject(&self.subject()).await {
            Ok(message) => {
                let document = serde_json::from_slice(&message.payload).unwrap_or_else(|error| {
                    tracing::warn!(%error, "document of the account is unreadable; it is replaced");
                    KeeperDocument::default()
                });
                Ok((document, message.sequence))
            }
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {
                Ok((KeeperDocument::default(), 0))
            }
            Err(error) => Err(unavailable(error)),
        }
    }

    async fn write(
        &self,
        document: &KeeperDocument,
        revision: u64,
    ) -> Result<u64, KeeperStoreError> {
        let value = serde_json::to_vec(document).map_err(unavailable)?;
        let message =
            PublishMessage::build().payload(value.into()).expected_last_subject_sequence(revision);
        let context = &self.jetstream_client.context;
        let stored = async { context.send_publish(self.subject(), message).await?.await };
        match stored.await {
            Ok(ack) => Ok(ack.sequence),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => {
                Err(KeeperStoreError::Conflict)
            }
            Err(error) => Err(unavailable(error)),
        }
    }
}

fn unavailable(error: impl std::fmt::Display) -> KeeperStoreError {
    KeeperStoreError::Unavailable(error.to_string())
}

impl KeeperStore for AccountDocument {
    fn read(&self) -> BoxFuture<'_, Result<(KeeperDocument, u64), KeeperStoreError>> {
        Box::pin(self.find())
    }

    fn replace<'a>(
        &'a self,
        document: &'a KeeperDocument,
        revision: u64,
    ) -> BoxFuture<'a, Result<u64, KeeperStoreError>> {
        Box::pin(self.write(document, revision))
    }
}
