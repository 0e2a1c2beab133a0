//! Validation of a trigger: form, names, filters, scopes.
//!
//! All or nothing: a trigger is accepted whole or rejected with every problem.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};
use switchyard_expr::{Program, Usage};

use super::catalog;
use super::program_cache::ProgramCache;
use super::suggestions::Suggestions;
use super::trigger::{HandlerRef, Trigger, TriggerEvent, TriggerFilter};
use crate::domain::Product;
use crate::event::sources::{SOURCES, source_of};
use crate::registry::model::{AppRecord, Problem, code};

/// A validated trigger.
#[derive(Clone, Debug, Default)]
pub struct ValidatedTrigger {
    /// Entity-property paths it reads or delivers, normalised.
    pub property_paths: BTreeSet<String>,
    /// Warnings for its author.
    pub warnings: Vec<Problem>,
    /// Cost of its filters, in their order.
    pub complexity: Vec<FilterCost>,
    /// Its programs, kept alive until the registration is applied.
    pub programs: Vec<Arc<Program>>,
}

/// Different texts of property paths that a trigger may declare. Each is a member of its deliveries,
/// also if it is another spelling of the same path, which the limit of paths counts once.
pub(crate) const DECLARED_PATHS_MAX: usize = 25;

/// Handlers of the app that the problem of an unknown one names. Each trigger may have this problem, so a
/// list of all would grow with the product of both.
const HANDLERS_SHOWN_MAX: usize = 10;

/// How the cost of a filter grows with the lists it iterates.
///
/// **Shape:** `{"path", "expression", "variables"}`, such as `6*N + 21` with `N` the length of
/// `event.changelog.items`.
///
/// **Source:** Forge events page, "Filter out events"; the vendor reports it when an app is
/// deployed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FilterCost {
    /// Path of the expression, such as `data.filter.expression`.
    pub path: String,
    /// The formula and the meaning of its variables.
    #[serde(flatten)]
    pub formula: Value,
}

/// What a trigger is validated against.
#[derive(Clone, Copy, Debug)]
pub struct ValidationRules<'a> {
    /// The app that registers it; if none, neither handlers nor scopes are checked.
    pub app: Option<&'a AppRecord>,
    /// The product that it is registered for, if that is known.
    pub product: Option<Product>,
    /// Whether an unknown event type is only a warning.
    pub allow_unknown_events: bool,
    /// Compiled filters.
    pub programs: &'a ProgramCache,
    /// Suggestions for unknown names of the request.
    pub suggestions: &'a Suggestions,
}

