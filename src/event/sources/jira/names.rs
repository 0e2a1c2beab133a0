//! Names of Jira webhooks and event types.
//!
//! **Source:** Atlassian, "Webhooks" (Jira Cloud) and "Jira events" (Forge).

use crate::event::members::Members;
use crate::event::sources::product_source::{SubscribedEvent, unknown_event_type};

/// Webhook families whose verbs are those of the event types: prefix of the webhook name, verbs,
/// event type before and after the verb.
const SAME_VERB: &[(&str, &[&str], &str, &str)] = &[
    ("jira:issue_", &["created", "updated", "deleted"], "avi:jira:", ":issue"),
    ("worklog_", &["created", "updated", "deleted"], "avi:jira:", ":worklog"),
    ("attachment_", &["created", "deleted"], "avi:jira:", ":attachment"),
    ("issuelink_", &["created", "deleted"], "avi:jira:", ":issuelink"),
    ("issue_property_", &["set", "deleted"], "avi:jira:", ":issue-property"),
    ("issuetype_", &["created", "updated", "deleted"], "avi:jira:", ":issuetype"),
    ("filter_", &["created", "updated", "deleted"], "avi:jira:", ":filter"),
    ("user_", &["created", "updated", "deleted"], "avi:jira:", ":user"),
    ("project_", &["created", "updated", "deleted", "archived"], "avi:jira:", ":project"),
    (
        "jira:version_",
        &["created", "updated", "released", "unreleased", "moved", "deleted", "merged"],
        "avi:jira:",
        ":version",
    ),
    (
        "sprint_",
        &["created", "started", "updated", "closed", "deleted"],
        "avi:jira-software:",
        ":sprint",
    ),
    ("board_", &["created", "updated", "deleted"], "avi:jira-software:", ":board"),
];

/// Webhooks whose event type has another verb.
const OTHER_VERB: &[(&str, &str)] = &[
    ("comment_created", COMMENTED_ISSUE),
    ("comment_updated", COMMENTED_ISSUE),
    ("comment_deleted", DELETED_COMMENT),
    ("project_soft_deleted", "avi:jira:softdeleted:project"),
    ("project_restored_deleted", "avi:jira:restored:project"),
    ("project_restored_archived", "avi:jira:unarchived:project"),
    ("board_configuration_changed", "avi:jira-software:configuration-changed:board"),
    ("option_timetracking_provider_changed", "avi:jira:timetracking:provider:changed"),
    ("jira_expression_evaluation_failed", "avi:jira:failed:expression"),
];

/// Webhooks of a changed site option, and the property key in the event.
pub(super) const OPTIONS: &[(&str, &str)] = &[
    ("option_voting_changed", "jira.option.voting"),
    ("option_watching_changed", "jira.option.watching"),
    ("option_subtasks_changed", "jira.option.allowsubtasks"),
    ("option_unassigned_issues_changed", "jira.option.allowunassigned"),
    ("option_issuelinks_changed", "jira.option.issuelinking"),
];

pub(super) const CREATED_ISSUE: &str = "avi:jira:created:issue";
pub(super) const UPDATED_ISSUE: &str = "avi:jira:updated:issue";
pub(super) const ASSIGNED_ISSUE: &str = "avi:jira:assigned:issue";
pub(super) const MERGED_VERSION: &str = "avi:jira:merged:version";
pub(super) const CHANGED_CONFIGURATION: &str = "avi:jira:changed:configuration";
pub(super) const FAILED_EXPRESSION: &str = "avi:jira:failed:expression";
/// The event of a created or updated comment.
pub(super) const COMMENTED_ISSUE: &str = "avi:jira:commented:issue";
pub(super) const DELETED_COMMENT: &str = "avi:jira:deleted:comment";
/// Names that Jira gives the changes of an issue, `issue_event_type_name`: a new comment, an edited one
/// and a deleted one. Administrators add others.
///
/// **Source:** Atlassian, "Issue Event Type Names" (Jira Data Center, `EventType`).
pub(super) const COMMENT_ADDED: &str = "issue_commented";
pub(super) const COMMENT_EDITED: &str = "issue_comment_edited";
pub(super) const COMMENT_DELETED: &str = "issue_comment_deleted";
const DELETED_VERSION: &str = "avi:jira:deleted:version";

