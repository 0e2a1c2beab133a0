//! Handlers of the Forge API: register, replace, remove, read and list modules.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::ForgeCaller;
use super::paths::{V1, V1_CONTAINER, V2};
use super::response::module_response;
use crate::api::error::ApiError;
use crate::api::extract::{JsonObject, PathId, expected_revision};
use crate::api::module_json::{ModuleBody, module_view, parse_key};
use crate::api::openapi::{Invalid, NotFound, Stale, moved, route};
use crate::api::query_params::{self, QueryParams};
use crate::api::schema::{ForgeModules, NewForgeModule, NewModule, RegisteredModule};
use crate::api::state::Shared;
use crate::domain::ModuleKey;
use crate::registry::{EffectiveStatus, ModuleRecord};

/// Maximum number of modules on one page.
const LIMIT_MAX: usize = 100;
const CURSOR: &str = "nextPageToken";

/// Returns the routes of version 2.
pub(super) fn v2_routes() -> OpenApiRouter<Shared> {
    let router = route(OpenApiRouter::default(), moved(routes!(list, register), V2, ""));
    let one = moved(routes!(read, replace, remove), &format!("{V2}/{{key}}"), "");
    route(router, one)
}

/// Returns the routes of version 1.
pub(super) fn v1_routes() -> OpenApiRouter<Shared> {
    let mut router = OpenApiRouter::default();
    for (path, suffix) in [(V1, "V1"), (V1_CONTAINER, "V1Container")] {
        let all = moved(routes!(list, register_keyed, replace_keyed), path, suffix);
        let one = moved(routes!(read, replace, remove), &format!("{path}/{{key}}"), suffix);
        router = route(route(router, all), one);
    }
    router
}

/// Registers a module; the router assigns its key.
#[utoipa::path(
    post, path = "", operation_id = "registerModule",
    request_body = NewForgeModule,
    responses((status = 201, description = "The module is registered.", body = RegisteredModule, headers(("ETag" = String, description = "Its revision."))))
)]
async fn register(
    State(state): State<Shared>,
    caller: ForgeCaller,
    JsonObject(body): JsonObject,
) -> Result<Response, ApiError> {
    let id = &caller.installation.record.id;
    state.registry.check_rate_limit(id)?;
    let spec = ModuleBody::read(body)?.without_key()?;
    let registered = state.registry.forge_modules().register(id, spec, None).await?;
    Ok((StatusCode::CREATED, module_response(&registered)).into_response())
}

/// Registers a module with the key that the app assigned.
#[utoipa::path(
    post, path = "", operation_id = "registerKeyedModule",
    request_body = NewModule,
    responses((status = 201, description = "The module is registered.", body = RegisteredModule, headers(("ETag" = String, description = "Its revision."))))
)]
async fn register_keyed(
    State(state): State<Shared>,
    caller: ForgeCaller,
    JsonObject(body): JsonObject,
) -> Result<Response, ApiError> {
    let id = &caller.installation.record.id;
    state.registry.check_rate_limit(id)?;
    let (spec, key) = ModuleBody::read(body)?.keyed()?;
    let registered = state.registry.forge_modules().register(id, spec, Some(key)).await?;
    Ok((StatusCode::CREATED, module_response(&registered)).into_response())
}

/// Replaces a module.
#[utoipa::path(
    put, path = "/{key}", operation_id = "replaceModule",
    params(("If-Match" = Option<String>, Header, description = "Revision that the module must have.")),
    request_body = NewModule,
    responses((status = 200, description = "The module.", body = RegisteredModule, headers(("ETag" = String, description = "Its revision."))), Stale)
)]
async fn replace(
    State(state): State<Shared>,
    caller: ForgeCaller,
    PathId(key): PathId,
    headers: HeaderMap,
    JsonObject(body): JsonObject,
) -> Result<Response, ApiError> {
    replace_module(&state, &caller, &key.into(), &headers, body).await
}

/// Replaces the module whose key the body has.
#[utoipa::path(
    put, path = "", operation_id = "replaceKeyedModule",
    params(("If-Match" = Option<String>, Header, description = "Revision that the module must have.")),
    request_body = NewModule,
    responses((status = 200, description = "The module.", body = RegisteredModule, headers(("ETag" = String, description = "Its revision."))), NotFound, Stale)
)]
async fn replace_keyed(
    State(state): State<Shared>,
    caller: ForgeCaller,
    headers: HeaderMap,
    JsonObject(body): JsonObject,
) -> Result<Response, ApiError> {
    let key = parse_key(body.get("key"))?;
    replace_module(&state, &caller, &key, &headers, body).await
}

