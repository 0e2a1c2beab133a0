//! The bucket `SW_STATE`: what routers must know after a crash. This module has the settings of its stream,
//! and the floors of consumers; other modules keep recorded crashes, the presence of replicas, counts
//! of shares, documents of jobs, floors of the delivery log, the document of the account and tallies of shadow
//! filters in it.

use async_nats::jetstream::kv::{self, Operation};
use async_nats::jetstream::stream::{Config, DiscardPolicy};

use super::connect::JetStreamClient;
use super::floor::Checkpoint;

/// Reads and writes the bucket.
#[derive(Clone, Debug)]
pub(super) struct StateBucket {
    jetstream_client: JetStreamClient,
    name: String,
}

/// A stored floor with its revision.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StoredFloor {
    /// `None` if there is none, or if it cannot be read.
    pub(super) checkpoint: Option<Checkpoint>,
    /// 0 if the key does not exist.
    revision: u64,
}

impl StateBucket {
    pub(super) fn new(jetstream_client: JetStreamClient, name: String) -> Self {
        Self { jetstream_client, name }
    }

    /// Reads the floor of a consumer.
    pub(super) async fn floor(&self, consumer: &str) -> Result<StoredFloor, async_nats::Error> {
        let Some(entry) = self.open().await?.entry(key(consumer)).await? else {
            return Ok(StoredFloor::default());
        };
        let revision = entry.revision;
        if entry.operation != Operation::Put {
            return Ok(StoredFloor { checkpoint: None, revision });
        }
        let checkpoint = serde_json::from_slice(&entry.value)
            .inspect_err(|error| {
                tracing::warn!(%error, consumer, "stored floor is unreadable; it is replaced");
            })
            .ok();
        Ok(StoredFloor { checkpoint, revision })
    }

    /// Replaces the floor that was read as `stored`.
    ///
    /// # Errors
    /// The bucket does not answer, or another replica wrote first.
    pub(super) async fn replace_floor(
        &self,
        consumer: &str,
        stored: &StoredFloor,
        checkpoint: Checkpoint,
    ) -> Result<(), async_nats::Error> {
        let value = serde_json::to_vec(&checkpoint)?;
        self.open().await?.update(key(consumer), value.into(), stored.revision).await?;
        Ok(())
    }

    async fn open(&self) -> Result<kv::Store, async_nats::Error> {
        Ok(self.jetstream_client.context.get_key_value(&self.name).await?)
    }
}

fn key(consumer: &str) -> String {
    format!("floor.{consumer}")
}

/// Returns the stream behind the bucket: the settings of a key-value bucket with history 1.
pub(super) fn stream_config(bucket: &str, base: Config) -> Config {
    Config {
        name: format!("KV_{bucket}"),
        description: Some("Floors of the consumers of events; recorded crashes".into()),
        subjects: vec![format!("$KV.{bucket}.>")],
        max_messages_per_subject: 1,
        discard: DiscardPolicy::New,
        allow_rollup: true,
        // Recorded crashes and tallies of shadow filters expire.
        allow_message_ttl: true,
        deny_delete: true,
        ..base
    }
}
