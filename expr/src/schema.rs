//! Payload schemas: the paths and types of an event, by which the checker finds misspelt names.
//!
//! A payload may contain more than is documented, so the schemas only cause warnings. Custom fields
//! and entity properties are open, and so are events of unknown type.
//!
//! **Source:** the product event references of Jira, Jira Software, Jira Service Management and
//! Confluence, and the REST shape of an issue.

mod confluence;
mod jira;

use crate::value::Type;

/// The shape of a value in a payload.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// Anything, or a value of more than one type.
    Any,
    Boolean,
    Number,
    String,
    /// A list with elements of one shape.
    List(&'static Shape),
    Map(&'static Members),
}

/// The members of a map.
#[derive(Debug)]
pub(crate) struct Members {
    /// The name of the map in messages.
    pub(crate) title: &'static str,
    pub(crate) fields: &'static [Field],
    pub(crate) others: UnlistedMembers,
}

/// A documented member.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    /// Whether it is missing or null in some events.
    pub(crate) may_be_missing: bool,
}

/// How a map treats members that are not listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum UnlistedMembers {
    /// There are no other members.
    None,
    /// There are custom fields, `customfield_10010`.
    CustomFields,
    /// There may be others; only a name similar to a listed one is reported.
    Some,
    /// Any name is valid.
    Free,
}

/// The result of looking up a member in a map.
#[derive(Clone, Copy)]
pub(crate) enum FieldLookup {
    Field(&'static Field),
    /// Valid, but its shape is unknown.
    Open,
    Unknown {
        /// The listed name that was probably intended.
        nearest: Option<&'static str>,
    },
}

impl Shape {
    /// The type of the value, if there is only one.
    pub(crate) fn ty(self) -> Option<Type> {
        match self {
            Shape::Any => None,
            Shape::Boolean => Some(Type::Boolean),
            Shape::Number => Some(Type::Number),
            Shape::String => Some(Type::String),
            Shape::List(_) => Some(Type::List),
            Shape::Map(_) => Some(Type::Map),
        }
    }
}

impl Members {
    pub(crate) fn find(&self, name: &str) -> FieldLookup {
        if let Some(field) = self.fields.iter().find(|field| field.name == name) {
            return FieldLookup::Field(field);
        }
        let custom =
            self.others == UnlistedMembers::CustomFields && name.starts_with("customfield_");
        if custom || self.others == UnlistedMembers::Free {
            return FieldLookup::Open;
        }
        let nearest = nearest(name, self.fields.iter().map(|field| field.name));
        match self.others {
            UnlistedMembers::Some if nearest.is_none() => FieldLookup::Open,
            _ => FieldLookup::Unknown { nearest },
        }
    }
}

impl Members {
    /// The path of a member of that name one or two levels below: `fields.project` for `project`.
    pub(crate) fn find_nested(&self, name: &str) -> Option<String> {
        let maps = || {
            self.fields.iter().filter_map(|field| match field.shape {
                // Entity properties are not fields.
                Shape::Map(inner) if field.name != "runtime" => Some((field.name, inner)),
                _ => None,
            })
        };
        let has = |(_, inner): &(&str, &'static Members)| {
            inner.fields.iter().any(|field| field.name == name)
        };
        maps().find(has).map(|(outer, _)| format!("{outer}.{name}")).or_else(|| {
            let (outer, inner) = maps().find(|(outer, _)| *outer == "issue")?;
            let (middle, _) = inner.fields.iter().find_map(|field| match field.shape {
                Shape::Map(deep) => Some((field.name, deep)).filter(has),
                _ => None,
            })?;
            Some(format!("{outer}.{middle}.{name}"))
        })
    }
}

/// The schema of an event type; of any event if the type is unknown.
pub(crate) fn body_of(event_type: &str) -> &'static Members {
    let families = jira::BODIES.iter().chain(confluence::BODIES);
    let mut named = families.filter(|(pattern, _)| is_like(event_type, pattern));
    named.next().map_or(&ANY_EVENT, |(_, members)| members)
}

/// Returns the other product whose events have a member of that name.
pub(crate) fn product_of(member: &str, event_type: &str) -> Option<&'static str> {
    let here = event_type.starts_with("avi:confluence:");
    let (other, product) = if here {
        (&jira::ONLY_JIRA, "Jira")
    } else {
        (&confluence::ONLY_CONFLUENCE, "Confluence")
    };
    other.contains(&member).then_some(product)
}

