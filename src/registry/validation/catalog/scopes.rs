//! Scopes that event types need, classic or granular: an app needs all scopes of one kind.
//!
//! **Source:** the vendor's event-to-scope map, `@forge/manifest` 13.7.0; for events missing there,
//! the product event references.

/// Required scopes. Lists in OAuth 2.0 form, separated by spaces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scopes {
    classic: &'static str,
    /// Alternative to the classic scopes; empty = there is none.
    granular: &'static str,
}

impl Scopes {
    /// Returns the classic scopes missing in `granted`; none if all granular ones are granted.
    pub fn missing(&self, granted: &[String]) -> impl Iterator<Item = &'static str> {
        let lacks = |scope: &&str| !granted.iter().any(|granted| granted == scope);
        let is_granular = !self.granular.is_empty() && !self.granular.split(' ').any(|s| lacks(&s));
        let needed = if is_granular { "" } else { self.classic };
        needed.split_terminator(' ').filter(move |scope| lacks(scope))
    }
}

const fn scopes(classic: &'static str, granular: &'static str) -> Scopes {
    Scopes { classic, granular }
}

pub(crate) const ISSUE: Scopes = scopes(
    "read:jira-work",
    "read:issue:jira read:issue-type:jira read:user:jira read:project:jira read:status:jira",
);
pub(crate) const COMMENT: Scopes = scopes(
    "read:jira-work",
    "read:issue:jira read:issue-type:jira read:user:jira read:project:jira read:status:jira \
     read:comment:jira",
);
pub(crate) const LINK: Scopes = scopes(
    "read:jira-work",
    "read:field:jira read:issue-link-type:jira read:issue:jira read:issue-type:jira \
     read:priority:jira read:status:jira read:avatar:jira read:issue.time-tracking:jira \
     read:project-category:jira read:project:jira read:user:jira",
);
pub(crate) const WORKLOG: Scopes = scopes(
    "read:jira-work",
    "read:issue-worklog.property:jira read:issue-worklog:jira read:project-role:jira \
     read:comment:jira read:avatar:jira read:group:jira read:user:jira",
);
pub(crate) const ATTACHMENT: Scopes = scopes("read:jira-work", "read:attachment:jira");
pub(crate) const ISSUE_PROPERTY: Scopes = scopes("read:jira-work", "read:issue.property:jira");
pub(crate) const COMPONENT: Scopes = scopes("read:jira-work", "read:project:jira read:user:jira");
pub(crate) const COMPONENT_DELETED: Scopes =
    scopes("read:jira-work", "read:project:jira read:user:jira read:project.component:jira");
pub(crate) const VERSION: Scopes = scopes("read:jira-work", "read:project-version:jira");
pub(crate) const PROJECT: Scopes = scopes("read:jira-work", "read:project:jira");
pub(crate) const USER: Scopes = scopes(
    "read:jira-user",
    "read:application-role:jira read:group:jira read:user:jira read:avatar:jira",
);
pub(crate) const ISSUE_TYPE: Scopes = scopes("manage:jira-configuration", "read:issue-type:jira");
pub(crate) const FILTER: Scopes =
    scopes("manage:jira-configuration", "read:filter:jira read:jql:jira");
pub(crate) const FIELD: Scopes = scopes("manage:jira-configuration", "read:field:jira");
pub(crate) const FIELD_CONFIGURATION: Scopes =
    scopes("manage:jira-configuration", "read:custom-field-contextual-configuration:jira");
pub(crate) const EXPRESSION: Scopes =
    scopes("manage:jira-configuration", "read:workflow:jira read:issue:jira read:project:jira");
pub(crate) const CONFIGURATION: Scopes =
    scopes("manage:jira-configuration", "read:instance-configuration:jira");
pub(crate) const TIME_TRACKING: Scopes =
    scopes("manage:jira-configuration", "read:issue.time-tracking:jira");
pub(crate) const SPRINT: Scopes = scopes("read:jira-work", "read:sprint:jira-software");
pub(crate) const BOARD: Scopes = scopes(
    "read:jira-work read:jira-user",
    "read:board-scope:jira-software read:issue-details:jira read:project:jira \
     read:user:jira",
);
pub(crate) const BOARD_CONFIGURATION: Scopes = scopes(
    "read:jira-work read:jira-user",
    "read:board-scope.admin:jira-software read:project:jira read:user:jira",
);
pub(crate) const REQUEST_TYPE: Scopes =
    scopes("manage:jira-configuration", "read:requesttype:jira-service-management");
pub(crate) const SERVICE_DESK: Scopes =
    scopes("manage:jira-configuration", "read:servicedesk:jira-service-management");
