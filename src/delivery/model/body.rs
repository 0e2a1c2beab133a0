//! Renders the body of a delivery: the event object as published, plus a few members of ours.
//!
//! Nothing is re-serialised: the text between our members is copied, so numbers, order and spelling
//! arrive as the publisher wrote them. An event is split once, whatever the number of its
//! deliveries.

use std::collections::HashSet;
use std::ops::Range;

use bytes::Bytes;
use thiserror::Error;

use super::included_properties;
use crate::domain::{EventType, FilterError, SubscriptionId};
use crate::event::Event;
use crate::event::members::{MemberSpans, Members};
use crate::matcher::IncludedProperty;

/// Members that the router sets, whatever the publisher wrote.
const OWN_MEMBERS: [&str; 5] = ["selfGenerated", "context", "retryContext", "filterError", RUNTIME];

/// Member with the entity properties that a publisher supplies: filters read it, handlers do not get
/// it.
const RUNTIME: &str = "runtime";

/// Capacity reserved for them, in bytes.
const ROOM_FOR_OWN: usize = 512;

/// The body of an event is not a JSON object.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{0}")]
pub struct NotAnObject(String);

impl NotAnObject {
    fn because(error: impl ToString) -> Self {
        Self(error.to_string())
    }
}

/// An event body split into the runs of text that every delivery copies.
#[derive(Clone, Debug)]
pub struct BodyTemplate {
    body: Bytes,
    event_type: EventType,
    runs: Vec<Run>,
    /// Range of the member `runtime`.
    runtime: Option<Range<usize>>,
    /// Members that the publisher left out, as JSON text to append.
    missing: String,
    cloud_id: String,
}

/// Consecutive members of an object, as the publisher wrote them.
#[derive(Clone, Debug)]
struct Run {
    text: Range<usize>,
    kind: RunKind,
}

#[derive(Clone, Debug)]
enum RunKind {
    /// Members that every delivery copies.
    Plain,
    /// The member `issue`, with the range of its value.
    Issue(Range<usize>),
    /// Properties that the publisher included: those of a trigger that asks for some replace them.
    IncludedProperties,
}

/// What differs between the deliveries of one event.
#[derive(Clone, Copy, Debug)]
pub struct DeliveryContext<'a> {
    /// The subscription that is delivered to.
    pub subscription: &'a SubscriptionId,
    /// Whether the app itself caused the event.
    pub self_generated: bool,
    /// Set when the filter failed and the event is delivered nevertheless.
    pub filter_error: Option<&'a FilterError>,
    /// Fields of the issue to keep; empty keeps all.
    pub include_fields: &'a [Box<str>],
    /// Entity properties to include.
    pub include_properties: &'a [IncludedProperty],
    /// Set on every attempt after the first.
    pub retry: Option<RetryContext<'a>>,
}

/// The member `retryContext`.
#[derive(Clone, Copy, Debug)]
pub struct RetryContext<'a> {
    /// Attempts made before this one.
    pub count: u32,
    /// Why the last attempt is retried.
    pub reason: &'a str,
    /// Data that the handler asked to get back, JSON.
    pub data: Option<&'a str>,
}

impl BodyTemplate {
    /// Splits the body of `event`.
    ///
    /// # Errors
    /// The body is not a JSON object.
    pub fn of(event: &Event) -> Result<Self, NotAnObject> {
        let text = std::str::from_utf8(&event.body).map_err(NotAnObject::because)?;
        let members = Members::parse(text).map_err(NotAnObject::because)?;
        Ok(Self::outlined(event, &members.member_spans(text)))
    }

    /// Creates the template of `event`, whose body has the members of `outline`.
    #[must_use]
    pub fn outlined(event: &Event, outline: &MemberSpans<'_>) -> Self {
        let has = |name: &str| outline.iter().any(|(at, _)| *at == name);
        let mut missing = String::new();
        if !has("eventType") {
            put_text(&mut missing, "eventType", event.envelope.event_type.as_str());
        }
        if let (false, Some(time)) = (has("timestamp"), event.envelope.time) {
            put_text(&mut missing, "timestamp", &time.as_millisecond().to_string());
        }
        let cloud_id = quoted(event.envelope.cloud_id.as_str());
        let runtime = outline.iter().rfind(|(name, _)| *name == RUNTIME);
        Self {
            body: event.body.clone(),
            event_type: event.envelope.event_type.clone(),
            runs: runs(&event.body, outline),
            runtime: runtime.map(|(_, value)| value.clone()),
            missing,
            cloud_id,
        }
    }

