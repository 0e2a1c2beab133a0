//! Operator endpoints for the receivers of deliveries: the state of their breakers on this replica, a probe
//! before its time, a test request, and the modules that are disabled because of them.

use axum::Json;
use axum::extract::{RawQuery, State};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::endpoint_view::{EndpointState, endpoint_view};
use super::known_endpoints::{KnownEndpoint, endpoints_of, find};
use super::list::{LIMIT_DEFAULT, LIMIT_MAX, page_view};
use super::replica_view::replica_view;
use crate::api::error::ApiError;
use crate::api::extract::PathId;
use crate::api::json::insert_some;
use crate::api::openapi::{Conflict, Invalid, Unavailable, route};
use crate::api::query_params::{self, QueryParams, encode_cursor};
use crate::api::schema::{
    DeliveryEndpoint, EndpointPage, EndpointParams, EndpointTest, PageParams,
};
use crate::api::state::Shared;
use crate::delivery::PingReport;
use crate::domain::InstallationId;
use crate::registry::{ModuleStatus, Problem, code};

/// Installations that one page looks at; with filters, a page may have fewer endpoints than it may.
const INSTALLATIONS_MAX: usize = 5_000;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    let router = route(OpenApiRouter::default(), routes!(list));
    let router = route(router, routes!(show));
    let router = route(router, routes!(enable));
    let router = route(router, routes!(reset_breaker));
    route(router, routes!(test))
}

/// Lists endpoints in the order of their installations.
#[utoipa::path(
    get, path = "/endpoints", operation_id = "listEndpoints", params(PageParams, EndpointParams),
    security(("operatorToken" = ["read"])),
    responses((status = 200, description = "A page of endpoints.", body = EndpointPage))
)]
async fn list(
    State(state): State<Shared>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let params = QueryParams::parse(query.as_deref());
    let limit = params.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
    let wanted = Wanted::read(&params)?;
    let after = params.cursor("cursor")?.map(|text| read_position(&text)).transpose()?;
    let (mut items, mut last) = (Vec::new(), None);
    let ids = installations(&state, wanted.installation, after.as_ref());
    for (looked_at, id) in ids.into_iter().enumerate() {
        if looked_at >= INSTALLATIONS_MAX {
            return Ok(Json(page(&state, items, last)));
        }
        let Some(installation) = state.registry.installation(id.as_str()) else { continue };
        if wanted.app.is_some_and(|app| installation.record.app.as_str() != app) {
            continue;
        }
        for endpoint in endpoints_of(&state, &installation) {
            let position = (id.to_string(), endpoint.id.clone());
            if after.as_ref().is_some_and(|after| position <= *after) {
                continue;
            }
            let seen = EndpointState::of(&state, &endpoint);
            if wanted.selects(&seen) {
                if items.len() == limit {
                    return Ok(Json(page(&state, items, last)));
                }
                items.push(endpoint_view(&endpoint, &seen));
            }
            last = Some(position);
        }
        if last.as_ref().is_none_or(|(at, _)| at != id.as_str()) {
            last = Some((id.to_string(), String::new()));
        }
        tokio::task::yield_now().await;
    }
    Ok(Json(page(&state, items, None)))
}

fn page(state: &Shared, items: Vec<Value>, last: Option<(String, String)>) -> Value {
    let next = last.map(|position| encode_cursor(&json!(position).to_string()));
    let mut page = page_view(items, next);
    insert_some(&mut page, "replica", Some(replica_view(state)));
    page
}

fn read_position(text: &str) -> Result<(String, String), ApiError> {
    serde_json::from_str(text).map_err(|_| query_params::invalid_cursor("cursor"))
}

/// Returns the installations that a page looks at, from the one of the cursor on.
fn installations(
    state: &Shared,
    wanted: Option<&str>,
    after: Option<&(String, String)>,
) -> Vec<InstallationId> {
    let from = after.map_or("", |(installation, _)| installation.as_str());
    if let Some(id) = wanted {
        return if id >= from { vec![id.into()] } else { Vec::new() };
    }
    let mut ids = state.registry.installation_ids(Some(from), INSTALLATIONS_MAX + 1);
    if !from.is_empty() {
        ids.insert(0, from.into());
    }
    ids
}

/// The query parameters that select endpoints.
struct Wanted<'q> {
    installation: Option<&'q str>,
    app: Option<&'q str>,
    state: Option<&'q str>,
    is_failing: bool,
}

impl<'q> Wanted<'q> {
    fn read(params: &'q QueryParams) -> Result<Self, ApiError> {
        let state = params.get("state");
        if state.is_some_and(|state| !EndpointState::NAMES.contains(&state)) {
            let message = format!("a state is one of {}", EndpointState::NAMES.join(", "));
            return Err(Problem::new(code::FORM, "state", message).into());
        }
        Ok(Self {
            installation: params.get("installation"),
            app: params.get("app"),
            state,
            is_failing: params.flag("failing")?,
        })
    }

