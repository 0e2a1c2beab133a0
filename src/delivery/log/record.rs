//! The stored format of the delivery log: one JSON document for deliveries of one event.
//!
//! Guarantee: these names and spellings are a stored format. Members that are missing have no value;
//! a reader ignores members that it does not know. The version grows only if a reader of the previous
//! one would misunderstand a record.

use std::borrow::Cow;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::report::{AttemptReport, DeliveryReport};
use crate::delivery::model::{Phases, ResponseExcerpt};
use crate::delivery::parking::stored_ms;
use crate::domain::{DeliveryId, InstallationId, ModuleKey};
use crate::event::codec::HeaderLookup;
use crate::event::{Event, Message};

/// Version of the format.
const VERSION: u32 = 1;
/// Number of buckets that the entities of a site share; each distinct subject costs memory of the
/// broker.
pub const BUCKETS: u8 = 64;
/// Longest detail of an attempt, in characters.
const DETAIL_CHARS_MAX: usize = 512;

/// Whether the deliveries of a record were delivered; a token of its subject.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LogResult {
    /// All of them.
    Ok,
    /// None of them: parked, dead-lettered or dropped.
    Failed,
}

impl LogResult {
    /// Returns the token.
    #[must_use]
    pub fn token(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
        }
    }
}

/// Returns the bucket of an entity: records of one entity have one bucket, those of an event without
/// one have that of the event id.
#[must_use]
pub fn bucket(entity: Option<&str>, event_id: &str) -> u8 {
    // FNV-1a: stable, since it is part of stored subjects.
    let hash = entity.unwrap_or(event_id).bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // The low bits alone would repeat patterns of short keys.
    u8::try_from((hash ^ (hash >> 32)) % u64::from(BUCKETS)).unwrap_or(0)
}

/// Where the deliveries of a record come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordSource {
    /// An event: they are new.
    Event,
    /// A parked record.
    Parked,
    /// A dead letter.
    DeadLetter,
}

impl RecordSource {
    fn label(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Parked => "parked",
            Self::DeadLetter => "dead_letter",
        }
    }

    /// Returns what the deliveries were before: `new`, `parked` or `dead`.
    fn before_label(self) -> &'static str {
        match self {
            Self::Event => "new",
            Self::Parked => "parked",
            Self::DeadLetter => "dead",
        }
    }
}

/// Where the deliveries of a record come from, and how often the broker delivered that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The kind of message.
    pub source: RecordSource,
    /// When the broker stored the event; none if an earlier release parked or dead-lettered it.
    pub stored_ms: Option<i64>,
    /// How many times the broker delivered the message.
    pub delivery_count: i64,
}

impl Origin {
    /// Returns the origin of the deliveries of an event.
    pub fn event(message: &impl Message) -> Self {
        Self {
            source: RecordSource::Event,
            stored_ms: Some(message.stored_ms()),
            delivery_count: message.delivery_count(),
        }
    }

    /// Returns the origin of the delivery of a parked record.
    pub fn parked(message: &impl Message) -> Self {
        Self {
            source: RecordSource::Parked,
            stored_ms: stored_ms(message.headers()),
            delivery_count: message.delivery_count(),
        }
    }

    /// Returns the origin of the delivery of a dead letter with `headers`.
    pub fn dead_letter(headers: &impl HeaderLookup) -> Self {
        let stored_ms = stored_ms(headers);
        Self { source: RecordSource::DeadLetter, stored_ms, delivery_count: 1 }
    }

    /// Returns the origin of deliveries that a replay makes of a stored event.
    #[must_use]
    pub fn replayed(stored_ms: i64) -> Self {
        Self { source: RecordSource::Event, stored_ms: Some(stored_ms), delivery_count: 1 }
    }

    /// Returns the origin of dead-lettered deliveries that a replay of their event continues.
    #[must_use]
    pub fn continued(stored_ms: i64) -> Self {
        Self { source: RecordSource::DeadLetter, ..Self::replayed(stored_ms) }
    }

    /// Returns the origin of the deliveries of an event that waited to be matched as a parked record.
    pub fn late(message: &impl Message) -> Self {
        Self { source: RecordSource::Event, ..Self::parked(message) }
    }
}

/// The members of a record before its deliveries.
#[derive(Serialize)]
struct Head<'a> {
    v: u32,
    event: EventHead<'a>,
    router: &'a str,
    started_ms: i64,
    source: &'static str,
    #[serde(skip_serializing_if = "is_first")]
    delivery_count: i64,
}

#[derive(Serialize)]
struct EventHead<'a> {
    id: &'a str,
    site: &'a str,
    #[serde(rename = "type")]
    event_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    entity: Option<&'a str>,
    sequence: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    stored_ms: Option<i64>,
}

fn is_first(count: &i64) -> bool {
    *count <= 1
}

/// One delivery of a record.
#[derive(Serialize)]
struct Entry<'a> {
    installation: &'a InstallationId,
    key: &'a ModuleKey,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    also: &'a [ModuleKey],
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<&'a str>,
    from: &'static str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<Cow<'static, str>>,
    attempt: u32,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    made: Option<MadeAttempt<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_ms: Option<i64>,
}