    /// Renders the body of one delivery.
    #[must_use]
    pub fn render(&self, context: &DeliveryContext<'_>) -> Bytes {
        let mut out = Object::with_capacity(self.body.len() + ROOM_FOR_OWN);
        let include = context.include_fields;
        let properties = self.included_properties(context.include_properties);
        for run in &self.runs {
            match &run.kind {
                RunKind::Issue(issue) if !include.is_empty() => {
                    out.put("issue", &trim_issue(&self.body.slice(issue.clone()), include));
                }
                RunKind::IncludedProperties if properties.is_some() => {}
                _ => out.put_raw(span(&self.body, run.text.clone())),
            }
        }
        out.put_raw(self.missing.as_bytes());
        out.put("selfGenerated", if context.self_generated { b"true" } else { b"false" });
        let key = quoted(context.subscription.key.as_str());
        let ours = format!(r#"{{"cloudId":{},"moduleKey":{key}}}"#, self.cloud_id);
        out.put("context", ours.as_bytes());
        if let Some(properties) = properties {
            out.put(included_properties::MEMBER, properties.as_bytes());
        }
        if let Some(retry) = context.retry {
            out.put("retryContext", retry.to_json().as_bytes());
        }
        if let Some(error) = context.filter_error {
            out.put("filterError", error.to_json().as_bytes());
        }
        out.finish()
    }

    fn included_properties(&self, included: &[IncludedProperty]) -> Option<String> {
        let runtime = self.runtime.clone().map(|range| span(&self.body, range));
        let runtime = runtime.and_then(|json| std::str::from_utf8(json).ok());
        included_properties::render(included, &self.event_type, runtime)
    }
}

impl RetryContext<'_> {
    fn to_json(self) -> String {
        format!(
            r#"{{"retryCount":{},"retryReason":{},"retryData":{}}}"#,
            self.count,
            quoted(self.reason),
            self.data.unwrap_or("null"),
        )
    }
}

/// Returns the text between the braces of `body`, without our members, in as few runs as possible.
fn runs(body: &[u8], outline: &MemberSpans<'_>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::with_capacity(4);
    // Whether the next member extends the previous run.
    let (mut extends_run, mut behind) = (false, 0);
    for (name, value) in outline {
        let between = span(body, behind..value.start);
        let start = behind + between.iter().position(|byte| *byte == b'"').unwrap_or(0);
        behind = value.end;
        match (&**name, runs.last_mut()) {
            (name, _) if OWN_MEMBERS.contains(&name) => extends_run = false,
            ("issue", _) => {
                runs.push(Run { text: start..behind, kind: RunKind::Issue(value.clone()) });
                extends_run = false;
            }
            (included_properties::MEMBER, _) => {
                runs.push(Run { text: start..behind, kind: RunKind::IncludedProperties });
                extends_run = false;
            }
            (_, Some(run)) if extends_run => run.text.end = behind,
            _ => {
                runs.push(Run { text: start..behind, kind: RunKind::Plain });
                extends_run = true;
            }
        }
    }
    runs
}

/// Keeps the members of `issue.fields` that `include` names; a value of another shape is unchanged.
fn trim_issue(issue: &Bytes, include: &[Box<str>]) -> Bytes {
    let Ok(members) = members(issue) else { return issue.clone() };
    let mut out = Object::with_capacity(issue.len());
    for member in &members {
        match &*member.name {
            "fields" => out.put("fields", &trim_fields(&member.value, include)),
            name => out.put(name, &member.value),
        }
    }
    out.finish()
}

fn trim_fields(fields: &Bytes, include: &[Box<str>]) -> Bytes {
    let Ok(members) = members(fields) else { return fields.clone() };
    let mut out = Object::with_capacity(fields.len());
    for member in members.iter().filter(|member| include.contains(&member.name)) {
        out.put(&member.name, &member.value);
    }
    out.finish()
}