async fn replace_module(
    state: &Shared,
    caller: &ForgeCaller,
    key: &ModuleKey,
    headers: &HeaderMap,
    body: Map<String, Value>,
) -> Result<Response, ApiError> {
    let id = &caller.installation.record.id;
    state.registry.check_rate_limit(id)?;
    let api = state.registry.forge_modules().module(id, key)?.api;
    let spec = ModuleBody::read(body)?.under(key, api)?;
    let expected = expected_revision(headers)?;
    let registered = state.registry.forge_modules().replace(id, key, spec, expected).await?;
    Ok(module_response(&registered).into_response())
}

/// Removes a module.
#[utoipa::path(
    delete, path = "/{key}", operation_id = "removeModule",
    params(("If-Match" = Option<String>, Header, description = "Revision that the module must have.")),
    responses((status = 204, description = "It is removed."), Invalid, Stale)
)]
async fn remove(
    State(state): State<Shared>,
    caller: ForgeCaller,
    PathId(key): PathId,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let id = &caller.installation.record.id;
    state.registry.check_rate_limit(id)?;
    state.registry.forge_modules().remove(id, &key.into(), expected_revision(&headers)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Shows a module.
#[utoipa::path(
    get, path = "/{key}", operation_id = "readModule",
    responses((status = 200, description = "The module.", body = RegisteredModule, headers(("ETag" = String, description = "Its revision."))))
)]
async fn read(
    State(state): State<Shared>,
    caller: ForgeCaller,
    PathId(key): PathId,
) -> Result<Response, ApiError> {
    let module =
        state.registry.forge_modules().module(&caller.installation.record.id, &key.into())?;
    Ok(module_response(&module.into()).into_response())
}

/// Lists the modules of the installation.
///
/// A caller that accepts the media type parameter `shape=array` gets all of them as a plain array.
#[utoipa::path(
    get, path = "", operation_id = "listForgeModules",
    params(("nextPageToken" = Option<String>, Query, description = "Cursor of an earlier page."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100, description = "Most modules of the page."),
        ("Accept" = Option<String>, Header, description = "Media types, with `shape=array` for a plain array.")),
    responses((status = 200, description = "A page of modules, or all.", body = ForgeModules))
)]
async fn list(
    caller: ForgeCaller,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let query = QueryParams::parse(query.as_deref());
    let limit = query.limit(LIMIT_MAX, LIMIT_MAX)?;
    // A cursor names its installation, so that the cursor of another installation is invalid.
    let own = format!("{}/", caller.installation.record.id);
    let after = match query.cursor(CURSOR)? {
        Some(position) => {
            let order = position.strip_prefix(&own).and_then(|order| order.parse().ok());
            order.ok_or_else(|| query_params::invalid_cursor(CURSOR))?
        }
        None => 0,
    };
    let all = accepts_array(&headers);
    let mut visible = caller
        .installation
        .registered()
        .filter(|(module, live)| {
            live.effective_status != EffectiveStatus::Shadowed && (all || module.order > after)
        })
        .map(|(module, _)| module);
    if all {
        return Ok(Json(visible.map(module_view).collect()));
    }
    let page: Vec<&ModuleRecord> = visible.by_ref().take(limit).collect();
    let mut answer = Map::new();
    if let (Some(last), Some(_)) = (page.last(), visible.next()) {
        let cursor = Value::String(query_params::encode_cursor(&format!("{own}{}", last.order)));
        answer.insert("lastEvaluatedKey".into(), cursor.clone());
        answer.insert(CURSOR.into(), cursor);
    }
    answer.insert("result".into(), page.into_iter().map(module_view).collect());
    Ok(Json(Value::Object(answer)))
}

/// Whether the caller accepts the plain array of the guide pages, which cannot carry a cursor.
fn accepts_array(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut parameters = accepted.flat_map(|value| value.split([',', ';']));
    parameters.any(|parameter| parameter.trim().eq_ignore_ascii_case("shape=array"))
}
