//! The sessions of the console, in a key-value bucket whose keys expire.
//!
//! Keys: `<owner>.<id>`, digests of both. Sessions are read from the leader of the stream, so that one that ended at any
//! replica ended at all.

use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use futures_util::future::BoxFuture;

use super::connect::JetStreamClient;
use super::direct_get::{self, LastMessages};
use super::streams::{self, StreamError};
use super::subjects::Subjects;
use crate::config;
use crate::sessions::{SESSIONS_OF_ONE_MAX, Session, SessionError, SessionKey, SessionStore};

/// Reads and writes the bucket.
#[derive(Clone, Debug)]
pub struct SessionsBucket {
    jetstream_client: JetStreamClient,
    subjects: Subjects,
}

impl SessionsBucket {
    /// Creates the bucket, or updates it to the present settings.
    ///
    /// # Errors
    /// The broker refuses it.
    pub async fn open(
        jetstream_client: JetStreamClient,
        subjects: Subjects,
        config: &config::Config,
    ) -> Result<Self, StreamError> {
        streams::ensure_sessions(&jetstream_client.context, &subjects, config).await?;
        Ok(Self { jetstream_client, subjects })
    }

    fn subject(&self, SessionKey { owner, id }: &SessionKey) -> String {
        format!("$KV.{}.{owner}.{id}", self.subjects.sessions_bucket())
    }

    async fn stream(&self) -> Result<Stream<()>, SessionError> {
        let name = self.subjects.sessions_stream();
        self.jetstream_client.context.get_stream_no_info(name).await.map_err(failed)
    }

    async fn store(&self, key: &SessionKey, session: &Session) -> Result<(), SessionError> {
        let value = session.to_stored().map_err(failed)?;
        let message =
            PublishMessage::build().payload(value.into()).expected_last_subject_sequence(0);
        let context = &self.jetstream_client.context;
        let stored = async { context.send_publish(self.subject(key), message).await?.await };
        match stored.await {
            Ok(_) => self.end_oldest(&key.owner).await,
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => {
                Err(SessionError("there is a session with this id".into()))
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Ends the sessions of an owner that are too many, the oldest first.
    async fn end_oldest(&self, owner: &str) -> Result<(), SessionError> {
        let stream = self.subjects.sessions_stream();
        let pattern = format!("$KV.{}.{owner}.*", self.subjects.sessions_bucket());
        let found = direct_get::last_of(&self.jetstream_client, &stream, &[pattern]).await;
        let LastMessages::All(mut messages) = found.map_err(SessionError)? else {
            return Err(SessionError("one caller has more than 1,024 sessions".into()));
        };
        messages.sort_by_key(|message| std::cmp::Reverse(message.sequence));
        for message in messages.iter().skip(SESSIONS_OF_ONE_MAX) {
            self.purge(message.subject.to_string()).await?;
        }
        Ok(())
    }

    /// Reads from the leader of the stream: another server may still have a session that ended.
    async fn read(&self, key: &SessionKey) -> Result<Option<Session>, SessionError> {
        let stream = self.stream().await?;
        match stream.get_last_raw_message_by_subject(&self.subject(key)).await {
            Ok(message) => Ok(Session::of_stored(&message.payload)),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    async fn purge(&self, subject: String) -> Result<(), SessionError> {
        self.stream().await?.purge().filter(subject).await.map_err(failed)?;
        Ok(())
    }
}

fn failed(error: impl std::fmt::Display) -> SessionError {
    SessionError(error.to_string())
}

impl SessionStore for SessionsBucket {
    fn create<'a>(
        &'a self,
        key: &'a SessionKey,
        session: &'a Session,
    ) -> BoxFuture<'a, Result<(), SessionError>> {
        Box::pin(self.store(key, session))
    }

    fn find<'a>(
        &'a self,
        key: &'a SessionKey,
    ) -> BoxFuture<'a, Result<Option<Session>, SessionError>> {
        Box::pin(self.read(key))
    }

    fn end<'a>(&'a self, key: &'a SessionKey) -> BoxFuture<'a, Result<(), SessionError>> {
        Box::pin(self.purge(self.subject(key)))
    }
}