/// Returns a range of the body that a [`BodyTemplate`] was built from.
fn span(body: &[u8], range: Range<usize>) -> &[u8] {
    body.get(range).unwrap_or_else(|| {
        debug_assert!(false, "a span of members is inside of the body that it was read from");
        &[]
    })
}

/// A JSON object being written.
struct Object(Vec<u8>);

impl Object {
    fn with_capacity(bytes: usize) -> Self {
        let mut out = Vec::with_capacity(bytes);
        out.push(b'{');
        Self(out)
    }

    fn put(&mut self, name: &str, value: &[u8]) {
        self.separate();
        self.0.extend_from_slice(quoted(name).as_bytes());
        self.0.push(b':');
        self.0.extend_from_slice(value);
    }

    /// Appends members that are JSON text already.
    fn put_raw(&mut self, members: &[u8]) {
        if !members.is_empty() {
            self.separate();
            self.0.extend_from_slice(members);
        }
    }

    fn separate(&mut self) {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
    }

    fn finish(mut self) -> Bytes {
        self.0.push(b'}');
        self.0.into()
    }
}

fn put_text(members: &mut String, name: &str, value: &str) {
    if !members.is_empty() {
        members.push(',');
    }
    members.push_str(&quoted(name));
    members.push(':');
    members.push_str(&quoted(value));
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_else(|error| {
        debug_assert!(false, "a string is JSON: {error}");
        "null".into()
    })
}

/// A member; the value is a slice of the event's body.
struct Member {
    name: Box<str>,
    value: Bytes,
}

