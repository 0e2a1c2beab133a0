//! Names of Confluence webhooks and event types.
//!
//! **Source:** Atlassian Connect, "Webhooks" (Confluence); "Confluence events" (Forge).

/// Webhook families whose verbs are those of the event types: prefix of the webhook name, verbs,
/// noun of the event type.
const SAME_VERB: &[(&str, &[&str], &str)] = &[
    (
        "page_",
        &[
            "created",
            "updated",
            "viewed",
            "archived",
            "unarchived",
            "moved",
            "copied",
            "children_reordered",
            "restored",
            "trashed",
            "initialized",
            "started",
            "snapshotted",
            "published",
        ],
        "page",
    ),
    ("blog_", &["created", "updated", "viewed", "restored", "trashed"], "blogpost"),
    ("comment_", &["created", "updated"], "comment"),
    (
        "attachment_",
        &["created", "updated", "viewed", "archived", "unarchived", "trashed", "restored"],
        "attachment",
    ),
    ("space_", &["created", "updated", "permissions_updated"], "space:V2"),
    ("label_", &["created", "added", "removed", "deleted"], "label"),
    ("user_", &["created"], "user"),
    ("group_", &["created"], "group"),
    ("relation_", &["created", "deleted"], "relation"),
];

/// Webhooks whose event type has another verb.
const OTHER_VERB: &[(&str, &str)] = &[
    ("page_removed", "avi:confluence:deleted:page"),
    ("blog_removed", "avi:confluence:deleted:blogpost"),
    ("comment_removed", "avi:confluence:deleted:comment"),
    ("attachment_removed", "avi:confluence:deleted:attachment"),
    ("space_removed", "avi:confluence:deleted:space:V2"),
    ("user_removed", "avi:confluence:deleted:user"),
    ("group_removed", "avi:confluence:deleted:group"),
    ("search_performed", "avi:confluence:performed:search"),
];

/// Nouns of event types whose entity is the `content`, and its member in a webhook.
const CONTENT: &[(&str, &str)] = &[("page", "page"), ("blogpost", "blog"), ("comment", "comment")];

/// Returns the event type of the webhook named `name`, if it is known.
pub(super) fn event_type(name: &str) -> Option<String> {
    if let Some((_, event_type)) = OTHER_VERB.iter().find(|(known, _)| *known == name) {
        return Some((*event_type).to_owned());
    }
    SAME_VERB.iter().find_map(|(prefix, verbs, noun)| {
        let verb = name.strip_prefix(prefix).filter(|verb| verbs.contains(verb))?;
        Some(format!("avi:confluence:{verb}:{noun}"))
    })
}

/// Returns every known webhook name, each once.
pub(super) fn webhook_names() -> Vec<String> {
    let same_verb = SAME_VERB
        .iter()
        .flat_map(|(prefix, verbs, _)| verbs.iter().map(move |verb| format!("{prefix}{verb}")));
    same_verb.chain(OTHER_VERB.iter().map(|(name, _)| (*name).to_owned())).collect()
}

/// Returns the webhook member that corresponds to `content` for this event type.
pub(super) fn holder(event_type: &str) -> Option<&'static str> {
    let noun = event_type.strip_prefix("avi:confluence:")?.split(':').nth(1)?;
    CONTENT.iter().find(|(known, _)| *known == noun).map(|(_, member)| *member)
}
