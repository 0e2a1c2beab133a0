//! Parser of `trigger` module data: JSON to a [`Trigger`], or the list of its problems.
//!
//! **Source:** the module schema of `@forge/manifest` 13.7.0, `additionalProperties: false`.

use std::sync::Arc;

use serde::Deserialize as _;
use serde_json::{Map, Value};

use crate::domain::{EventType, OnError};
use crate::registry::model::{Problem, code};

/// A well-formed trigger; names and filters are not checked yet.
#[derive(Clone, PartialEq, Debug)]
pub struct Trigger {
    /// Event types in the submitted order, each once; never empty.
    pub events: Vec<TriggerEvent>,
    /// Every filter once; filters of single events in their order.
    pub filters: Vec<Arc<TriggerFilter>>,
    /// Handler of its matches.
    pub handler: HandlerRef,
    /// Entity properties to include in deliveries.
    pub property_paths: Vec<DeclaredProperty>,
    /// Top-level issue fields kept in the delivered body; empty = all.
    pub fields: Vec<String>,
}

/// One event type of a trigger.
#[derive(Clone, PartialEq, Debug)]
pub struct TriggerEvent {
    /// The event type with its path.
    pub event_type: Located<EventType>,
    /// Condition on the event; none = every event passes.
    pub filter: Option<Arc<TriggerFilter>>,
}

/// The `filter` member of a trigger or of one of its events.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct TriggerFilter {
    /// The expression.
    pub expression: Option<Located<Arc<str>>>,
    /// Excludes events caused by the app.
    pub ignore_self: bool,
    /// Excludes installations without a licence.
    pub requires_licence: bool,
    /// What an evaluation error does; none = the default.
    pub on_error: Option<OnError>,
    /// Its path in the request.
    pub path: String,
}

/// An entity property to include in deliveries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeclaredProperty {
    /// Its path, as submitted.
    pub path: Located<String>,
    /// The event type that it is declared for; none = all of the trigger.
    pub event_type: Option<EventType>,
}

/// Handler named by a trigger.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HandlerRef {
    /// A function of the app.
    Function(Located<String>),
    /// An HTTP endpoint of the app.
    Endpoint(Located<String>),
}

impl HandlerRef {
    /// Returns the member of a trigger that names the handler, and the name.
    #[must_use]
    pub fn member(&self) -> (&'static str, &Located<String>) {
        match self {
            Self::Function(name) => ("function", name),
            Self::Endpoint(key) => ("endpoint", key),
        }
    }
}

/// A value with its path in the request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Path, such as `data.events[0]`.
    pub path: String,
}

const MEMBERS: &[&str] = &["key", "events", "function", "endpoint", "filter", "payload"];
const EVENT_MEMBERS: &[&str] = &["eventType", "filter", "payload"];
const FILTER_MEMBERS: &[&str] = &["ignoreSelf", "appIsLicensed", "expression", "onError"];
/// Events that a trigger lists at most, several times as many as there are event types. Each is compared
/// with the others and with the filters.
const EVENTS_MAX: usize = 1000;
/// Prefix of paths in filters; the vendor omits it in `payload.include`.
const RUNTIME: &str = "event.runtime.";

impl Trigger {
    /// Parses the data of a trigger at `path` of its request.
    ///
    /// # Errors
    /// Every problem of its form, in the order of the text.
    pub fn parse(data: &Map<String, Value>, path: &str) -> Result<Self, Vec<Problem>> {
        let mut parser = TriggerParser::default();
        let trigger = parser.trigger(data, path);
        match trigger {
            Some(trigger) if parser.problems.is_empty() => Ok(trigger),
            _ => Err(parser.problems),
        }
    }
}

impl Trigger {
    /// Returns the event types that `filter` applies to.
    pub(crate) fn events_of<'a>(
        &'a self,
        filter: &'a TriggerFilter,
    ) -> impl Iterator<Item = &'a str> {
        let uses = |event: &&TriggerEvent| {
            event.filter.as_deref().is_some_and(|used| std::ptr::eq(used, filter))
        };
        self.events.iter().filter(uses).map(|event| event.event_type.value.as_str())
    }
}

