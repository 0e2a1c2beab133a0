//! The bucket of the registry: its name, settings and limits.

use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::kv;
use thiserror::Error;

/// Time-to-live of deletion markers, so that deleted keys do not accumulate. A replica that was
/// away for longer may need a full reload.
pub(super) const TOMBSTONE_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// Header and value of a deletion marker.
pub(super) const DELETE_MARKER: (&str, &str) = ("KV-Operation", "DEL");
/// Bytes reserved in a message for its subject and headers.
const ENVELOPE_BYTES: usize = 4096;

/// Location of the registry bucket.
#[derive(Clone, Debug)]
pub struct KvOptions {
    /// First token of all subjects; in upper case the first part of the bucket's name.
    pub prefix: String,
    /// Number of replicas in a cluster.
    pub replicas: usize,
}

/// Why the bucket cannot be used.
#[derive(Debug, Error)]
#[error("cannot open the registry bucket {bucket}: {reason}")]
pub struct KvError {
    /// Name of the bucket.
    pub bucket: String,
    /// The broker's reason.
    pub reason: String,
}

/// The registry bucket.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    pub(super) context: jetstream::Context,
    pub(super) name: String,
    /// Its entries.
    pub(super) entries: kv::Store,
    /// Maximum size of a value.
    pub(super) value_bytes_max: usize,
}

impl Bucket {
    /// Opens the bucket; creates it if necessary.
    pub(super) async fn open(
        context: jetstream::Context,
        options: &KvOptions,
    ) -> Result<Self, KvError> {
        let name = format!("{}_REG", options.prefix.to_uppercase());
        let entries = context
            .create_or_update_key_value(kv::Config {
                bucket: name.clone(),
                description: "apps, installations and their modules".into(),
                history: 1,
                num_replicas: options.replicas,
                limit_markers: Some(TOMBSTONE_TTL),
                ..Default::default()
            })
            .await
            .map_err(|error| KvError { bucket: name.clone(), reason: error.to_string() })?;
        let message_max = context.client().server_info().max_payload;
        let value_bytes_max = message_max.saturating_sub(ENVELOPE_BYTES);
        Ok(Self { context, name, entries, value_bytes_max })
    }

    /// Name of the stream behind the bucket.
    pub(super) fn stream_name(&self) -> String {
        format!("KV_{}", self.name)
    }
}
