//! The Connect API: dynamic modules of Connect apps in Jira and, below `/wiki`, in Confluence.
//!
//! **Source:** Atlassian Connect, "Dynamic modules"; Jira and Confluence platform, "Register
//! modules". The guides and the app frameworks send modules keyed by type, generated clients send
//! `{"modules": [..]}`: both are accepted. A list is returned in the first form, or in the second
//! with `?shape=openapi`.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::middleware::from_fn;
use serde_json::{Map, Value, json};
use url::form_urlencoded;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{CONNECT_APPS, ConnectCaller};
use super::error::ConnectError;
use crate::api::admit::admitted;
use crate::api::error::ApiError;
use crate::api::extract::JsonObject;
use crate::api::metrics;
use crate::api::openapi::{moved, route};
use crate::api::query_params::QueryParams;
use crate::api::schema::ConnectModules;
use crate::api::state::Shared;
use crate::domain::ModuleKey;
use crate::registry::{ConnectModule, Problem, RegistrationApi, WEBHOOKS, code};

const JIRA: &str = "/rest/atlassian-connect/1/app/module/dynamic";
const CONFLUENCE: &str = "/wiki/rest/atlassian-connect/1/app/module/dynamic";
/// Query parameter that names a module to remove; may be repeated.
const MODULE_KEY: &str = "moduleKey";

pub(in crate::api) fn routes(state: &Shared) -> OpenApiRouter<Shared> {
    let counted = |path, suffix, api| {
        let methods = moved(routes!(list, register, remove), path, suffix);
        let count = from_fn(move |request, next| metrics::count(api, request, next));
        let router = route(OpenApiRouter::default(), methods);
        admitted(router, state, CONNECT_APPS).route_layer(count)
    };
    let jira = counted(JIRA, "", "connect_jira");
    jira.merge(counted(CONFLUENCE, "OfConfluence", "connect_confluence"))
}

/// Registers modules, keyed by type or as `{"modules": ..}`.
#[utoipa::path(
    post, path = "", operation_id = "registerConnectModules", request_body = ConnectModules,
    responses((status = 200, description = "They are registered."))
)]
async fn register(
    State(state): State<Shared>,
    caller: ConnectCaller,
    body: Result<JsonObject, ApiError>,
) -> Result<StatusCode, ConnectError> {
    let id = &caller.installation.record.id;
    state.registry.check_rate_limit(id)?;
    let JsonObject(body) = body?;
    state.registry.connect_modules().register(id, &submitted(body)?, &caller.signed).await?;
    Ok(StatusCode::OK)
}

/// Removes modules; without keys, all of them.
#[utoipa::path(
    delete, path = "", operation_id = "removeConnectModules",
    params(("moduleKey" = Option<Vec<String>>, Query, description = "Keys of the modules.")),
    responses((status = 204, description = "They are removed."))
)]
async fn remove(
    State(state): State<Shared>,
    caller: ConnectCaller,
    RawQuery(query): RawQuery,
) -> Result<StatusCode, ConnectError> {
    let id = &caller.installation.record.id;
    state.registry.check_rate_limit(id)?;
    let query = query.unwrap_or_default();
    let keys: Vec<ModuleKey> = form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name == MODULE_KEY)
        .map(|(_, key)| ModuleKey::from(key.as_ref()))
        .collect();
    // An empty key matches no module: it must not select all of them.
    let keys = Some(keys.as_slice()).filter(|keys| !keys.is_empty());
    state.registry.connect_modules().remove(id, keys, &caller.signed).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the modules of the app, keyed by type.
#[utoipa::path(
    get, path = "", operation_id = "listConnectModules",
    params(("shape" = Option<String>, Query, description = "`openapi` for the form `{\"modules\": [..]}`.")),
    responses((status = 200, description = "The modules.", body = ConnectModules))
)]
async fn list(caller: ConnectCaller, RawQuery(query): RawQuery) -> Json<Value> {
    let mut by_type = Map::new();
    let modules = caller.installation.record.modules.iter();
    for module in modules.filter(|module| module.api != RegistrationApi::Webhook) {
        let listed = by_type.entry(module.module_type.clone()).or_insert_with(|| json!([]));
        if let Value::Array(listed) = listed {
            listed.push(Value::Object(module.data.read()));
        }
    }
    let query = QueryParams::parse(query.as_deref());
    Json(match query.get("shape") {
        Some("openapi") => {
            let one = |(name, modules): (String, Value)| json!({ name: modules });
            json!({"modules": by_type.into_iter().map(one).collect::<Vec<_>>()})
        }
        _ => Value::Object(by_type),
    })
}

/// Parses the modules of a request body in either form.
///
/// # Errors
/// The first problem of its form.
pub(crate) fn submitted(mut body: Map<String, Value>) -> Result<Vec<ConnectModule>, ApiError> {
    let mut modules = Vec::new();
    match (body.len(), body.remove("modules")) {
        (1, Some(Value::Object(keyed))) => by_type(keyed, &mut modules)?,
        (1, Some(Value::Array(items))) => {
            for (index, item) in items.into_iter().enumerate() {
                element(item, format!("modules[{index}]"), &mut modules)?;
            }
        }
        (_, Some(_)) => {
            let message = "`modules` is an object or a list, and the only member";
            return Err(Problem::new(code::FORM, "modules", message).into());
        }
        (_, None) => by_type(body, &mut modules)?,
    }
    Ok(modules)
}

fn by_type(keyed: Map<String, Value>, modules: &mut Vec<ConnectModule>) -> Result<(), ApiError> {
    for (module_type, items) in keyed {
        let Value::Array(items) = items else {
            let message = "modules of one type are a list";
            return Err(Problem::new(code::FORM, module_type, message).into());
        };
        for (index, item) in items.into_iter().enumerate() {
            let path = format!("{module_type}[{index}]");
            let Value::Object(data) = item else {
                return Err(Problem::new(code::FORM, path, "a module is an object").into());
            };
            modules.push(ConnectModule { module_type: module_type.clone(), data, path });
        }
    }
    Ok(())
}

/// Parses an element of a list of modules: modules keyed by type, or one webhook without its type.
fn element(item: Value, path: String, modules: &mut Vec<ConnectModule>) -> Result<(), ApiError> {
    match item {
        Value::Object(data) if data.contains_key("event") && data.contains_key("url") => {
            modules.push(ConnectModule { module_type: WEBHOOKS.to_owned(), data, path });
            Ok(())
        }
        Value::Object(keyed) if keyed.values().all(Value::is_array) => by_type(keyed, modules),
        _ => {
            let message = "the type of this module is unknown";
            Err(Problem::new(code::MODULE_TYPE, path, message).into())
        }
    }
}