impl TriggerFilter {
    /// Whether an evaluation error delivers the event.
    pub(crate) fn delivers_on_error(&self) -> bool {
        self.on_error.is_some_and(OnError::delivers)
    }
}

/// Collects all problems, so that the author sees them at once.
#[derive(Default)]
struct TriggerParser {
    problems: Vec<Problem>,
}

/// Content of `payload.include`.
#[derive(Default)]
struct PayloadInclude {
    property_paths: Vec<DeclaredProperty>,
    fields: Vec<String>,
}

/// Parsed events of a trigger, with their filters and payload options.
#[derive(Default)]
struct ParsedEvents {
    events: Vec<TriggerEvent>,
    filters: Vec<Arc<TriggerFilter>>,
    includes: Vec<PayloadInclude>,
}

impl TriggerParser {
    fn trigger(&mut self, data: &Map<String, Value>, path: &str) -> Option<Trigger> {
        self.members(data, MEMBERS, path);
        let filter = self.optional_filter(data, path);
        let include = self.include(data, path);
        let handler = self.handler(data, path);
        let mut read = self.events(data, path)?;
        if let Some(filter) = filter {
            if read.filters.is_empty() {
                for event in &mut read.events {
                    event.filter = Some(Arc::clone(&filter));
                }
                read.filters.push(filter);
            } else {
                let message = "a filter for all events is combined with filters of single events";
                self.problems.push(
                    Problem::new(code::TWO_FILTERS, &filter.path, message)
                        .with_help("keep one of the two forms"),
                );
            }
        }
        // Fields are stored per trigger: an event that asks for all of them widens it to all.
        let all = read.includes.iter().any(|include| include.fields.is_empty());
        let mut fields = include.fields;
        let mut property_paths = include.property_paths;
        for include in read.includes {
            property_paths.extend(include.property_paths);
            if !all {
                fields.extend(include.fields);
            }
        }
        let ParsedEvents { events, filters, .. } = read;
        Some(Trigger { events, filters, handler: handler?, property_paths, fields })
    }

    fn members(&mut self, object: &Map<String, Value>, known: &[&str], path: &str) {
        for name in object.keys().filter(|name| !known.contains(&name.as_str())) {
            let message = format!("there is no member `{name}` here");
            let help = format!("known are {}", known.join(", "));
            self.problems.push(
                Problem::new(code::UNKNOWN_MEMBER, format!("{path}.{name}"), message)
                    .with_help(help),
            );
        }
    }

    fn form(&mut self, path: impl Into<String>, message: &str) {
        self.problems.push(Problem::new(code::FORM, path, message));
    }

    fn missing(&mut self, path: String, message: &str) {
        self.problems.push(Problem::new(code::MISSING, path, message));
    }

    fn handler(&mut self, data: &Map<String, Value>, path: &str) -> Option<HandlerRef> {
        let function = data.get("function").map(|value| (value, format!("{path}.function")));
        let endpoint = data.get("endpoint").map(|value| (value, format!("{path}.endpoint")));
        match (function, endpoint) {
            (Some((value, path)), None) => self.text(value, path).map(HandlerRef::Function),
            (None, Some((value, path))) => self.text(value, path).map(HandlerRef::Endpoint),
            (None, None) => {
                let message = "a trigger names its handler by `function` or `endpoint`";
                self.problems.push(Problem::new(code::HANDLER, path, message));
                None
            }
            (Some(_), Some((_, path))) => {
                let message = "a trigger has a `function` or an `endpoint`, not both";
                self.problems.push(Problem::new(code::HANDLER, path, message));
                None
            }
        }
    }

    fn text(&mut self, value: &Value, path: String) -> Option<Located<String>> {
        match value {
            Value::String(text) if !text.is_empty() => Some(Located { value: text.clone(), path }),
            _ => {
                self.form(path, "this is a non-empty string");
                None
            }
        }
    }