impl ValidationRules<'_> {
    /// Validates the data of a trigger at `path` of its request.
    ///
    /// # Errors
    /// Every problem: of its form first; if that is valid, of names and filters.
    pub fn check(
        &self,
        data: &Map<String, Value>,
        path: &str,
    ) -> Result<ValidatedTrigger, Vec<Problem>> {
        let trigger = Trigger::parse(data, path)?;
        let mut problems = Vec::new();
        let mut warnings = Vec::new();
        let mut programs = Vec::new();
        let mut complexity = Vec::new();
        for event in &trigger.events {
            self.event(event, &mut problems, &mut warnings);
        }
        problems.extend(self.handler(&trigger.handler));
        for filter in &trigger.filters {
            if let Some(text) = &filter.expression {
                let events: Vec<&str> = trigger.events_of(filter).collect();
                let delivers_on_error = filter.delivers_on_error();
                let usage = Usage { events: &events, delivers_on_error };
                match self.programs.check(&text.value, &text.path, &usage) {
                    Ok(compiled) => {
                        programs.push(compiled.program);
                        let formula = compiled.complexity.as_json();
                        complexity.push(FilterCost { path: text.path.clone(), formula });
                        warnings.extend(compiled.warnings);
                    }
                    Err(found) => problems.extend(found),
                }
            }
            warnings.extend(ineffective_on_error(filter));
        }
        problems.extend(declared_paths_problem(&trigger));
        if !problems.is_empty() {
            return Err(problems);
        }
        warnings.extend(trigger.events.iter().filter_map(|event| self.of_other_product(event)));
        let property_paths = self.programs.property_paths(&trigger);
        if !property_paths.is_empty() {
            let events = trigger.events.iter();
            warnings.extend(events.filter_map(|event| without_properties(event, &property_paths)));
        }
        Ok(ValidatedTrigger { property_paths, warnings, complexity, programs })
    }

    fn event(
        &self,
        event: &TriggerEvent,
        problems: &mut Vec<Problem>,
        warnings: &mut Vec<Problem>,
    ) {
        let name = event.event_type.value.as_str();
        let path = &event.event_type.path;
        let Some(known) = catalog::find(name) else {
            let mut problem =
                Problem::new(code::UNKNOWN_EVENT, path, format!("no such event `{name}`"));
            let near = self.suggestions.event_type(name);
            problem.help = near.map(|near| format!("did you mean `{near}`?"));
            if self.allow_unknown_events {
                warnings.push(problem)
            } else {
                problems.push(problem)
            }
            return;
        };
        let granted = self.app.map_or(&[] as &[String], |app| &app.scopes);
        if granted.is_empty() {
            return;
        }
        for scope in known.scopes.missing(granted) {
            let message = format!("`{name}` needs the scope {scope}, which the app does not have");
            problems.push(Problem::new(code::SCOPE, path, message));
        }
    }

    /// Warns about an event of a product that the app is not installed in.
    fn of_other_product(&self, event: &TriggerEvent) -> Option<Problem> {
        let name = event.event_type.value.as_str();
        let own = source_of(self.product?);
        let other = SOURCES.into_iter().find(|source| source.has_event_type(name))?;
        (!own.has_event_type(name)).then(|| {
            let message = format!(
                "`{name}` never happens here: the app is installed in {}, not in {}",
                own.title(),
                other.title()
            );
            Problem::new(code::NEVER_FIRES, &event.event_type.path, message)
        })
    }

    fn handler(&self, handler: &HandlerRef) -> Option<Problem> {
        let app = self.app?;
        let (what, named) = handler.member();
        let known = match handler {
            HandlerRef::Function(_) => app.functions.clone(),
            HandlerRef::Endpoint(_) => {
                app.endpoints.iter().map(|endpoint| endpoint.key.clone()).collect()
            }
        };
        if known.contains(&named.value) {
            return None;
        }
        let message = format!("the app has no {what} `{}`", named.value);
        let problem = Problem::new(code::UNKNOWN_HANDLER, &named.path, message);
        Some(match known.as_slice() {
            [] => problem.with_help(format!("the app declares no {what}")),
            known => problem.with_help(format!("it has {}", names(known))),
        })
    }
}

