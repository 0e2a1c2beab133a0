//! What can be said about a trigger before anybody registers it, for tools that work offline.

use serde_json::{Map, Value};

use super::problem::Problem;
use super::trigger::{Trigger, TriggerFilter};
use super::validate::ValidationRules;
use super::{ProgramCache, problem};

/// A trigger as it would be registered.
#[derive(Clone, Debug, Default)]
pub struct Review {
    /// What it would be refused for, its filters aside.
    pub problems: Vec<Problem>,
    /// What is odd about it, its filters aside.
    pub warnings: Vec<Problem>,
    /// Its filters; none when the form is wrong.
    pub filters: Vec<ReviewedFilter>,
    /// The event types it wants; none when the form is wrong.
    pub events: Vec<String>,
    /// Top-level issue fields that handlers get; empty = all.
    pub fields: Vec<String>,
}

/// An expression of a trigger and what it is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReviewedFilter {
    /// Where it stands, such as `data.filter.expression`.
    pub path: String,
    /// The expression.
    pub source: String,
    /// The event types it decides about.
    pub events: Vec<String>,
    /// Whether a failure delivers the event.
    pub delivers_on_error: bool,
}

/// Reviews the data of a trigger that stands at `path`. Handlers and scopes are not checked: there
/// is no app to check them against.
#[must_use]
pub fn review(data: &Map<String, Value>, path: &str) -> Review {
    let trigger = match Trigger::parse(data, path) {
        Ok(trigger) => trigger,
        Err(problems) => return Review { problems, ..Review::default() },
    };
    let programs = ProgramCache::default();
    let rules = ValidationRules { app: None, allow_unknown_events: false, programs: &programs };
    let (problems, warnings) = match rules.check(data, path) {
        Ok(accepted) => (Vec::new(), accepted.warnings),
        Err(problems) => (problems, Vec::new()),
    };
    // What is wrong inside of an expression is told with the expression.
    let outside = |problem: &Problem| problem.range.is_none();
    let filters = trigger.filters.iter().filter_map(|filter| reviewed(&trigger, filter)).collect();
    Review {
        problems: problems.into_iter().filter(outside).collect(),
        warnings: warnings.into_iter().filter(outside).collect(),
        filters,
        events: trigger.events.iter().map(|event| event.event_type.value.to_string()).collect(),
        fields: trigger.fields,
    }
}

fn reviewed(trigger: &Trigger, filter: &TriggerFilter) -> Option<ReviewedFilter> {
    let text = filter.expression.as_ref()?;
    Some(ReviewedFilter {
        path: text.path.clone(),
        source: text.value.to_string(),
        events: trigger.events_of(filter).map(str::to_owned).collect(),
        delivers_on_error: filter.delivers_on_error(),
    })
}

/// The problem of a value that is no JSON object.
#[must_use]
pub fn not_an_object(path: &str) -> Problem {
    Problem::new(problem::code::FORM, path, "a trigger is an object")
}
