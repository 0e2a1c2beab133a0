//! Handlers that register, list, change, refresh and remove dynamic webhooks.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use url::Url;

use super::auth::WebhookCaller;
use super::error::WebhookError;
use super::paths::RESULTS_MAX;
use crate::api::error::ApiError;
use crate::api::extract::JsonObject;
use crate::api::openapi::NotFound;
use crate::api::query_params::QueryParams;
use crate::api::schema::{
    NewWebhooks, RegisteredWebhooks, WebhookExpiry, WebhookIds, WebhookPage, WebhookRegistration,
};
use crate::api::state::Shared;
use crate::delivery::EgressRefusal;
use crate::registry::{DynamicWebhook, Problem, Suggestions, WebhookSpec, code, normal_jql};

/// Maximum number of webhooks in one request.
const WEBHOOKS_MAX: usize = 1000;

/// Registers webhooks of the app.
#[utoipa::path(
    post, path = "", operation_id = "registerWebhooks", request_body = NewWebhooks,
    responses((status = 200, description = "What became of each.", body = RegisteredWebhooks))
)]
pub(super) async fn register(
    State(state): State<Shared>,
    caller: WebhookCaller,
    body: Result<JsonObject, ApiError>,
) -> Result<Json<Value>, WebhookError> {
    state.registry.check_rate_limit(&caller.installation.record.id)?;
    let JsonObject(body) = body?;
    let url = body.get("url").and_then(Value::as_str).unwrap_or_default();
    check_url(&state, url)?;
    let elements = elements(&body)?;
    let suggestions = Suggestions::default();
    let specs = elements.iter().map(|element| WebhookSpec::read(element, &suggestions)).collect();
    let results = state.registry.dynamic_webhooks().register(&caller.owner, url, specs).await?;
    let results = results.into_iter().map(|result| match result {
        Ok(id) => json!({"createdWebhookId": id}),
        Err(errors) => json!({"errors": errors}),
    });
    Ok(Json(json!({"webhookRegistrationResult": results.collect::<Vec<_>>()})))
}

/// Returns the webhooks of a registration request.
///
/// # Errors
/// There are none, or too many.
pub(crate) fn elements(body: &Map<String, Value>) -> Result<&[Value], ApiError> {
    let Some(Value::Array(elements)) = body.get("webhooks") else {
        let message = "this is a list of webhooks";
        return Err(Problem::new(code::MISSING, "webhooks", message).into());
    };
    if elements.len() > WEBHOOKS_MAX {
        let message = format!("a request has at most {WEBHOOKS_MAX} webhooks");
        return Err(Problem::new(code::FORM, "webhooks", message).into());
    }
    Ok(elements)
}

fn check_url(state: &Shared, text: &str) -> Result<(), ApiError> {
    let checked = Url::parse(text).map_err(|error| error.to_string());
    let check = |url| state.guard.check_url(&url).map_err(EgressRefusal::for_tenants);
    let refused = checked.and_then(check).err();
    refused.map_or(Ok(()), |reason| Err(Problem::new(code::ADDRESS, "url", reason).into()))
}

/// Lists the webhooks of the app.
#[utoipa::path(
    get, path = "", operation_id = "listWebhooks",
    params(("startAt" = Option<u64>, Query, description = "Webhooks that are left out."),
        ("maxResults" = Option<u64>, Query, description = "Most webhooks of the page, at most 100.")),
    responses((status = 200, description = "A page of webhooks.", body = WebhookPage))
)]
pub(super) async fn list(
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
        // The caller is this client, for this user.
        members.remove("user");
        members.remove("client");
        // Jira lists a normal form; what was written is stored, and shown to operators.
        members.insert("jqlFilter".into(), normal_jql(&webhook.jql_filter).into());
    }
    shown
}

/// Removes webhooks.
#[utoipa::path(
    delete, path = "", operation_id = "removeWebhooks", request_body = WebhookIds,
    responses((status = 202, description = "They are removed."))
)]
pub(super) async fn remove(
    State(state): State<Shared>,
    caller: WebhookCaller,
    body: Result<JsonObject, ApiError>,
) -> Result<StatusCode, WebhookError> {
    let JsonObject(body) = body?;
    state.registry.check_rate_limit(&caller.installation.record.id)?;
    state.registry.dynamic_webhooks().remove(&caller.owner, &webhook_ids(&body)?).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Extends the life of webhooks.
#[utoipa::path(
    put, path = "/refresh", operation_id = "refreshWebhooks", request_body = WebhookIds,
    responses((status = 200, description = "When they expire.", body = WebhookExpiry))
)]
pub(super) async fn refresh(
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

/// Changes a webhook in place.
#[utoipa::path(
    put, path = "/{id}", operation_id = "changeWebhook", request_body = WebhookRegistration,
    responses((status = 200, description = "The webhook.", body = serde_json::Map<String, Value>), NotFound)
)]
pub(super) async fn change(
    State(state): State<Shared>,
    caller: WebhookCaller,
    Path(names): Path<HashMap<String, String>>,
    body: Result<JsonObject, ApiError>,
) -> Result<Json<Value>, WebhookError> {
    let JsonObject(body) = body?;
    state.registry.check_rate_limit(&caller.installation.record.id)?;
    let id = names.get("id").ok_or(ApiError::NotFound)?;
    let id = id.parse().map_err(|_| ApiError::NotFound)?;
    let spec =
        WebhookSpec::read(&Value::Object(body), &Suggestions::default()).map_err(|problems| {
            let problem = |message| Problem::new(code::FORM, "", message);
            ApiError::Invalid(problems.into_iter().map(problem).collect())
        })?;
    Ok(Json(webhook_view(
        &state.registry.dynamic_webhooks().change(&caller.owner, id, spec).await?,
    )))
}

fn webhook_ids(body: &Map<String, Value>) -> Result<Vec<u64>, ApiError> {
    let ids = body.get("webhookIds").and_then(Value::as_array);
    let ids = ids.and_then(|ids| ids.iter().map(Value::as_u64).collect::<Option<Vec<_>>>());
    ids.ok_or_else(|| {
        Problem::new(code::MISSING, "webhookIds", "this is a list of webhook ids").into()
    })
}
