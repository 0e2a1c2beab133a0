//! Problems of a registration request, addressed to its author.

use serde::Serialize;

/// One error or warning of a request.
///
/// **Shape:** serialized in `errors[]` and `warnings[]` of responses; absent members are left out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Problem {
    /// `SY-nnnn`; stable, see [`code`].
    pub code: String,
    /// Path in the request body, such as `data.events[1]`; empty = the whole body.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The problem, one sentence.
    pub message: String,
    /// Position in the filter's text.
    #[serde(flatten)]
    pub range: Option<SourceRange>,
    /// Advice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Text that fixes the problem in place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replacement: Option<String>,
}

/// A range of a filter's text in every unit that readers use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct SourceRange {
    /// Start in UTF-8 bytes.
    pub offset: usize,
    /// Start in UTF-16 units.
    pub offset16: usize,
    /// Length in Unicode scalar values.
    pub length: usize,
    /// Line, from 1.
    pub line: usize,
    /// Column in Unicode scalar values, from 1.
    pub column: usize,
}

impl Problem {
    /// Creates a problem at `path`.
    #[must_use]
    pub fn new(code: &str, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            path: path.into(),
            message: message.into(),
            range: None,
            help: None,
            replacement: None,
        }
    }

    /// Adds advice.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Prepends `path`.
    #[must_use]
    pub fn inside(mut self, path: &str) -> Self {
        self.path = match self.path.is_empty() {
            true => path.to_owned(),
            false => format!("{path}.{}", self.path),
        };
        self
    }

    /// The whole problem in one line, for clients that read only `message`.
    #[must_use]
    pub fn sentence(&self) -> String {
        let mut text = String::new();
        if !self.path.is_empty() {
            text.push_str(&self.path);
            text.push_str(": ");
        }
        text.push_str(&self.message);
        if let Some(help) = &self.help {
            text.push_str("; ");
            text.push_str(help);
        }
        text
    }
}

/// Several problems as one message: the first, and the number of the others.
#[must_use]
pub fn summary(problems: &[Problem]) -> String {
    match problems {
        [] => "the request is rejected".into(),
        [only] => only.sentence(),
        [first, rest @ ..] => format!("{} (and {} more)", first.sentence(), rest.len()),
    }
}

/// Errors or warnings that an answer lists. A request may have one for every few bytes of its body, and
/// its author reads the first.
pub const PROBLEMS_LISTED_MAX: usize = 100;

/// Returns the problems as an answer lists them: the first, and one that has the number of the others.
#[must_use]
pub fn listed(mut problems: Vec<Problem>) -> Vec<Problem> {
    let more = problems.len().saturating_sub(PROBLEMS_LISTED_MAX);
    if more > 0 {
        problems.truncate(PROBLEMS_LISTED_MAX);
        let message = format!("{more} more are not listed");
        problems.push(Problem::new(code::NOT_LISTED, "", message));
    }
    problems
}