/// What an entry has only if an attempt was made.
#[derive(Serialize)]
struct MadeAttempt<'a> {
    class: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blame: Option<&'static str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: Cow<'a, str>,
    took_ms: f64,
    #[serde(skip_serializing_if = "PhasesMs::is_empty")]
    phases_ms: PhasesMs,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<&'a ResponseExcerpt>,
}

#[derive(Serialize)]
struct PhasesMs {
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dns: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connect: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_byte: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<f64>,
}

impl PhasesMs {
    fn of(queued: Duration, phases: &Phases) -> Self {
        let known = |phase: Option<Duration>| phase.map(tenths_of_ms).filter(|ms| *ms > 0.0);
        Self {
            queue: known(Some(queued)),
            dns: known(phases.dns),
            connect: known(phases.connect),
            tls: known(phases.tls),
            first_byte: known(phases.first_byte),
            body: known(phases.body),
        }
    }

    fn is_empty(&self) -> bool {
        [self.queue, self.dns, self.connect, self.tls, self.first_byte, self.body]
            .iter()
            .all(Option::is_none)
    }
}

/// Returns milliseconds with one digit after the point.
fn tenths_of_ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

/// Begins the record of deliveries of an event: everything up to the first delivery.
pub(super) fn begin(event: &Event, origin: Origin, router: &str, started: Timestamp) -> Vec<u8> {
    let envelope = &event.envelope;
    let head = Head {
        v: VERSION,
        event: EventHead {
            id: envelope.event_id.as_str(),
            site: envelope.cloud_id.as_str(),
            event_type: envelope.event_type.as_str(),
            entity: envelope.entity.as_deref(),
            sequence: event.sequence,
            stored_ms: origin.stored_ms,
        },
        router,
        started_ms: started.as_millisecond(),
        source: origin.source.label(),
        delivery_count: origin.delivery_count,
    };
    // With one delivery, most records are smaller.
    let mut text = Vec::with_capacity(1024);
    write_json(&mut text, &head);
    text.pop();
    text.extend_from_slice(br#","deliveries":["#);
    text
}

/// Appends a delivery.
pub(super) fn append(text: &mut Vec<u8>, report: &DeliveryReport, origin: Origin) {
    let entry = Entry {
        installation: &report.installation,
        key: &report.key,
        also: &report.coalesced_with,
        id: report.id.as_ref().map(DeliveryId::as_str),
        revision: report.revision,
        replay: report.replay.as_deref(),
        job: report.job.as_deref(),
        from: origin.source.before_label(),
        outcome: report.outcome.label(),
        why: report.outcome.why(),
        attempt: report.number,
        made: report.attempt.as_deref().map(made_attempt),
        next_ms: report.due.map(Timestamp::as_millisecond),
    };
    if text.last() != Some(&b'[') {
        text.push(b',');
    }
    write_json(text, &entry);
}

/// Ends a record.
pub(super) fn end(text: &mut Vec<u8>) {
    text.extend_from_slice(b"]}");
}

/// Returns the record of records that are removed on purpose: it has no deliveries.
pub(super) fn of_erased(router: &str, message_ids: &[&str], started: Timestamp) -> Vec<u8> {
    let head = Head {
        v: VERSION,
        event: EventHead {
            id: "",
            site: "",
            event_type: "",
            entity: None,
            sequence: 0,
            stored_ms: None,
        },
        router,
        started_ms: started.as_millisecond(),
        source: "erasure",
        delivery_count: 1,
    };
    let mut text = Vec::new();
    write_json(&mut text, &head);
    text.pop();
    text.extend_from_slice(br#","erased":"#);
    write_json(&mut text, &message_ids);
    text.extend_from_slice(br#","deliveries":[]}"#);
    text
}

fn made_attempt(attempt: &AttemptReport) -> MadeAttempt<'_> {
    let AttemptReport { class, detail, queued, took, evidence } = attempt;
    let phases = evidence.as_ref().map(|evidence| evidence.phases).unwrap_or_default();
    MadeAttempt {
        class: class.label(),
        status: evidence.as_ref().and_then(|evidence| evidence.status),
        blame: Some(class.blame()).filter(|blame| *blame != "none"),
        detail: shortened(detail),
        took_ms: tenths_of_ms(*took),
        phases_ms: PhasesMs::of(*queued, &phases),
        response: evidence.as_ref().and_then(|evidence| evidence.response.as_deref()),
    }
}

fn shortened(detail: &str) -> Cow<'_, str> {
    match detail.char_indices().nth(DETAIL_CHARS_MAX) {
        Some((end, _)) => detail.get(..end).unwrap_or_default().into(),
        None => detail.into(),
    }
}

fn write_json(text: &mut Vec<u8>, value: &impl Serialize) {
    let written = serde_json::to_writer(text, value);
    debug_assert!(written.is_ok(), "plain data");
}
