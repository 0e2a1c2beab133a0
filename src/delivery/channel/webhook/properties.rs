//! Issue properties in the body of a webhook, for modules with `propertyKeys`.
//!
//! The publisher of an event supplies them as `runtime.issue.properties`. They are delivered as
//! `issue.properties`, where the issue resource of Jira's REST API has them.
//!
//! **Source:** Atlassian Connect, "Webhook" module schema: `propertyKeys` is not filled for events of
//! deletions.

use crate::domain::EventType;
use crate::event::members::{Members, ObjectWriter};

/// Member of an issue with its properties.
const PROPERTIES: &str = "properties";

/// Adds the properties with these keys to the issue of a webhook `body`; `event` has the members of
/// the event. Returns none if there is nothing to add.
pub(super) fn with_properties(
    body: &str,
    event_type: &EventType,
    event: &Members<'_>,
    keys: &[Box<str>],
) -> Option<String> {
    if keys.is_empty() || event_type.as_str().contains(":deleted:") {
        return None;
    }
    let known = event.object("runtime")?.object("issue")?.object(PROPERTIES)?;
    let webhook = Members::parse(body).ok()?;
    let issue = webhook.object("issue")?;
    let own = issue.object(PROPERTIES).unwrap_or_default();
    let mut properties = ObjectWriter::with_capacity(256);
    for (name, value) in own.iter() {
        properties.json(name, value);
    }
    let mut is_changed = false;
    for key in keys.iter().filter(|key| own.json(key).is_none()) {
        if let Some(value) = known.json(key) {
            properties.json(key, value);
            is_changed = true;
        }
    }
    is_changed.then_some(())?;
    let properties = properties.finish();
    let issue = replaced(&issue, PROPERTIES, &properties, body.len());
    Some(replaced(&webhook, "issue", &issue, body.len() + properties.len()))
}

/// Writes an object with another value of one member, which is appended if it is new.
fn replaced(object: &Members<'_>, name: &str, value: &str, bytes: usize) -> String {
    let mut out = ObjectWriter::with_capacity(bytes);
    let mut is_written = false;
    for (member, json) in object.iter() {
        if member != name {
            out.json(member, json);
        } else if !is_written {
            out.json(name, value);
            is_written = true;
        }
    }
    if !is_written {
        out.json(name, value);
    }
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"issue":{"key":"A-1"},
        "runtime":{"issue":{"properties":{"k":{"a":1.50},"other":2}},"project":{"properties":{"p":1}}}}"#;

    fn added(body: &str, event_type: &str, keys: &[&str]) -> Option<String> {
        let keys: Vec<Box<str>> = keys.iter().map(|key| (*key).into()).collect();
        let event = Members::parse(EVENT).unwrap();
        with_properties(body, &event_type.into(), &event, &keys)
    }

    #[test]
    fn properties_asked_for_are_added_to_the_issue_as_written() {
        let body = r#"{"webhookEvent":"e","issue":{"key":"A-1","fields":{}},"user":{}}"#;
        assert_eq!(
            added(body, "avi:jira:updated:issue", &["k", "missing"]).unwrap(),
            r#"{"webhookEvent":"e","issue":{"key":"A-1","fields":{},"properties":{"k":{"a":1.50}}},"user":{}}"#
        );
        let body = r#"{"issue":{"properties":{"k":0,"own":1}}}"#;
        assert_eq!(
            added(body, "avi:jira:created:issue", &["k", "other"]).unwrap(),
            r#"{"issue":{"properties":{"k":0,"own":1,"other":2}}}"#
        );
    }

    #[test]
    fn body_stays_where_there_is_nothing_to_add() {
        let body = r#"{"issue":{"key":"A-1"}}"#;
        for (event_type, keys) in [
            ("avi:jira:deleted:issue", &["k"][..]),
            ("avi:jira:updated:issue", &[]),
            ("avi:jira:updated:issue", &["p", "missing"]),
        ] {
            assert_eq!(added(body, event_type, keys), None, "{event_type} {keys:?}");
        }
        assert_eq!(added(r#"{"sprint":{}}"#, "avi:jira-software:created:sprint", &["k"]), None);
        assert_eq!(added("", "avi:jira:updated:issue", &["k"]), None);
    }
}