/// Returns the first of these names, and how many more there are.
fn names(all: &[String]) -> String {
    let shown = all.get(..HANDLERS_SHOWN_MAX).unwrap_or(all);
    match all.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn ineffective_on_error(filter: &TriggerFilter) -> Option<Problem> {
    (filter.on_error.is_some() && filter.expression.is_none()).then(|| {
        let message = "without an expression nothing can fail, so onError has no effect";
        Problem::new(code::IDLE_ON_ERROR, format!("{}.onError", filter.path), message)
    })
}

/// Warns about an event on which the paths are null. Properties of issue types are read on events of
/// issues and comments only.
///
/// **Source:** Forge, "Atlassian app events", entity properties in filters.
fn without_properties(event: &TriggerEvent, paths: &BTreeSet<String>) -> Option<Problem> {
    const OF_TYPES: &str = "issuetype.";
    let name = event.event_type.value.as_str();
    let known = catalog::find(name)?;
    let has_types = [":issue", ":comment"].iter().any(|end| name.ends_with(end));
    let message = if !known.properties {
        format!("`{name}` offers no entity properties; their paths are null on it")
    } else if !has_types && paths.iter().any(|path| path.starts_with(OF_TYPES)) {
        format!("`{name}` offers no properties of issue types; their paths are null on it")
    } else {
        return None;
    };
    Some(Problem::new(code::NO_PROPERTIES, &event.event_type.path, message))
}

/// Limits the texts of property paths that a trigger declares, in whatever spelling.
fn declared_paths_problem(trigger: &Trigger) -> Option<Problem> {
    let texts: BTreeSet<&str> =
        trigger.property_paths.iter().map(|declared| declared.path.value.as_str()).collect();
    let last = trigger.property_paths.last().filter(|_| texts.len() > DECLARED_PATHS_MAX)?;
    let used = texts.len();
    let message = format!("{used} property paths are declared, the limit is {DECLARED_PATHS_MAX}");
    Some(Problem::new(code::PROPERTY_PATHS_MAX, &last.path.path, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::testing::forge_app;
    use serde_json::json;

    fn check(data: Value, allow_unknown_events: bool) -> Result<ValidatedTrigger, Vec<Problem>> {
        let (app, programs) = (forge_app(), ProgramCache::default());
        let rules = ValidationRules {
            app: Some(&app),
            product: Some(Product::Jira),
            allow_unknown_events,
            programs: &programs,
            suggestions: &Suggestions::default(),
        };
        rules.check(data.as_object().unwrap(), "data")
    }

    fn rejected(data: Value) -> Vec<Problem> {
        check(data, false).err().unwrap()
    }

    #[test]
    fn unknown_event_is_rejected_with_a_suggestion() {
        let data = json!({"events": ["avi:jira:created:comment"], "function": "main"});
        let problems = rejected(data.clone());
        assert_eq!(problems[0].code, code::UNKNOWN_EVENT);
        assert!(problems[0].sentence().contains("avi:jira:commented:issue"));
        let warnings = check(data, true).unwrap().warnings;
        assert_eq!(warnings[0].code, code::UNKNOWN_EVENT);
    }

    #[test]
    fn event_of_another_product_is_accepted_with_a_warning() {
        let event = "avi:confluence:performed:search";
        let (mut app, programs) = (forge_app(), ProgramCache::default());
        app.scopes.clear();
        let warnings = |product| {
            let rules = ValidationRules {
                app: Some(&app),
                product,
                allow_unknown_events: false,
                programs: &programs,
                suggestions: &Suggestions::default(),
            };
            let data = json!({"events": [event], "function": "main"});
            rules.check(data.as_object().unwrap(), "data").unwrap().warnings
        };
        assert_eq!(warnings(Some(Product::Jira))[0].code, code::NEVER_FIRES);
        assert_eq!(warnings(Some(Product::Confluence)), []);
        assert_eq!(warnings(None), []);
    }

    #[test]
    fn missing_scope_is_reported() {
        let problems =
            rejected(json!({"events": ["avi:jira-software:created:board"], "function": "main"}));
        assert_eq!(problems.len(), 1);
        assert!(problems[0].message.contains("read:jira-user"));
    }

    #[test]
    fn app_without_scopes_is_not_checked_for_them() {
        let (mut app, programs) = (forge_app(), ProgramCache::default());
        app.scopes.clear();
        let rules = ValidationRules {
            app: Some(&app),
            product: None,
            allow_unknown_events: false,
            programs: &programs,
            suggestions: &Suggestions::default(),
        };
        let data = json!({"events": ["avi:jira:created:user"], "function": "main"});
        assert!(rules.check(data.as_object().unwrap(), "data").is_ok());
    }

    #[test]
    fn handlers_are_those_of_the_app() {
        let event = "avi:jira:created:issue";
        assert!(check(json!({"events": [event], "endpoint": "hook"}), false).is_ok());
        let problems = rejected(json!({"events": [event], "endpoint": "nowhere"}));
        assert!(problems[0].sentence().contains("nowhere"));
        assert!(problems[0].sentence().contains("hook"));
        let problems = rejected(json!({"events": [event], "function": "hook"}));
        assert_eq!(problems[0].code, code::UNKNOWN_HANDLER);
    }

    #[test]
    fn names_and_filters_are_reported_together() {
        let problems = rejected(json!({
            "events": ["nothing"], "endpoint": "nowhere", "filter": {"expression": "((("},
        }));
        assert_eq!(problems[0].code, code::UNKNOWN_EVENT);
        assert_eq!(problems[1].code, code::UNKNOWN_HANDLER);
        assert!(problems[2].range.is_some());
    }

    #[test]
    fn property_paths_in_different_spellings_are_one() {
        let accepted = check(
            json!({"events": ["avi:jira:created:issue"], "function": "main", "payload": {"include":
                {"propertyPaths": ["issue.properties['k'].a.b", "issue.properties['k']['a.b']"]}}}),
            false,
        );
        assert_eq!(accepted.unwrap().property_paths.len(), 1);
    }

    #[test]
    fn spellings_of_one_property_path_are_limited() {
        let spelled = |count: usize| {
            let paths = (0..count).map(|n| format!("issue.properties[{}'k'].a", " ".repeat(n)));
            let include = json!({"propertyPaths": paths.collect::<Vec<_>>()});
            let trigger = json!({"events": ["avi:jira:created:issue"], "function": "main",
                "payload": {"include": include}});
            check(trigger, false)
        };
        assert_eq!(spelled(DECLARED_PATHS_MAX).unwrap().property_paths.len(), 1);
        let problems = spelled(DECLARED_PATHS_MAX + 1).unwrap_err();
        assert_eq!((problems.len(), &*problems[0].code), (1, code::PROPERTY_PATHS_MAX));
    }

    #[test]
    fn odd_but_legal_triggers_are_accepted_with_a_warning() {
        let accepted = check(
            json!({"events": ["avi:jira:viewed:issue"], "function": "main",
                "filter": {"ignoreSelf": true, "onError": "RECEIVE"},
                "payload": {"include": {"propertyPaths": ["issue.properties['k']"]}}}),
            false,
        );
        let codes: Vec<_> = accepted.unwrap().warnings.into_iter().map(|w| w.code).collect();
        assert_eq!(codes, [code::IDLE_ON_ERROR, code::NO_PROPERTIES]);
    }

    #[test]
    fn properties_of_issue_types_are_on_events_of_issues_and_comments() {
        for (event, entity, warned) in [
            ("avi:jira:created:attachment", "issuetype", true),
            ("avi:jira:created:worklog", "issuetype", true),
            ("avi:jira:created:issuelink", "issue", false),
            ("avi:jira:updated:issue", "issuetype", false),
            ("avi:jira:deleted:comment", "issuetype", false),
        ] {
            let path = format!("{entity}.properties['k'].v");
            let accepted = check(
                json!({"events": [event], "function": "main",
                    "payload": {"include": {"propertyPaths": [path]}}}),
                false,
            );
            let found = accepted.unwrap().warnings;
            assert_eq!(found.iter().any(|w| w.code == code::NO_PROPERTIES), warned, "{event}");
        }
    }

    #[test]
    fn filters_are_checked_against_their_events() {
        let filter = |on_error: &str| json!({"expression": "event.changelog.items.length > 1", "onError": on_error});
        let both = ["avi:jira:created:issue", "avi:jira:updated:issue"];
        let data = json!({"events": both, "function": "main", "filter": filter("RECEIVE")});
        let warnings = check(data, false).unwrap().warnings;
        assert_eq!(warnings[0].code, "SY-3105");
        assert!(warnings[0].message.contains("onError delivers the event"), "{warnings:?}");
        assert_eq!(warnings[0].replacement.as_deref(), Some("?.items"));
        let data = json!({"events": [both[1]], "function": "main", "filter": filter("IGNORE")});
        assert_eq!(check(data, false).unwrap().warnings, []);
    }
}
