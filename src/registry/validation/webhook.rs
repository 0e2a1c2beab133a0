//! Webhook definitions: Connect `webhooks` modules and Jira dynamic webhooks. Both compile to
//! subscriptions to the event types that their webhook events map to, so the matcher knows no
//! webhooks.
//!
//! **Source:** Atlassian Connect, "Webhook" module schema; Jira Cloud platform, "Webhooks".

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};
use switchyard_expr::{Program, quoted};

use super::conditions::{Audience, audience};
use super::language;
use super::program_cache::ProgramCache;
use crate::domain::{EventType, Product};
use crate::event::sources::source_of;
use crate::event::webhook::reverse::events_of_webhook;
use crate::registry::model::{DynamicWebhook, Problem, code, summary};

/// Longest name of a webhook event, in characters.
const EVENT_CHARS_MAX: usize = 100;
/// Longest JQL filter, in characters.
const FILTER_CHARS_MAX: usize = 10_000;

/// An event type with its filter; none = every event.
pub(crate) type EventFilter = (EventType, Option<Arc<Program>>);

/// A well-formed webhook.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WebhookDefinition {
    /// Names of the webhook events, such as `jira:issue_created`.
    pub events: Vec<String>,
    /// Address: relative to the app's base URL, or absolute; may contain variables.
    pub address: String,
    /// Condition on the issue, in JQL; empty = none.
    pub jql: String,
    /// Fields of which one must have changed in an update; empty = any.
    pub field_ids: Vec<String>,
    /// Issue properties of which one must have been set or deleted; empty = any.
    pub property_keys: Vec<String>,
    /// Keys of the issue properties that bodies include.
    pub included_properties: Vec<String>,
    /// Whether the request is sent without a body.
    pub excludes_body: bool,
    /// Excludes installations without an active licence.
    pub requires_licence: bool,
    /// Id of a dynamic webhook.
    pub number: Option<u64>,
    /// User for whom an OAuth client registered a dynamic webhook.
    pub user: Option<String>,
    /// OAuth client that registered a dynamic webhook.
    pub client: Option<String>,
}

/// A webhook as its data describes it.
pub(super) struct WebhookForm {
    /// The webhook; it must not be used if there are problems, or if its conditions are undecided.
    pub(super) webhook: WebhookDefinition,
    /// Problems of its form.
    pub(super) problems: Vec<Problem>,
    /// Why its conditions cannot be decided here.
    pub(super) undecided: Option<Problem>,
}

impl From<DynamicWebhook> for WebhookDefinition {
    fn from(stored: DynamicWebhook) -> Self {
        Self {
            events: stored.events,
            address: stored.url,
            jql: stored.jql_filter,
            field_ids: stored.field_ids_filter.unwrap_or_default(),
            property_keys: stored.issue_property_keys_filter.unwrap_or_default(),
            number: Some(stored.id),
            user: stored.user,
            client: stored.client,
            ..Self::default()
        }
    }
}

impl WebhookDefinition {
    /// Parses the data of a `webhooks` module at `path` of its request.
    ///
    /// # Errors
    /// Every problem of its form, and why its conditions cannot be decided.
    pub fn parse(
        data: &Map<String, Value>,
        path: &str,
        product: Product,
    ) -> Result<Self, Vec<Problem>> {
        let WebhookForm { webhook, mut problems, undecided } = Self::read_form(data, path, product);
        problems.extend(undecided);
        if problems.is_empty() { Ok(webhook) } else { Err(problems) }
    }

    /// Reads the data of a `webhooks` module at `path` of its request.
    pub(super) fn read_form(
        data: &Map<String, Value>,
        path: &str,
        product: Product,
    ) -> WebhookForm {
        let mut parser = WebhookParser { data, path, problems: Vec::new() };
        let event = parser.required("event");
        let address = parser.required("url");
        let jql = parser.text("filter").unwrap_or_default();
        if event.chars().count() > EVENT_CHARS_MAX {
            parser.wrong("event", format!("a name has at most {EVENT_CHARS_MAX} characters"));
        }
        if !address.is_empty() && !is_relative(&address) {
            parser.wrong("url", "the address is relative to the app's base URL");
        }
        let source = source_of(product);
        if !source.has_webhook_filters() && !jql.is_empty() {
            parser.wrong("filter", format!("webhooks of {} have no filter", source.title()));
        } else if jql.chars().count() > FILTER_CHARS_MAX {
            parser.wrong("filter", format!("a filter has at most {FILTER_CHARS_MAX} characters"));
        }
        let included_properties = parser.property_keys();
        let excludes_body = parser.flag("excludeBody");
        let (requires_licence, undecided) = match parser.audience() {
            Audience::Everyone => (false, None),
            Audience::Licensed => (true, None),
            Audience::Undecided(problem) => (true, Some(problem)),
        };
        let webhook = Self {
            events: vec![event],
            address,
            jql,
            included_properties,
            excludes_body,
            requires_licence,
            ..Self::default()
        };
        WebhookForm { webhook, problems: parser.problems, undecided }
    }

