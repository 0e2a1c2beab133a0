//! Stored events, and reports on sent ones.

use serde_json::Value;
use utoipa::ToSchema;

use super::common::Time;
use super::deliveries::Delivery;
use super::errors::Problem;

/// A stored event, or what the delivery log knows of one.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct Event {
    id: String,
    site: String,
    r#type: String,
    /// Sequence in the event stream; for operators.
    sequence: Option<u64>,
    entity: Option<String>,
    stored_at: Option<Time>,
    /// Size of the body.
    bytes: Option<u64>,
    /// The time that the event names.
    time: Option<String>,
    /// The app that caused it.
    origin_app: Option<String>,
    /// The body, with `?body=true`; for operators.
    body: Option<Value>,
    /// Whether the event stream has it.
    stored: bool,
    deliveries: Option<OutcomeCounts>,
    /// Whether the delivery log was read to its end.
    complete: Option<bool>,
    /// `off` if deliveries are not recorded.
    delivery_log: Option<String>,
}

/// Deliveries by their last outcome.
#[derive(ToSchema)]
struct OutcomeCounts {
    total: u64,
    delivered: u64,
    parked: u64,
    dead: u64,
    dropped: u64,
}

/// The deliveries of an event.
#[derive(ToSchema)]
pub(in crate::api) struct EventDeliveries {
    items: Vec<EventDelivery>,
    /// Whether the delivery log was read to its end.
    complete: bool,
    /// Records that were read; for operators.
    scanned: Option<u64>,
}

/// A delivery with all attempts, oldest first.
#[derive(ToSchema)]
struct EventDelivery {
    id: String,
    subscription: String,
    outcome: String,
    attempts: Vec<Delivery>,
}

/// Which events of a request were stored.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct UploadReport {
    /// Events stored now.
    accepted: u64,
    /// Events whose id the stream already held.
    duplicates: u64,
    /// Sequences of the first 10,000 stored events, duplicates included, in the order sent.
    sequences: Vec<u64>,
    /// The first 1,000 lines that were not stored.
    rejected: Vec<RejectedLine>,
    /// All lines that were not stored.
    rejected_total: u64,
    /// When to send the file again, in seconds, if lines that were not stored may be stored later.
    retry_after_s: Option<u64>,
    /// The first line that was not read, because the broker did not confirm an earlier one.
    unread_from_line: Option<u64>,
    /// Why no app can receive some of the stored events.
    hints: Option<Vec<Problem>>,
}

/// A line that was not stored.
#[derive(ToSchema)]
struct RejectedLine {
    /// Its number, from 1.
    line: u64,
    #[schema(pattern = "^SY-[0-9]{4}$")]
    code: String,
    message: String,
}
