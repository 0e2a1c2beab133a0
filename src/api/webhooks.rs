//! The API of Jira's dynamic webhooks, for Connect apps (JWT) and OAuth 2.0 apps (bearer token).
//!
//! **Source:** Jira Cloud platform REST API, "Webhooks"; versions 2 and 3 are the same. Added to
//! it: `PUT /rest/api/3/webhook/{id}` changes a webhook in place.

use std::sync::Arc;

use axum::extract::{FromRequestParts, RawQuery, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::from_fn;
use axum::routing::{get, put};
use axum::{Json, Router};
use serde_json::{Map, Value, json};
use url::Url;

use super::auth::bearer;
use super::error::WebhookError;
use super::extract::{JsonObject, PathId};
use super::jwt::connect_installation;
use super::operator::insert_some;
use super::query_params::QueryParams;
use super::{ApiError, Shared, metrics, route};
use crate::clock;
use crate::delivery::FailedWebhook;
use crate::domain::Product;
use crate::registry::{
    AppliedInstallation, DynamicWebhook, InstallationState, Problem, WebhookOwner, WebhookSpec,
    code, digest,
};

const V3: &str = "/rest/api/3/webhook";
const PATHS: [&str; 2] = [V3, "/rest/api/2/webhook"];
/// How long failed webhooks are listed, in milliseconds; the vendor's 72 hours.
const FAILED_KEPT_MS: i64 = 72 * 3600 * 1000;
/// Maximum number of webhooks on one page.
const RESULTS_MAX: usize = 100;
/// Maximum number of webhooks in one request.
const WEBHOOKS_MAX: usize = 1000;

pub(super) fn routes() -> Router<Shared> {
    let mut router = Router::new();
    for path in PATHS {
        router = route(router, path, &get(list).post(register).delete(remove));
        router = route(router, &format!("{path}/refresh"), &put(refresh));
        router = route(router, &format!("{path}/failed"), &get(failed));
        router = route(router, &format!("{path}/{{id}}"), &put(change));
    }
    router.route_layer(from_fn(|request, next| metrics::count("webhook", request, next)))
}

/// An authenticated app, with the owner of its webhooks.
struct WebhookCaller {
    installation: Arc<AppliedInstallation>,
    owner: WebhookOwner,
}

impl FromRequestParts<Shared> for WebhookCaller {
    type Rejection = WebhookError;

    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, WebhookError> {
        webhook_caller(parts, state).map_err(|reason| {
            metrics::auth_failed(reason);
            ApiError::NotAnApp.into()
        })
    }
}

fn webhook_caller(parts: &Parts, state: &Shared) -> Result<WebhookCaller, &'static str> {
    let registry = &state.registry;
    let (installation, user, signed) = match bearer(&parts.headers) {
        Some(token) => {
            let client = registry.client_by_token(&digest(token)).ok_or("unknown_token")?;
            let installation = registry.installation(client.installation.as_str());
            (installation.ok_or("no_installation")?, Some(client.user.clone()), None)
        }
        None => {
            let (installation, signed) = connect_installation(parts, registry)?;
            (installation, None, Some(signed))
        }
    };
    let record = &installation.record;
    if record.state != InstallationState::Enabled || record.product != Product::Jira {
        return Err("not_enabled");
    }
    let owner = WebhookOwner { installation: record.id.clone(), user, signed };
    Ok(WebhookCaller { installation, owner })
}

async fn register(
    State(state): State<Shared>,
    caller: WebhookCaller,
    body: Result<JsonObject, ApiError>,
) -> Result<Json<Value>, WebhookError> {
    state.registry.check_rate_limit(&caller.installation.record.id)?;
    let JsonObject(body) = body?;
    let url = body.get("url").and_then(Value::as_str).unwrap_or_default();
    check_url(&state, url)?;
    let Some(Value::Array(elements)) = body.get("webhooks") else {
        let message = "this is a list of webhooks";
        return Err(ApiError::from(Problem::new(code::MISSING, "webhooks", message)).into());
    };
    if elements.len() > WEBHOOKS_MAX {
        let message = format!("a request has at most {WEBHOOKS_MAX} webhooks");
        return Err(ApiError::from(Problem::new(code::FORM, "webhooks", message)).into());
    }
    let specs = elements.iter().map(WebhookSpec::read).collect();
    let results = state.registry.dynamic_webhooks().register(&caller.owner, url, specs).await?;
    let results = results.into_iter().map(|result| match result {
        Ok(id) => json!({"createdWebhookId": id}),
        Err(errors) => json!({"errors": errors}),
    });
    Ok(Json(json!({"webhookRegistrationResult": results.collect::<Vec<_>>()})))
}

fn check_url(state: &Shared, text: &str) -> Result<(), ApiError> {
    let checked = Url::parse(text).map_err(|error| error.to_string());
    let refused = checked.and_then(|url| (state.check_url)(&url)).err();
    refused.map_or(Ok(()), |reason| Err(Problem::new(code::ADDRESS, "url", reason).into()))
}

