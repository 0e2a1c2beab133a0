//! Requests to the registration APIs as input of `check`: they are parsed and judged by the code of the
//! APIs.

use clap::ValueEnum;
use serde_json::{Map, Value};
use switchyard_expr::Severity;

use super::input::{CheckInput, ModuleKeyText, Source, forge_module};
use crate::api::{self, ApiError, ModuleBody};
use crate::domain::Product;
use crate::registry::review::{Review, Reviewer};
use crate::registry::{ConnectModule, Problem, WEBHOOKS, code};

/// The API that a request is meant for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum RequestApi {
    /// Forge modules with keys that the app chooses
    ForgeV1,
    /// Forge modules with keys that the server assigns
    ForgeV2,
    /// Dynamic modules of Connect apps in Jira
    ConnectJira,
    /// Dynamic modules of Connect apps in Confluence
    ConnectConfluence,
    /// Dynamic webhooks of Jira
    Webhooks,
    /// Descriptor of a Connect app: its webhooks, which are static modules
    ConnectApp,
    /// App record, as for `PUT /admin/v1/apps/{id}`
    App,
}

impl RequestApi {
    /// Returns the API of a request, by its members; none if it is no request, but the data of a
    /// trigger or a line of a registration file.
    pub(super) fn of(body: &Map<String, Value>) -> Option<Self> {
        let is_list = |name: &str| body.get(name).is_some_and(Value::is_array);
        if body.contains_key("installationId") {
            return None;
        }
        if body.contains_key("baseUrl") && body.get("modules").is_some_and(Value::is_object) {
            return Some(Self::ConnectApp);
        }
        if body.get("kind").is_some_and(Value::is_string) {
            return Some(Self::App);
        }
        if is_list("webhooks") && body.contains_key("url") {
            return Some(Self::Webhooks);
        }
        if body.contains_key("data") || (body.contains_key("type") && !is_list("events")) {
            let is_keyed = body.contains_key("key");
            return Some(if is_keyed { Self::ForgeV1 } else { Self::ForgeV2 });
        }
        (is_list(WEBHOOKS) || body.contains_key("modules")).then_some(Self::ConnectJira)
    }

    fn product(self) -> Product {
        match self {
            Self::ConnectConfluence => Product::Confluence,
            _ => Product::Jira,
        }
    }
}

/// Reviews a request to an API.
pub(super) fn read(
    reviewer: Reviewer,
    api: RequestApi,
    source: &Source,
    body: Map<String, Value>,
) -> (Vec<CheckInput>, Reviewer) {
    let reviewer = reviewer.installed_in(api.product());
    let inputs = match api {
        RequestApi::ForgeV1 => ModuleBody::read(body)
            .and_then(ModuleBody::keyed)
            .map(|(spec, key)| vec![forge_module(&reviewer, source, &spec, Some(key.as_str()))]),
        RequestApi::ForgeV2 => ModuleBody::read(body)
            .and_then(ModuleBody::without_key)
            .map(|spec| vec![forge_module(&reviewer, source, &spec, None)]),
        RequestApi::ConnectJira | RequestApi::ConnectConfluence => {
            api::connect_modules(body).map(|modules| {
                let review = |module: ConnectModule| {
                    let review = reviewer.connect_module(&module);
                    let key = module.data.get("key").and_then(Value::as_str);
                    let key = key.map(|key| ModuleKeyText {
                        text: key.to_owned(),
                        owner: String::new(),
                        path: format!("{}.key", module.path),
                    });
                    CheckInput { key, ..of_review(source, review) }
                };
                modules.into_iter().map(review).collect()
            })
        }
        RequestApi::ConnectApp => Ok(descriptor(&reviewer, source, &body)),
        RequestApi::App => {
            api::app_spec(body).map(|spec| vec![of_review(source, reviewer.app(&spec))])
        }
        RequestApi::Webhooks => api::webhook_elements(&body).map(|elements| {
            let review = |(at, element)| {
                of_review(source, reviewer.dynamic_webhook(element, &format!("webhooks[{at}]")))
            };
            elements.iter().enumerate().map(review).collect()
        }),
    };
    let inputs = inputs.unwrap_or_else(|error| {
        let problems = problems_of(error).into_iter().map(|problem| (Severity::Error, problem));
        vec![CheckInput::of_problems(source.origin(), problems.collect())]
    });
    (inputs, reviewer)
}

/// Reviews the modules of a descriptor. Its webhooks are inputs, the first of which has all problems.
fn descriptor(reviewer: &Reviewer, source: &Source, body: &Map<String, Value>) -> Vec<CheckInput> {
    let Some(modules) = body.get("modules") else { return Vec::new() };
    let count = match modules.get(WEBHOOKS) {
        Some(Value::Array(items)) => items.len(),
        Some(_) => 1,
        None => 0,
    };
    let all = CheckInput {
        is_module: count > 0,
        ..of_review(source, reviewer.descriptor_modules(modules))
    };
    let others = (1..count).map(|_| of_review(source, Review::default()));
    std::iter::once(all).chain(others).collect()
}

fn of_review(source: &Source, review: Review) -> CheckInput {
    let errors = review.problems.into_iter().map(|problem| (Severity::Error, problem));
    let warnings = review.warnings.into_iter().map(|problem| (Severity::Warning, problem));
    let problems = errors.chain(warnings).collect();
    CheckInput { is_module: true, ..CheckInput::of_problems(source.origin(), problems) }
}

fn problems_of(error: ApiError) -> Vec<Problem> {
    match error {
        ApiError::Invalid(problems) => problems,
        other => vec![Problem::new(code::FORM, "", format!("{other:?}"))],
    }
}