/// Codes of registration problems. Append only; a code is never reused.
pub mod code {
    /// A required member is absent.
    pub const MISSING: &str = "SY-2001";
    /// An unknown member.
    pub const UNKNOWN_MEMBER: &str = "SY-2002";
    /// A value of the wrong type or form.
    pub const FORM: &str = "SY-2003";
    /// Not exactly one of `function` and `endpoint`.
    pub const HANDLER: &str = "SY-2004";
    /// A function or endpoint that the app does not declare.
    pub const UNKNOWN_HANDLER: &str = "SY-2005";
    /// An unknown event type.
    pub const UNKNOWN_EVENT: &str = "SY-2006";
    /// The app lacks a scope that an event needs.
    pub const SCOPE: &str = "SY-2007";
    /// The module quota of the installation is used up.
    pub const MODULES_MAX: &str = "SY-2008";
    /// The installation would read more entity properties than allowed.
    pub const PROPERTY_PATHS_MAX: &str = "SY-2009";
    /// A module type that cannot be registered.
    pub const MODULE_TYPE: &str = "SY-2010";
    /// The caller may not choose the key.
    pub const KEY_GIVEN: &str = "SY-2011";
    /// Per-event filters together with a filter for all.
    pub const TWO_FILTERS: &str = "SY-2012";
    /// A filter without a condition.
    pub const EMPTY_FILTER: &str = "SY-2013";
    /// Warning: the event offers no entity properties.
    pub const NO_PROPERTIES: &str = "SY-2014";
    /// Warning: `onError` without an expression does nothing.
    pub const IDLE_ON_ERROR: &str = "SY-2015";
    /// The address of a handler is not allowed.
    pub const ADDRESS: &str = "SY-2016";
    /// The type of a module cannot change.
    pub const TYPE_CHANGED: &str = "SY-2017";
    /// The installation's registrations are too large to store.
    pub const TOO_LARGE: &str = "SY-2018";
    /// The same key or event twice.
    pub const DUPLICATE: &str = "SY-2019";
    /// The request names something that is not provisioned.
    pub const NOT_PROVISIONED: &str = "SY-2020";
    /// An identifying member of a record cannot change.
    pub const FIXED: &str = "SY-2021";
    /// The JQL of a webhook cannot be translated.
    pub const JQL: &str = "SY-2022";
    /// Warning: the vendor does not deliver a body of this size.
    pub const BODY_SIZE: &str = "SY-2024";
    /// Warning: the module quota of the installation is nearly used up.
    pub const NEAR_LIMIT: &str = "SY-2026";
    /// The module was discovered; only a response of its app changes it.
    pub const DISCOVERED: &str = "SY-2025";
    /// Warning: no event can match.
    pub const NEVER_FIRES: &str = "SY-2031";
    /// Warning: a filter that has no effect on an event.
    pub const IDLE_FILTER: &str = "SY-2032";
    /// A custom field that the vendor's webhooks do not filter by.
    pub const CUSTOM_FIELD: &str = "SY-2033";
    /// A variable that the manifest does not declare.
    pub const UNDECLARED_VARIABLE: &str = "SY-2034";
    /// A variable of the manifest without a value.
    pub const NO_VALUE: &str = "SY-2035";
    /// A condition of a webhook that cannot be decided here.
    pub const CONDITION: &str = "SY-2036";
    /// Warning: a webhook that is stored and never delivered.
    pub const UNDELIVERED: &str = "SY-2037";
    /// The number of further errors or warnings.
    pub const NOT_LISTED: &str = "SY-2038";
    /// Warning: an installation that keeps no bodies.
    pub const NO_BODIES: &str = "SY-2039";
    /// There is no shadow to promote, or no promotion to roll back.
    pub const NO_SHADOW: &str = "SY-2040";
    /// The module changed since its shadow was set or promoted.
    pub const SHADOW_OUTDATED: &str = "SY-2041";
    /// A module that cannot have a shadow.
    pub const NOT_SHADOWED: &str = "SY-2042";
    /// There are too many shadows.
    pub const SHADOWS_MAX: &str = "SY-2043";
    /// The shadow that is to be promoted is another one than the one that is named.
    pub const OTHER_SHADOW: &str = "SY-2044";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_names_the_first_problem_with_its_help_and_counts_the_rest() {
        let first = Problem::new(code::UNKNOWN_EVENT, "data.events[0]", "no such event `a`")
            .with_help("did you mean `b`?");
        let second = Problem::new(code::HANDLER, "data", "one of two");
        assert_eq!(
            summary(&[first, second]),
            "data.events[0]: no such event `a`; did you mean `b`? (and 1 more)"
        );
    }

    #[test]
    fn the_first_problems_are_listed_and_the_others_counted() {
        let problems = |count: usize| -> Vec<Problem> {
            (0..count).map(|n| Problem::new(code::FORM, format!("events[{n}]"), "m")).collect()
        };
        assert_eq!(listed(problems(PROBLEMS_LISTED_MAX)), problems(PROBLEMS_LISTED_MAX));
        let found = listed(problems(PROBLEMS_LISTED_MAX + 7));
        assert_eq!(found.len(), PROBLEMS_LISTED_MAX + 1);
        assert_eq!(found[PROBLEMS_LISTED_MAX].code, code::NOT_LISTED);
        assert!(found[PROBLEMS_LISTED_MAX].message.starts_with("7 more"));
    }

    #[test]
    fn place_is_flattened_and_absent_members_are_left_out() {
        let mut problem = Problem::new("SY-3002", "data.filter.expression", "m");
        assert_eq!(
            serde_json::to_value(&problem).unwrap(),
            serde_json::json!({"code": "SY-3002", "path": "data.filter.expression", "message": "m"})
        );
        problem.range = Some(SourceRange { offset: 1, offset16: 1, length: 2, line: 1, column: 2 });
        assert_eq!(serde_json::to_value(&problem).unwrap()["column"], 2);
    }
}