async fn list(
    State(state): State<Shared>,
    caller: WebhookCaller,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, WebhookError> {
    let query = QueryParams::parse(query.as_deref());
    let start = query.number("startAt")?.unwrap_or(0);
    let max = query.number("maxResults")?.unwrap_or(RESULTS_MAX).min(RESULTS_MAX);
    let all = state.registry.dynamic_webhooks().list(&caller.owner);
    let page: Vec<Value> = all.iter().skip(start).take(max).map(webhook_view).collect();
    Ok(Json(json!({
        "startAt": start,
        "maxResults": max,
        "total": all.len(),
        "isLast": start.saturating_add(page.len()) >= all.len(),
        "values": page,
    })))
}

fn webhook_view(webhook: &DynamicWebhook) -> Value {
    let mut shown = json!(webhook);
    if let Value::Object(members) = &mut shown {
        // The caller is this user.
        members.remove("user");
    }
    shown
}

async fn remove(
    State(state): State<Shared>,
    caller: WebhookCaller,
    body: Result<JsonObject, ApiError>,
) -> Result<StatusCode, WebhookError> {
    let JsonObject(body) = body?;
    state.registry.check_rate_limit(&caller.installation.record.id)?;
    state.registry.dynamic_webhooks().remove(&caller.owner, &webhook_ids(&body)?).await?;
    Ok(StatusCode::ACCEPTED)
}

async fn refresh(
    State(state): State<Shared>,
    caller: WebhookCaller,
    body: Result<JsonObject, ApiError>,
) -> Result<Json<Value>, WebhookError> {
    let JsonObject(body) = body?;
    state.registry.check_rate_limit(&caller.installation.record.id)?;
    let expires_ms =
        state.registry.dynamic_webhooks().refresh(&caller.owner, &webhook_ids(&body)?).await?;
    Ok(Json(json!({"expirationDate": expires_ms})))
}

async fn change(
    State(state): State<Shared>,
    caller: WebhookCaller,
    PathId(id): PathId,
    body: Result<JsonObject, ApiError>,
) -> Result<Json<Value>, WebhookError> {
    let JsonObject(body) = body?;
    state.registry.check_rate_limit(&caller.installation.record.id)?;
    let id = id.parse().map_err(|_| ApiError::NotFound)?;
    let spec = WebhookSpec::read(&Value::Object(body)).map_err(|problems| {
        let problem = |message| Problem::new(code::FORM, "", message);
        ApiError::Invalid(problems.into_iter().map(problem).collect())
    })?;
    Ok(Json(webhook_view(
        &state.registry.dynamic_webhooks().change(&caller.owner, id, spec).await?,
    )))
}

/// Lists webhooks that were dead-lettered within the last three days, oldest first.
async fn failed(
    State(state): State<Shared>,
    caller: WebhookCaller,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, WebhookError> {
    if caller.owner.user.is_some() {
        return Err(ApiError::NotAnApp.into());
    }
    let query = QueryParams::parse(query.as_deref());
    let after_ms = query.number("after")?.and_then(|after| i64::try_from(after).ok());
    let max = query.number("maxResults")?.unwrap_or(RESULTS_MAX).min(RESULTS_MAX);
    let oldest_ms = clock::now_ms().saturating_sub(FAILED_KEPT_MS);
    let after_ms = after_ms.unwrap_or(oldest_ms).max(oldest_ms);
    let record = &caller.installation.record;
    let rows = state.failed_webhooks.list(&record.app, &record.id, after_ms, max).await;
    let rows = rows.map_err(ApiError::Unavailable)?;
    let next = rows.last().map(|last| next_page_url(&state, last.failed_ms, max));
    let mut answer =
        json!({"maxResults": max, "values": Vec::from_iter(rows.iter().map(failed_view))});
    insert_some(&mut answer, "next", next);
    Ok(Json(answer))
}

fn failed_view(failed: &FailedWebhook) -> Value {
    let mut shown = json!({"id": failed.id, "url": failed.url, "failureTime": failed.failed_ms});
    insert_some(&mut shown, "body", failed.body.as_ref());
    shown
}

/// Returns the URL of the next page, which may be empty.
fn next_page_url(state: &Shared, after_ms: i64, max: usize) -> String {
    let base = &state.registry.settings().public_url;
    format!("{base}{V3}/failed?maxResults={max}&after={after_ms}")
}

fn webhook_ids(body: &Map<String, Value>) -> Result<Vec<u64>, ApiError> {
    let ids = body.get("webhookIds").and_then(Value::as_array);
    let ids = ids.and_then(|ids| ids.iter().map(Value::as_u64).collect::<Option<Vec<_>>>());
    ids.ok_or_else(|| {
        Problem::new(code::MISSING, "webhookIds", "this is a list of webhook ids").into()
    })
}
