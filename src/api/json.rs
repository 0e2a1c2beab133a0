//! Helpers that render JSON responses.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

/// Inserts a member if `value` is some.
pub(super) fn insert_some(object: &mut Value, name: &str, value: Option<impl Serialize>) {
    if let (Value::Object(members), Some(value)) = (object, value) {
        members.insert(name.to_owned(), json!(value));
    }
}

/// Formats milliseconds since the epoch as RFC 3339; none if out of range.
pub(super) fn rfc3339(ms: i64) -> Option<String> {
    Timestamp::from_millisecond(ms).ok().map(|time| time.to_string())
}

/// As [`rfc3339`]; none for 0, which means never.
pub(super) fn rfc3339_unless_zero(ms: i64) -> Option<String> {
    Some(ms).filter(|ms| *ms != 0).and_then(rfc3339)
}
