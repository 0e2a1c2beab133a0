//! Schemas of the events of Jira, Jira Software and Jira Service Management.

use super::shape::{
    FREE, Field, MapShape, PERMISSIONS, Shape, UnlistedMembers, always, closed, maybe,
};

use Shape::{Any, Boolean, Document, List, Map, Number, String};

/// Top-level members of Jira events that no Confluence event has.
pub(super) const ONLY_JIRA: [&str; 6] =
    ["issue", "changelog", "worklog", "sprint", "board", "associatedStatuses"];

/// Event families by pattern; the first match counts.
pub(super) const BODIES: &[(&str, &MapShape)] = &[
    ("avi:jira:created:issue", &CREATED_ISSUE),
    ("avi:jira:updated:issue", &UPDATED_ISSUE),
    ("avi:jira:assigned:issue", &UPDATED_ISSUE),
    ("avi:jira:deleted:issue", &OTHER_ISSUE),
    ("avi:jira:viewed:issue", &OTHER_ISSUE),
    ("avi:jira:mentioned:issue", &OTHER_ISSUE),
    ("avi:jira:commented:issue", &COMMENTED),
    ("avi:jira:mentioned:comment", &COMMENTED),
    ("avi:jira:deleted:comment", &COMMENTED),
    ("avi:jira:*:issuelink", &LINKED),
    ("avi:jira:*:worklog", &LOGGED),
    ("avi:jira:*:attachment", &ATTACHED),
    ("avi:jira:*:version", &VERSIONED),
    ("avi:jira:*:project", &IN_PROJECT),
    ("avi:jira:*:component", &OF_COMPONENT),
    ("avi:jira:*:issue-property", &PROPERTY_SET),
    ("avi:jira-software:*:sprint", &SPRINTED),
    // Events that are documented only by an example.
    ("avi:jira:*:field", &FREE),
    ("avi:jira:*:field:context", &FREE),
    ("avi:jira:*:field:context:configuration", &FREE),
    ("avi:jira:*:expression", &FREE),
    ("avi:jira-software:*:board", &FREE),
];

/// Defines the members of every Jira event together with those of its family.
macro_rules! event {
    ($title:literal, $($field:expr),* $(,)?) => {
        MapShape {
            title: $title,
            fields: &[
                always("eventType", String),
                always("selfGenerated", Boolean),
                always("permissions", Map(&PERMISSIONS)),
                maybe("timestamp", String),
                maybe("atlassianId", String),
                maybe("associatedUsers", Any),
                // Supplied by the router if a filter reads it.
                always("runtime", Map(&RUNTIME)),
                maybe("payloadIncludeProperties", Map(&FREE)),
                $($field),*
            ],
            others: UnlistedMembers::None,
        }
    };
}

static CREATED_ISSUE: MapShape = event!(
    "a created issue",
    always("issue", Map(&ISSUE)),
    maybe("jiraEventTypeName", String),
    maybe("clonedFrom", Any),
    // Documented as absent from webhooks, but observed in them.
    maybe("changelog", Map(&CHANGELOG)),
);

static UPDATED_ISSUE: MapShape = event!(
    "an updated issue",
    always("issue", Map(&ISSUE)),
    always("changelog", Map(&CHANGELOG)),
    maybe("jiraEventTypeName", String),
    maybe("associatedStatuses", Any),
);

static OTHER_ISSUE: MapShape = event!(
    "the event",
    always("issue", Map(&ISSUE)),
    maybe("user", Map(&USER)),
    maybe("mentionedAccountIds", List(&String)),
);

static COMMENTED: MapShape = event!(
    "a comment event",
    always("issue", Map(&ISSUE)),
    always("comment", Map(&COMMENT)),
    maybe("mentionedAccountIds", List(&String)),
);

static LINKED: MapShape = event!(
    "an issue link event",
    always("id", String),
    always("sourceIssueId", String),
    always("destinationIssueId", String),
    maybe("sourceProjectId", String),
    maybe("destinationProjectId", String),
    always("issueLinkType", Map(&LINK_TYPE)),
);

static LOGGED: MapShape = event!("a worklog event", always("worklog", Map(&WORKLOG)));

static ATTACHED: MapShape = event!("an attachment event", always("attachment", Map(&ATTACHMENT)));

static VERSIONED: MapShape = event!(
    "a version event",
    always("version", Map(&VERSION)),
    maybe("mergedVersion", Map(&VERSION)),
    maybe("newAffectsVersion", Map(&VERSION)),
    maybe("newFixVersion", Map(&VERSION)),
    maybe("customFieldReplacements", Any),
);

