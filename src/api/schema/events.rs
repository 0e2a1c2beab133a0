//! Stored events, and reports on sent ones.

use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

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

/// A page of stored events, newest first.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct EventListPage {
    items: Vec<EventListItem>,
    /// Cursor of the next page; absent on the last one.
    next_cursor: Option<String>,
    /// Whether all events that may fit were read, and not only those until the page was full or its time was used up.
    complete: bool,
    /// Events that were read.
    scanned: u64,
    /// How far back events were read.
    examined_until: Option<Time>,
    /// Messages that cannot be read, so that it is not known whether they fit.
    unreadable: Option<u64>,
    retained: StoredEventRange,
    /// Names of the request that do not exist.
    hints: Option<Vec<String>>,
}

/// The part of the event stream that is still stored.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct StoredEventRange {
    /// Sequence of the oldest event, or of the next one if there is none.
    first_sequence: u64,
    last_sequence: u64,
    /// When the oldest one was stored; absent if there is none.
    since: Option<Time>,
}

/// A stored event, or a message that cannot be read as one.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct EventListItem {
    /// What other calls take as the event.
    r#ref: String,
    sequence: u64,
    id: Option<String>,
    site: Option<String>,
    r#type: Option<String>,
    entity: Option<String>,
    stored_at: Option<Time>,
    /// The time that the event names.
    time: Option<String>,
    /// Size of the body.
    bytes: Option<u64>,
    /// The app that caused it.
    origin_app: Option<String>,
    /// The account that caused it.
    actor: Option<String>,
    /// Why it cannot be read as an event.
    unreadable: Option<String>,
}

/// Parameters that select stored events.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct EventListParams {
    /// Id of a site.
    site: Option<String>,
    /// Entity that the events are about.
    entity: Option<String>,
    /// An event type.
    r#type: Option<String>,
    /// Stored from then on: RFC 3339, an age such as `15m`, or milliseconds since the epoch.
    since: Option<String>,
    /// Stored before then.
    until: Option<String>,
}
