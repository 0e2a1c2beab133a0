//! Operator endpoints for apps.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use url::Url;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::list::{next_cursor, page_params, page_view};
use super::status::put_status;
use crate::api::error::ApiError;
use crate::api::extract::{JsonObject, PathId};
use crate::api::json::{insert_some, rfc3339};
use crate::api::openapi::{Invalid, route};
use crate::api::schema::{App, AppStored, Page, PageParams};
use crate::api::state::Shared;
use crate::domain::{AppId, Secret};
use crate::registry::{AppPut, AppRecord, AppSpec, Endpoint, EndpointAuth, LifecycleCallbacks};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    let router = route(OpenApiRouter::default(), routes!(list_apps));
    route(router, routes!(put_app, get_app, delete_app))
}

/// Parses the body of `PUT /apps/{id}`.
///
/// # Errors
/// A member is unknown, missing or of the wrong form.
pub(crate) fn app_spec(body: Map<String, Value>) -> Result<AppSpec, ApiError> {
    JsonObject(body).read()
}

/// Stores an app, or a new version of it, which replaces the old one completely.
#[utoipa::path(
    put, path = "/apps/{id}", operation_id = "putApp", request_body = AppSpec,
    security(("operatorToken" = ["admin"])),
    responses((status = 200, description = "The app was changed.", body = AppStored),
        (status = 201, description = "The app is new.", body = AppStored))
)]
async fn put_app(
    State(state): State<Shared>,
    PathId(id): PathId,
    JsonObject(body): JsonObject,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let spec = app_spec(body)?;
    let guard = Arc::clone(&state.guard);
    let check_url = move |url: &Url| guard.check_url(url).map_err(|rule| rule.to_string());
    let put = state.registry.apps().put(&id.into(), spec, &check_url).await?;
    Ok((put_status(put.created), Json(put_app_view(&put))))
}

/// Renders the result of `PUT /apps/{id}`. Secrets of new endpoints are shown here, and only here.
fn put_app_view(put: &AppPut) -> Value {
    let endpoints = put.record.endpoints.iter().map(|endpoint| {
        let mut shown = json!({"key": endpoint.key, "url": endpoint.url});
        if put.new_endpoints.contains(&endpoint.key) {
            insert_some(&mut shown, "secret", Some(endpoint.secret.reveal()));
        }
        shown
    });
    let endpoints: Vec<Value> = endpoints.collect();
    let dropped: Vec<String> = put.dropped.iter().map(ToString::to_string).collect();
    let record = &put.record;
    let mut answer = json!({
        "id": record.id, "kind": record.kind, "endpoints": endpoints, "dropped": dropped,
    });
    insert_some(&mut answer, "version", record.version.as_ref());
    insert_some(&mut answer, "warnings", Some(&put.warnings).filter(|found| !found.is_empty()));
    let shown = |secret: &Secret, is_new: bool| is_new.then(|| secret.reveal().to_owned());
    insert_some(
        &mut answer,
        "discovery",
        record
            .discovery
            .as_ref()
            .map(|discovery| url_view(&discovery.url, shown(&discovery.secret, put.new_discovery))),
    );
    insert_some(
        &mut answer,
        "notices",
        record
            .notices
            .as_ref()
            .map(|notices| url_view(&notices.url, shown(&notices.secret, put.new_notices))),
    );
    answer
}

/// Renders a URL, with its secret if given.
fn url_view(url: &str, secret: Option<String>) -> Value {
    let mut shown = json!({"url": url});
    insert_some(&mut shown, "secret", secret);
    shown
}

/// Shows an app.
#[utoipa::path(
    get, path = "/apps/{id}", operation_id = "getApp",
    security(("operatorToken" = ["read"])),
    responses((status = 200, description = "The app.", body = App))
)]
async fn get_app(State(state): State<Shared>, PathId(id): PathId) -> Result<Json<Value>, ApiError> {
    let app = state.registry.app(&id).ok_or(ApiError::NotFound)?;
    Ok(Json(app_view(&app.record)))
}

fn app_view(app: &AppRecord) -> Value {
    let endpoint = |endpoint: &Endpoint| {
        let mut shown = json!({"key": endpoint.key, "url": endpoint.url});
        let auth = Some(&endpoint.auth).filter(|auth| **auth != EndpointAuth::default());
        insert_some(&mut shown, "auth", auth);
        let previous = endpoint.previous.as_ref();
        let until = previous.and_then(|previous| rfc3339(previous.until_ms));
        insert_some(&mut shown, "previousSecretUntil", until);
        shown
    };
    let mut view = json!({
        "id": app.id,
        "kind": app.kind,
        "scopes": app.scopes,
        "functions": app.functions,
        "endpoints": app.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
        "staticModules": app.declared_modules(),
        "createdAt": rfc3339(app.created_ms),
        "updatedAt": rfc3339(app.updated_ms),
    });
    insert_some(&mut view, "permissions", app.permissions.as_ref());
    insert_some(&mut view, "name", app.name.as_ref());
    insert_some(&mut view, "version", app.version.as_ref());
    insert_some(&mut view, "baseUrl", app.base_url.as_ref());
    let discovery = app.discovery.as_ref();
    insert_some(&mut view, "discovery", discovery.map(|d| json!({"use": d.types, "url": d.url})));
    insert_some(
        &mut view,
        "notices",
        app.notices.as_ref().map(|notices| url_view(&notices.url, None)),
    );
    insert_some(
        &mut view,
        "lifecycle",
        Some(&app.lifecycle).filter(|l| **l != LifecycleCallbacks::default()),
    );
    insert_some(&mut view, "delivery", app.delivery.as_ref());
    insert_some(&mut view, "translations", Some(&app.translations).filter(|t| !t.is_empty()));
    view
}

/// Lists the apps in the order of their ids.
#[utoipa::path(
    get, path = "/apps", operation_id = "listApps", params(PageParams),
    security(("operatorToken" = ["read"])),
    responses((status = 200, description = "A page of apps.", body = Page<App>))
)]
async fn list_apps(
    State(state): State<Shared>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let (after, limit) = page_params(query.as_deref())?;
    let ids = state.registry.app_ids(after.as_deref(), limit + 1);
    let apps = ids.iter().take(limit).filter_map(|id| state.registry.app(id.as_str()));
    let items = apps.map(|app| app_view(&app.record)).collect();
    Ok(Json(page_view(items, next_cursor(&ids, limit, AppId::as_str))))
}

/// Deletes an app without installations.
#[utoipa::path(
    delete, path = "/apps/{id}", operation_id = "deleteApp",
    security(("operatorToken" = ["admin"])),
    responses((status = 204, description = "It is deleted."), Invalid)
)]
async fn delete_app(
    State(state): State<Shared>,
    PathId(id): PathId,
) -> Result<StatusCode, ApiError> {
    state.registry.apps().delete(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}
