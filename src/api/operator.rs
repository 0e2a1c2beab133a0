//! Operator endpoints for apps, installations and OAuth clients.

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::extract::{JsonObject, PathId};
use super::query_params::{self, QueryParams};
use super::{ApiError, Shared, route};
use crate::domain::{AppId, InstallationId, Product, Secret};
use crate::registry::{
    AppKind, AppPut, AppRecord, AppSpec, AppliedApp, AppliedInstallation, ClientSpec,
    DiscoveryStatus, EffectiveStatus, Endpoint, EndpointAuth, InstallationPut, InstallationRecord,
    InstallationSpec, LifecycleCallbacks, ModuleRecord, RegistrationApi, Settings,
    function_subject,
};

/// Default number of items on one page of a list.
pub(super) const LIMIT_DEFAULT: usize = 100;
/// Maximum number of items on one page.
pub(super) const LIMIT_MAX: usize = 500;

pub(super) fn routes() -> Router<Shared> {
    let mut router = Router::new();
    for (path, methods) in [
        ("/apps", get(list_apps)),
        ("/apps/{id}", put(put_app).get(get_app).delete(delete_app)),
        ("/installations", get(list_installations)),
        (
            "/installations/{id}",
            put(put_installation).get(get_installation).delete(delete_installation),
        ),
        ("/installations/{id}/token", post(rotate_token)),
        ("/installations/{id}/discovery", get(get_discovery)),
        ("/installations/{id}/discovery/refresh", post(refresh_discovery)),
        ("/oauth-clients/{id}", put(put_client)),
    ] {
        router = route(router, path, &methods);
    }
    router
}

