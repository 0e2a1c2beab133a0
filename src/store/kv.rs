//! Reading and writing documents: compare-and-set on the revision of a key.

use std::time::Duration;

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::kv::{self, Entry, Operation};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::{self, kv::Store as Bucket};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use thiserror::Error;
use tokio::sync::mpsc;

use super::watch;
use crate::registry::{Store, StoreError, StoredDocument, WatchEvent};

/// Age at which the broker forgets deletions, so that deleted keys leave no trace for ever. A
/// replica that was away for longer may load everything again.
pub(super) const DELETIONS_KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// Header and value by which the bucket marks a deletion.
pub(super) const DELETION: (&str, &str) = ("KV-Operation", "DEL");
/// Room left in a message for its subject and headers, in bytes.
const ENVELOPE_BYTES: usize = 4096;

/// Times a write is sent before it counts as unanswered; the context's timeout bounds each.
const SENDS_MAX: usize = 3;

/// Where the registry is kept.
#[derive(Clone, Debug)]
pub struct KvOptions {
    /// First token of our subjects; in upper case it begins the bucket's name.
    pub prefix: String,
    /// Copies in a cluster.
    pub replicas: usize,
}

/// Why the bucket cannot be used.
#[derive(Debug, Error)]
#[error("cannot open the registry bucket {bucket}: {reason}")]
pub struct KvError {
    /// Name of the bucket.
    pub bucket: String,
    /// What the broker said.
    pub reason: String,
}

/// The registry's bucket.
#[derive(Clone, Debug)]
pub struct KvStore {
    pub(super) context: jetstream::Context,
    pub(super) name: String,
    bucket: Bucket,
    value_bytes_max: usize,
}

impl KvStore {
    /// Opens the bucket, and makes it first if there is none. `context` should use a connection
    /// that carries no events, so that registration works while events pile up.
    ///
    /// # Errors
    /// The broker does not answer or refuses.
    pub async fn open(context: jetstream::Context, options: &KvOptions) -> Result<Self, KvError> {
        let name = format!("{}_REG", options.prefix.to_uppercase());
        let bucket = context
            .create_or_update_key_value(kv::Config {
                bucket: name.clone(),
                description: "apps, installations and their modules".into(),
                history: 1,
                num_replicas: options.replicas,
                limit_markers: Some(DELETIONS_KEPT),
                ..Default::default()
            })
            .await
            .map_err(|error| KvError { bucket: name.clone(), reason: error.to_string() })?;
        let message_max = context.client().server_info().max_payload;
        let value_bytes_max = message_max.saturating_sub(ENVELOPE_BYTES);
        Ok(Self { context, name, bucket, value_bytes_max })
    }

    /// The stream that the bucket is made of.
    pub(super) fn stream_name(&self) -> String {
        format!("KV_{}", self.name)
    }

    async fn read(&self, key: &str) -> Result<Option<StoredDocument>, StoreError> {
        let entry = self.bucket.entry(key).await.map_err(|error| unavailable(&error))?;
        let live = entry.filter(|entry| entry.operation == Operation::Put);
        Ok(live.map(|entry| StoredDocument { value: entry.value, revision: entry.revision }))
    }

    async fn write(
        &self,
        key: &str,
        value: Bytes,
        expected: Option<u64>,
    ) -> Result<u64, StoreError> {
        if value.len() > self.value_bytes_max {
            let (bytes, max) = (value.len(), self.value_bytes_max);
            return Err(StoreError::TooLarge { bytes, max });
        }
        match expected {
            Some(revision) => self.publish(key, Operation::Put, value, revision).await,
            None => match self.publish(key, Operation::Put, value.clone(), 0).await {
                Err(StoreError::Conflict) => {
                    // A deleted key still has a revision: that of its deletion.
                    let last = self.bucket.entry(key).await.map_err(|error| unavailable(&error))?;
                    let deleted = last.filter(|entry| entry.operation != Operation::Put);
                    let revision = deleted.ok_or(StoreError::Conflict)?.revision;
                    self.publish(key, Operation::Put, value, revision).await
                }
                written => written,
            },
        }
    }

    /// Writes to the bucket as its own methods do, but tells the revision of every write, and sends
    /// an unanswered one again. The broker refuses the repeat of a write that did happen, since it
    /// compares revisions before ids; then what is stored tells whose write it was.
    async fn publish(
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
                        let last = self.bucket.entry(key).await.map_err(|e| unavailable(&e))?;
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
        let mut message =
            PublishMessage::build().payload(value).expected_last_subject_sequence(expected);
        if operation == Operation::Delete {
            let (name, mark) = DELETION;
            message = message.header(name, mark).ttl(DELETIONS_KEPT);
        }
        let subject = format!("$KV.{}.{key}", self.name);
        self.context.send_publish(subject, message).await?.await
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
            // The stream's leader answers this, so a copy that lags behind cannot.
            let info = self.bucket.stream.get_info().await.map_err(|error| unavailable(&error))?;
            Ok(info.state.last_sequence)
        })
    }

    fn watch(&self, changes: mpsc::Sender<WatchEvent>) -> BoxFuture<'_, ()> {
        Box::pin(watch::follow(self, changes))
    }
}

fn unavailable(error: &dyn std::error::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}