    fn selects(&self, seen: &EndpointState) -> bool {
        self.state.is_none_or(|state| seen.name() == state)
            && (!self.is_failing || seen.is_failing())
    }
}

/// Shows an endpoint with its breaker, as this replica knows it.
#[utoipa::path(
    get, path = "/endpoints/{id}", operation_id = "getEndpoint",
    security(("operatorToken" = ["read"])),
    responses((status = 200, description = "The endpoint.", body = DeliveryEndpoint))
)]
async fn show(State(state): State<Shared>, PathId(id): PathId) -> Result<Json<Value>, ApiError> {
    Ok(Json(shown(&state, &find(&state, &id)?)))
}

/// Switches the modules on again that were disabled because the endpoint answered HTTP 410.
#[utoipa::path(
    post, path = "/endpoints/{id}/enable", operation_id = "enableEndpoint",
    security(("operatorToken" = ["operate"])),
    responses((status = 200, description = "The endpoint.", body = DeliveryEndpoint), Conflict, Unavailable)
)]
async fn enable(State(state): State<Shared>, PathId(id): PathId) -> Result<Json<Value>, ApiError> {
    let endpoint = find(&state, &id)?;
    let installation = &endpoint.installation.record.id;
    for key in &endpoint.disabled {
        state.registry.module_status().set(installation, key, ModuleStatus::On).await?;
    }
    let enabled = endpoint.disabled.len();
    tracing::info!(endpoint = %id, enabled, "endpoint enabled by an operator");
    let mut view = shown(&state, &find(&state, &id)?);
    insert_some(&mut view, "enabled", Some(enabled));
    Ok(Json(view))
}

/// Admits a probe at once although the breaker is open, on this replica.
#[utoipa::path(
    post, path = "/endpoints/{id}/reset-breaker", operation_id = "resetBreaker",
    security(("operatorToken" = ["operate"])),
    responses((status = 200, description = "The endpoint.", body = DeliveryEndpoint))
)]
async fn reset_breaker(
    State(state): State<Shared>,
    PathId(id): PathId,
) -> Result<Json<Value>, ApiError> {
    let endpoint = find(&state, &id)?;
    take_turn(&state)?;
    let dispatcher = &state.operations.dispatcher;
    let was_open = endpoint.live.first().is_some_and(|one| dispatcher.admit_probe_now(one));
    tracing::info!(endpoint = %id, was_open, "breaker reset by an operator");
    let mut view = shown(&state, &endpoint);
    insert_some(&mut view, "wasOpen", Some(was_open));
    Ok(Json(view))
}

/// Sends one signed test event to the endpoint and answers what became of it.
#[utoipa::path(
    post, path = "/endpoints/{id}/test", operation_id = "testEndpoint",
    security(("operatorToken" = ["operate"])),
    responses((status = 200, description = "What became of the test event.", body = EndpointTest),
        Invalid, Unavailable)
)]
async fn test(State(state): State<Shared>, PathId(id): PathId) -> Result<Json<Value>, ApiError> {
    let endpoint = find(&state, &id)?;
    let Some(subscription) = endpoint.live.first() else {
        let message = "no live subscription is delivered to it: enable it first";
        return Err(Problem::new(code::FORM, "id", message).into());
    };
    take_turn(&state)?;
    let report = state.operations.dispatcher.ping(subscription).await;
    let report = report.map_err(|error| ApiError::NotConfirmed(error.to_string()))?;
    tracing::info!(endpoint = %id, accepted = report.is_accepted, "endpoint tested by an operator");
    Ok(Json(ping_view(&endpoint, &report)))
}

fn take_turn(state: &Shared) -> Result<(), ApiError> {
    let turn = state.operations.pings.take();
    turn.map_err(|retry_after| ApiError::TooManyPings { retry_after })
}

fn ping_view(endpoint: &KnownEndpoint, report: &PingReport) -> Value {
    let PingReport { id, is_accepted, attempt } = report;
    let mut view = json!({
        "endpoint": endpoint.id,
        "address": endpoint.key.endpoint,
        "id": id.as_str(),
        "accepted": is_accepted,
        "class": attempt.class.label(),
        "tookMs": u64::try_from(attempt.took.as_millis()).unwrap_or(u64::MAX),
    });
    if !is_accepted {
        insert_some(&mut view, "blame", Some(attempt.class.blame()));
        insert_some(&mut view, "detail", Some(&attempt.detail));
    }
    if let Some(evidence) = &attempt.evidence {
        insert_some(&mut view, "status", evidence.status);
        insert_some(&mut view, "response", evidence.response.as_ref());
    }
    view
}

fn shown(state: &Shared, endpoint: &KnownEndpoint) -> Value {
    let mut view = endpoint_view(endpoint, &EndpointState::of(state, endpoint));
    insert_some(&mut view, "replica", Some(replica_view(state)));
    view
}
