//! Checks of constants that payloads never contain: names of fields in changelogs, and event types.

use super::{InferredValue, Linter, literal};
use crate::diagnostic::{Code, Diagnostic};
use crate::schema::nearest;
use crate::typed::Expr;
use crate::value::Literal;

/// The `field` of changelog items that have another spelling than the member of an issue, each with
/// the spellings that are mistaken for it, in lower case and without spaces.
///
/// **Source:** changelogs in public payloads; Forge, "Jira events".
const DISPLAY_NAMES: &[(&str, &[&str])] = &[
    ("Component", &["component", "components"]),
    ("Fix Version", &["fixversion", "fixversions"]),
    ("Version", &["version", "versions", "affectsversion", "affectsversions", "affectedversion"]),
    ("Link", &["link", "links", "issuelink", "issuelinks"]),
    ("Attachment", &["attachment", "attachments"]),
    ("Comment", &["comment", "comments"]),
    ("Sprint", &["sprint"]),
    ("Epic Link", &["epiclink"]),
    ("Rank", &["rank"]),
    ("Flagged", &["flagged"]),
    ("Key", &["key", "issuekey"]),
];

/// The `field` of changelog items that is the id of the field.
const PLAIN_NAMES: &[&str] = &[
    "assignee",
    "reporter",
    "priority",
    "resolution",
    "summary",
    "description",
    "labels",
    "issuetype",
    "duedate",
    "environment",
    "project",
    "timeestimate",
    "timeoriginalestimate",
    "timespent",
    "security",
];

/// The `fieldId` of changelog items, by other spellings.
const FIELD_IDS: &[(&str, &[&str])] = &[
    ("components", &["component", "components"]),
    ("fixVersions", &["fixversion", "fixversions"]),
    ("versions", &["version", "versions", "affectsversion", "affectsversions"]),
    ("issuelinks", &["link", "links", "issuelink", "issuelinks"]),
    ("labels", &["label", "labels"]),
    ("status", &["status"]),
    ("assignee", &["assignee"]),
    ("reporter", &["reporter"]),
    ("priority", &["priority"]),
    ("resolution", &["resolution"]),
    ("summary", &["summary"]),
    ("description", &["description"]),
    ("issuetype", &["issuetype"]),
    ("duedate", &["duedate"]),
];

impl Linter<'_> {
    /// Checks a constant that is compared with a value of the event.
    pub(super) fn spelling(
        &mut self,
        (_, known): (&Expr, &InferredValue),
        (value, _): (&Expr, &InferredValue),
    ) {
        let Some(Literal::String(text)) = literal(value) else { return };
        if known.path.as_deref() == Some("event.eventType") {
            return self.event_type(text, value);
        }
        let Some(member) = known.changelog_field else { return };
        if let Some((message, help)) = self.changelog_advice(member, text) {
            let finding = Diagnostic::warning(Code::UnlikelyValue, value.span, message);
            self.report(finding.with_help(help));
        }
    }

    /// What is wrong with a name of a field in a changelog, and what to write: the display name
    /// differs between events, the id does not.
    fn changelog_advice(&self, member: &str, text: &str) -> Option<(String, String)> {
        let lower = text.to_ascii_lowercase();
        let compact: String = lower.chars().filter(|c| !matches!(c, ' ' | '-' | '_')).collect();
        let meant = |names: &'static [(&str, &[&str])]| {
            names
                .iter()
                .find(|(_, others)| others.contains(&compact.as_str()))
                .map(|(name, _)| *name)
        };
        let on_create = self.usage.events.iter().any(|event| event.ends_with("created:issue"));
        let say = |message: &str, help: &str| Some((message.to_owned(), help.to_owned()));
        match member {
            "field" if lower == "status" && (on_create || text == "Status") => say(
                "`field` is `Status` when an issue is created and `status` when it is updated",
                "`fieldId` is `status` in both",
            ),
            "field" if lower.starts_with("customfield_") => say(
                "`field` holds the display name of a custom field, never its id",
                "compare `fieldId`",
            ),
            "field" if PLAIN_NAMES.contains(&compact.as_str()) && text != compact => Some((
                format!("`field` is `{compact}` in changelogs"),
                format!("write `'{compact}'`"),
            )),
            "field" => {
                let name = meant(DISPLAY_NAMES).filter(|name| *name != text)?;
                let id = FIELD_IDS.iter().find(|(_, others)| others.contains(&compact.as_str()));
                let id = id.map_or_else(String::new, |(id, _)| {
                    format!(", or compare `fieldId` with `'{id}'`")
                });
                Some((
                    format!("`field` is `{name}` in changelogs, with capitals"),
                    format!("write `'{name}'`{id}"),
                ))
            }
            "fieldId" => {
                let id = meant(FIELD_IDS).filter(|id| *id != text)?;
                Some((format!("the id of this field is `{id}`"), format!("write `'{id}'`")))
            }
            _ => None,
        }
    }

    /// Checks a list of constants that a value of the event is looked for in.
    pub(super) fn event_types(
        &mut self,
        constants: &[Literal],
        value: &Expr,
        known: &InferredValue,
    ) {
        if known.path.as_deref() != Some("event.eventType") {
            return;
        }
        let is_one = |constant: &Literal| match constant {
            Literal::String(text) => self.usage.events.contains(&&**text),
            _ => false,
        };
        let first = constants.iter().find_map(|constant| match constant {
            Literal::String(text) => Some(text),
            _ => None,
        });
        if let Some(first) = first.filter(|_| !constants.iter().any(is_one)) {
            self.event_type(first, value);
        }
    }

    /// Reports an event type that no event of the filter has.
    fn event_type(&mut self, text: &str, at: &Expr) {
        let events = self.usage.events;
        if events.is_empty() || events.contains(&text) {
            return;
        }
        let message = format!("no event of this filter has the type `{text}`");
        let finding = Diagnostic::warning(Code::UnlikelyValue, at.span, message);
        let near = match events {
            [only] => Some(*only),
            events => nearest(text, events.iter().copied()),
        };
        self.report(match near {
            Some(near) => finding.with_help(format!("it is for `{near}`")),
            None => finding.with_help(format!("it is for {}", listed(events))),
        });
    }
}

fn listed(events: &[&str]) -> String {
    /// Event types that a message names.
    const SHOWN_MAX: usize = 4;
    let shown = events.iter().take(SHOWN_MAX).map(|event| format!("`{event}`"));
    let more = if events.len() > SHOWN_MAX { " and others" } else { "" };
    format!("{}{more}", shown.collect::<Vec<_>>().join(", "))
}
