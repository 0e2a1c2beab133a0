//! The bucket of the registry: its name, settings and limits.

use std::time::Duration;

use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::{self, ErrorCode, kv};
use metrics::gauge;
use thiserror::Error;

/// Time-to-live of the deletion markers of earlier releases, and of those that the broker writes for
/// messages that expired. Ours have none. A replica that was away for longer may need a full reload.
pub(super) const EXPIRING_MARKER_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// Header and value of a deletion marker.
pub(super) const DELETE_MARKER: (&str, &str) = ("KV-Operation", "DEL");
/// Metadata key of the configuration version of a stream, see `bus::streams`.
const VERSION_KEY: &str = "switchyard-config";
/// Configuration version of the registry bucket; raise it with each change of its settings.
const CONFIG_VERSION: u32 = 1;
/// Bytes reserved in a message for its subject and headers.
const ENVELOPE_BYTES: usize = 4096;

/// Returns the configuration version of the bucket; `None` without one, or without the bucket.
async fn config_version(
    context: &jetstream::Context,
    name: &str,
) -> Result<Option<u32>, GetStreamError> {
    match context.get_stream(format!("KV_{name}")).await {
        Ok(stream) => {
            let version = stream.cached_info().config.metadata.get(VERSION_KEY);
            Ok(version.and_then(|text| text.parse().ok()))
        }
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(answer)
                if answer.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                Ok(None)
            }
            _ => Err(error),
        },
    }
}

/// Creates or updates the bucket, with the configuration version in the metadata of its stream.
async fn create(
    context: &jetstream::Context,
    name: &str,
    options: &KvOptions,
) -> Result<kv::Store, async_nats::Error> {
    let entries = context
        .create_or_update_key_value(kv::Config {
            bucket: name.to_owned(),
            description: "apps, installations and their modules".into(),
            history: 1,
            num_replicas: options.replicas,
            limit_markers: Some(EXPIRING_MARKER_TTL),
            ..Default::default()
        })
        .await?;
    let stream = context.get_stream(format!("KV_{name}")).await?;
    let mut config = stream.cached_info().config.clone();
    config.metadata.insert(VERSION_KEY.to_owned(), CONFIG_VERSION.to_string());
    context.update_stream(config).await?;
    Ok(entries)
}

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
        let error = |reason: String| KvError { bucket: name.clone(), reason };
        let version = config_version(&context, &name).await;
        let version = version.map_err(|source| error(source.to_string()))?;
        let is_newer = version.is_some_and(|version| version > CONFIG_VERSION);
        gauge!("switchyard_stream_config_newer", "stream" => "registry").set(u8::from(is_newer));
        let entries = if is_newer {
            tracing::warn!(
                bucket = name,
                own = CONFIG_VERSION,
                ?version,
                "a newer release configured the registry bucket; its configuration is not changed"
            );
            context.get_key_value(&name).await.map_err(|source| error(source.to_string()))?
        } else {
            let mut created = create(&context, &name, options).await;
            if created.is_err() && version.is_none() {
                // Another replica created it at the same time, and its stream has metadata by now, which
                // a creation without them contradicts. It is updated then.
                created = create(&context, &name, options).await;
            }
            created.map_err(|source| error(source.to_string()))?
        };
        let message_max = context.client().server_info().max_payload;
        let value_bytes_max = message_max.saturating_sub(ENVELOPE_BYTES);
        Ok(Self { context, name, entries, value_bytes_max })
    }

    /// Name of the stream behind the bucket.
    pub(super) fn stream_name(&self) -> String {
        format!("KV_{}", self.name)
    }
}
