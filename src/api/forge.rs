//! The Forge API: dynamic modules of Forge apps, version 2, and version 1 with its container paths.
//!
//! The versions differ in who assigns a module's key: the server in version 2, the app in version
//! 1, where an update may also omit the key from the path. Both list the same modules.
//!
//! **Source:** Forge dynamic modules API. Its pages disagree on the cursor of a list, so a list
//! carries it under both documented names.

use axum::Json;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Map, Value, json};

use super::auth::ForgeCaller;
use super::extract::{JsonObject, PathId};
use super::forge_extensions;
use super::query_params::{self, QueryParams};
use super::{ApiError, Shared, dry_run, metrics, route};
use crate::domain::ModuleKey;
use crate::registry::{
    EffectiveStatus, ModuleRecord, ModuleSpec, Problem, RegisterError, RegisteredModule,
    RegistrationApi, code, key_problem,
};

pub(super) const V2: &str = "/forge/installation/v2/dynamic/module";
const V1: &str = "/forge/installation/v1/dynamic/module";
/// Version 1 as a container's proxy calls it.
const V1_CONTAINER: &str = "/atlassian/forge/installation/v1/dynamic/module";
/// Maximum number of modules on one page.
const LIMIT_MAX: usize = 100;
const CURSOR: &str = "nextPageToken";

pub(super) fn routes() -> Router<Shared> {
    let one = get(read).put(replace).delete(remove);
    let v2 = route(Router::new(), V2, &get(list).post(register));
    let v2 = route(v2, &format!("{V2}/{{key}}"), &one)
        .merge(forge_extensions::routes())
        .merge(dry_run::forge_routes());
    let mut v1 = Router::new();
    for path in [V1, V1_CONTAINER] {
        v1 = route(v1, path, &get(list).post(register_keyed).put(replace_keyed));
        v1 = route(v1, &format!("{path}/{{key}}"), &one);
    }
    let v2 = v2.route_layer(from_fn(|request, next| metrics::count("forge_v2", request, next)));
    v2.merge(v1.route_layer(from_fn(|request, next| metrics::count("forge_v1", request, next))))
}

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

async fn replace(
    State(state): State<Shared>,
    caller: ForgeCaller,
    PathId(key): PathId,
    headers: HeaderMap,
    JsonObject(body): JsonObject,
) -> Result<Response, ApiError> {
    replace_module(&state, &caller, &key.into(), &headers, body).await
}

/// As [`replace`], with the key only in the body.
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

async fn read(
    State(state): State<Shared>,
    caller: ForgeCaller,
    PathId(key): PathId,
) -> Result<Response, ApiError> {
    let module =
        state.registry.forge_modules().module(&caller.installation.record.id, &key.into())?;
    Ok(module_response(&module.into()).into_response())
}

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
        Some(place) => {
            let order = place.strip_prefix(&own).and_then(|order| order.parse().ok());
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

pub(super) fn module_view(module: &ModuleRecord) -> Value {
    json!({"key": module.key, "type": module.module_type, "data": module.data})
}

/// Renders a module as [`registered_view`], with its revision as `ETag`.
pub(super) fn module_response(registered: &RegisteredModule) -> impl IntoResponse + use<> {
    let tag = HeaderValue::from_str(&format!("\"{}\"", registered.module.revision));
    let headers: HeaderMap = tag.into_iter().map(|tag| (header::ETAG, tag)).collect();
    (headers, Json(registered_view(registered)))
}

/// Renders a module with `warnings` and the `complexity` of its filters, if there are any.
pub(super) fn registered_view(registered: &RegisteredModule) -> Value {
    let RegisteredModule { module, warnings, complexity } = registered;
    let mut body = module_view(module);
    if let Value::Object(body) = &mut body {
        if !warnings.is_empty() {
            body.insert("warnings".into(), json!(warnings));
        }
        if !complexity.is_empty() {
            body.insert("complexity".into(), json!(complexity));
        }
    }
    body
}

/// Parses the revision of `If-Match`; an unknown tag is stale.
fn expected_revision(headers: &HeaderMap) -> Result<Option<u64>, RegisterError> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    match value.to_str() {
        Ok("*") => Ok(None),
        Ok(tag) => {
            let revision = tag.trim().trim_matches('"').parse();
            revision.map(Some).map_err(|_| RegisterError::StaleRevision)
        }
        Err(_) => Err(RegisterError::StaleRevision),
    }
}