    /// Returns its event types with their filters; `path` is the path of the JQL in the request.
    ///
    /// # Errors
    /// Why the JQL cannot be used.
    pub(crate) fn filters(
        &self,
        programs: &ProgramCache,
        product: Product,
        path: &str,
    ) -> Result<Vec<EventFilter>, Vec<Problem>> {
        let jql = language::translate_jql(&self.jql, path)?;
        let filter = |(event_type, conditions): (EventType, Vec<String>)| {
            let text = self.expression(&event_type, &conditions, jql.as_deref());
            let program = match text {
                // The author wrote JQL, so a position in its translation would not help.
                Some(text) => Some(programs.get(&text).map_err(|found| {
                    let why =
                        format!("written as an expression it is refused: {}", summary(&found));
                    vec![Problem::new(code::JQL, path, why)]
                })?),
                None => None,
            };
            Ok((event_type, program))
        };
        self.event_conditions(product).into_iter().map(filter).collect()
    }

    /// Compiles its filters at registration; the programs must be kept alive until it is applied.
    ///
    /// # Errors
    /// As [`WebhookDefinition::filters`].
    pub(crate) fn compile(
        &self,
        programs: &ProgramCache,
        product: Product,
        path: &str,
    ) -> Result<Vec<Arc<Program>>, Vec<Problem>> {
        let filters = self.filters(programs, product, path)?;
        Ok(filters.into_iter().filter_map(|(_, program)| program).collect())
    }

    /// Returns each event type once, with alternative conditions; none = no condition.
    fn event_conditions(&self, product: Product) -> Vec<(EventType, Vec<String>)> {
        let mut found: Vec<(EventType, Vec<String>)> = Vec::new();
        for mapped in self.events.iter().flat_map(|name| events_of_webhook(name, product)) {
            let known = found.iter_mut().find(|(event_type, _)| *event_type == mapped.event_type);
            match (known, mapped.condition) {
                (None, condition) => {
                    found.push((mapped.event_type, condition.into_iter().collect()))
                }
                (Some((_, conditions)), Some(condition)) if !conditions.is_empty() => {
                    conditions.push(condition);
                }
                (Some((_, conditions)), _) => conditions.clear(),
            }
        }
        found
    }

    fn expression(
        &self,
        event_type: &EventType,
        conditions: &[String],
        jql: Option<&str>,
    ) -> Option<String> {
        let name = event_type.as_str();
        let mut parts = Vec::new();
        match conditions {
            [] => {}
            [only] => parts.push(only.clone()),
            several => parts.push(format!("({})", several.join(" || "))),
        }
        parts.extend(jql.filter(|_| is_about_an_issue(name)).map(|jql| format!("({jql})")));
        if name == "avi:jira:updated:issue" && !self.field_ids.is_empty() {
            let ids = list(&self.field_ids);
            parts.push(format!(
                "(event.changelog?.items ?? []).some(item => {ids}.includes(item?.fieldId ?? item?.field))"
            ));
        }
        if name.ends_with(":issue-property") && !self.property_keys.is_empty() {
            parts.push(format!("{}.includes(event.property?.key)", list(&self.property_keys)));
        }
        (!parts.is_empty()).then(|| parts.join(" && "))
    }
}

/// Whether JQL applies: it only describes issues.
pub(super) fn is_about_an_issue(event_type: &str) -> bool {
    has_issue(event_type) || [":worklog", ":attachment"].iter().any(|end| event_type.ends_with(end))
}

/// Whether the events have an issue. Those of worklogs and attachments have its id only.
pub(super) fn has_issue(event_type: &str) -> bool {
    [":issue", ":comment", ":issue-property"].iter().any(|end| event_type.ends_with(end))
}

fn list(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", texts.join(", "))
}

/// Whether an address has neither a scheme nor a host.
pub(crate) fn is_relative(address: &str) -> bool {
    let before_path = address.split(['/', '?', '#', '{']).next().unwrap_or_default();
    !address.starts_with("//") && !address.contains('\\') && !before_path.contains(':')
}

/// Collects all problems, so that the author sees them at once.
struct WebhookParser<'d> {
    data: &'d Map<String, Value>,
    path: &'d str,
    problems: Vec<Problem>,
}