static IN_PROJECT: MapShape = event!("a project event", always("project", Map(&EVENT_PROJECT)));

static OF_COMPONENT: MapShape =
    event!("a component event", always("component", Map(&EVENT_COMPONENT)));

static PROPERTY_SET: MapShape = event!(
    "an issue property event",
    always("issue", Map(&PARENT)),
    always("property", Map(&FREE)),
);

static SPRINTED: MapShape =
    event!("a sprint event", always("sprint", Map(&SPRINT)), maybe("oldValue", Map(&FREE)));

/// An issue.
pub(super) static ISSUE: MapShape = closed(
    "Issue",
    &[
        always("id", String),
        always("key", String),
        always("fields", Map(&FIELDS)),
        maybe("self", String),
    ],
);

/// The documented payload has nine fields; the others are present if the publisher sends whole
/// issues.
static FIELDS: MapShape = MapShape {
    title: "Issue.fields",
    fields: &[
        always("summary", String),
        always("issuetype", Map(&ISSUE_TYPE)),
        always("project", Map(&PROJECT)),
        always("status", Map(&STATUS)),
        always("created", String),
        always("updated", String),
        maybe("creator", Map(&USER)),
        maybe("reporter", Map(&USER)),
        maybe("assignee", Map(&USER)),
        maybe("priority", Map(&NAMED)),
        maybe("labels", List(&String)),
        maybe("components", List(&Map(&NAMED))),
        maybe("fixVersions", List(&Map(&VERSION))),
        maybe("versions", List(&Map(&VERSION))),
        maybe("resolution", Map(&NAMED)),
        maybe("resolutiondate", String),
        maybe("parent", Map(&PARENT)),
        maybe("security", Map(&NAMED)),
        maybe("duedate", String),
        maybe("description", Document),
        maybe("environment", Document),
        maybe("statuscategorychangedate", String),
        maybe("statusCategory", Any),
        maybe("lastViewed", String),
        maybe("timespent", Number),
        maybe("timeestimate", Number),
        maybe("timeoriginalestimate", Number),
        maybe("aggregatetimespent", Number),
        maybe("aggregatetimeestimate", Number),
        maybe("aggregatetimeoriginalestimate", Number),
        maybe("workratio", Number),
        maybe("timetracking", Map(&FREE)),
        maybe("progress", Map(&FREE)),
        maybe("aggregateprogress", Map(&FREE)),
        maybe("subtasks", List(&Map(&PARENT))),
        maybe("issuelinks", List(&Any)),
        maybe("attachment", List(&Any)),
        maybe("comment", Any),
        maybe("worklog", Any),
        maybe("votes", Map(&FREE)),
        maybe("watches", Map(&FREE)),
        maybe("issuerestriction", Any),
        maybe("sprint", Any),
        maybe("epic", Any),
        maybe("flagged", Any),
    ],
    others: UnlistedMembers::CustomFields,
};

static ISSUE_TYPE: MapShape = closed(
    "Issue.fields.issuetype",
    &[
        always("id", String),
        always("name", String),
        maybe("subtask", Boolean),
        maybe("description", String),
        maybe("iconUrl", String),
        maybe("avatarId", Number),
        maybe("entityId", String),
        maybe("hierarchyLevel", Number),
        maybe("self", String),
    ],
);

static PROJECT: MapShape = closed(
    "Issue.fields.project",
    &[
        always("id", String),
        always("key", String),
        maybe("name", String),
        maybe("projectTypeKey", String),
        maybe("simplified", Boolean),
        maybe("projectCategory", Map(&NAMED)),
        maybe("avatarUrls", Map(&FREE)),
        maybe("self", String),
    ],
);

static STATUS: MapShape = closed(
    "Issue.fields.status",
    &[
        always("id", String),
        always("name", String),
        always("statusCategory", Map(&CATEGORY)),
        maybe("description", String),
        maybe("iconUrl", String),
        maybe("self", String),
    ],
);

static CATEGORY: MapShape = closed(
    "Issue.fields.status.statusCategory",
    &[
        always("id", Number),
        always("key", String),
        always("name", String),
        maybe("colorName", String),
        maybe("self", String),
    ],
);

/// A priority, resolution, component, security level: an id and a name.
static NAMED: MapShape = MapShape {
    title: "this field",
    fields: &[
        always("id", String),
        always("name", String),
        maybe("description", String),
        maybe("iconUrl", String),
        maybe("self", String),
    ],
    others: UnlistedMembers::Some,
};