pub(crate) const PAGE: Scopes = scopes(
    "read:confluence-content.summary",
    "read:page:confluence read:space:confluence read:user:confluence \
     read:content.metadata:confluence",
);
pub(crate) const PAGE_DELETED: Scopes = scopes(
    "read:confluence-content.summary write:confluence-content",
    "read:page:confluence write:page:confluence read:space:confluence read:user:confluence \
     read:content.metadata:confluence",
);
pub(crate) const BLOG_POST: Scopes = scopes(
    "read:confluence-content.summary",
    "read:blogpost:confluence read:space:confluence read:user:confluence \
     read:content.metadata:confluence",
);
pub(crate) const BLOG_POST_DELETED: Scopes = scopes(
    "read:confluence-content.summary write:confluence-content",
    "read:blogpost:confluence write:blogpost:confluence read:space:confluence \
     read:user:confluence read:content.metadata:confluence",
);
pub(crate) const WHITEBOARD: Scopes = scopes(
    "read:confluence-content.summary",
    "read:whiteboard:confluence read:space:confluence read:user:confluence \
     read:content.metadata:confluence",
);
pub(crate) const DATABASE: Scopes = scopes(
    "read:confluence-content.summary",
    "read:database:confluence read:space:confluence read:user:confluence \
     read:content.metadata:confluence",
);
pub(crate) const EMBED: Scopes = scopes(
    "read:confluence-content.summary",
    "read:embed:confluence read:space:confluence read:user:confluence \
     read:content.metadata:confluence",
);
pub(crate) const FOLDER: Scopes = scopes(
    "read:confluence-content.summary",
    "read:folder:confluence read:space:confluence read:user:confluence \
     read:content.metadata:confluence",
);
pub(crate) const TASK: Scopes = scopes(
    "read:confluence-content.all",
    "read:inlinetask:confluence read:space:confluence read:user:confluence \
     read:content.metadata:confluence",
);
pub(crate) const PAGE_COMMENT: Scopes = scopes(
    "read:confluence-content.summary",
    "read:comment:confluence read:page:confluence read:blogpost:confluence \
     read:space:confluence read:user:confluence read:content.metadata:confluence",
);
pub(crate) const PAGE_COMMENT_PERMISSIONS: Scopes = scopes(
    "read:confluence-content.summary",
    "read:comment:confluence read:page:confluence read:blogpost:confluence \
     read:custom-content:confluence read:space:confluence read:user:confluence \
     read:content.metadata:confluence",
);
pub(crate) const SPACE: Scopes = scopes("read:confluence-space.summary", "read:space:confluence");
pub(crate) const SPACE_DELETED: Scopes = scopes(
    "read:confluence-space.summary write:confluence-space",
    "read:space:confluence write:space:confluence",
);
pub(crate) const PAGE_ATTACHMENT: Scopes = scopes(
    "read:confluence-content.summary",
    "read:attachment:confluence read:page:confluence read:blogpost:confluence \
     read:space:confluence read:user:confluence read:content.metadata:confluence",
);
pub(crate) const PAGE_ATTACHMENT_PERMISSIONS: Scopes = scopes(
    "read:confluence-content.summary",
    "read:attachment:confluence read:page:confluence read:blogpost:confluence \
     read:comment:confluence read:custom-content:confluence read:space:confluence \
     read:user:confluence read:content.metadata:confluence",
);
pub(crate) const CUSTOM_CONTENT: Scopes = scopes(
    "read:confluence-content.summary",
    "read:custom-content:confluence read:space:confluence read:blogpost:confluence \
     read:page:confluence read:user:confluence read:content.metadata:confluence",
);
pub(crate) const CONTENT: Scopes = scopes("read:confluence-content.summary", "");
pub(crate) const CONFLUENCE_USER: Scopes = scopes("read:confluence-user", "read:user:confluence");
pub(crate) const CONFLUENCE_GROUP: Scopes =
    scopes("read:confluence-groups", "read:group:confluence");
pub(crate) const RELATION: Scopes = scopes(
    "read:confluence-content.summary read:confluence-space.summary read:confluence-user",
    "read:page:confluence read:blogpost:confluence read:attachment:confluence \
     read:custom-content:confluence read:database:confluence read:embed:confluence \
     read:folder:confluence read:whiteboard:confluence read:content-details:confluence \
     read:space:confluence read:user:confluence",
);
pub(crate) const NONE: Scopes = scopes("", "");

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(scopes: &Scopes, granted: &str) -> Vec<&'static str> {
        let granted: Vec<String> = granted.split_terminator(' ').map(str::to_owned).collect();
        scopes.missing(&granted).collect()
    }

    #[test]
    fn all_scopes_of_one_kind_suffice_and_missing_ones_are_reported_as_classic() {
        assert_eq!(missing(&BOARD, BOARD.classic), [""; 0]);
        assert_eq!(missing(&BOARD, BOARD.granular), [""; 0]);
        assert_eq!(missing(&BOARD, "read:jira-work read:project:jira"), ["read:jira-user"]);
        assert_eq!(missing(&BOARD, ""), ["read:jira-work", "read:jira-user"]);
    }

    #[test]
    fn where_there_are_no_granular_scopes_only_classic_ones_help() {
        assert_eq!(missing(&CONTENT, "read:page:confluence"), [CONTENT.classic]);
        assert_eq!(missing(&NONE, ""), [""; 0]);
    }
}
