//! The difference between a webhook and its event: what the event lacks.
//!
//! An event has most members of its webhook byte for byte. The delta has the rest: a list in the
//! order of the webhook, in which a name refers to a member of the event, and `[name, value]` is a
//! member that the event lacks or has with another value. For most webhooks that is the acting user
//! and a few names. It restores the members; what is between their values, such as white space, is
//! kept apart if it is not what we would write.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::event::members::{Members, ObjectWriter};

/// Returns the delta from `event` to `webhook`; `None` if it has more than `bytes_max` bytes.
#[must_use]
pub(super) fn encode(
    webhook: &Members<'_>,
    event: &Members<'_>,
    bytes_max: usize,
) -> Option<Box<str>> {
    let mut items = String::from("[");
    for (name, value) in webhook.iter() {
        if items.len() > 1 {
            items.push(',');
        }
        let quoted = Value::from(name).to_string();
        if event.json(name) == Some(value) {
            items.push_str(&quoted);
        } else {
            items.push_str(&format!("[{quoted},{value}]"));
        }
        if items.len() > bytes_max {
            return None;
        }
    }
    items.push(']');
    Some(items.into())
}

/// Returns what a webhook has before, between and behind the values of its members, a JSON list.
#[must_use]
pub(super) fn text_between(sent: &str, webhook: &Members<'_>) -> Option<String> {
    let mut pieces = Vec::new();
    let mut end = 0;
    for (_, value) in webhook.member_spans(sent) {
        pieces.push(sent.get(end..value.start)?);
        end = value.end;
    }
    pieces.push(sent.get(end..)?);
    serde_json::to_string(&pieces).ok()
}

/// Returns the webhook for a delta, its event and the text between its values; without that, as we would
/// write it. `None` if one of them is invalid.
#[must_use]
pub(super) fn apply(delta: &str, between: Option<&str>, event: &Members<'_>) -> Option<String> {
    let items: Vec<&RawValue> = serde_json::from_str(delta).ok()?;
    let Some(between) = between else {
        let mut webhook = ObjectWriter::with_capacity(delta.len());
        for item in items {
            let (name, value) = member(item.get(), event)?;
            webhook.json(&name, value);
        }
        return Some(webhook.finish());
    };
    let pieces: Vec<String> = serde_json::from_str(between).ok()?;
    let (last, pieces) = pieces.split_last()?;
    if pieces.len() != items.len() {
        return None;
    }
    let mut webhook = String::with_capacity(delta.len() + between.len());
    for (piece, item) in pieces.iter().zip(items) {
        webhook.push_str(piece);
        webhook.push_str(member(item.get(), event)?.1);
    }
    webhook.push_str(last);
    Some(webhook)
}

/// Returns the name and the value of an item of a delta.
fn member<'a>(item: &'a str, event: &Members<'a>) -> Option<(String, &'a str)> {
    match serde_json::from_str::<String>(item) {
        Ok(name) => {
            let value = event.json(&name)?;
            Some((name, value))
        }
        Err(_) => {
            let (name, value): (String, &RawValue) = serde_json::from_str(item).ok()?;
            Some((name, value.get()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES_MAX: usize = 1000;

    #[test]
    fn compact_webhook_is_restored_byte_for_byte() {
        let webhook = r#"{"timestamp":1525698237764,"webhookEvent":"x","user":{"accountId":"a"},"issue":{"id":"1", "n":1.50},"matchedWebhookIds":[7],"zz":null}"#;
        let event = r#"{"eventType":"avi:x","issue":{"id":"1", "n":1.50},"zz":null,"user":"b"}"#;
        let members = |text| Members::parse(text).unwrap();
        let delta = encode(&members(webhook), &members(event), BYTES_MAX).unwrap();
        assert!(!delta.contains("1.50"), "{delta}");
        assert_eq!(apply(&delta, None, &members(event)).as_deref(), Some(webhook));
    }

    #[test]
    fn invalid_delta_and_missing_member_are_none() {
        let event = Members::parse(r#"{"a":1}"#).unwrap();
        for delta in ["", "{}", "[1]", r#"["b"]"#, r#"[["a"]]"#, "[[1,2]]", "@7"] {
            assert_eq!(apply(delta, None, &event), None, "{delta}");
        }
        assert_eq!(apply(r#"["a"]"#, None, &event).as_deref(), Some(r#"{"a":1}"#));
        for between in ["", "[]", "{}", "[1,2]", r#"["x"]"#, r#"["x","y","z"]"#] {
            assert_eq!(apply(r#"["a"]"#, Some(between), &event), None, "{between}");
        }
        assert_eq!(apply(r#"["a"]"#, Some(r#"["x","y"]"#), &event).as_deref(), Some("x1y"));
    }

    #[test]
    fn large_delta_is_none() {
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(BYTES_MAX));
        let webhook = Members::parse(&long).unwrap();
        assert_eq!(encode(&webhook, &Members::default(), BYTES_MAX), None);
        assert!(encode(&webhook, &webhook, BYTES_MAX).is_some());
    }
}
