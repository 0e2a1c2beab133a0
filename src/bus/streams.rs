//! The streams and their limits; created or updated on every start.
//!
//! The metadata of each stream has a configuration version, `switchyard-config`. A release does not
//! update a stream with a higher version, so that an old replica that starts next to new ones does
//! not take limits back. Raise the version of a stream with each change of its settings here.

use std::cmp::Ordering;
use std::time::Duration;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::context::{
    CreateStreamError, CreateStreamErrorKind, GetStreamError, GetStreamErrorKind,
};
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, Info, RetentionPolicy, StorageType, SubjectTransform,
};
use async_nats::jetstream::{self, ErrorCode};
use thiserror::Error;

use super::connect::JetStreamClient;
use super::subjects::{ROUTER_CONSUMER, Subjects};
use super::{access_streams, metrics, state_bucket};
use crate::config;
use crate::registry::REVISIONS_OF_MODULE_MAX;

/// Metadata key of the configuration version.
const VERSION_KEY: &str = "switchyard-config";
/// Configuration version of the event stream; 1: `discard: new`, no maximum age.
const EVENTS_VERSION: u32 = 1;
/// Configuration version of the parking stream.
const PARKED_VERSION: u32 = 1;
/// Configuration version of the dead-letter stream; 2: its size follows the shares.
const DEAD_LETTER_VERSION: u32 = 2;
/// Configuration version of the stream of blocks of ids.
const REPEATS_VERSION: u32 = 1;
/// Bytes of an id in a block.
const REPEAT_ID_BYTES: u64 = 20;
/// The stream of blocks has space for this many times the ids that are remembered, because blocks
/// keep the ids that a site beyond its share forgot.
const REPEATS_FACTOR: u64 = 2;
/// Space for what blocks have in addition to ids.
const REPEATS_OVERHEAD_BYTES: u64 = 32 << 20;
/// How much longer blocks are kept than their ids are remembered, at least.
const REPEATS_AGE_MIN_H: u64 = 1;
/// Configuration version of the delivery log.
const LOG_VERSION: u32 = 1;
/// Configuration version of the index of the delivery log.
const LOG_INDEX_VERSION: u32 = 1;
/// Divisor of `delivery.log_bytes_max`: the index of the log may have the quotient. It takes about 5 bytes for
/// a record, which has 200 or more.
const LOG_INDEX_DIVISOR: u64 = 32;
/// Smallest index of the log, in bytes.
const LOG_INDEX_BYTES_MIN: u64 = 4 << 20;
/// Configuration version of the stream of revisions; 2: one more of each module, a bound of all.
const REVISIONS_VERSION: u32 = 2;
/// Revisions of all modules together.
pub(super) const REVISIONS_STORED_MAX: i64 = 4_000_000;
/// Configuration version of the audit log.
const AUDIT_VERSION: u32 = 1;
/// Key that sets the size of the audit log.
const AUDIT_SIZE_KEY: &str = "audit.max_bytes";
/// Smallest audit log, in bytes: without space for it, the router does not start.
const AUDIT_BYTES_MIN: i64 = 8 << 20;
/// Configuration version of the bucket of sessions.
const SESSIONS_VERSION: u32 = 1;
/// Configuration version of the bucket of floors.
const STATE_VERSION: u32 = 1;
/// How much longer the deduplication window must be than the acknowledgement deadline.
const WINDOW_MARGIN_S: u64 = 60;
/// Maximum age of dead letters.
const DEAD_AGE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// Divisor of `delivery.dead_letter_bytes_max`: the dead-letter stream is larger by the quotient.
const DEAD_BYTES_MARGIN_DIVISOR: u64 = 8;
/// Minimum of that margin in bytes.
const DEAD_BYTES_MARGIN_MIN: u64 = 4 << 20;
/// Key that sets the size of the event stream.
const EVENTS_SIZE_KEY: &str = "events.max_bytes";
/// Key that sets the size of the dead-letter stream.
const DEAD_LETTERS_SIZE_KEY: &str = "delivery.dead_letter_bytes_max";
/// Key that sets the size of the stream of blocks of ids.
const REPEATS_SIZE_KEY: &str = "events.repeat_ids_max";
/// Key that sets the size of the delivery log.
const LOG_SIZE_KEY: &str = "delivery.log_bytes_max";
/// Smallest delivery log, in bytes: without space for it, the router does not start.
const LOG_BYTES_MIN: i64 = 64 << 20;

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
        "stream {stream}: the broker has no room for {bytes} bytes. Give it more (`max_file` of its JetStream, or the account's limit), or set {key} lower"
    )]
    NoRoom {
        /// Name of the stream.
        stream: String,
        /// The requested size.
        bytes: i64,
        /// The key that sets the size.
        key: &'static str,
    },
    /// The stream stores more than its new size.
    #[error("stream {stream} stores {stored} bytes, more than {limit}. Raise {key}, or {remedy}")]
    Stored {
        /// Name of the stream.
        stream: String,
        /// Bytes that it stores.
        stored: u64,
        /// The configured size, with its key.
        limit: String,
        /// The key that sets the size.
        key: &'static str,
        /// What makes space instead.
        remedy: String,
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

/// Creates the streams, or updates existing ones to the present settings. A stream that a newer
/// release configured is left as it is.
///
/// # Errors
/// The settings contradict each other or what is stored, or the broker refuses a stream.
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
    let base = base(nats, events);
    let state = state_bucket::stream_config(&subjects.state_bucket(), base.clone());
    for (label, version, config) in [
        ("state", STATE_VERSION, state),
        ("events", EVENTS_VERSION, events_stream(subjects, events, base.clone())),
        ("parked", PARKED_VERSION, parked_stream(subjects, base.clone())),
        ("repeats", REPEATS_VERSION, repeats_stream(subjects, events, base.clone())),
        ("revisions", REVISIONS_VERSION, revisions_stream(subjects, base.clone())),
        ("dlq", DEAD_LETTER_VERSION, dead_letter_stream(subjects, delivery, base.clone())),
    ] {
        ensure_stream(&jetstream_client.context, label, version, config).await?;
    }
    if delivery.log {
        ensure_shrinking(
            &jetstream_client.context,
            DELIVERY_LOG,
            log_stream(subjects, delivery, base),
        )
        .await?;
    }
    Ok(())
}

