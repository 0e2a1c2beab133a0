//! Schemas of Confluence events. An id is a number or a string, depending on the entity, even
//! within one payload.

use super::shape::{FREE, MapShape, PERMISSIONS, Shape, UnlistedMembers, always, maybe};

use Shape::{Any, Boolean, Map, Number, String};

/// Top-level members of Confluence events that no Jira event has.
pub(super) const ONLY_CONFLUENCE: [&str; 6] =
    ["content", "space", "prevContent", "suppressNotifications", "eventCreatedDate", "task"];

/// Event families by pattern.
pub(super) const BODIES: &[(&str, &MapShape)] = &[
    ("avi:confluence:*:page", &ON_CONTENT),
    ("avi:confluence:*:blogpost", &ON_CONTENT),
    ("avi:confluence:*:whiteboard", &ON_CONTENT),
    ("avi:confluence:*:database", &ON_CONTENT),
    ("avi:confluence:*:embed", &ON_CONTENT),
    ("avi:confluence:*:folder", &ON_CONTENT),
    ("avi:confluence:*:comment", &ON_CONTENT),
    ("avi:confluence:*:custom_content", &ON_CONTENT),
    ("avi:confluence:*:space:V2", &ON_SPACE),
];

static ON_CONTENT: MapShape = MapShape {
    title: "a content event",
    fields: &[
        always("eventType", String),
        always("selfGenerated", Boolean),
        always("permissions", Map(&PERMISSIONS)),
        always("eventCreatedDate", String),
        maybe("atlassianId", String),
        maybe("suppressNotifications", Boolean),
        always("content", Map(&CONTENT)),
        maybe("prevContent", Map(&CONTENT)),
        maybe("updateTrigger", String),
        maybe("originContentId", Any),
        maybe("oldSortedChildPageIds", Any),
        maybe("newSortedChildPageIds", Any),
        maybe("container", Any),
    ],
    others: UnlistedMembers::None,
};

static ON_SPACE: MapShape = MapShape {
    title: "a space event",
    fields: &[
        always("eventType", String),
        always("selfGenerated", Boolean),
        always("permissions", Map(&PERMISSIONS)),
        always("eventCreatedDate", String),
        maybe("atlassianId", String),
        always("space", Map(&SPACE)),
    ],
    others: UnlistedMembers::None,
};

/// A page, blog post, comment or other content.
pub(super) static CONTENT: MapShape = MapShape {
    title: "Content",
    fields: &[
        always("id", Any),
        always("type", String),
        always("status", String),
        maybe("subType", String),
        maybe("title", String),
        always("space", Map(&SPACE)),
        always("history", Map(&FREE)),
        always("version", Map(&FREE)),
        maybe("container", Map(&FREE)),
        maybe("ancestors", Any),
        maybe("extensions", Map(&FREE)),
        maybe("labels", Any),
    ],
    others: UnlistedMembers::None,
};

static SPACE: MapShape = MapShape {
    title: "Space",
    fields: &[
        always("id", Number),
        always("key", String),
        maybe("alias", String),
        maybe("name", String),
        maybe("icon", Map(&FREE)),
        maybe("type", String),
        maybe("status", String),
        maybe("history", Map(&FREE)),
    ],
    others: UnlistedMembers::None,
};