/// Returns the event type of the webhook named `name`, if it is known and depends on nothing else.
pub(super) fn event_type(name: &str) -> Option<String> {
    if let Some((_, event_type)) = OTHER_VERB.iter().find(|(known, _)| *known == name) {
        return Some((*event_type).to_owned());
    }
    SAME_VERB.iter().find_map(|(prefix, verbs, before, after)| {
        let verb = name.strip_prefix(prefix).filter(|verb| verbs.contains(verb))?;
        Some(format!("{before}{verb}{after}"))
    })
}

/// Returns every known webhook name, each once.
pub(super) fn webhook_names() -> Vec<String> {
    let same_verb = SAME_VERB
        .iter()
        .flat_map(|(prefix, verbs, ..)| verbs.iter().map(move |verb| format!("{prefix}{verb}")));
    let others = OTHER_VERB.iter().chain(OPTIONS).map(|(name, _)| (*name).to_owned());
    same_verb.chain(others).collect()
}

/// Returns the name of a webhook without one: of a Data Center that names only the change, or of a
/// workflow transition.
///
/// **Source:** Atlassian, "Webhooks" (Jira Data Center), "Adding a webhook as a post function".
pub(super) fn name_of_unnamed(webhook: &Members<'_>) -> Option<&'static str> {
    webhook.object("issue")?;
    match webhook.string("issue_event_type_name").as_deref() {
        Some("issue_created") => Some("jira:issue_created"),
        Some("issue_deleted") => Some("jira:issue_deleted"),
        Some(name) if !name.is_empty() => Some("jira:issue_updated"),
        _ => webhook.object("transition").map(|_| "jira:issue_updated"),
    }
}

/// Whether the comment of an event is new, rather than edited.
pub(super) fn is_new_comment(event: &Members<'_>) -> bool {
    match event.string("jiraEventTypeName").as_deref() {
        Some(COMMENT_ADDED) => true,
        Some(COMMENT_EDITED) => false,
        _ => {
            let comment = event.object("comment").unwrap_or_default();
            comment.json("created") == comment.json("updated")
        }
    }
}

/// Returns the event types that the webhook name `name` subscribes to; at least one.
pub(super) fn subscribed_events(name: &str) -> Vec<SubscribedEvent> {
    // The name that a comment came with decides. Without one, its times do.
    let comment = |own: &str, other: &str, operator: &str| SubscribedEvent {
        condition: Some(format!(
            "event.jiraEventTypeName == '{own}' || event.jiraEventTypeName != '{other}' \
             && event.comment?.created {operator} event.comment?.updated"
        )),
        event_type: COMMENTED_ISSUE.into(),
    };
    match name {
        "comment_created" => return vec![comment(COMMENT_ADDED, COMMENT_EDITED, "==")],
        "comment_updated" => return vec![comment(COMMENT_EDITED, COMMENT_ADDED, "!=")],
        "jira:version_deleted" => {
            return [DELETED_VERSION, MERGED_VERSION]
                .map(|event_type| SubscribedEvent::any(event_type.into()))
                .into();
        }
        _ => {}
    }
    if let Some((_, key)) = OPTIONS.iter().find(|(option, _)| *option == name) {
        let condition = Some(format!("event.property?.key == '{key}'"));
        return vec![SubscribedEvent { event_type: CHANGED_CONFIGURATION.into(), condition }];
    }
    vec![SubscribedEvent::any(event_type(name).unwrap_or_else(|| unknown_event_type(name)))]
}
