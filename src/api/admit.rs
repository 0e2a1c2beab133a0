//! Middleware of the registration APIs and the operator API: decides by the headers of a request whether
//! its caller is known, and only then reads its body. What else decides by the caller goes between both.
//!
//! A caller that is not known here may have been created at another replica just now, so the replica
//! catches up before it refuses one, unless the client failed too often lately.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;

use super::broker_deadline;
use super::error::{ApiError, ClientRefusal};
use super::metrics;
use super::read_your_writes::{self, BufferedBody};
use super::state::{ApiState, Shared};
use crate::listener::{BodyError, BodyIntake, Client};

/// What is special to one API.
#[derive(Clone, Copy)]
pub(super) struct ApiCallers {
    /// Label of the metric of failed authentications.
    pub(super) api: &'static str,
    /// Checks the credentials in the headers of a request; it may add the caller to the extensions.
    pub(super) check: fn(&mut Parts, &ApiState) -> Result<(), AuthFailure>,
    /// Renders an error in the format of the API.
    pub(super) render: fn(ApiError) -> Response,
}

/// Why a caller is refused.
#[derive(Debug)]
pub struct AuthFailure {
    /// Label of the metric; not shown to the caller.
    pub reason: &'static str,
    /// What the log says in addition, such as whose token it is; not shown to apps.
    pub detail: Option<String>,
    /// The response, unless the client failed too often.
    pub error: ApiError,
}

/// Adds the middleware of one API to its routes.
pub(super) fn admitted(
    routes: OpenApiRouter<Shared>,
    state: &Shared,
    callers: ApiCallers,
) -> OpenApiRouter<Shared> {
    authenticated(buffered(routes, state, callers), state, callers)
}

/// Adds the middleware that checks credentials. It goes around everything that relies on them.
pub(super) fn authenticated(
    routes: OpenApiRouter<Shared>,
    state: &Shared,
    callers: ApiCallers,
) -> OpenApiRouter<Shared> {
    routes.route_layer(from_fn_with_state((Arc::clone(state), callers), authenticate))
}

/// Adds the middleware that reads bodies, and answers after what other replicas confirmed.
fn buffered(
    routes: OpenApiRouter<Shared>,
    state: &Shared,
    callers: ApiCallers,
) -> OpenApiRouter<Shared> {
    let read = from_fn_with_state(Arc::clone(state), read_your_writes::serve);
    with_bodies(routes.route_layer(read), state, callers)
}

/// Adds the middleware that reads bodies, and that ends requests while the broker is silent.
pub(super) fn with_bodies(
    routes: OpenApiRouter<Shared>,
    state: &Shared,
    callers: ApiCallers,
) -> OpenApiRouter<Shared> {
    routes
        .route_layer(from_fn_with_state(
            (Arc::clone(state), callers.render),
            broker_deadline::serve,
        ))
        .route_layer(from_fn_with_state((Arc::clone(state), callers), read_body))
}

async fn authenticate(
    State((state, callers)): State<(Shared, ApiCallers)>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let client = client_of(&parts.extensions);
    if let Err(error) = check(&state, &callers, &mut parts, client).await {
        discard(&parts.headers, body).await;
        return (callers.render)(error);
    }
    next.run(Request::from_parts(parts, body)).await
}

async fn read_body(
    State((state, callers)): State<(Shared, ApiCallers)>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let client = client_of(&parts.extensions);
    if parts.method == Method::GET {
        return next.run(Request::from_parts(parts, body)).await;
    }
    match state.bodies.read(body, state.body_max, client, None).await {
        Ok(received) => {
            let bytes = received.bytes.clone();
            parts.extensions.insert(BufferedBody(bytes.clone()));
            // `received` counts as memory until the response is there.
            next.run(Request::from_parts(parts, Body::from(bytes))).await
        }
        Err(error) => (callers.render)(body_error(error, state.body_max)),
    }
}

/// Checks the credentials of a request, again after catching up.
async fn check(
    state: &ApiState,
    callers: &ApiCallers,
    parts: &mut Parts,
    client: Client,
) -> Result<(), ApiError> {
    let Err(mut failure) = (callers.check)(parts, state) else { return Ok(()) };
    if state.failures.limited_for_s(client).is_none() {
        state.registry.catch_up().await;
        match (callers.check)(parts, state) {
            Ok(()) => return Ok(()),
            Err(again) => failure = again,
        }
    }
    Err(refused(state, callers.api, client, failure))
}

/// Counts a failed authentication at `api`, a label of the metric, and returns its response.
pub fn refused(
    state: &ApiState,
    api: &'static str,
    client: Client,
    AuthFailure { reason, detail, error }: AuthFailure,
) -> ApiError {
    metrics::auth_failed(api, reason);
    state.failures.log(api, reason, detail.as_deref(), client);
    match state.failures.record(client) {
        Some(retry_after_s) => ClientRefusal::TooManyFailures { retry_after_s }.into(),
        None => error,
    }
}

/// Returns the client of a request with these extensions.
#[must_use]
pub fn client_of(extensions: &axum::http::Extensions) -> Client {
    extensions.get::<Client>().copied().unwrap_or(Client::UNKNOWN)
}

/// Reads the rest of a refused request for a short time, unless its sender waits for permission to send
/// it.
pub(super) async fn discard(headers: &HeaderMap, body: Body) {
    if !headers.contains_key(header::EXPECT) {
        BodyIntake::discard(body).await;
    }
}

/// Returns the response to a body that was not read; it may have at most `max` bytes.
pub(super) fn body_error(error: BodyError, max: usize) -> ApiError {
    match error {
        BodyError::TooLarge => ApiError::BodyTooLarge { max },
        BodyError::TooSlow => ClientRefusal::BodyTooSlow.into(),
        BodyError::Broken(reason) => {
            ApiError::Malformed(format!("the request body cannot be read: {reason}"))
        }
        BodyError::NoCapacity(level) => ClientRefusal::NoBodyCapacity(level).into(),
    }
}