async fn put_app(
    State(state): State<Shared>,
    PathId(id): PathId,
    body: JsonObject,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let spec: AppSpec = body.read()?;
    let put = state.registry.apps().put(&id.into(), spec, &*state.check_url).await?;
    Ok((created(put.created), Json(put_app_view(&put))))
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

async fn get_app(State(state): State<Shared>, PathId(id): PathId) -> Result<Json<Value>, ApiError> {
    let app = state.registry.app(&id).ok_or(ApiError::NotFound)?;
    Ok(Json(app_view(&app.record)))
}

fn app_view(app: &AppRecord) -> Value {
    let endpoint = |endpoint: &Endpoint| {
        let mut shown = json!({"key": endpoint.key, "url": endpoint.url});
        let auth = Some(endpoint.auth).filter(|auth| *auth != EndpointAuth::default());
        insert_some(&mut shown, "auth", auth);
        shown
    };
    let mut view = json!({
        "id": app.id,
        "kind": app.kind,
        "scopes": app.scopes,
        "functions": app.functions,
        "endpoints": app.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
        "staticModules": app.static_modules,
        "createdAt": rfc3339(app.created_ms),
        "updatedAt": rfc3339(app.updated_ms),
    });
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

async fn delete_app(
    State(state): State<Shared>,
    PathId(id): PathId,
) -> Result<StatusCode, ApiError> {
    state.registry.apps().delete(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn put_installation(
    State(state): State<Shared>,
    PathId(id): PathId,
    body: JsonObject,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let id = InstallationId::from(id);
    let spec: InstallationSpec = body.read()?;
    let put = state.registry.installations().put(&id, spec).await?;
    let InstallationPut { created: is_new, token } = put;
    let mut answer = json!({"id": id});
    insert_some(&mut answer, "token", token);
    Ok((created(is_new), Json(answer)))
}

async fn rotate_token(
    State(state): State<Shared>,
    PathId(id): PathId,
) -> Result<Json<Value>, ApiError> {
    let token = state.registry.installations().rotate_token(&id).await?;
    Ok(Json(json!({"token": token})))
}

async fn get_installation(
    State(state): State<Shared>,
    PathId(id): PathId,
) -> Result<Json<Value>, ApiError> {
    let installation = state.registry.installation(&id).ok_or(ApiError::NotFound)?;
    Ok(Json(installation_view(&state, &installation)))
}

async fn get_discovery(
    State(state): State<Shared>,
    PathId(id): PathId,
) -> Result<Json<Value>, ApiError> {
    let installation = state.registry.installation(&id).ok_or(ApiError::NotFound)?;
    let known = installation.record.discovery.as_ref().ok_or(ApiError::NotFound)?;
    Ok(Json(discovery_view(&installation.record, known)))
}

/// Runs discovery now; while another replica runs it, returns the stored status.
async fn refresh_discovery(
    State(state): State<Shared>,
    PathId(id): PathId,
) -> Result<Json<Value>, ApiError> {
    let known = state.registry.discovery().refresh(&id.as_str().into()).await?;
    let installation = state.registry.installation(&id).ok_or(ApiError::NotFound)?;
    Ok(Json(discovery_view(&installation.record, &known)))
}

pub(super) fn discovery_view(record: &InstallationRecord, known: &DiscoveryStatus) -> Value {
    let discovered =
        record.modules.iter().filter(|module| module.api == RegistrationApi::Discovery);
    let mut view = json!({
        "installation": record.id,
        "modules": discovered.map(|module| &module.key).collect::<Vec<_>>(),
        "ignored": known.ignored,
        "failures": known.failures,
        "dueAt": rfc3339(known.due_ms),
    });
    let moment = |ms: i64| Some(ms).filter(|ms| *ms != 0).and_then(rfc3339);
    insert_some(&mut view, "fetchedAt", moment(known.fetched_ms));
    insert_some(&mut view, "askingUntil", moment(known.asking_until_ms));
    insert_some(&mut view, "error", known.error.as_ref());
    view
}

fn installation_view(state: &Shared, installation: &AppliedInstallation) -> Value {
    let record = &installation.record;
    let settings = state.registry.settings();
    let app = state.registry.app(record.app.as_str());
    let functions = app.iter().flat_map(|app| &app.record.functions).map(|function| {
        let subject = function_subject(&settings.prefix, &record.id, function);
        json!({"function": function, "subject": subject})
    });
    let mut modules = Map::new();
    for state in EffectiveStatus::ALL {
        let found =
            installation.modules.iter().filter(|module| module.effective_status == state).count();
        modules.insert(state.as_str().into(), found.into());
    }
    let is_webhook = |module: &&ModuleRecord| module.api == RegistrationApi::Webhook;
    let webhooks = record.modules.iter().filter(is_webhook).count();
    modules.insert("dynamic".into(), (record.modules.len() - webhooks).into());
    modules.insert("dynamicMax".into(), dynamic_max(settings, app.as_deref(), record).into());
    modules.insert("webhooks".into(), webhooks.into());
    let mut view = json!({
        "id": record.id,
        "app": record.app,
        "cloudId": record.cloud_id,
        "product": record.product,
        "licensed": record.licensed,
        "environment": record.environment,
        "state": record.state,
        "functions": functions.collect::<Vec<_>>(),
        "modules": modules,
        "revision": installation.revision,
        "createdAt": rfc3339(record.created_ms),
        "updatedAt": rfc3339(record.updated_ms),
    });
    insert_some(&mut view, "clientKey", record.client_key.as_ref());
    insert_some(&mut view, "appAccountId", record.app_account_id.as_ref());
    let dropped = record.dropped.as_ref().map(|dropped| {
        let mut shown = json!({"at": rfc3339(dropped.at_ms), "keys": dropped.keys});
        insert_some(&mut shown, "version", dropped.version.as_ref());
        shown
    });
    insert_some(&mut view, "dropped", dropped);
    view
}

fn dynamic_max(
    settings: &Settings,
    app: Option<&AppliedApp>,
    record: &InstallationRecord,
) -> usize {
    match (app.map(|app| app.record.kind), record.product) {
        (Some(AppKind::Connect), Product::Jira) => settings.connect.modules_jira,
        (Some(AppKind::Connect), Product::Confluence) => settings.connect.modules_confluence,
        (Some(AppKind::Forge) | None, _) => settings.modules_max,
    }
}

async fn list_installations(
    State(state): State<Shared>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let (after, limit) = page_params(query.as_deref())?;
    let ids = state.registry.installation_ids(after.as_deref(), limit + 1);
    let found = ids.iter().take(limit).filter_map(|id| state.registry.installation(id.as_str()));
    let items = found.map(|installation| installation_view(&state, &installation)).collect();
    Ok(Json(page_view(items, next_cursor(&ids, limit, InstallationId::as_str))))
}

async fn delete_installation(
    State(state): State<Shared>,
    PathId(id): PathId,
) -> Result<StatusCode, ApiError> {
    state.registry.installations().delete(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn put_client(
    State(state): State<Shared>,
    PathId(id): PathId,
    body: JsonObject,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let spec: ClientSpec = body.read()?;
    let is_new = state.registry.clients().put(&id, spec).await?;
    Ok((created(is_new), Json(json!({"id": id}))))
}

fn created(is_new: bool) -> StatusCode {
    if is_new { StatusCode::CREATED } else { StatusCode::OK }
}

/// Parses the cursor and the length of a page.
fn page_params(query: Option<&str>) -> Result<(Option<String>, usize), ApiError> {
    let query = QueryParams::parse(query);
    Ok((query.cursor("cursor")?, query.limit(LIMIT_DEFAULT, LIMIT_MAX)?))
}

/// Returns the cursor of the next page, if `ids` has more than `limit`.
fn next_cursor<T>(ids: &[T], limit: usize, text: impl Fn(&T) -> &str) -> Option<String> {
    let last = ids.get(limit.checked_sub(1)?)?;
    (ids.len() > limit).then(|| query_params::encode_cursor(text(last)))
}

/// Renders a page of a list.
pub(super) fn page_view(items: Vec<Value>, next_cursor: Option<String>) -> Value {
    let mut answer = json!({"items": items});
    insert_some(&mut answer, "nextCursor", next_cursor);
    answer
}

/// Inserts a member if `value` is some.
pub(super) fn insert_some(object: &mut Value, name: &str, value: Option<impl serde::Serialize>) {
    if let (Value::Object(members), Some(value)) = (object, value) {
        members.insert(name.to_owned(), json!(value));
    }
}

/// Formats milliseconds since the epoch as RFC 3339.
pub(super) fn rfc3339(ms: i64) -> Option<String> {
    Timestamp::from_millisecond(ms).ok().map(|time| time.to_string())
}
