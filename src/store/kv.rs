//! Key-value operations: reads, and compare-and-set writes on the revision of a key.

use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::kv::{Entry, Operation};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::bucket::{Bucket, KvError, KvOptions};
use super::tombstones;
use super::watch;
use crate::registry::{Store, StoreError, StoredDocument, WatchEvent};

/// Maximum number of sends of one write; the context's timeout limits each.
const SENDS_MAX: usize = 3;
/// Longest time of one write with all its sends, so that a request is answered within five seconds.
const WRITE_MAX: Duration = Duration::from_millis(4500);

/// The registry store.
#[derive(Clone, Debug)]
pub struct KvStore {
    bucket: Bucket,
}

impl KvStore {
    /// Opens the bucket; creates it if necessary. `context` should use a connection without event
    /// traffic, so that registration works during an event backlog.
    ///
    /// # Errors
    /// The broker does not answer or refuses.
    pub async fn open(context: jetstream::Context, options: &KvOptions) -> Result<Self, KvError> {
        Ok(Self { bucket: Bucket::open(context, options).await? })
    }

    async fn read(&self, key: &str) -> Result<Option<StoredDocument>, StoreError> {
        let entry = self.bucket.entries.entry(key).await.map_err(|error| unavailable(&error))?;
        let live = entry.filter(|entry| entry.operation == Operation::Put);
        Ok(live.map(|entry| StoredDocument { value: entry.value, revision: entry.revision }))
    }

    async fn write(
        &self,
        key: &str,
        value: Bytes,
        expected: Option<u64>,
    ) -> Result<u64, StoreError> {
        if value.len() > self.bucket.value_bytes_max {
            let (bytes, max) = (value.len(), self.bucket.value_bytes_max);
            return Err(StoreError::TooLarge { bytes, max });
        }
        match expected {
            Some(revision) => self.publish(key, Operation::Put, value, revision).await,
            None => match self.publish(key, Operation::Put, value.clone(), 0).await {
                Err(StoreError::Conflict) => {
                    // A deleted key still has a revision: that of its deletion marker.
                    let last = self
                        .bucket
                        .entries
                        .entry(key)
                        .await
                        .map_err(|error| unavailable(&error))?;
                    let deleted = last.filter(|entry| entry.operation != Operation::Put);
                    let revision = deleted.ok_or(StoreError::Conflict)?.revision;
                    self.publish(key, Operation::Put, value, revision).await
                }
                written => written,
            },
        }
    }

    /// As [`KvStore::publish_repeatedly`], within [`WRITE_MAX`].
    async fn publish(
        &self,
        key: &str,
        operation: Operation,
        value: Bytes,
        expected: u64,
    ) -> Result<u64, StoreError> {
        let published = self.publish_repeatedly(key, operation, value, expected);
        let in_doubt = |_| StoreError::Unavailable(format!("not answered within {WRITE_MAX:?}"));
        tokio::time::timeout(WRITE_MAX, published).await.unwrap_or_else(|late| Err(in_doubt(late)))
    }

    /// Writes a message and returns its revision, which the client library's own methods do not for
    /// every operation; repeats an unconfirmed write. The broker rejects the repeat of a write that
    /// did succeed, since it compares revisions before message ids; then the stored value shows
    /// whose write succeeded.
    async fn publish_repeatedly(
        &self,
        key: &str,
        operation: Operation,
        value: Bytes,
        expected: u64,
    ) -> Result<u64, StoreError> {
        for send in 0..SENDS_MAX {
            match self.send(key, operation, value.clone(), expected).await {
                Ok(acknowledged) => return Ok(acknowledged.sequence),
                Err(error) => match error.kind() {
                    PublishErrorKind::TimedOut => {}
                    PublishErrorKind::WrongLastSequence if send == 0 => {
                        return Err(StoreError::Conflict);
                    }
                    PublishErrorKind::WrongLastSequence => {
                        let last =
                            self.bucket.entries.entry(key).await.map_err(|e| unavailable(&e))?;
                        let ours = |entry: &Entry| {
                            entry.operation == operation
                                && entry.value == value
                                && entry.revision > expected
                        };
                        return last.filter(ours).map(|e| e.revision).ok_or(StoreError::Conflict);
                    }
                    _ => return Err(unavailable(&error)),
                },
            }
        }
        Err(StoreError::Unavailable(format!("{SENDS_MAX} sends were not answered")))
    }

    async fn send(
        &self,
        key: &str,
        operation: Operation,
        value: Bytes,
        expected: u64,
    ) -> Result<PublishAck, PublishError> {
        let message = match operation {
            Operation::Delete => tombstones::marker(),
            _ => PublishMessage::build().payload(value),
        };
        let message = message.expected_last_subject_sequence(expected);
        let subject = format!("$KV.{}.{key}", self.bucket.name);
        self.bucket.context.send_publish(subject, message).await?.await
    }
}

impl Store for KvStore {
    fn get<'a>(
        &'a self,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<StoredDocument>, StoreError>> {
        Box::pin(self.read(key))
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        Box::pin(self.write(key, value, expected))
    }

    fn delete<'a>(&'a self, key: &'a str, expected: u64) -> BoxFuture<'a, Result<u64, StoreError>> {
        Box::pin(self.publish(key, Operation::Delete, Bytes::new(), expected))
    }

    fn last_revision(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async {
            // The stream leader answers, so a lagging replica cannot.
            let info =
                self.bucket.entries.stream.get_info().await.map_err(|error| unavailable(&error))?;
            Ok(info.state.last_sequence)
        })
    }

    fn watch(&self, changes: mpsc::Sender<WatchEvent>) -> BoxFuture<'_, ()> {
        Box::pin(watch::follow(&self.bucket, changes))
    }
}

fn unavailable(error: &dyn std::error::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}