    fn events(&mut self, data: &Map<String, Value>, path: &str) -> Option<ParsedEvents> {
        let path = format!("{path}.events");
        let items = match data.get("events") {
            None => {
                self.missing(path, "a trigger lists the events it wants");
                return None;
            }
            Some(Value::Array(items)) if !items.is_empty() => items,
            Some(_) => {
                self.form(path, "this is a non-empty list of event names");
                return None;
            }
        };
        if items.len() > EVENTS_MAX {
            self.form(path, &format!("a trigger lists at most {EVENTS_MAX} events"));
            return None;
        }
        let mut read = ParsedEvents::default();
        let objects = items.iter().any(Value::is_object);
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}[{index}]");
            match item {
                Value::Object(event) => self.filtered_event(event, path, &mut read),
                Value::String(name) if !objects => {
                    let event_type = Located { value: EventType::from(name.as_str()), path };
                    self.push_event(TriggerEvent { event_type, filter: None }, &mut read);
                }
                _ if objects => self.form(path, "all events have the form {eventType, filter}"),
                _ => self.form(path, "an event is named by a string"),
            }
        }
        Some(read)
    }

    fn filtered_event(
        &mut self,
        event: &Map<String, Value>,
        path: String,
        read: &mut ParsedEvents,
    ) {
        self.members(event, EVENT_MEMBERS, &path);
        let mut include = self.include(event, &path);
        if let Some(name) = event.get("eventType").and_then(Value::as_str) {
            for property in &mut include.property_paths {
                property.event_type = Some(name.into());
            }
        }
        read.includes.push(include);
        let filter = self.optional_filter(event, &path);
        if !event.contains_key("filter") {
            self.missing(format!("{path}.filter"), "an event in this form has a filter");
        }
        let name_path = format!("{path}.eventType");
        let Some(name) = event.get("eventType") else {
            self.missing(name_path, "an event in this form names its `eventType`");
            return;
        };
        let (Some(name), Some(filter)) = (self.text(name, name_path), filter) else { return };
        let event_type = Located { value: EventType::from(name.value), path: name.path };
        self.push_event(TriggerEvent { event_type, filter: Some(Arc::clone(&filter)) }, read);
        read.filters.push(filter);
    }

    /// Merges an event listed twice, unless its filters differ, which is ambiguous.
    fn push_event(&mut self, event: TriggerEvent, read: &mut ParsedEvents) {
        let same_name = |known: &&TriggerEvent| known.event_type.value == event.event_type.value;
        match read.events.iter().find(same_name) {
            None => read.events.push(event),
            Some(known) if same_filter(known, &event) => {}
            Some(_) => {
                let name = &event.event_type.value;
                let message = format!("`{name}` is listed twice with different filters");
                self.problems.push(
                    Problem::new(code::DUPLICATE, event.event_type.path, message)
                        .with_help("join the two conditions with `||`"),
                );
            }
        }
    }

    fn optional_filter(
        &mut self,
        object: &Map<String, Value>,
        path: &str,
    ) -> Option<Arc<TriggerFilter>> {
        let path = format!("{path}.filter");
        match object.get("filter")? {
            Value::Object(filter) => Some(Arc::new(self.filter(filter, path))),
            Value::String(_) => {
                let problem = Problem::new(code::FORM, path, "a filter is an object, not a text");
                let help = "write the text as its member: `{\"expression\": \"...\"}`";
                self.problems.push(problem.with_help(help));
                None
            }
            _ => {
                self.form(path, "a filter is an object");
                None
            }
        }
    }

    fn filter(&mut self, filter: &Map<String, Value>, path: String) -> TriggerFilter {
        self.members(filter, FILTER_MEMBERS, &path);
        if !["ignoreSelf", "appIsLicensed", "expression"].iter().any(|n| filter.contains_key(*n)) {
            let message = "a filter has at least one of ignoreSelf, appIsLicensed, expression";
            self.problems.push(Problem::new(code::EMPTY_FILTER, &path, message));
        }
        let expression = filter
            .get("expression")
            .and_then(|value| self.text(value, format!("{path}.expression")))
            .map(|Located { value, path }| Located { value: Arc::from(value), path });
        TriggerFilter {
            expression,
            ignore_self: self.flag(filter, "ignoreSelf", &path),
            requires_licence: self.flag(filter, "appIsLicensed", &path),
            on_error: filter.get("onError").and_then(|value| self.on_error(value, &path)),
            path,
        }
    }

    fn flag(&mut self, filter: &Map<String, Value>, name: &str, path: &str) -> bool {
        match filter.get(name) {
            None => false,
            Some(Value::Bool(flag)) => *flag,
            Some(_) => {
                self.form(format!("{path}.{name}"), "this is true or false");
                false
            }
        }
    }

    fn on_error(&mut self, value: &Value, path: &str) -> Option<OnError> {
        let known = OnError::deserialize(value).ok();
        if known.is_none() {
            let message = "this is one of IGNORE, IGNORE_AND_LOG, RECEIVE, RECEIVE_AND_LOG";
            self.form(format!("{path}.onError"), message);
        }
        known
    }

    fn include(&mut self, object: &Map<String, Value>, path: &str) -> PayloadInclude {
        let path = format!("{path}.payload");
        let Some(payload) = object.get("payload") else { return PayloadInclude::default() };
        let Value::Object(payload) = payload else {
            self.form(path, "this is an object");
            return PayloadInclude::default();
        };
        self.members(payload, &["include"], &path);
        let path = format!("{path}.include");
        let Some(Value::Object(include)) = payload.get("include") else {
            self.form(path, "this is an object with propertyPaths or fields");
            return PayloadInclude::default();
        };
        self.members(include, &["propertyPaths", "fields"], &path);
        if include.is_empty() {
            self.missing(path.clone(), "one of propertyPaths and fields is needed");
        }
        let property_paths = self.texts(include, "propertyPaths", &path);
        for located in &property_paths {
            let Some(rest) = located.value.strip_prefix(RUNTIME) else { continue };
            let message = format!("a property path here does not start with `{RUNTIME}`");
            self.problems.push(
                Problem::new(code::FORM, &located.path, message)
                    .with_help(format!("write `{rest}`")),
            );
        }
        let fields = self.texts(include, "fields", &path);
        PayloadInclude {
            property_paths: property_paths
                .into_iter()
                .map(|path| DeclaredProperty { path, event_type: None })
                .collect(),
            fields: fields.into_iter().map(|field| field.value).collect(),
        }
    }

    fn texts(
        &mut self,
        object: &Map<String, Value>,
        name: &str,
        path: &str,
    ) -> Vec<Located<String>> {
        let path = format!("{path}.{name}");
        match object.get(name) {
            None => Vec::new(),
            Some(Value::Array(items)) if !items.is_empty() => items
                .iter()
                .enumerate()
                .filter_map(|(index, item)| self.text(item, format!("{path}[{index}]")))
                .collect(),
            Some(_) => {
                self.form(path, "this is a non-empty list of strings");
                Vec::new()
            }
        }
    }
}

