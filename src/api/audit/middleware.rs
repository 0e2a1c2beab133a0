//! Middleware that records a change before and after it.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use serde_json::Value;
use tower::ServiceExt as _;
use utoipa_axum::router::OpenApiRouter;

use super::redact::content;
use super::routes::{RecordedRoutes, Resource};
use crate::api::admit::client_of;
use crate::api::content_type::is_json;
use crate::api::error::ApiError;
use crate::api::query_params::QueryParams;
use crate::api::state::Shared;
use crate::audit::{Action, AuditId, AuditRecord, Content, Step, Via};
use crate::clock;
use crate::domain::Caller;

/// Prefix of the operations.
const PREFIX: &str = "/admin/v1";
/// Longest answer that is looked at, in bytes.
const ANSWER_BYTES_MAX: usize = 2 << 20;
/// Longest text of a request that is recorded, in bytes.
const TEXT_BYTES_MAX: usize = 512;
/// Header by which clients find their requests again.
const REQUEST_ID: &str = "x-request-id";
/// Start of the header `User-Agent` of the command line.
const COMMAND_AGENT: &str = "switchyard/";
/// Parameter of requests that change nothing.
const DRY_RUN: &str = "dryRun";

/// What records need.
struct Recorder {
    state: Shared,
    routes: RecordedRoutes,
    /// The same operations, not recorded, which show the resources.
    reads: Router,
}

/// Adds the middleware to the routes of the operator API. `reads` are the same routes, which it asks what is changed.
pub(in crate::api) fn recorded(
    routes: OpenApiRouter<Shared>,
    reads: Router,
    state: &Shared,
) -> OpenApiRouter<Shared> {
    let known = match serde_json::to_value(routes.get_openapi()) {
        Ok(document) => RecordedRoutes::of(&document, PREFIX),
        Err(error) => {
            debug_assert!(false, "the keys of the document are strings: {error}");
            RecordedRoutes::default()
        }
    };
    let recorder = Recorder { state: Arc::clone(state), routes: known, reads };
    routes.route_layer(from_fn_with_state(Arc::new(recorder), serve))
}

async fn serve(
    State(recorder): State<Arc<Recorder>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let template = request.extensions().get::<MatchedPath>();
    let template = template.map_or("", MatchedPath::as_str);
    let Some(operation) = recorder.routes.find(request.method(), template).cloned() else {
        return Ok(next.run(request).await);
    };
    // A parameter that is neither true nor false is refused by the operation.
    if matches!(QueryParams::parse(request.uri().query()).flag(DRY_RUN), Ok(true)) {
        return Ok(next.run(request).await);
    }
    let (parts, body) = request.into_parts();
    let uri = operation.resource.as_ref().and_then(|resource| resource_uri(&parts.uri, resource));
    let before = match &uri {
        Some((uri, key)) => {
            // What other replicas changed shortly before is there, too.
            recorder.state.registry.catch_up().await;
            recorder.read(uri, key.as_deref()).await
        }
        None => None,
    };
    let id = AuditId::new(clock::broker_now_ms());
    let step = Step::Started { action: action(&parts, operation.id)?, before };
    let started = AuditRecord::new(id.clone(), id.at_ms(), step);
    if let Err(error) = recorder.state.audit.append(&started).await {
        return Err(ApiError::NotRecorded(error.0));
    }
    let response = next.run(Request::from_parts(parts, body)).await;
    let status = response.status();
    let (response, after) = match &uri {
        Some((uri, key)) if status.is_success() => {
            (response, recorder.read(uri, key.as_deref()).await)
        }
        None if status.is_success() => of_answer(response).await,
        _ => (response, None),
    };
    let step = Step::Done { status: status.as_u16(), after };
    let done = AuditRecord::new(id, clock::broker_now_ms(), step);
    if let Err(error) = recorder.state.audit.append(&done).await {
        // The log shows the change as one whose outcome is unknown.
        tracing::error!(id = %done.id, status = status.as_u16(), %error, "end of a change is not recorded");
    }
    Ok(response)
}