/// Creates the stream of revisions if it is missing; returns whether it was.
pub(super) async fn ensure_revisions(
    context: &jetstream::Context,
    subjects: &Subjects,
    (nats, events): (&config::NatsConfig, &config::EventsConfig),
) -> Result<bool, StreamError> {
    match context.get_stream(subjects.revisions_stream()).await {
        Err(error) if is_not_found(&error) => {
            let config = revisions_stream(subjects, base(nats, events));
            ensure_stream(context, "revisions", REVISIONS_VERSION, config).await.map(|()| true)
        }
        Err(error) => {
            let (stream, reason) = (subjects.revisions_stream(), innermost(&error));
            Err(StreamError::Refused { stream, reason })
        }
        Ok(_) => Ok(false),
    }
}

/// Creates or updates the stream of the index of the delivery log.
///
/// # Errors
/// The broker refuses it, or has no room for it.
pub(super) async fn ensure_log_index(
    context: &jetstream::Context,
    subjects: &Subjects,
    config: &config::Config,
) -> Result<(), StreamError> {
    let base = base(&config.nats, &config.events);
    let config = log_index_stream(subjects, &config.delivery, base);
    ensure_stream(context, "log_index", LOG_INDEX_VERSION, config).await
}

/// What all streams have in common.
fn base(nats: &config::NatsConfig, events: &config::EventsConfig) -> Config {
    Config {
        storage: StorageType::File,
        num_replicas: nats.replicas,
        duplicate_window: Duration::from_secs(events.dedup_window_s),
        allow_direct: true,
        ..Config::default()
    }
}