impl WebhookParser<'_> {
    fn wrong(&mut self, name: &str, message: impl Into<String>) {
        self.problems.push(Problem::new(code::FORM, format!("{}.{name}", self.path), message));
    }

    fn text(&mut self, name: &str) -> Option<String> {
        match self.data.get(name)? {
            Value::String(text) => Some(text.clone()),
            _ => {
                self.wrong(name, "this is a string");
                None
            }
        }
    }

    fn required(&mut self, name: &str) -> String {
        if !self.data.contains_key(name) {
            let message = format!("a webhook has the required property `{name}`");
            let path = format!("{}.{name}", self.path);
            self.problems.push(Problem::new(code::MISSING, path, message));
        }
        match self.text(name) {
            Some(text) if text.is_empty() => {
                self.wrong(name, "this is a non-empty string");
                text
            }
            text => text.unwrap_or_default(),
        }
    }

    fn flag(&mut self, name: &str) -> bool {
        match self.data.get(name) {
            None => false,
            Some(Value::Bool(flag)) => *flag,
            Some(_) => {
                self.wrong(name, "this is true or false");
                false
            }
        }
    }

    fn property_keys(&mut self) -> Vec<String> {
        let Some(keys) = self.data.get("propertyKeys") else { return Vec::new() };
        Vec::deserialize(keys).unwrap_or_else(|_| {
            self.wrong("propertyKeys", "this is a list of property keys");
            Vec::new()
        })
    }

    fn audience(&mut self) -> Audience {
        let Some(conditions) = self.data.get("conditions") else { return Audience::Everyone };
        audience(conditions, &format!("{}.conditions", self.path)).unwrap_or_else(|problem| {
            self.problems.push(*problem);
            Audience::Everyone
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(data: Value, product: Product) -> Result<WebhookDefinition, Vec<Problem>> {
        WebhookDefinition::parse(data.as_object().unwrap(), "webhooks[0]", product)
    }

    fn expressions(webhook: &WebhookDefinition) -> Vec<(String, Option<String>)> {
        let jql = language::translate_jql(&webhook.jql, "filter").unwrap();
        let conditions = webhook.event_conditions(Product::Jira).into_iter();
        conditions
            .map(|(event_type, conditions)| {
                let text = webhook.expression(&event_type, &conditions, jql.as_deref());
                (event_type.to_string(), text)
            })
            .collect()
    }

    fn dynamic(events: &[&str]) -> WebhookDefinition {
        WebhookDefinition {
            events: events.iter().map(|e| (*e).to_owned()).collect(),
            ..WebhookDefinition::default()
        }
    }

    #[test]
    fn every_problem_of_a_module_is_reported_at_once() {
        let found = read(
            json!({"url": "https://evil.example/x", "filter": 1, "excludeBody": "no",
                "propertyKeys": "k", "conditions": [{"condition": "user_is_admin"}]}),
            Product::Jira,
        );
        let paths: Vec<_> = found.unwrap_err().into_iter().map(|problem| problem.path).collect();
        let names = ["event", "filter", "url", "propertyKeys", "excludeBody", "conditions"];
        assert_eq!(paths, names.map(|name| format!("webhooks[0].{name}")));
    }

    #[test]
    fn addresses_are_relative() {
        let ok = |url: &str| read(json!({"event": "e", "url": url}), Product::Jira).is_ok();
        for good in ["/hook", "hook?id={issue.id}&t=a:b", "/a:b", "{issue.key}/x"] {
            assert!(ok(good), "{good}");
        }
        for bad in ["http://a/", "//a/b", "https:/x", "mailto:a", "", "\\\\a\\b", "/\\a"] {
            assert!(!ok(bad), "{bad}");
        }
    }

    #[test]
    fn events_of_one_type_are_one_subscription() {
        let both = expressions(&dynamic(&["comment_created", "comment_updated"]));
        assert_eq!(both.len(), 1);
        assert!(both[0].1.as_ref().unwrap().contains(" || "));
        let merged = expressions(&dynamic(&["jira:version_deleted", "jira:version_merged"]));
        assert_eq!(merged.len(), 2);
    }

    #[test]
    fn jql_and_lists_bear_on_their_own_events_alone() {
        let mut webhook = dynamic(&[
            "jira:issue_updated",
            "issue_property_set",
            "sprint_created",
            "jira:issue_created",
        ]);
        webhook.jql = "project = A".into();
        webhook.field_ids = vec!["summary".into()];
        webhook.property_keys = vec!["k".into()];
        let [updated, property, sprint, created] = expressions(&webhook).try_into().unwrap();
        let has = |found: &(String, Option<String>), text: &str| {
            found.1.as_ref().is_some_and(|expression| expression.contains(text))
        };
        assert!(has(&updated, "'summary'") && has(&updated, "'A'") && !has(&updated, "'k'"));
        assert!(has(&property, "'k'") && has(&property, "'A'") && !has(&property, "'summary'"));
        assert_eq!(sprint.1, None);
        assert!(has(&created, "'A'") && !has(&created, "'summary'"));
        assert!(webhook.filters(&ProgramCache::default(), Product::Jira, "filter").is_ok());
    }
}
