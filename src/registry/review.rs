//! Review of registrations without a store, for offline tools. Modules are judged by the rules that the
//! registration APIs use, so that both cannot differ.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::model::{AppRecord, Problem, TRIGGER, code};
use super::settings::Settings;
use super::validation::{
    AppSpec, ConnectModule, ModuleSpec, ProgramCache, StaticModules, Suggestions, Trigger,
    TriggerFilter, ValidationRules, WebhookDefinition, WebhookReview, WebhookSpec, key_problem,
    static_path_problem,
};
use crate::domain::{AppId, Product};

/// The member of a Connect descriptor that has its modules.
const MODULES: &str = "modules";

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

/// Judges registrations for one app.
pub struct Reviewer {
    /// The app; if none, neither handlers nor scopes are checked.
    app: Option<AppRecord>,
    product: Option<Product>,
    settings: Settings,
    programs: ProgramCache,
    suggestions: Suggestions,
}

impl Reviewer {
    /// Creates a reviewer that knows no app.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            app: None,
            product: None,
            settings,
            programs: ProgramCache::default(),
            suggestions: Suggestions::default(),
        }
    }

    /// Judges modules as those of this app.
    #[must_use]
    pub fn with_app(self, spec: AppSpec) -> Self {
        Self { app: Some(spec.without_secrets(&AppId::from("app"))), ..self }
    }

    /// Judges modules as those of an installation in this product.
    #[must_use]
    pub fn installed_in(self, product: Product) -> Self {
        Self { product: Some(product), ..self }
    }

    /// Reviews the data of a trigger at `path`.
    #[must_use]
    pub fn trigger(&self, data: &Map<String, Value>, path: &str) -> Review {
        let trigger = match Trigger::parse(data, path) {
            Ok(trigger) => trigger,
            Err(problems) => return Review { problems, ..Review::default() },
        };
        let (problems, warnings) = match self.rules().check(data, path) {
            Ok(accepted) => (Vec::new(), accepted.warnings),
            Err(problems) => (problems, Vec::new()),
        };
        // Problems inside of an expression are reported with the expression.
        let outside = |problem: &Problem| problem.range.is_none();
        let filters =
            trigger.filters.iter().filter_map(|filter| reviewed(&trigger, filter)).collect();
        Review {
            problems: problems.into_iter().filter(outside).collect(),
            warnings: warnings.into_iter().filter(outside).collect(),
            filters,
            events: trigger.events.iter().map(|event| event.event_type.value.to_string()).collect(),
            fields: trigger.fields,
        }
    }

    /// Reviews a trigger of a manifest, which has a key.
    #[must_use]
    pub fn static_trigger(&self, data: &Map<String, Value>, path: &str) -> Review {
        let mut review = self.trigger(data, path);
        let key_path = format!("{path}.key");
        let problem = match data.get("key") {
            Some(Value::String(key)) => key_problem(key, &key_path),
            Some(_) => Some(Problem::new(code::FORM, key_path, "a key is a string")),
            None => Some(Problem::new(code::MISSING, key_path, "a module of an app has a key")),
        };
        review.problems.extend(problem);
        review
    }

    /// Reviews a Forge module as submitted.
    #[must_use]
    pub fn forge_module(&self, spec: &ModuleSpec) -> Review {
        if spec.module_type == TRIGGER {
            return self.trigger(&spec.data, "data");
        }
        let accepts = self.settings.registry.accept_inert_types;
        let problems = spec.validate(&self.rules(), accepts).err().unwrap_or_default();
        Review { problems, ..Review::default() }
    }

    /// Reviews a Connect module as submitted.
    #[must_use]
    pub fn connect_module(&self, module: &ConnectModule) -> Review {
        let product = self.product.unwrap_or(Product::Jira);
        let nothing_declared =
            AppSpec::connect(StaticModules::default()).without_secrets(&AppId::from("app"));
        let app = self.app.as_ref().unwrap_or(&nothing_declared);
        let problems = module.validate(app, product, &self.programs).err().unwrap_or_default();
        let warnings = match WebhookDefinition::parse(&module.data, &module.path, product) {
            Ok(webhook) if problems.is_empty() && module.is_webhook() => {
                self.webhook_review(&[product], &module.path).warnings(&webhook)
            }
            _ => Vec::new(),
        };
        Review { problems, warnings, ..Review::default() }
    }

    /// Reviews the modules of a Connect descriptor, its member `modules`, as those of an app record. The
    /// warnings are complete even if there are problems.
    #[must_use]
    pub fn descriptor_modules(&self, modules: &Value) -> Review {
        let modules = match serde_path_to_error::deserialize(modules) {
            Ok(modules) => modules,
            Err(error) => {
                let path = error.path().to_string();
                let problem = Problem::new(code::FORM, path, error.into_inner().to_string());
                return Review { problems: vec![problem.inside(MODULES)], ..Review::default() };
            }
        };
        let review = self.app(&AppSpec::connect(modules));
        let in_descriptor = |found: Vec<Problem>| found.into_iter().map(in_descriptor).collect();
        let problems = in_descriptor(review.problems);
        Review { problems, warnings: in_descriptor(review.warnings), ..Review::default() }
    }

    /// Reviews an app as submitted, except for addresses that a deployment closes to deliveries. The
    /// warnings are complete even if there are problems.
    #[must_use]
    pub fn app(&self, spec: &AppSpec) -> Review {
        let id = AppId::from("app");
        let (unknown_events, programs) = (self.settings.allow_unknown_events, &self.programs);
        let paths_max = self.settings.limits.property_paths_per_installation;
        let problems = spec.problems(&id, &|_| Ok(()), unknown_events, paths_max, programs);
        let epic_fields = &self.settings.registry.epic_fields;
        let warnings = spec.warnings(&id, unknown_events, epic_fields, programs);
        Review { problems, warnings, ..Review::default() }
    }

    /// Reviews a dynamic webhook as submitted, at `path` of its request.
    #[must_use]
    pub fn dynamic_webhook(&self, element: &Value, path: &str) -> Review {
        let spec = match WebhookSpec::read(element, &self.suggestions) {
            Ok(spec) => spec,
            Err(messages) => {
                let problem = |message| Problem::new(code::FORM, path, message);
                let problems = messages.into_iter().map(problem).collect();
                return Review { problems, ..Review::default() };
            }
        };
        let located = |found: Vec<Problem>| found.into_iter().map(|p| p.inside(path)).collect();
        match spec.validate(&self.programs, &self.settings.registry.epic_fields) {
            Ok(valid) => Review { warnings: located(valid.warnings), ..Review::default() },
            Err(problems) => Review { problems: located(problems), ..Review::default() },
        }
    }

    /// Returns the problem of triggers that together with those of the app read more entity
    /// properties than an installation may; `path` is the path of the last of them.
    #[must_use]
    pub fn property_path_problem(
        &self,
        triggers: &[Map<String, Value>],
        path: &str,
    ) -> Option<Problem> {
        let statics = self.app.iter().flat_map(|app| app.static_modules.get(TRIGGER)).flatten();
        let all: Vec<_> = statics.chain(triggers).cloned().collect();
        let max = self.settings.limits.property_paths_per_installation;
        static_path_problem(&all, path, &self.programs, max)
    }

    fn rules(&self) -> ValidationRules<'_> {
        ValidationRules {
            app: self.app.as_ref(),
            product: self.product,
            allow_unknown_events: self.settings.allow_unknown_events,
            programs: &self.programs,
            suggestions: &self.suggestions,
        }
    }

    fn webhook_review<'a>(&'a self, products: &'a [Product], path: &'a str) -> WebhookReview<'a> {
        WebhookReview {
            products,
            epic_fields: &self.settings.registry.epic_fields,
            path,
            suggestions: &self.suggestions,
        }
    }
}

/// Replaces the path of a static module in an app record by its path in a descriptor.
fn in_descriptor(mut problem: Problem) -> Problem {
    if let Some(rest) = problem.path.strip_prefix("staticModules") {
        problem.path = format!("{MODULES}{rest}");
    }
    problem
}

fn reviewed(trigger: &Trigger, filter: &Arc<TriggerFilter>) -> Option<ReviewedFilter> {
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
