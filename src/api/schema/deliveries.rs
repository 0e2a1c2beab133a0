//! Deliveries of the delivery log.

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;

use super::common::Time;

/// A record of a delivery: what became of it at one time.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct Delivery {
    id: String,
    installation: String,
    /// `<installation>/<key>`.
    subscription: String,
    event: EventHead,
    /// What it was before: `new`, `parked` or `dead`.
    from: String,
    /// `delivered`, `parked`, `dead`, `dropped` or `removed`.
    outcome: String,
    /// Number of the attempt that was made, or is next.
    attempt: u32,
    recorded_at: Time,
    started_at: Time,
    /// Where it came from: `event`, `parked` or `dead_letter`.
    source: String,
    /// Name of the replica; for operators.
    router: Option<String>,
    /// Keys of further modules that it is for.
    also: Option<Vec<String>>,
    /// Revision of the registry by which it was routed.
    revision: Option<u64>,
    /// Replay that made it once more.
    replay: Option<String>,
    /// Why it was parked, dead-lettered, dropped or removed.
    reason: Option<String>,
    /// Class of the attempt; absent if none was made.
    class: Option<String>,
    /// Status of the response.
    status: Option<u16>,
    /// Who caused the failure.
    blame: Option<String>,
    /// One sentence.
    detail: Option<String>,
    took_ms: Option<f64>,
    /// Durations of the phases of the attempt.
    phases_ms: Option<BTreeMap<String, f64>>,
    next_attempt_at: Option<Time>,
    /// Excerpt of the response.
    response: Option<Value>,
    /// Job that handed it over.
    job: Option<String>,
    /// Times that the broker delivered the message again.
    redelivered: Option<i64>,
}

/// The event of a delivery.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct EventHead {
    id: String,
    site: String,
    r#type: String,
    /// Sequence in the event stream; for operators.
    sequence: Option<u64>,
    entity: Option<String>,
    stored_at: Option<Time>,
}

/// A page of records of deliveries, newest first.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct DeliveryPage {
    items: Vec<Delivery>,
    /// Records that were read; for operators.
    scanned: Option<u64>,
    /// Cursor of the next page. A page may be empty and have one.
    next_cursor: Option<String>,
    /// The log was read back to this time.
    examined_until: Option<Time>,
    unreadable: Option<u64>,
    /// Which names of the query do not exist.
    hints: Option<Vec<String>>,
}

/// A delivery with all attempts, oldest first. If it was not found in the time of a request, the members of a
/// page say where to continue.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct DeliveryAttempts {
    id: String,
    event: Option<EventHead>,
    subscription: Option<String>,
    outcome: Option<String>,
    attempts: Option<Vec<Delivery>>,
    /// Whether the delivery log was read to its end.
    complete: Option<bool>,
    items: Option<Vec<Delivery>>,
    scanned: Option<u64>,
    next_cursor: Option<String>,
    examined_until: Option<Time>,
    unreadable: Option<u64>,
}