/// Creates or updates the stream of the audit log.
///
/// # Errors
/// The broker refuses it, or has no room for it.
pub(super) async fn ensure_audit(
    context: &jetstream::Context,
    subjects: &Subjects,
    config: &config::Config,
) -> Result<(), StreamError> {
    let base = base(&config.nats, &config.events);
    let stream = access_streams::audit_log(subjects, &config.audit, base);
    ensure_shrinking(context, AUDIT_LOG, stream).await
}

/// Creates the stream of the audit log if it is missing; returns whether it was.
pub(super) async fn ensure_audit_exists(
    context: &jetstream::Context,
    subjects: &Subjects,
    config: &config::Config,
) -> Result<bool, StreamError> {
    match context.get_stream(subjects.audit_stream()).await {
        Err(error) if is_not_found(&error) => {
            ensure_audit(context, subjects, config).await.map(|()| true)
        }
        Err(error) => {
            let (stream, reason) = (subjects.audit_stream(), innermost(&error));
            Err(StreamError::Refused { stream, reason })
        }
        Ok(_) => Ok(false),
    }
}

/// Creates or updates the bucket of sessions.
///
/// # Errors
/// The broker refuses it.
pub(super) async fn ensure_sessions(
    context: &jetstream::Context,
    subjects: &Subjects,
    config: &config::Config,
) -> Result<(), StreamError> {
    let base = base(&config.nats, &config.events);
    let stream = access_streams::sessions(subjects, base);
    ensure_stream(context, "sessions", SESSIONS_VERSION, stream).await
}

/// A log whose size is no reason to stop.
#[derive(Clone, Copy)]
struct Log {
    label: &'static str,
    version: u32,
    /// Its name in messages.
    name: &'static str,
    size_key: &'static str,
    bytes_min: i64,
}

const DELIVERY_LOG: Log = Log {
    label: "log",
    version: LOG_VERSION,
    name: "delivery log",
    size_key: LOG_SIZE_KEY,
    bytes_min: LOG_BYTES_MIN,
};
const AUDIT_LOG: Log = Log {
    label: "audit",
    version: AUDIT_VERSION,
    name: "audit log",
    size_key: AUDIT_SIZE_KEY,
    bytes_min: AUDIT_BYTES_MIN,
};

/// Creates or updates a log: half as large each time that the broker has no room.
async fn ensure_shrinking(
    context: &jetstream::Context,
    log: Log,
    mut config: Config,
) -> Result<(), StreamError> {
    let Log { label, version, name, size_key, bytes_min } = log;
    let wanted = config.max_bytes;
    loop {
        let bytes = config.max_bytes;
        match ensure_stream(context, label, version, config.clone()).await {
            Err(StreamError::NoRoom { .. }) if bytes / 2 >= bytes_min => {
                config.max_bytes = bytes / 2;
            }
            Ok(()) if bytes < wanted => {
                let stream = &config.name;
                tracing::warn!(
                    stream,
                    bytes,
                    wanted,
                    "the broker has no room for a {name} of this size; it is smaller, so that it keeps fewer records. Give the broker more storage, or set {size_key} lower"
                );
                return Ok(());
            }
            ensured => return ensured,
        }
    }
}

/// The configuration version of a stream, compared with the one of this release.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ConfigVersion {
    /// An older release configured it last, or one without versions.
    Older,
    /// This release may update it.
    Same,
    /// A newer release configured it.
    Newer,
}

/// Compares the version of the event stream.
pub(super) fn events_version(found: &Config) -> ConfigVersion {
    compare_version(found, EVENTS_VERSION)
}

fn compare_version(found: &Config, own: u32) -> ConfigVersion {
    let found = found.metadata.get(VERSION_KEY).map_or(0, |text| text.parse().unwrap_or(0));
    match found.cmp(&own) {
        Ordering::Less => ConfigVersion::Older,
        Ordering::Equal => ConfigVersion::Same,
        Ordering::Greater => ConfigVersion::Newer,
    }
}

