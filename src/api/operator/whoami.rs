//! Operator endpoint that says who calls: what a token may do, for those who were given one.

use axum::Extension;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::access::TokenDigest;
use crate::api::json::{insert_some, rfc3339};
use crate::api::openapi::route;
use crate::api::schema::Whoami;
use crate::api::state::Shared;
use crate::domain::Caller;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    route(OpenApiRouter::default(), routes!(whoami))
}

/// Says who calls, and what the caller may do.
#[utoipa::path(
    get, path = "/whoami", operation_id = "whoami",
    security(("operatorToken" = ["read", "installation"])),
    responses((status = 200, description = "The caller.", body = Whoami))
)]
async fn whoami(
    State(state): State<Shared>,
    Extension(caller): Extension<Caller>,
    token: Option<Extension<TokenDigest>>,
) -> Json<Value> {
    let mut view = json!({"name": caller.name.as_str(), "scope": caller.scope});
    insert_some(&mut view, "installation", caller.installation.as_ref());
    let token =
        token.and_then(|Extension(token)| state.registry.access_token_by_digest(token.as_str()));
    if let Some(token) = token {
        insert_some(&mut view, "expiresAt", token.expires_ms.and_then(rfc3339));
        insert_some(&mut view, "requestsPerSecond", Some(token.requests_per_second));
        insert_some(&mut view, "description", token.description.as_ref());
    }
    Json(view)
}