/// A module as parsed from a request body.
pub(super) struct ModuleBody {
    pub(super) key: Option<Value>,
    module_type: String,
    data: Map<String, Value>,
}

impl ModuleBody {
    pub(super) fn read(mut body: Map<String, Value>) -> Result<Self, ApiError> {
        let mut problems = Vec::new();
        let key = body.remove("key");
        let module_type = match body.remove("type") {
            Some(Value::String(module_type)) => Some(module_type),
            Some(_) => {
                problems.push(Problem::new(code::FORM, "type", "a module type is a string"));
                None
            }
            None => {
                problems.push(Problem::new(code::MISSING, "type", "a module has a type"));
                None
            }
        };
        let data = match body.remove("data") {
            Some(Value::Object(data)) => Some(data),
            Some(_) => {
                problems.push(Problem::new(code::FORM, "data", "module data is an object"));
                None
            }
            None => {
                problems.push(Problem::new(code::MISSING, "data", "a module has data"));
                None
            }
        };
        for name in body.keys() {
            let message = format!("there is no member `{name}` here");
            problems.push(
                Problem::new(code::UNKNOWN_MEMBER, name, message)
                    .with_help("known are key, type, data"),
            );
        }
        match (module_type, data) {
            (Some(module_type), Some(data)) if problems.is_empty() => {
                Ok(Self { key, module_type, data })
            }
            _ => Err(ApiError::Invalid(problems)),
        }
    }

    /// Returns the module of version 2, which must not carry a key.
    pub(super) fn without_key(self) -> Result<ModuleSpec, ApiError> {
        for (path, given) in
            [("key", self.key.is_some()), ("data.key", self.data.contains_key("key"))]
        {
            if given {
                return Err(
                    Problem::new(code::KEY_GIVEN, path, "key is assigned by the server").into()
                );
            }
        }
        Ok(self.spec(RegistrationApi::ForgeV2))
    }

    /// Returns the module of version 1 with the key that the app assigned.
    pub(super) fn keyed(self) -> Result<(ModuleSpec, ModuleKey), ApiError> {
        let key = parse_key(self.key.as_ref())?;
        let inside = self.data.get("key");
        if inside.is_some_and(|inside| inside.as_str() != Some(key.as_str())) {
            let message = format!("this differs from the key of the module, `{key}`");
            return Err(Problem::new(code::FORM, "data.key", message).into());
        }
        Ok((self.spec(RegistrationApi::ForgeV1), key))
    }

    /// Returns the module for an update of `key`; fails if the body names another key.
    pub(super) fn under(
        self,
        key: &ModuleKey,
        api: RegistrationApi,
    ) -> Result<ModuleSpec, ApiError> {
        let same = |given: &Value| given.as_str() == Some(key.as_str());
        if [self.key.as_ref(), self.data.get("key")].into_iter().flatten().all(same) {
            Ok(self.spec(api))
        } else {
            Err(RegisterError::KeyChanged.into())
        }
    }

    fn spec(self, api: RegistrationApi) -> ModuleSpec {
        let Self { module_type, data, .. } = self;
        ModuleSpec { module_type, data, api }
    }
}

fn parse_key(given: Option<&Value>) -> Result<ModuleKey, ApiError> {
    let Some(given) = given else {
        return Err(Problem::new(code::MISSING, "key", "a module has a key").into());
    };
    let key = given.as_str().unwrap_or_default();
    key_problem(key, "key").map_or_else(|| Ok(key.into()), |problem| Err(problem.into()))
}
