//! The middleware that decides by the table of needs: rate, scope, installation.

use std::sync::Arc;

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{MatchedPath, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;

use super::callers::Admitted;
use super::confine::Own;
use super::needs::{Found, Need, Needs};
use crate::api::admit::discard;
use crate::api::error::{AccessRefusal, ApiError};
use crate::api::metrics;
use crate::api::state::{ApiState, Shared};
use crate::api::token_kind::OperatorFault;
use crate::domain::{Caller, InstallationId};

/// Adds the middleware to routes whose operations are described. What authenticates callers goes around it.
pub(in crate::api) fn guarded<S>(routes: OpenApiRouter<S>, state: &Shared) -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    let needs = Arc::new(Needs::of(routes.get_openapi()));
    routes.route_layer(from_fn_with_state((Arc::clone(state), needs), serve))
}

/// Middleware inside of what catches up with other replicas: refuses a request whose token ended at one of them.
pub(in crate::api) async fn still_admitted(
    State(state): State<Shared>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let admitted = Admitted::of(request.extensions()).ok_or_else(not_admitted)?;
    if !admitted.holds_everywhere(&state).await {
        return Err(not_admitted());
    }
    Ok(next.run(request).await)
}

fn not_admitted() -> ApiError {
    ApiError::NotAnOperator(OperatorFault::Ended)
}

async fn serve(
    State((state, needs)): State<(Shared, Arc<Needs>)>,
    path: MatchedPath,
    params: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let permitted = match needs.find(path.as_str(), &parts.method) {
        Found::Need(need) => permit(&state, need, path.as_str(), params, &mut parts),
        Found::Undeclared => Err(AccessRefusal::Undeclared.into()),
        // The router adds the methods that there are.
        Found::OtherMethods => Err(ApiError::MethodNotAllowed),
    };
    match permitted {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(error) => {
            if let ApiError::Access(refusal) = &error {
                metrics::access_refused(refusal);
            }
            discard(&parts.headers, body).await;
            error.into_response()
        }
    }
}

/// Decides whether a request is permitted, and confines it to the installation of its caller.
fn permit(
    state: &ApiState,
    need: Need,
    path: &str,
    params: Result<RawPathParams, RawPathParamsRejection>,
    parts: &mut Parts,
) -> Result<(), ApiError> {
    let caller = parts.extensions.get::<Caller>().cloned().ok_or_else(not_admitted)?;
    charge(state, &caller, parts)?;
    if caller.scope < need.scope {
        let (needed, has, caller) = (need.scope, caller.scope, caller.name);
        return Err(AccessRefusal::Scope { needed, has, caller }.into());
    }
    match &caller.installation {
        None => Ok(()),
        Some(_) if !need.is_of_installation => {
            Err(AccessRefusal::NotOfInstallation { caller: caller.name }.into())
        }
        Some(installation) => confine(state, installation, need, (path, params), parts),
    }
}

fn charge(state: &ApiState, caller: &Caller, parts: &Parts) -> Result<(), ApiError> {
    let admitted = Admitted::of(&parts.extensions).ok_or_else(not_admitted)?;
    let Some(token) = admitted.access_token(state) else { return Ok(()) };
    let exists = |id: &str| state.registry.access_token(id).is_some();
    state.access.charge(&token, exists).map_err(|retry_after| {
        let (caller, per_second) = (caller.name.clone(), token.requests_per_second);
        AccessRefusal::TooManyRequests { caller, per_second, retry_after }.into()
    })
}

fn confine(
    state: &ApiState,
    installation: &InstallationId,
    need: Need,
    (path, params): (&str, Result<RawPathParams, RawPathParamsRejection>),
    parts: &mut Parts,
) -> Result<(), ApiError> {
    let found = state.registry.installation(installation.as_str());
    let site = found.map(|found| found.record.cloud_id.clone());
    let own = Own { installation, site };
    // A name that is not UTF-8 names nothing.
    let params = params.map_err(|_| ApiError::NotFound)?;
    own.check_path(path, params.iter().next().map(|(_, value)| value))?;
    if let Some(confined) = own.confined(&parts.uri, need)? {
        parts.uri = confined;
    }
    Ok(())
}