/// Whether two events have the same condition, wherever it is written.
fn same_filter(left: &TriggerEvent, right: &TriggerEvent) -> bool {
    let condition = |event: &TriggerEvent| {
        event.filter.as_ref().map(|filter| {
            let expression = filter.expression.as_ref().map(|text| Arc::clone(&text.value));
            (expression, filter.ignore_self, filter.requires_licence, filter.on_error)
        })
    };
    condition(left) == condition(right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(data: Value) -> Result<Trigger, Vec<Problem>> {
        Trigger::parse(data.as_object().unwrap(), "data")
    }

    fn codes(data: Value) -> Vec<(String, String)> {
        read(data).unwrap_err().into_iter().map(|p| (p.code, p.path)).collect()
    }

    #[test]
    fn reads_events_with_a_filter_for_all() {
        let trigger = read(json!({
            "events": ["a", "b", "a"], "function": "main",
            "filter": {"ignoreSelf": true, "expression": "true", "onError": "RECEIVE"},
        }))
        .unwrap();
        assert_eq!(trigger.events.len(), 2);
        assert_eq!(trigger.filters.len(), 1);
        let filter = trigger.events[1].filter.as_ref().unwrap();
        assert!(filter.ignore_self && !filter.requires_licence);
        assert_eq!(filter.on_error, Some(OnError::Receive));
        assert_eq!(filter.expression.as_ref().unwrap().path, "data.filter.expression");
    }

    #[test]
    fn reads_events_with_filters_of_their_own() {
        let trigger = read(json!({
            "endpoint": "hook",
            "events": [
                {"eventType": "a", "filter": {"expression": "true"}, "payload": {"include": {"fields": ["x"]}}},
                {"eventType": "b", "filter": {"ignoreSelf": true}, "payload": {"include": {"fields": ["y"]}}},
            ],
        }))
        .unwrap();
        assert_eq!(trigger.filters.len(), 2);
        assert_eq!(trigger.fields, ["x", "y"]);
    }

    #[test]
    fn an_event_that_wants_all_fields_widens_the_trigger_to_all() {
        let trigger = read(json!({
            "endpoint": "hook",
            "events": [
                {"eventType": "a", "filter": {"ignoreSelf": true}, "payload": {"include": {"fields": ["x"]}}},
                {"eventType": "b", "filter": {"ignoreSelf": true}},
            ],
        }))
        .unwrap();
        assert!(trigger.fields.is_empty());
    }

    #[test]
    fn reports_everything_that_is_wrong_at_once() {
        let found = codes(json!({
            "colour": 1, "events": [3], "function": "f", "endpoint": "e",
            "filter": {"onError": "PANIC"}, "payload": {"include": {"propertyPaths": []}},
        }));
        let expected = [
            (code::UNKNOWN_MEMBER, "data.colour"),
            (code::EMPTY_FILTER, "data.filter"),
            (code::FORM, "data.filter.onError"),
            (code::FORM, "data.payload.include.propertyPaths"),
            (code::HANDLER, "data.endpoint"),
            (code::FORM, "data.events[0]"),
        ];
        assert_eq!(found, expected.map(|(c, p)| (c.to_owned(), p.to_owned())));
    }

    #[test]
    fn per_event_filters_with_a_filter_for_all_are_rejected() {
        let found = codes(json!({
            "events": [{"eventType": "a", "filter": {"ignoreSelf": true}}],
            "function": "f", "filter": {"ignoreSelf": true},
        }));
        assert_eq!(found, [(code::TWO_FILTERS.to_owned(), "data.filter".to_owned())]);
    }

    #[test]
    fn mixed_forms_and_contradicting_filters_of_one_event_are_refused() {
        let event = json!({"eventType": "a", "filter": {"ignoreSelf": true}});
        let other = json!({"eventType": "a", "filter": {"expression": "true"}});
        assert_eq!(codes(json!({"events": [event, "b"], "function": "f"}))[0].0, code::FORM);
        assert_eq!(codes(json!({"events": [event, other], "function": "f"}))[0].0, code::DUPLICATE);
        assert_eq!(
            read(json!({"events": [event, event], "function": "f"})).unwrap().events.len(),
            1
        );
    }

    #[test]
    fn the_events_of_a_trigger_are_limited() {
        let listing = |count: usize| {
            let events: Vec<_> = (0..count).map(|number| format!("e{number}")).collect();
            json!({"events": events, "function": "f"})
        };
        assert_eq!(read(listing(EVENTS_MAX)).unwrap().events.len(), EVENTS_MAX);
        let found = codes(listing(EVENTS_MAX + 1));
        assert_eq!(found, [(code::FORM.to_owned(), "data.events".to_owned())]);
    }

    #[test]
    fn property_paths_of_a_payload_come_without_the_runtime_prefix() {
        let found = read(json!({
            "events": ["a"], "function": "f",
            "payload": {"include": {"propertyPaths": ["event.runtime.issue.properties['k']"]}},
        }))
        .unwrap_err();
        assert_eq!(found[0].help.as_deref(), Some("write `issue.properties['k']`"));
    }

    #[test]
    fn null_is_no_absent_member() {
        assert!(read(json!({"events": ["a"], "function": null})).is_err());
        assert!(read(json!({"events": ["a"], "function": "f", "filter": null})).is_err());
        assert!(read(json!({"events": ["a"], "function": "f", "payload": null})).is_err());
    }
}