impl Recorder {
    /// Returns what the API shows of a resource; none if it does not exist.
    async fn read(&self, uri: &Uri, key: Option<&str>) -> Option<Content> {
        let request = Request::get(uri.clone()).extension(Caller::admin("audit log"));
        let request = request.body(Body::empty()).ok()?;
        let response = match self.reads.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let status = response.status();
        if status == StatusCode::NOT_FOUND {
            return None;
        }
        if !status.is_success() {
            return Some(Content::Omitted(format!("it could not be read: status {status}")));
        }
        let answer = match json_of(response.into_body()).await {
            Ok(answer) => answer,
            Err(reason) => return Some(Content::Omitted(reason)),
        };
        match key {
            Some(key) => item(answer, key).map(content),
            None => Some(content(answer)),
        }
    }
}

/// Returns where a resource is shown, and its key if that is a list.
fn resource_uri(uri: &Uri, resource: &Resource) -> Option<(Uri, Option<String>)> {
    let parts: Vec<&str> = uri.path().split('/').collect();
    let shown = parts.get(..resource.parts)?.join("/").parse().ok()?;
    let key = resource.is_list.then(|| parts.get(resource.parts)).flatten();
    let key =
        key.map(|key| percent_encoding::percent_decode_str(key).decode_utf8_lossy().into_owned());
    Some((shown, key))
}

/// Returns the element of a list with a key.
fn item(mut list: Value, key: &str) -> Option<Value> {
    let items = list.get_mut("items")?.as_array_mut()?;
    let is_it = |item: &&mut Value| {
        ["key", "id"].iter().any(|name| item.get(*name).is_some_and(|id| id == key))
    };
    items.iter_mut().find(is_it).map(Value::take)
}

/// Returns a response as it is, and what is recorded of it. A stream is not.
async fn of_answer(response: Response) -> (Response, Option<Content>) {
    let has_end = response.body().size_hint().exact().is_some_and(|bytes| bytes > 0);
    let is_declared = response.headers().contains_key(header::CONTENT_TYPE);
    if !has_end || !is_declared || !is_json(response.headers()) {
        return (response, None);
    }
    let (head, body) = response.into_parts();
    match to_bytes(body, usize::MAX).await {
        Ok(bytes) => {
            let answer = serde_json::from_slice(&bytes).ok().map(content);
            (Response::from_parts(head, Body::from(bytes)), answer)
        }
        // It was in memory, so that this does not happen.
        Err(error) => {
            tracing::error!(%error, "answer of a change is lost");
            (Response::from_parts(head, Body::empty()), None)
        }
    }
}

async fn json_of(body: Body) -> Result<Value, String> {
    let bytes = to_bytes(body, ANSWER_BYTES_MAX).await;
    let bytes = bytes.map_err(|_| format!("it has more than {ANSWER_BYTES_MAX} bytes"))?;
    serde_json::from_slice(&bytes).map_err(|error| format!("it could not be read: {error}"))
}

/// Returns who does what.
fn action(parts: &Parts, operation: String) -> Result<Action, ApiError> {
    let caller: Option<&Caller> = parts.extensions.get();
    let caller = caller.ok_or_else(|| ApiError::NotRecorded("the caller is not known".into()))?;
    let address = client_of(&parts.extensions).limited_address();
    Ok(Action {
        caller: caller.name.to_string(),
        scope: Some(caller.scope),
        installation: caller.installation.clone(),
        via: via(&parts.headers),
        address: address.map(|address| address.to_string()),
        operation,
        method: parts.method.to_string(),
        path: bounded(parts.uri.path()),
        request_id: header_text(&parts.headers, REQUEST_ID).map(bounded),
        detail: None,
    })
}

/// The console calls the API in this process, in the name of a visitor: its requests have no credentials.
fn via(headers: &HeaderMap) -> Via {
    let agent = header_text(headers, header::USER_AGENT.as_str());
    match headers.contains_key(header::AUTHORIZATION) {
        false => Via::Console,
        true if agent.is_some_and(|agent| agent.starts_with(COMMAND_AGENT)) => Via::Command,
        true => Via::Api,
    }
}

fn header_text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// Returns the beginning of a text.
fn bounded(text: &str) -> String {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}
