//! Which replicas run, and which encrypted documents each can read.
//!
//! Each replica stores the ids of its keys in the bucket `SW_STATE`, again every five seconds. One of
//! an earlier release does not; it is known by its document of share counts, which has no mark.

use std::time::Duration;

use async_nats::jetstream::kv::{self, Operation};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::connect::JetStreamClient;
use super::share_counts::{self, REFRESH_MS};
use super::subjects::Subjects;
use crate::clock;
use crate::delivery::ChangesDocument;

/// Interval at which the own document is stored again and those of others are read.
const INTERVAL: Duration = Duration::from_secs(5);
/// Age at which the document of another replica says nothing: it has stopped.
const AGE_MS_MAX: i64 = 60_000;
/// Age at which a document of share counts says nothing.
const COUNTS_AGE_MS_MAX: i64 = REFRESH_MS + AGE_MS_MAX;
/// First part of the keys of the documents.
const KEY_PREFIX: &str = "replica.";

/// What the other replicas can read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OtherReplicas {
    /// The ids of the keys of each.
    pub key_ids: Vec<Vec<String>>,
    /// Whether one of an earlier release runs, which can read no encrypted document.
    pub has_earlier_release: bool,
}

/// The document of one replica.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PresenceDocument {
    /// Keys that it can decrypt secrets with.
    key_ids: Vec<String>,
}

/// Publishes the presence of this replica and follows the others.
pub struct ReplicaPresence {
    jetstream_client: JetStreamClient,
    subjects: Subjects,
    key: String,
    own: PresenceDocument,
    others: watch::Sender<Option<OtherReplicas>>,
}

impl ReplicaPresence {
    /// Creates the presence of a replica that has these keys. The receiver has the other replicas,
    /// none before they were read for the first time.
    #[must_use]
    pub fn new(
        jetstream_client: JetStreamClient,
        subjects: Subjects,
        key_ids: Vec<String>,
    ) -> (Self, watch::Receiver<Option<OtherReplicas>>) {
        let connection = jetstream_client.client.server_info().client_id;
        let key = format!("{KEY_PREFIX}{}-{connection}", clock::now().as_nanosecond());
        let (others, receiver) = watch::channel(None);
        (
            Self { jetstream_client, subjects, key, own: PresenceDocument { key_ids }, others },
            receiver,
        )
    }

    /// Publishes and follows until `stop` ends; then the document is deleted.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = &mut stop => break,
                _ = interval.tick() => {}
            }
            if let Err(error) = self.exchange().await {
                tracing::debug!(%error, "presence of replicas not available");
            }
        }
        if let Ok(bucket) = self.bucket().await {
            self.delete(&bucket, &self.key).await;
        }
    }

    async fn bucket(&self) -> Result<kv::Store, async_nats::Error> {
        Ok(self.jetstream_client.context.get_key_value(self.subjects.state_bucket()).await?)
    }

    /// Publishes the presence of this replica and reads the others once.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn exchange(&self) -> Result<(), async_nats::Error> {
        let bucket = self.bucket().await?;
        bucket.put(&self.key, serde_json::to_vec(&self.own)?.into()).await?;
        let mut others = OtherReplicas::default();
        for (key, entry) in self.entries(&bucket, KEY_PREFIX).await? {
            let age_ms = share_counts::age_ms(&entry);
            if age_ms > AGE_MS_MAX {
                self.delete(&bucket, &key).await;
            } else if key != self.key {
                // An unreadable document is one of a replica that has none of our keys.
                let document = serde_json::from_slice::<PresenceDocument>(&entry.value);
                others.key_ids.push(document.map_or_else(|_| Vec::new(), |it| it.key_ids));
            }
        }
        for (_, entry) in self.entries(&bucket, share_counts::KEY_PREFIX).await? {
            let has_mark = serde_json::from_slice::<ChangesDocument>(&entry.value)
                .is_ok_and(|document| document.has_presence);
            let is_fresh = share_counts::age_ms(&entry) <= COUNTS_AGE_MS_MAX;
            others.has_earlier_release |= is_fresh && !has_mark;
        }
        self.others.send_if_modified(|known| {
            let is_changed = known.as_ref() != Some(&others);
            *known = Some(others);
            is_changed
        });
        Ok(())
    }

    /// Returns the stored documents whose keys begin with `prefix`.
    async fn entries(
        &self,
        bucket: &kv::Store,
        prefix: &str,
    ) -> Result<Vec<(String, kv::Entry)>, async_nats::Error> {
        let pattern = self.subject(&format!("{prefix}*"));
        let mut subjects = bucket.stream.info_with_subjects(pattern).await?;
        let mut entries = Vec::new();
        while let Some(found) = subjects.next().await {
            let (subject, _) = found?;
            let Some(key) = subject.strip_prefix(&self.subject("")) else { continue };
            let entry = bucket.entry(key).await?;
            // Not what a deletion left.
            if let Some(entry) = entry.filter(|entry| entry.operation == Operation::Put) {
                entries.push((key.to_owned(), entry));
            }
        }
        Ok(entries)
    }

    /// Deletes a document without a marker.
    async fn delete(&self, bucket: &kv::Store, key: &str) {
        if let Err(error) = bucket.stream.purge().filter(self.subject(key)).await {
            tracing::debug!(%error, key, "presence of a stopped replica not deleted");
        }
    }

    fn subject(&self, key: &str) -> String {
        format!("$KV.{}.{key}", self.subjects.state_bucket())
    }
}
