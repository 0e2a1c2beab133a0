//! Jira dynamic webhooks as apps submit them, and the validation of their form.
//!
//! **Source:** Jira Cloud platform REST API, "Webhooks".

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use switchyard_expr::Program;

use super::program_cache::ProgramCache;
use super::suggestions::Suggestions;
use super::webhook::WebhookDefinition;
use super::webhook_review::WebhookReview;
use crate::domain::{Product, UnknownMembers};
use crate::registry::model::{ClientUser, DynamicWebhook, Problem};

/// Longest JQL filter, in characters.
const FILTER_CHARS_MAX: usize = 10_000;
/// Longest list of events, fields or property keys.
const LIST_MAX: usize = 100;
/// Webhook events that can be registered dynamically.
const EVENTS: &[&str] = &[
    "jira:issue_created",
    "jira:issue_updated",
    "jira:issue_deleted",
    "comment_created",
    "comment_updated",
    "comment_deleted",
    "issue_property_set",
    "issue_property_deleted",
    "sprint_created",
    "sprint_updated",
    "sprint_closed",
    "sprint_deleted",
    "sprint_started",
    "jira:version_released",
    "jira:version_unreleased",
    "jira:version_created",
    "jira:version_moved",
    "jira:version_updated",
    "jira:version_merged",
    "jira:version_deleted",
];

/// A webhook as an app submits it.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookSpec {
    events: Vec<String>,
    jql_filter: String,
    field_ids_filter: Option<Vec<String>>,
    issue_property_keys_filter: Option<Vec<String>>,
}

/// A validated webhook.
pub(crate) struct ValidatedWebhook {
    /// Its programs, kept alive until the registration is applied.
    pub(crate) programs: Vec<Arc<Program>>,
    /// Warnings for its author.
    pub(crate) warnings: Vec<Problem>,
}

impl WebhookSpec {
    /// Parses one element of a request.
    ///
    /// # Errors
    /// The problems, as sentences.
    pub fn read(element: &Value, suggestions: &Suggestions) -> Result<Self, Vec<String>> {
        let spec = Self::deserialize(element).map_err(|error| vec![error.to_string()])?;
        let mut problems = Vec::new();
        if spec.events.is_empty() {
            problems.push("events must not be empty".to_owned());
        }
        let unknown = spec.events.iter().filter(|event| !EVENTS.contains(&event.as_str()));
        for event in unknown.take(LIST_MAX) {
            let meant = suggestions.webhook(event, &[Product::Jira]);
            let hint = meant.filter(|name| EVENTS.contains(&name.as_str()) && name != event);
            let hint = hint.map_or_else(String::new, |name| format!("; did you mean {name}?"));
            problems.push(format!("The event {event} is unsupported{hint}"));
        }
        // **Source:** answers of Jira; `project != EMPTY` asks for every issue.
        if spec.jql_filter.trim().is_empty() {
            problems.push("Empty JQL search not supported".to_owned());
        }
        let lists = [&spec.field_ids_filter, &spec.issue_property_keys_filter];
        if lists.into_iter().flatten().chain([&spec.events]).any(|list| list.len() > LIST_MAX) {
            problems.push(format!("a list has at most {LIST_MAX} elements"));
        }
        if spec.jql_filter.chars().count() > FILTER_CHARS_MAX {
            problems.push(format!("jqlFilter has at most {FILTER_CHARS_MAX} characters"));
        }
        if problems.is_empty() { Ok(spec) } else { Err(problems) }
    }

    /// Validates the JQL and compiles the filters; the programs must be kept alive until they are
    /// applied. Also returns warnings.
    ///
    /// # Errors
    /// The JQL cannot be used, or tests a custom field that is not one of `epic_fields`.
    pub(crate) fn validate(
        &self,
        programs: &ProgramCache,
        epic_fields: &[String],
    ) -> Result<ValidatedWebhook, Vec<Problem>> {
        let webhook = WebhookDefinition::from(self.clone().webhook(0, "", None, 0));
        // The names of the events are known.
        let suggestions = &Suggestions::default();
        let products = &[Product::Jira];
        let review = WebhookReview { products, epic_fields, path: "", suggestions };
        let refused = review.refused_fields(&webhook.jql);
        if !refused.is_empty() {
            return Err(refused);
        }
        let programs = webhook.compile(programs, Product::Jira, "jqlFilter")?;
        Ok(ValidatedWebhook { programs, warnings: review.warnings(&webhook) })
    }

    /// Builds the stored form of the webhook.
    pub(crate) fn webhook(
        self,
        id: u64,
        url: &str,
        owner: Option<&ClientUser>,
        expires_ms: i64,
    ) -> DynamicWebhook {
        DynamicWebhook {
            unknown: UnknownMembers::default(),
            id,
            url: url.to_owned(),
            events: self.events,
            jql_filter: self.jql_filter,
            field_ids_filter: self.field_ids_filter,
            issue_property_keys_filter: self.issue_property_keys_filter,
            expiration_date: expires_ms,
            user: owner.map(|owner| owner.user.clone()),
            client: owner.map(|owner| owner.client.clone()),
        }
    }
}