async fn ensure_stream(
    context: &jetstream::Context,
    label: &'static str,
    version: u32,
    mut config: Config,
) -> Result<(), StreamError> {
    config.metadata.insert(VERSION_KEY.to_owned(), version.to_string());
    let (name, bytes) = (config.name.clone(), config.max_bytes);
    match context.get_stream(&name).await {
        Ok(found) => {
            let info = found.cached_info();
            let is_newer = compare_version(&info.config, version) == ConfigVersion::Newer;
            metrics::config_newer(label, is_newer);
            if is_newer {
                let found = info.config.metadata.get(VERSION_KEY);
                tracing::warn!(
                    stream = name,
                    own = version,
                    ?found,
                    "a newer release configured this stream; its configuration is not changed"
                );
                return Ok(());
            }
            check_size(context, label, &config, info).await?;
            keep_metadata(&mut config, &info.config);
            context.update_stream(config).await
        }
        Err(error) if is_not_found(&error) => match context.create_stream(config.clone()).await {
            // Another replica created it first.
            Err(error) if is_name_in_use(&error) => context.update_stream(config).await,
            created => created.map(|stream| stream.cached_info().clone()),
        },
        Err(error) => {
            return Err(StreamError::Refused { stream: name, reason: innermost(&error) });
        }
    }
    .map(|_| ())
    .map_err(|source| refused(label, name, bytes, source))
}

/// Returns the key that sets the size of a stream; none if the stream has no size.
fn size_key(label: &str) -> Option<&'static str> {
    match label {
        "events" => Some(EVENTS_SIZE_KEY),
        "dlq" => Some(DEAD_LETTERS_SIZE_KEY),
        _ => None,
    }
}

/// Rejects a size below what is stored, which the broker would accept: it would then refuse every
/// event, or evict events that are not acknowledged if the stream still discards old ones.
async fn check_size(
    context: &jetstream::Context,
    label: &str,
    config: &Config,
    found: &Info,
) -> Result<(), StreamError> {
    let stored = found.state.bytes;
    let Some(bytes_max) = u64::try_from(config.max_bytes).ok().filter(|bytes| *bytes > 0) else {
        return Ok(());
    };
    let Some(key) = size_key(label).filter(|_| stored > bytes_max) else { return Ok(()) };
    let stream = config.name.clone();
    let (limit, remedy) = match key {
        DEAD_LETTERS_SIZE_KEY => {
            (format!("the {bytes_max} bytes that {key} gives it"), dead_letter_remedy(&stream))
        }
        _ => (format!("{key} = {bytes_max}"), event_remedy(context, &stream).await),
    };
    Err(StreamError::Stored { stream, stored, limit, key, remedy })
}

fn dead_letter_remedy(stream: &str) -> String {
    format!(
        "delete dead letters that are no longer needed: `switchyard dlq rm` while a router runs with the larger size, or `nats stream purge {stream} --keep=N`, which keeps the newest N"
    )
}

async fn event_remedy(context: &jetstream::Context, stream: &str) -> String {
    let router: Option<PullConsumer> =
        context.get_consumer_from_stream(ROUTER_CONSUMER, stream).await.ok();
    let from =
        router.map_or(1, |router| router.cached_info().ack_floor.stream_sequence.saturating_add(1));
    format!(
        "delete acknowledged events first: `nats stream purge {stream} --seq={from}` keeps all that are not acknowledged"
    )
}

/// Keeps the metadata of others; the broker sets its own, `_nats.*`.
fn keep_metadata(config: &mut Config, found: &Config) {
    for (key, value) in &found.metadata {
        if !key.starts_with("_nats.") && !config.metadata.contains_key(key) {
            config.metadata.insert(key.clone(), value.clone());
        }
    }
}

