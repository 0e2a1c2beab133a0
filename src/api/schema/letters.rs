//! Dead letters.

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;

use super::common::Time;

/// A dead letter.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct Letter {
    id: String,
    /// What it is: a delivery, an event, or a message that is neither.
    kind: String,
    stored_at: Time,
    /// Why it was dead-lettered.
    #[schema(required)]
    reason: Option<String>,
    /// Size of the body.
    bytes: u64,
    stage: Option<String>,
    error: Option<String>,
    delivery_id: Option<String>,
    /// `<installation>/<key>`.
    subscription: Option<String>,
    installation: Option<String>,
    app: Option<String>,
    site: Option<String>,
    first_seen: Option<String>,
    last_class: Option<String>,
    /// Job that handed it over.
    job: Option<String>,
    attempts: Option<u64>,
    revision: Option<u64>,
    /// Bytes of the body that are left out.
    omitted_bytes: Option<u64>,
    /// Why the body was removed.
    body_removed: Option<String>,
    /// Keys of further modules that it is for.
    also: Option<Vec<String>>,
    event: Option<LetterEvent>,
    /// Headers by lower-case name, those that may be secrets redacted; in the answer for one letter.
    headers: Option<BTreeMap<String, String>>,
    /// The body if it is JSON; in the answer for one letter.
    body: Option<Value>,
    /// The body in base64 if it is not JSON; in the answer for one letter.
    body_base64: Option<String>,
}

/// The event of a dead letter.
#[derive(ToSchema)]
struct LetterEvent {
    id: Option<String>,
    r#type: Option<String>,
    time: Option<String>,
    entity: Option<String>,
    sequence: Option<u64>,
}

/// A page of dead letters, newest first.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct LetterPage {
    items: Vec<Letter>,
    /// Letters that were read; for operators.
    scanned: Option<u64>,
    /// Which names of the query do not exist.
    hints: Option<Vec<String>>,
    /// Cursor of the next page.
    next_cursor: Option<String>,
}

/// Bytes.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
pub(in crate::api) struct OctetStream(Vec<u8>);
