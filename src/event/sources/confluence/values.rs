//! Values that webhooks and events of Confluence write differently.

use jiff::Timestamp;

use crate::event::members::{Members, ObjectWriter};

/// Copies a member under another name.
pub(super) fn copy(from: &Members<'_>, name: &str, to: &mut ObjectWriter, as_name: &str) {
    if let Some(json) = from.json(name) {
        to.json(as_name, json);
    }
}

/// Converts milliseconds since the epoch to the format of events: `2026-03-02T11:40:55.120Z`.
pub(super) fn as_date(millis: &str) -> Option<String> {
    let time = Timestamp::from_millisecond(millis.parse().ok()?).ok()?;
    Some(format!("{time:.3}"))
}

/// Converts a date of events to milliseconds since the epoch.
pub(super) fn as_millis(date: &str) -> Option<i64> {
    let time: Timestamp = date.trim_matches('"').parse().ok()?;
    Some(time.as_millisecond())
}
