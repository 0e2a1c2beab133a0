//! The tallies of shadow filters, in the key-value bucket of the router's state.
//!
//! Keys: `shadow.<installation>.<module>` by the tokens of both. Every key expires after [`AGE_MAX`], so
//! that those of removed shadows need no deletion.
//!
//! **Source:** NATS ADR-43, message TTL.

use std::time::Duration;

use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use futures_util::future::BoxFuture;

use super::connect::JetStreamClient;
use super::subjects::Subjects;
use crate::domain::SubscriptionId;
use crate::recovery::shadow::{Tally, TallyStore, TallyStoreError};

/// How long a tally is kept that is not replaced.
const AGE_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Reads and replaces the tallies.
#[derive(Clone, Debug)]
pub struct ShadowTallies {
    jetstream_client: JetStreamClient,
    subjects: Subjects,
}

impl ShadowTallies {
    /// Opens the tallies; nothing is sent before the first use.
    #[must_use]
    pub fn new(jetstream_client: JetStreamClient, subjects: Subjects) -> Self {
        Self { jetstream_client, subjects }
    }

    fn subject(&self, id: &SubscriptionId) -> String {
        let (installation, key) = (id.installation.token(), id.key.token());
        format!("$KV.{}.shadow.{installation}.{key}", self.subjects.state_bucket())
    }

    /// Reads from the leader of the stream: another server may not have the last change yet.
    async fn find(&self, id: &SubscriptionId) -> Result<(Option<Tally>, u64), TallyStoreError> {
        let stream = self.subjects.state_stream();
        let stream = self.jetstream_client.context.get_stream_no_info(stream).await;
        let stream = stream.map_err(unavailable)?;
        match stream.get_last_raw_message_by_subject(&self.subject(id)).await {
            Ok(message) => {
                let tally = Tally::read(&message.payload);
                Ok((Some(tally.map_err(unavailable)?), message.sequence))
            }
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok((None, 0)),
            Err(error) => Err(unavailable(error)),
        }
    }

    async fn write(
        &self,
        id: &SubscriptionId,
        tally: &Tally,
        revision: u64,
    ) -> Result<(), TallyStoreError> {
        let value = serde_json::to_vec(tally).map_err(unavailable)?;
        let message = PublishMessage::build()
            .payload(value.into())
            .ttl(AGE_MAX)
            .expected_last_subject_sequence(revision);
        let context = &self.jetstream_client.context;
        let stored = async { context.send_publish(self.subject(id), message).await?.await };
        match stored.await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => {
                Err(TallyStoreError::Conflict)
            }
            Err(error) => Err(unavailable(error)),
        }
    }
}

fn unavailable(error: impl std::fmt::Display) -> TallyStoreError {
    TallyStoreError::Unavailable(error.to_string())
}

impl TallyStore for ShadowTallies {
    fn read<'a>(
        &'a self,
        id: &'a SubscriptionId,
    ) -> BoxFuture<'a, Result<(Option<Tally>, u64), TallyStoreError>> {
        Box::pin(self.find(id))
    }

    fn replace<'a>(
        &'a self,
        id: &'a SubscriptionId,
        tally: &'a Tally,
        revision: u64,
    ) -> BoxFuture<'a, Result<(), TallyStoreError>> {
        Box::pin(self.write(id, tally, revision))
    }
}
