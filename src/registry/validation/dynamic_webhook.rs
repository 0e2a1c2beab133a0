//! Jira dynamic webhooks as apps submit them, and the validation of their form.
//!
//! **Source:** Jira Cloud platform REST API, "Webhooks".

use serde::Deserialize;
use serde_json::Value;

use crate::domain::UnknownMembers;
use crate::registry::model::{ClientUser, DynamicWebhook};

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

impl WebhookSpec {
    /// Parses one element of a request.
    ///
    /// # Errors
    /// The problems, as sentences.
    pub fn read(element: &Value) -> Result<Self, Vec<String>> {
        let spec = Self::deserialize(element).map_err(|error| vec![error.to_string()])?;
        let mut problems = Vec::new();
        if spec.events.is_empty() {
            problems.push("events must not be empty".to_owned());
        }
        for event in spec.events.iter().filter(|event| !EVENTS.contains(&event.as_str())) {
            problems.push(format!("The event {event} is unsupported"));
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
