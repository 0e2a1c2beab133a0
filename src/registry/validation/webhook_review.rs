//! Warnings about webhooks that are accepted but never fire, or fire more often than their author
//! means.

use super::catalog::is_webhook_name;
use super::language::{self, Query};
use super::static_webhook::{StaticWebhook, undelivered_warnings};
use super::suggestions::Suggestions;
use super::webhook::{WebhookDefinition, has_issue, is_about_an_issue};
use crate::domain::Product;
use crate::event::sources::source_of;
use crate::event::webhook::reverse::events_of_webhook;
use crate::registry::model::{Problem, code};

const UPDATED: &str = "jira:issue_updated";
const PROPERTY: &str = "issue_property_";

/// What a webhook is reviewed against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WebhookReview<'a> {
    /// The products that it may be registered for; one if it is registered.
    pub(crate) products: &'a [Product],
    /// Custom fields that JQL may test.
    pub(crate) epic_fields: &'a [String],
    /// Path of the webhook in its request; empty for a dynamic one.
    pub(crate) path: &'a str,
    /// Suggestions for unknown names of the request.
    pub(crate) suggestions: &'a Suggestions,
}

impl WebhookReview<'_> {
    /// Returns the warnings about a webhook of an app.
    pub(crate) fn of_static(&self, webhook: StaticWebhook) -> Vec<Problem> {
        match webhook {
            StaticWebhook::Routed(webhook) => self.warnings(&webhook),
            StaticWebhook::Undelivered(reasons) => undelivered_warnings(reasons, self.path),
        }
    }

    /// Returns the warnings about a webhook that can be registered.
    pub(crate) fn warnings(&self, webhook: &WebhookDefinition) -> Vec<Problem> {
        let mut warnings = Vec::new();
        let is_dynamic = webhook.number.is_some();
        for (index, name) in webhook.events.iter().enumerate() {
            let member = if is_dynamic { format!("events[{index}]") } else { "event".to_owned() };
            warnings.extend(self.unknown_name(name, self.at(&member)));
        }
        let filter = self.at(if is_dynamic { "jqlFilter" } else { "filter" });
        if let Ok(query) = language::parse_jql(&webhook.jql, &filter)
            && !query.is_blank()
        {
            let never = !query.matches_without_issue();
            for name in &webhook.events {
                warnings.extend(self.useless_filter(name, never, &filter));
            }
            warnings.extend(language::jql_warnings(&query, &webhook.jql, &filter));
            let others = self.other_fields(&query);
            warnings.extend(others.map(|field| {
                let message = format!(
                    "webhooks of Jira filter by one custom field, the epic label, not by cf[{field}]"
                );
                Problem::new(code::CUSTOM_FIELD, &filter, message)
            }));
        }
        warnings.extend(self.idle_lists(webhook));
        warnings
    }

    /// Returns why the vendor's API for dynamic webhooks would refuse the JQL, in its words.
    pub(crate) fn refused_fields(&self, jql: &str) -> Vec<Problem> {
        let filter = self.at("jqlFilter");
        let Ok(query) = language::parse_jql(jql, &filter) else { return Vec::new() };
        let others = self.other_fields(&query);
        let problem = |field| {
            let message = format!("The clause cf[{field}] is unsupported");
            let help = "webhooks filter by the epic label alone; its id is one of \
                        `registry.epic_fields`";
            Problem::new(code::CUSTOM_FIELD, &filter, message).with_help(help)
        };
        others.map(problem).collect()
    }

    /// The custom fields of a query that are not the epic label.
    fn other_fields<'q>(&self, query: &'q Query) -> impl Iterator<Item = &'q str> {
        let fields = query.custom_fields().into_iter().map(|(id, _)| id);
        fields.filter(|id| !self.epic_fields.iter().any(|known| known == id))
    }

    fn at(&self, member: &str) -> String {
        match self.path {
            "" => member.to_owned(),
            path => format!("{path}.{member}"),
        }
    }

    fn product_of(&self, name: &str) -> Option<Product> {
        self.products.iter().copied().find(|product| is_webhook_name(name, *product))
    }

    fn unknown_name(&self, name: &str, path: String) -> Option<Problem> {
        if self.product_of(name).is_some() {
            return None;
        }
        let of = match self.products {
            [only] => format!(" of {}", source_of(*only).title()),
            _ => String::new(),
        };
        let message = format!("there is no webhook `{name}`{of}, so it never fires");
        let mut problem = Problem::new(code::UNKNOWN_EVENT, path, message);
        let other = Product::ALL.into_iter().find(|product| is_webhook_name(name, *product));
        problem.help = match (self.suggestions.webhook(name, self.products), other) {
            (Some(near), _) => Some(format!("did you mean `{near}`?")),
            (None, Some(other)) => Some(format!("it is a webhook of {}", source_of(other).title())),
            (None, None) => None,
        };
        Some(problem)
    }

    /// Warns about JQL on events without an issue.
    fn useless_filter(&self, name: &str, never: bool, path: &str) -> Option<Problem> {
        let events = events_of_webhook(name, self.product_of(name)?);
        let is = |what: fn(&str) -> bool| events.iter().any(|e| what(e.event_type.as_str()));
        if is(has_issue) {
            return None;
        }
        if !is(is_about_an_issue) {
            let message = format!("`{name}` has no issue, so it is sent whatever the filter says");
            return Some(Problem::new(code::IDLE_FILTER, path, message));
        }
        never.then(|| {
            let message = format!(
                "the filter never matches `{name}`: this webhook has no issue, only the id of one"
            );
            Problem::new(code::NEVER_FIRES, path, message)
                .with_help("remove the filter, and test the issue in the handler")
        })
    }

    /// Warns about lists that apply to none of the events.
    fn idle_lists(&self, webhook: &WebhookDefinition) -> impl Iterator<Item = Problem> {
        let has = |start: &str| webhook.events.iter().any(|name| name.starts_with(start));
        let idle = |member: &str, is_set: bool, events: &str, start: &str| {
            (is_set && !has(start)).then(|| {
                let message = format!("`{member}` has no effect without {events}");
                Problem::new(code::IDLE_FILTER, self.at(member), message)
            })
        };
        let fields = !webhook.field_ids.is_empty();
        let keys = !webhook.property_keys.is_empty();
        let found = [
            idle("fieldIdsFilter", fields, "`jira:issue_updated`", UPDATED),
            idle("issuePropertyKeysFilter", keys, "events of issue properties", PROPERTY),
        ];
        found.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn codes(webhook: &WebhookDefinition, products: &[Product]) -> Vec<(String, String)> {
        let suggestions = &Suggestions::default();
        let epic_fields = &["10011".to_owned()];
        let review = WebhookReview { products, epic_fields, path: "", suggestions };
        review
            .warnings(webhook)
            .into_iter()
            .map(|found| (found.code.clone(), found.sentence()))
            .collect()
    }

    fn module(event: &str, filter: &str) -> WebhookDefinition {
        let data = json!({"event": event, "url": "/h", "filter": filter});
        WebhookDefinition::parse(data.as_object().unwrap(), "", Product::Jira).unwrap()
    }

    #[test]
    fn what_can_fire_is_not_warned_of() {
        for (event, filter) in [
            ("jira:issue_created", "project = OPS"),
            ("comment_created", "project = OPS"),
            ("issue_property_set", "project = OPS"),
            ("worklog_updated", ""),
            ("worklog_updated", "assignee = EMPTY"),
            ("jira:version_released", ""),
            ("jira:issue_updated", "cf[10011] = x"),
            ("page_created", ""),
        ] {
            assert_eq!(codes(&module(event, filter), &Product::ALL), [], "{event} {filter}");
        }
    }

    #[test]
    fn what_never_fires_or_is_never_filtered_is_warned_of() {
        for (event, filter, code, text) in [
            ("worklog_created", "project = OPS", code::NEVER_FIRES, "never matches"),
            ("attachment_created", "status = Done", code::NEVER_FIRES, "has no issue"),
            ("sprint_started", "project = OPS", code::IDLE_FILTER, "whatever the filter says"),
            ("version_released", "", code::UNKNOWN_EVENT, "`jira:version_released`"),
            ("avi:jira:created:issue", "", code::UNKNOWN_EVENT, "`jira:issue_created`"),
            ("jira:issue_updated", "cf[10029] = 5", code::CUSTOM_FIELD, "cf[10029]"),
            ("jira:issue_updated", "assignee = 'Ann Lee'", "SY-3106", "account id"),
            ("jira:issue_updated", "assignee = ann@a.example", "SY-3106", "account id"),
            ("jira:issue_updated", "type = Bug AND type = Task", "SY-3209", "never true"),
        ] {
            let found = codes(&module(event, filter), &[Product::Jira]);
            assert_eq!(found.len(), 1, "{event} {filter}: {found:?}");
            assert_eq!(found[0].0, code);
            assert!(found[0].1.contains(text), "{found:?}");
        }
        let of_jira = codes(&module("jira:issue_created", ""), &[Product::Confluence]);
        assert!(of_jira[0].1.contains("it is a webhook of Jira"), "{of_jira:?}");
    }

    #[test]
    fn lists_for_other_events_are_idle() {
        let webhook = WebhookDefinition {
            events: vec!["jira:issue_created".into()],
            field_ids: vec!["summary".into()],
            property_keys: vec!["k".into()],
            number: Some(1),
            ..WebhookDefinition::default()
        };
        let found = codes(&webhook, &[Product::Jira]);
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|(found, _)| found == code::IDLE_FILTER), "{found:?}");
    }
}
