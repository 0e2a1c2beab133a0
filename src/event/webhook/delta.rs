//! The webhook that an event entered as, carried along so that apps that asked for webhooks get it
//! as it was.
//!
//! An event holds most members of its webhook byte for byte. What is carried is the rest: a list in
//! the order of the webhook, in which a name stands for a member that the event has, and
//! `[name, value]` for one that it lacks or has otherwise. For most webhooks that is the user who
//! acted and a handful of names.

use serde_json::Value;
use serde_json::value::RawValue;

use super::super::members::{Members, ObjectWriter};

/// Header in which the companion of an event travels.
pub const HEADER: &str = "switchyard-webhook";
/// A longer companion is left out; the webhook is made anew from the event then.
const BYTES_MAX: usize = 16 * 1024;

/// What it takes beside `event` to write `webhook` again; none if that is too much.
#[must_use]
pub fn encode(webhook: &Members<'_>, event: &Members<'_>) -> Option<Box<str>> {
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
        if items.len() > BYTES_MAX {
            return None;
        }
    }
    items.push(']');
    Some(items.into())
}

/// The webhook whose companion of `event` this is, with the ids of the dynamic webhooks that it is
/// sent for in place of any that it came with; none if the companion is none of ours.
#[must_use]
pub fn apply(delta: &str, event: &Members<'_>, matched: Option<&str>) -> Option<String> {
    let items: Vec<&RawValue> = serde_json::from_str(delta).ok()?;
    let mut webhook = ObjectWriter::with_capacity(delta.len());
    for item in items {
        let (name, value): (String, &str) = match serde_json::from_str::<String>(item.get()) {
            Ok(name) => {
                let value = event.json(&name)?;
                (name, value)
            }
            Err(_) => {
                let (name, value): (String, &RawValue) = serde_json::from_str(item.get()).ok()?;
                (name, value.get())
            }
        };
        if name != MATCHED {
            webhook.json(&name, value);
        }
    }
    if let Some(matched) = matched {
        webhook.json(MATCHED, matched);
    }
    Some(webhook.finish())
}

/// The member that tells an app which of its dynamic webhooks an event matches.
pub(super) const MATCHED: &str = "matchedWebhookIds";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn webhook_is_written_again_byte_for_byte() {
        let webhook = r#"{"timestamp":1525698237764,"webhookEvent":"x","user":{"accountId":"a"},"issue":{"id":"1", "n":1.50},"zz":null}"#;
        let event = r#"{"eventType":"avi:x","issue":{"id":"1", "n":1.50},"zz":null,"user":"b"}"#;
        let members = |text| Members::parse(text).unwrap();
        let carried = encode(&members(webhook), &members(event)).unwrap();
        assert!(!carried.contains("1.50"), "{carried}");
        assert_eq!(apply(&carried, &members(event), None).as_deref(), Some(webhook));
        let told = apply(&carried, &members(event), Some("[3,5]")).unwrap();
        assert!(told.ends_with(r#","matchedWebhookIds":[3,5]}"#), "{told}");
    }

    #[test]
    fn foreign_companion_and_missing_member_are_none() {
        let event = Members::parse(r#"{"a":1}"#).unwrap();
        for delta in ["", "{}", "[1]", r#"["b"]"#, r#"[["a"]]"#, "[[1,2]]"] {
            assert_eq!(apply(delta, &event, None), None, "{delta}");
        }
        assert_eq!(apply(r#"["a"]"#, &event, None).as_deref(), Some(r#"{"a":1}"#));
    }

    #[test]
    fn large_companion_is_left_out() {
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(BYTES_MAX));
        let webhook = Members::parse(&long).unwrap();
        assert_eq!(encode(&webhook, &Members::default()), None);
        assert!(encode(&webhook, &webhook).is_some());
    }
}
