//! Review of a trigger without registration, for offline tools.

use serde_json::{Map, Value};

use super::model::{Problem, code};
use super::validation::{ProgramCache, Trigger, TriggerFilter, ValidationRules};

/// Result of a review.
#[derive(Clone, Debug, Default)]
pub struct Review {
    /// Errors, except those of filters.
    pub problems: Vec<Problem>,
    /// Warnings, except those of filters.
    pub warnings: Vec<Problem>,
    /// Its filters; empty if the form is invalid.
    pub filters: Vec<ReviewedFilter>,
    /// Its event types; empty if the form is invalid.
    pub events: Vec<String>,
    /// Top-level issue fields kept in the delivered body; empty = all.
    pub fields: Vec<String>,
}

/// An expression of a trigger and its use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReviewedFilter {
    /// Its path, such as `data.filter.expression`.
    pub path: String,
    /// The expression.
    pub source: String,
    /// The event types it applies to.
    pub events: Vec<String>,
    /// Whether an evaluation error delivers the event.
    pub delivers_on_error: bool,
}

/// Reviews the data of a trigger at `path`. Handlers and scopes are not checked, because there is
/// no app.
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
    // Problems inside of an expression are reported with the expression.
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

/// The problem of a value that is not a JSON object.
#[must_use]
pub fn not_an_object(path: &str) -> Problem {
    Problem::new(code::FORM, path, "a trigger is an object")
}