/// The help text for a member that an event does not have: the events that have it, or an
/// equivalent member.
pub(crate) fn missing_field_hint(name: &str) -> Option<&'static str> {
    Some(match name {
        "comment" => "events of comments have it: `avi:jira:commented:issue`",
        "changelog" => "events of changes have it: `avi:jira:updated:issue`",
        "worklog" => "events of worklogs have it: `avi:jira:created:worklog`",
        "sprint" => "events of sprints have it: `avi:jira-software:started:sprint`",
        "user" | "actor" => "who caused the event is `event.atlassianId`, an account id",
        _ => return None,
    })
}

/// Whether events of any type have a top-level member of that name.
pub(crate) fn is_top_level(name: &str) -> bool {
    matches!(ANY_EVENT.find(name), FieldLookup::Field(_))
}

/// The title of changelog items, whose values have irregular spellings.
pub(crate) fn change_title() -> &'static str {
    jira::CHANGE_TITLE
}

/// Whether the type matches a pattern, in which `*` is one segment: `avi:jira:*:worklog`.
fn is_like(event_type: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => event_type == pattern,
        Some((before, after)) => event_type
            .strip_prefix(before)
            .and_then(|rest| rest.strip_suffix(after))
            .is_some_and(|verb| !verb.contains(':')),
    }
}

/// The members of all known events, for events of unknown type. A filter that reads one of them is
/// meant for events that have it.
static ANY_EVENT: Members = Members {
    title: "the event",
    fields: &[
        always("eventType", Shape::String),
        always("selfGenerated", Shape::Boolean),
        always("timestamp", Shape::String),
        always("atlassianId", Shape::String),
        always("issue", Shape::Map(&jira::ISSUE)),
        always("changelog", Shape::Map(&jira::CHANGELOG)),
        always("comment", Shape::Map(&jira::COMMENT)),
        always("worklog", Shape::Map(&jira::WORKLOG)),
        always("runtime", Shape::Map(&jira::RUNTIME)),
        always("sprint", Shape::Map(&jira::SPRINT)),
        always("version", Shape::Any),
        always("project", Shape::Any),
        always("component", Shape::Any),
        always("attachment", Shape::Any),
        always("content", Shape::Map(&confluence::CONTENT)),
        always("space", Shape::Any),
        always("container", Shape::Any),
        always("label", Shape::Any),
        always("group", Shape::Any),
        always("task", Shape::Any),
        always("board", Shape::Any),
        always("filter", Shape::Any),
        always("issueType", Shape::Any),
        always("property", Shape::Any),
        always("configuration", Shape::Any),
        always("context", Shape::Any),
        always("expression", Shape::Any),
        always("query", Shape::Any),
        always("user", Shape::Any),
        always("associatedUsers", Shape::Any),
        always("associatedStatuses", Shape::Any),
    ],
    others: UnlistedMembers::Some,
};

const fn always(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, may_be_missing: false }
}

const fn maybe(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, may_be_missing: true }
}

const fn closed(title: &'static str, fields: &'static [Field]) -> Members {
    Members { title, fields, others: UnlistedMembers::None }
}

/// A map whose members are not documented.
static FREE: Members = Members { title: "it", fields: &[], others: UnlistedMembers::Free };

/// Longer names are not compared.
const NAME_CHARS_MAX: usize = 40;

/// Returns the name that `written` probably means: at most two edits away, and at most a third of
/// its length.
pub fn nearest<'n>(written: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let written: Vec<char> = written.chars().collect();
    if written.len() > NAME_CHARS_MAX {
        return None;
    }
    let edits_max = (written.len() / 3).min(2);
    names
        .filter(|name| name.len().abs_diff(written.len()) <= edits_max)
        .map(|name| (edits(&written, name), name))
        .filter(|(distance, _)| *distance <= edits_max)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Edit distance of two names. A difference in case costs nothing; two exchanged letters cost one.
fn edits(written: &[char], name: &str) -> usize {
    let same = |a: char, b: char| a.eq_ignore_ascii_case(&b);
    let name: Vec<char> = name.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=name.len()).collect();
    for (i, &w) in written.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &n) in name.iter().enumerate() {
            let at = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX / 2);
            let mut cost = (at(&above, j) + usize::from(!same(w, n)))
                .min(at(&above, j + 1) + 1)
                .min(at(&row, j) + 1);
            let swapped = i > 0
                && j > 0
                && written.get(i - 1).is_some_and(|&w| same(w, n))
                && name.get(j - 1).is_some_and(|&n| same(w, n));
            if swapped {
                cost = cost.min(at(&before, j - 1) + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests;
