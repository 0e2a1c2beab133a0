//! Says which name of a path does not exist, and which one may be meant.

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{MatchedPath, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use serde_json::Value;

use crate::api::access::Viewer;
use crate::api::error::{ApiError, NoSuchRecord};
use crate::api::json::insert_some;
use crate::api::query_params::QueryParams;
use crate::api::state::{ApiState, Shared};
use crate::api::suggest::help_with;
use crate::api::unknown_names::{
    NO_SUCH, no_access_token, no_app, no_client, no_installation, no_module, no_site,
    no_subscription, no_such,
};
use crate::registry::Problem;

/// Last segments of paths that name a part of a record which not every record has.
const PARTS: [(&str, &str); 3] = [
    ("shadow", "shadow"),
    ("previous-secret", "previous secret"),
    ("discovery", "discovery of modules"),
];

/// Middleware that explains an answer 404: which of the names in the path there is not.
pub(super) async fn explain(
    State(state): State<Shared>,
    path: MatchedPath,
    params: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let response = next.run(request).await;
    // A name that is not UTF-8 is not there.
    let (Some(_), Ok(params)) = (response.extensions().get::<NoSuchRecord>(), params) else {
        return Ok(response);
    };
    let named: Vec<&str> = params.iter().map(|(_, value)| value).collect();
    match problem(&state, path.as_str(), &named) {
        Some(problem) => Err(ApiError::no_such_name(problem)),
        None => Ok(response),
    }
}

/// Returns the problem of the first name that does not exist in a path below `/admin/v1`.
fn problem(state: &ApiState, path: &str, named: &[&str]) -> Option<Problem> {
    let path = path.trim_end_matches('/');
    let (kind, id) = (path.split('/').nth(3)?, *named.first()?);
    let (second, rest) = (named.get(1).copied(), path.rsplit('/').next().unwrap_or_default());
    match (kind, rest) {
        ("apps", _) => {
            no_app(state, id).or_else(|| second.and_then(|key| no_endpoint(state, id, key)))
        }
        ("installations", rest) => no_installation(state, id)
            .or_else(|| second.and_then(|key| no_module(&*state.registry.installation(id)?, key)))
            .or_else(|| no_part("installation", id, rest)),
        ("subscriptions", rest) => no_subscription(state, id)
            .or_else(|| second.map(|n| no_revision(id, n)))
            .or_else(|| no_part("subscription", id, rest)),
        ("oauth-clients", rest) => {
            no_client(state, id).or_else(|| no_part("OAuth client", id, rest))
        }
        ("tokens", _) => no_access_token(state, id),
        ("dlq", _) if path.contains("/redrives/") => Some(no_job("redrive", id, "/dlq/redrives")),
        ("dlq", _) => Some(no_such(
            format!("there is no dead letter `{id}`"),
            "it was redriven, deleted or is older than its stream keeps it; `switchyard dlq ls` lists them",
        )),
        ("deliveries", _) => Some(no_such(
            format!("the delivery log has no delivery `{id}`"),
            "an id begins with `dlv_`; `switchyard deliveries ls` lists those that are kept",
        )),
        ("audit-log", _) => Some(no_such(
            format!("the audit log has no entry `{id}`"),
            "an id is `<milliseconds>-<16 digits>`; `switchyard audit ls` lists those that are kept",
        )),
        ("events", _) => Some(no_such(
            format!("neither the event stream nor the delivery log has the event `{id}`"),
            "an event is `<cloudId>/<event id>`, percent-encoded in a path, or its sequence in the stream",
        )),
        ("sites", _) => no_site(state, id),
        ("replays", _) => Some(no_job("replay", id, "/replays")),
        ("erasures", _) => Some(no_job("erasure", id, "/erasures")),
        _ => None,
    }
}

fn no_part(kind: &str, id: &str, part: &str) -> Option<Problem> {
    let part = PARTS.iter().find(|(name, _)| *name == part);
    part.map(|(_, part)| Problem::new(NO_SUCH, "", format!("{kind} `{id}` has no {part}")))
}

fn no_job(kind: &str, id: &str, path: &str) -> Problem {
    no_such(format!("there is no {kind} `{id}`"), format!("`GET /admin/v1{path}` lists them"))
}

fn no_revision(id: &str, number: &str) -> Problem {
    let help = "`GET /admin/v1/subscriptions/{id}/revisions` lists those that are kept";
    no_such(format!("subscription `{id}` has no revision `{number}`"), help)
}

fn no_endpoint(state: &ApiState, app: &str, key: &str) -> Option<Problem> {
    let known = state.registry.app(app)?;
    let keys = known.record.endpoints.iter().map(|endpoint| endpoint.key.as_str());
    let help = help_with(key, keys).unwrap_or_else(|| "the app declares no endpoint".into());
    Some(no_such(format!("app `{app}` has no such endpoint, or no such secret: `{key}`"), help))
}

/// Adds `hints` to a list that has nothing. It is no error that a filter names what is not
/// registered: it may be deleted since.
pub(super) fn with_hints(
    state: &ApiState,
    viewer: &Viewer,
    params: &QueryParams,
    mut view: Value,
) -> Value {
    let is_empty = ["items", "subscriptions"]
        .into_iter()
        .any(|name| view.get(name).and_then(Value::as_array).is_some_and(Vec::is_empty));
    // They have the names of others.
    let hints = match is_empty && viewer.is_operator() {
        true => hints(state, params),
        false => Vec::new(),
    };
    insert_some(&mut view, "hints", Some(hints).filter(|hints| !hints.is_empty()));
    view
}

fn hints(state: &ApiState, params: &QueryParams) -> Vec<String> {
    let site = params.get("site").and_then(|site| no_site(state, site));
    let installation = params.get("installation").and_then(|id| no_installation(state, id));
    let subscription = params.get("subscription").and_then(|id| no_subscription(state, id));
    let app = params.get("app").and_then(|id| no_app(state, id));
    let found = [site, installation, app, subscription].into_iter().flatten();
    found.map(|problem| problem.sentence()).collect()
}