fn is_not_found(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(answer)
        if answer.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

fn is_name_in_use(error: &CreateStreamError) -> bool {
    matches!(error.kind(), CreateStreamErrorKind::JetStream(answer)
        if answer.error_code() == ErrorCode::STREAM_NAME_EXIST)
}

fn refused(label: &str, stream: String, bytes: i64, source: CreateStreamError) -> StreamError {
    let no_room = matches!(source.kind(), CreateStreamErrorKind::JetStream(error)
        if error.error_code() == ErrorCode::STORAGE_RESOURCES_EXCEEDED);
    // These discard their oldest messages, so that any size is allowed.
    let discarding = match label {
        "repeats" => Some(REPEATS_SIZE_KEY),
        "log" => Some(LOG_SIZE_KEY),
        "audit" => Some(AUDIT_SIZE_KEY),
        _ => None,
    };
    match size_key(label).or(discarding).filter(|_| no_room) {
        Some(key) => StreamError::NoRoom { stream, bytes, key },
        None => StreamError::Refused { stream, reason: innermost(&source) },
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
        // What is full is refused, and nothing expires: only the trimmer deletes events.
        max_age: Duration::ZERO,
        max_bytes: events.max_bytes,
        discard: DiscardPolicy::New,
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

/// Discards its oldest blocks when it is full: their ids are forgotten at the next start, and then a
/// late repetition is stored again.
fn repeats_stream(subjects: &Subjects, events: &config::EventsConfig, base: Config) -> Config {
    let ids_max = u64::try_from(events.repeat_ids_max).unwrap_or(u64::MAX);
    let bytes = ids_max.saturating_mul(REPEAT_ID_BYTES * REPEATS_FACTOR);
    let bytes = bytes.saturating_add(REPEATS_OVERHEAD_BYTES);
    let age_h = events.repeat_memory_h.saturating_add(REPEATS_AGE_MIN_H);
    Config {
        name: subjects.repeats_stream(),
        description: Some("Ids of stored events, to recognise late repetitions".into()),
        subjects: vec![subjects.repeats()],
        max_age: Duration::from_secs(age_h.saturating_mul(3600)),
        max_bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
        discard: DiscardPolicy::Old,
        ..base
    }
}

/// Keeps the last revisions of each module, and refuses those of further modules when it is full: discarding the oldest
/// messages would take the only revision of a module that does not change. Its bound is a number of messages, because
/// the broker would reserve bytes.
fn revisions_stream(subjects: &Subjects, base: Config) -> Config {
    Config {
        name: subjects.revisions_stream(),
        description: Some("The last revisions of each module".into()),
        subjects: vec![subjects.revisions_pattern()],
        max_messages_per_subject: i64::try_from(REVISIONS_OF_MODULE_MAX).unwrap_or(i64::MAX),
        max_messages: REVISIONS_STORED_MAX,
        discard: DiscardPolicy::New,
        ..base
    }
}

/// Discards its oldest records when it is full.
fn log_stream(subjects: &Subjects, delivery: &config::DeliveryConfig, base: Config) -> Config {
    Config {
        name: subjects.log_stream(),
        description: Some("What became of every delivery".into()),
        subjects: vec![subjects.log_pattern()],
        max_age: Duration::from_secs(delivery.log_max_age_h.saturating_mul(3600)),
        max_bytes: i64::try_from(delivery.log_bytes_max).unwrap_or(i64::MAX),
        discard: DiscardPolicy::Old,
        ..base
    }
}

/// Discards its oldest parts when it is full, as the log does its records.
fn log_index_stream(
    subjects: &Subjects,
    delivery: &config::DeliveryConfig,
    base: Config,
) -> Config {
    let bytes = (delivery.log_bytes_max / LOG_INDEX_DIVISOR).max(LOG_INDEX_BYTES_MIN);
    Config {
        name: subjects.log_index_stream(),
        description: Some("Which records of the delivery log are about an entity".into()),
        subjects: vec![subjects.log_index_pattern()],
        max_age: Duration::from_secs(delivery.log_max_age_h.saturating_mul(3600)),
        max_bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
        discard: DiscardPolicy::Old,
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
        description: Some("Dead letters, with the reason".into()),
        subjects: vec![subjects.dead_letter_pattern()],
        max_age: DEAD_AGE_MAX,
        max_bytes: i64::try_from(shares.saturating_add(margin)).unwrap_or(i64::MAX),
        discard: DiscardPolicy::New,
        ..base
    }
}
