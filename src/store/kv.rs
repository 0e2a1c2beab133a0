//! Reading and writing documents: compare-and-set on the revision of a key.

use std::time::Duration;

use async_nats::header::{HeaderMap, HeaderValue, NATS_EXPECTED_LAST_SUBJECT_SEQUENCE};
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::kv::{self, CreateErrorKind, Operation, UpdateErrorKind};
use async_nats::jetstream::{self, kv::Store as Bucket};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use thiserror::Error;
use tokio::sync::mpsc;

use super::watch;
use crate::registry::{Change, Store, StoreError, Stored};

/// Age at which the broker forgets deletions, so that deleted keys leave no trace for ever. A
/// replica that was away for longer loads everything anew, as every replica does after a gap.
const DELETIONS_KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// Header and value by which the bucket marks a deletion.
const KV_OPERATION: (&str, &str) = ("KV-Operation", "DEL");
/// Room left in a message for its subject and headers, in bytes.
const ENVELOPE_BYTES: usize = 4096;

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

    async fn read(&self, key: &str) -> Result<Option<Stored>, StoreError> {
        let entry = self.bucket.entry(key).await.map_err(|error| unavailable(&error))?;
        let live = entry.filter(|entry| entry.operation == Operation::Put);
        Ok(live.map(|entry| Stored { value: entry.value, revision: entry.revision }))
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
            None => self.bucket.create(key, value).await.map_err(|error| match error.kind() {
                CreateErrorKind::AlreadyExists => StoreError::Conflict,
                _ => unavailable(&error),
            }),
            Some(revision) => {
                let updated = self.bucket.update(key, value, revision).await;
                updated.map_err(|error| match error.kind() {
                    UpdateErrorKind::WrongLastRevision => StoreError::Conflict,
                    _ => unavailable(&error),
                })
            }
        }
    }

    /// As the bucket's own `delete`, which does not tell the revision of the deletion.
    async fn mark_deleted(&self, key: &str, expected: u64) -> Result<u64, StoreError> {
        let mut headers = HeaderMap::new();
        let (name, value) = KV_OPERATION;
        headers.insert(name, value);
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, HeaderValue::from(expected));
        let subject = format!("$KV.{}.{key}", self.name);
        let sent = self.context.publish_with_headers(subject, headers, Bytes::new()).await;
        let acknowledged = match sent {
            Ok(acknowledgement) => acknowledgement.await,
            Err(error) => Err(error),
        };
        match acknowledged {
            Ok(acknowledgement) => Ok(acknowledgement.sequence),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => {
                Err(StoreError::Conflict)
            }
            Err(error) => Err(unavailable(&error)),
        }
    }
}

impl Store for KvStore {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Stored>, StoreError>> {
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
        Box::pin(self.mark_deleted(key, expected))
    }

    fn follow(&self, changes: mpsc::Sender<Change>) -> BoxFuture<'_, ()> {
        Box::pin(watch::follow(self, changes))
    }
}

fn unavailable(error: &dyn std::error::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}