static PARENT: MapShape = closed(
    "this issue",
    &[
        always("id", String),
        always("key", String),
        maybe("fields", Map(&FREE)),
        maybe("self", String),
    ],
);

/// A user. Only the account id is documented.
static USER: MapShape = closed(
    "User",
    &[
        always("accountId", String),
        maybe("displayName", String),
        maybe("emailAddress", String),
        maybe("active", Boolean),
        maybe("timeZone", String),
        maybe("accountType", String),
        maybe("locale", String),
        maybe("avatarUrls", Map(&FREE)),
        maybe("groups", Any),
        maybe("applicationRoles", Any),
        maybe("self", String),
    ],
);

/// A changelog.
pub(super) static CHANGELOG: MapShape =
    closed("Changelog", &[maybe("id", Any), always("items", List(&Map(&CHANGE)))]);

/// The title that identifies a changelog item.
pub(crate) const CHANGE_TITLE: &str = "a changelog item";

static CHANGE: MapShape = closed(
    CHANGE_TITLE,
    &[
        always("field", String),
        always("fieldId", String),
        maybe("fieldtype", String),
        maybe("from", String),
        maybe("fromString", String),
        maybe("to", String),
        maybe("toString", String),
        maybe("tmpFromAccountId", String),
        maybe("tmpToAccountId", String),
    ],
);

/// A comment.
pub(super) static COMMENT: MapShape = closed(
    "Comment",
    &[
        always("id", String),
        maybe("author", Map(&USER)),
        maybe("updateAuthor", Map(&USER)),
        always("body", Document),
        always("created", String),
        always("updated", String),
        maybe("jsdPublic", Boolean),
        maybe("visibility", Map(&FREE)),
        maybe("self", String),
    ],
);

/// A worklog.
pub(super) static WORKLOG: MapShape = closed(
    "Worklog",
    &[
        always("id", String),
        always("issueId", String),
        maybe("author", Map(&USER)),
        maybe("updateAuthor", Map(&USER)),
        maybe("comment", Document),
        always("timeSpent", String),
        always("timeSpentSeconds", Number),
        always("started", String),
        always("created", String),
        always("updated", String),
        maybe("visibility", Map(&FREE)),
        maybe("self", String),
    ],
);

static ATTACHMENT: MapShape = closed(
    "Attachment",
    &[
        always("id", String),
        always("issueId", String),
        maybe("projectId", String),
        always("fileName", String),
        always("mimeType", String),
        always("size", Number),
        always("created", String),
        maybe("author", Map(&USER)),
    ],
);

static LINK_TYPE: MapShape = closed(
    "IssueLinkType",
    &[
        always("id", String),
        always("name", String),
        maybe("inward", String),
        maybe("outward", String),
    ],
);

static VERSION: MapShape = MapShape {
    title: "Version",
    fields: &[
        always("id", String),
        always("name", String),
        maybe("description", String),
        maybe("projectId", Number),
        maybe("released", Boolean),
        maybe("archived", Boolean),
        maybe("startDate", String),
        maybe("releaseDate", String),
        maybe("overdue", Boolean),
    ],
    others: UnlistedMembers::Some,
};

/// In project events the id is a number, unlike inside an issue.
static EVENT_PROJECT: MapShape = MapShape {
    title: "Project",
    fields: &[
        always("id", Number),
        always("key", String),
        always("name", String),
        maybe("projectTypeKey", String),
    ],
    others: UnlistedMembers::Some,
};

static EVENT_COMPONENT: MapShape = MapShape {
    title: "Component",
    fields: &[
        always("id", String),
        always("name", String),
        maybe("description", String),
        maybe("lead", Map(&USER)),
        maybe("assigneeType", String),
        always("project", String),
        always("projectId", Number),
    ],
    others: UnlistedMembers::Some,
};

/// A sprint.
pub(super) static SPRINT: MapShape = closed(
    "Sprint",
    &[
        always("id", String),
        always("originBoardId", String),
        always("name", String),
        always("state", String),
        maybe("goal", String),
        maybe("createDate", String),
        maybe("startDate", String),
        maybe("endDate", String),
        maybe("completeDate", String),
    ],
);

/// Entity properties, supplied before evaluation.
pub(super) static RUNTIME: MapShape = closed("event.runtime", RUNTIME_ENTITIES);

const RUNTIME_ENTITIES: &[Field] = &[
    always("issue", Map(&ENTITY)),
    always("project", Map(&ENTITY)),
    always("user", Map(&ENTITY)),
    always("issuetype", Map(&ENTITY)),
];

static ENTITY: MapShape = closed("an entity", &[always("properties", Map(&FREE))]);
