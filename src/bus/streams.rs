//! The streams and their limits; created or updated on every start.

use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{CreateStreamError, CreateStreamErrorKind};
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, RetentionPolicy, StorageType, SubjectTransform,
};
use thiserror::Error;

use super::connect::JetStreamClient;
use super::subjects::Subjects;
use crate::config;

/// How much longer the deduplication window must be than the acknowledgement deadline.
const WINDOW_MARGIN_S: u64 = 60;
/// Maximum age of dead letters.
const DEAD_AGE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// Divisor of `delivery.dead_letter_bytes_max`: the dead-letter stream is larger by the quotient.
const DEAD_BYTES_MARGIN_DIVISOR: u64 = 8;
/// Minimum of that margin in bytes.
const DEAD_BYTES_MARGIN_MIN: u64 = 4 << 20;

/// Why the streams cannot be created.
#[derive(Debug, Error)]
pub enum StreamError {
    /// The settings would store duplicates.
    #[error(
        "events.dedup_window_s is {window_s} but must be at least events.ack_wait_s + {WINDOW_MARGIN_S} = {} s, or a crash stores deliveries twice",
        ack_wait_s + WINDOW_MARGIN_S
    )]
    Window {
        /// The deduplication window.
        window_s: u64,
        /// The acknowledgement deadline.
        ack_wait_s: u64,
    },
    /// The broker's storage is smaller than the streams' limits.
    #[error(
        "stream {stream}: the broker has no room for {bytes} bytes. Give it more (`max_file` of its JetStream, or the account's limit), or set events.max_bytes lower"
    )]
    NoRoom {
        /// Name of the stream.
        stream: String,
        /// The requested size.
        bytes: i64,
    },
    /// The broker refused a stream.
    #[error("the broker refuses stream {stream}: {reason}")]
    Refused {
        /// Name of the stream.
        stream: String,
        /// The broker's reason.
        reason: String,
    },
}

/// Creates the streams, or updates existing ones to the present settings.
///
/// # Errors
/// The settings contradict each other, or the broker refuses a stream.
pub async fn ensure(
    jetstream_client: &JetStreamClient,
    subjects: &Subjects,
    nats: &config::NatsConfig,
    events: &config::EventsConfig,
    delivery: &config::DeliveryConfig,
) -> Result<(), StreamError> {
    if events.dedup_window_s < events.ack_wait_s.saturating_add(WINDOW_MARGIN_S) {
        let (window_s, ack_wait_s) = (events.dedup_window_s, events.ack_wait_s);
        return Err(StreamError::Window { window_s, ack_wait_s });
    }
    let base = Config {
        storage: StorageType::File,
        num_replicas: nats.replicas,
        duplicate_window: Duration::from_secs(events.dedup_window_s),
        allow_direct: true,
        ..Config::default()
    };
    for config in [
        events_stream(subjects, events, base.clone()),
        parked_stream(subjects, base.clone()),
        dead_letter_stream(subjects, delivery, base),
    ] {
        let (stream, bytes) = (config.name.clone(), config.max_bytes);
        jetstream_client
            .context
            .create_or_update_stream(config)
            .await
            .map_err(|source| refused(stream, bytes, source))?;
    }
    Ok(())
}

fn refused(stream: String, bytes: i64, source: CreateStreamError) -> StreamError {
    match source.kind() {
        CreateStreamErrorKind::JetStream(error)
            if error.error_code() == ErrorCode::STORAGE_RESOURCES_EXCEEDED =>
        {
            StreamError::NoRoom { stream, bytes }
        }
        _ => StreamError::Refused { stream, reason: innermost(&source) },
    }
}

/// Returns the innermost error; the outer ones repeat it.
fn innermost(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}

fn events_stream(subjects: &Subjects, events: &config::EventsConfig, base: Config) -> Config {
    let transform = SubjectTransform {
        source: subjects.intake_pattern(),
        destination: subjects.stored_pattern(),
    };
    Config {
        name: subjects.events_stream(),
        description: Some("Events as they arrived".into()),
        subjects: vec![subjects.intake_pattern()],
        subject_transform: Some(transform),
        max_age: Duration::from_secs(events.max_age_h.saturating_mul(3600)),
        max_bytes: events.max_bytes,
        ..base
    }
}

/// Has no limits of its own: the server does not allow `discard: new` with schedules, and
/// discarding old messages would lose deliveries. The router limits it instead.
fn parked_stream(subjects: &Subjects, base: Config) -> Config {
    Config {
        name: subjects.parked_stream(),
        description: Some("Deliveries that wait".into()),
        subjects: subjects.parked_patterns(),
        retention: RetentionPolicy::WorkQueue,
        allow_message_schedules: true,
        allow_message_ttl: true,
        ..base
    }
}

/// Is larger than the shares of owners together, so that only these refuse letters.
fn dead_letter_stream(
    subjects: &Subjects,
    delivery: &config::DeliveryConfig,
    base: Config,
) -> Config {
    let shares = delivery.dead_letter_bytes_max;
    let margin = (shares / DEAD_BYTES_MARGIN_DIVISOR).max(DEAD_BYTES_MARGIN_MIN);
    Config {
        name: subjects.dead_letter_stream(),
        description: Some("What was given up, with the reason".into()),
        subjects: vec![subjects.dead_letter_pattern()],
        max_age: DEAD_AGE_MAX,
        max_bytes: i64::try_from(shares.saturating_add(margin)).unwrap_or(i64::MAX),
        discard: DiscardPolicy::New,
        ..base
    }
}