/// Splits an object; the last value of a repeated name wins.
fn members(json: &Bytes) -> Result<Vec<Member>, NotAnObject> {
    let text = std::str::from_utf8(json).map_err(NotAnObject::because)?;
    let members = Members::parse(text).map_err(NotAnObject::because)?;
    let mut seen = HashSet::new();
    let mut last: Vec<Member> = Vec::new();
    for (name, value) in members.iter().collect::<Vec<_>>().into_iter().rev() {
        if seen.insert(name) {
            last.push(Member { name: name.into(), value: json.slice_ref(value.as_bytes()) });
        }
    }
    last.reverse();
    Ok(last)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::event::Envelope;

    fn event(body: &str) -> Event {
        Event {
            envelope: Envelope {
                cloud_id: "cloud-1".into(),
                event_id: "e1".into(),
                event_type: "avi:jira:created:issue".into(),
                time: Some("2026-11-21T08:00:00Z".parse().unwrap()),
                origin_app: None,
                entity: None,
                traceparent: None,
                trace: None,
                webhook: None,
            },
            body: Bytes::copy_from_slice(body.as_bytes()),
            sequence: 1,
        }
    }

    fn subscription() -> SubscriptionId {
        SubscriptionId { installation: "i".into(), key: "k".into() }
    }

    fn plain(subscription: &SubscriptionId) -> DeliveryContext<'_> {
        DeliveryContext {
            subscription,
            self_generated: false,
            filter_error: None,
            include_fields: &[],
            include_properties: &[],
            retry: None,
        }
    }

    fn text(body: &str, context: &DeliveryContext<'_>) -> String {
        let bytes = BodyTemplate::of(&event(body)).unwrap().render(context);
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn copies_values_byte_for_byte_and_adds_its_own_members() {
        let id = subscription();
        let body = r#"{"eventType":"x", "timestamp":"1", "big": 1.50e+400, "s":"\u00e9" }"#;
        assert_eq!(
            text(body, &plain(&id)),
            r#"{"eventType":"x", "timestamp":"1", "big": 1.50e+400, "s":"\u00e9","selfGenerated":false,"context":{"cloudId":"cloud-1","moduleKey":"k"}}"#
        );
    }

    #[test]
    fn fills_in_type_and_time_when_the_publisher_left_them_out() {
        let id = subscription();
        let value: Value = serde_json::from_str(&text("{}", &plain(&id))).unwrap();
        assert_eq!(value["eventType"], "avi:jira:created:issue");
        assert_eq!(value["timestamp"], "1795248000000");
    }

    #[test]
    fn publisher_cannot_set_our_members() {
        let id = subscription();
        let body = r#"{"selfGenerated":true,"context":{"cloudId":"other"},"retryContext":1,"filterError":2,
            "runtime":{"issue":{}}}"#;
        let value: Value = serde_json::from_str(&text(body, &plain(&id))).unwrap();
        assert_eq!(value["selfGenerated"], false);
        assert_eq!(value["context"], json!({"cloudId": "cloud-1", "moduleKey": "k"}));
        for absent in ["retryContext", "filterError", "runtime"] {
            assert!(value.get(absent).is_none(), "{absent}");
        }
    }

    #[test]
    fn retry_and_filter_error_are_included() {
        let id = subscription();
        let error = FilterError {
            kind: "type".into(),
            message: "m".into(),
            offset: 3,
            line: 1,
            column: 4,
            part: String::new(),
        };
        let retry = RetryContext { count: 2, reason: "TIMEOUT_ERROR", data: Some(r#"{"n":1}"#) };
        let context = DeliveryContext {
            filter_error: Some(&error),
            retry: Some(retry),
            self_generated: true,
            ..plain(&id)
        };
        let value: Value = serde_json::from_str(&text("{}", &context)).unwrap();
        assert_eq!(
            value["retryContext"],
            json!({"retryCount": 2, "retryReason": "TIMEOUT_ERROR", "retryData": {"n": 1}})
        );
        assert_eq!(value["filterError"]["column"], 4);
        assert_eq!(value["selfGenerated"], true);
    }

    #[test]
    fn keeps_only_the_fields_asked_for() {
        let id = subscription();
        let include: [Box<str>; 2] = ["summary".into(), "priority".into()];
        let context = DeliveryContext { include_fields: &include, ..plain(&id) };
        let body = r#"{"issue":{"key":"A-1","fields":{"summary":"s","labels":[1],"priority":{"id":"2"}}}}"#;
        let value: Value = serde_json::from_str(&text(body, &context)).unwrap();
        assert_eq!(
            value["issue"],
            json!({"key": "A-1", "fields": {"summary": "s", "priority": {"id": "2"}}})
        );
    }

    #[test]
    fn properties_asked_for_are_included_without_runtime() {
        let id = subscription();
        let asked = [IncludedProperty::new("issue.properties['k'].a", None)];
        let context = DeliveryContext { include_properties: &asked, ..plain(&id) };
        let body = r#"{"runtime":{"issue":{"properties":{"k":{"a":1}}}},"issue":{"key":"A-1"},
            "payloadIncludeProperties":{"b":1},"runtime":{"issue":{"properties":{"k":{"a":[2]}}}}}"#;
        let value: Value = serde_json::from_str(&text(body, &context)).unwrap();
        let expected = json!({"issue.properties['k'].a": [2]});
        assert_eq!(value["payloadIncludeProperties"], expected, "the last `runtime` counts");
        assert!(value.get("runtime").is_none() && value["issue"]["key"] == "A-1");
        let value: Value = serde_json::from_str(&text(body, &plain(&id))).unwrap();
        assert_eq!(value["payloadIncludeProperties"], json!({"b": 1}), "those of the publisher");
    }

    #[test]
    fn repeated_member_counts_with_its_last_value() {
        let id = subscription();
        let value: Value = serde_json::from_str(&text(r#"{"a":1,"a":2}"#, &plain(&id))).unwrap();
        assert_eq!(value["a"], 2);
    }

    #[test]
    fn escaped_and_deep_members_survive() {
        let id = subscription();
        let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
        let out = text(&format!(r#"{{"\"q\"":{deep}}}"#), &plain(&id));
        assert!(out.starts_with(&format!(r#"{{"\"q\"":{deep},"#)), "{out}");
    }

    #[test]
    fn rejects_a_body_that_is_not_an_object() {
        for body in ["[]", "1", "", "{", "{} x"] {
            assert!(BodyTemplate::of(&event(body)).is_err(), "{body}");
        }
    }
}
