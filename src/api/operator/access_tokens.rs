//! Operator endpoints for access tokens: who else may call the operator API, and what they may do.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::list::{next_cursor, page_params, page_view};
use super::status::put_status;
use crate::api::access::caller_of_record;
use crate::api::error::ApiError;
use crate::api::extract::{JsonObject, PathId};
use crate::api::json::{insert_some, rfc3339, rfc3339_unless_zero};
use crate::api::openapi::{Invalid, route};
use crate::api::schema::{AccessToken, AccessTokenStored, NewAccessToken, Page, PageParams};
use crate::api::state::Shared;
use crate::registry::{AccessTokenRecord, AccessTokenSpec};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    let router = route(OpenApiRouter::default(), routes!(list_tokens));
    let router = route(router, routes!(put_token, get_token, delete_token));
    route(router, routes!(rotate))
}

/// Creates an access token, or changes what its caller may do. The token is shown only when it is created.
#[utoipa::path(
    put, path = "/tokens/{id}", operation_id = "putAccessToken", request_body = AccessTokenSpec,
    security(("operatorToken" = ["admin"])),
    responses((status = 200, description = "The token was changed.", body = AccessTokenStored),
        (status = 201, description = "The token is new.", body = AccessTokenStored))
)]
async fn put_token(
    State(state): State<Shared>,
    PathId(id): PathId,
    body: JsonObject,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let spec: AccessTokenSpec = body.read()?;
    let put = state.registry.access_tokens().put(&id, spec).await?;
    let mut answer = json!({"id": id});
    let token = put.token.as_ref();
    insert_some(&mut answer, "token", token.map(|token| token.reveal().to_owned()));
    Ok((put_status(token.is_some()), Json(answer)))
}

/// Replaces an access token. The new one is shown only here; the old one is refused from then on.
#[utoipa::path(
    post, path = "/tokens/{id}/rotate", operation_id = "rotateAccessToken",
    security(("operatorToken" = ["admin"])),
    responses((status = 200, description = "The new token.", body = NewAccessToken), Invalid)
)]
async fn rotate(State(state): State<Shared>, PathId(id): PathId) -> Result<Json<Value>, ApiError> {
    let token = state.registry.access_tokens().rotate(&id).await?;
    Ok(Json(json!({"id": id, "token": token.reveal()})))
}

/// Shows an access token without the token, of which only a digest is stored.
#[utoipa::path(
    get, path = "/tokens/{id}", operation_id = "getAccessToken",
    security(("operatorToken" = ["admin"])),
    responses((status = 200, description = "The token.", body = AccessToken))
)]
async fn get_token(
    State(state): State<Shared>,
    PathId(id): PathId,
) -> Result<Json<Value>, ApiError> {
    let token = state.registry.access_token(&id).ok_or(ApiError::NotFound)?;
    Ok(Json(token_view(&state, &token)))
}

/// Lists the access tokens in the order of their ids.
#[utoipa::path(
    get, path = "/tokens", operation_id = "listAccessTokens", params(PageParams),
    security(("operatorToken" = ["admin"])),
    responses((status = 200, description = "A page of tokens.", body = Page<AccessToken>))
)]
async fn list_tokens(
    State(state): State<Shared>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let (after, limit) = page_params(query.as_deref())?;
    let ids = state.registry.access_token_ids(after.as_deref(), limit + 1);
    let found = ids.iter().take(limit).filter_map(|id| state.registry.access_token(id));
    let items = found.map(|token| token_view(&state, &token)).collect();
    Ok(Json(page_view(items, next_cursor(&ids, limit, String::as_str))))
}

/// Deletes an access token, which is refused from then on at every replica.
#[utoipa::path(
    delete, path = "/tokens/{id}", operation_id = "deleteAccessToken",
    security(("operatorToken" = ["admin"])),
    responses((status = 204, description = "It is deleted."), Invalid)
)]
async fn delete_token(
    State(state): State<Shared>,
    PathId(id): PathId,
) -> Result<StatusCode, ApiError> {
    state.registry.access_tokens().delete(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn token_view(state: &Shared, token: &AccessTokenRecord) -> Value {
    let mut view = json!({
        "id": token.id,
        "scope": token.scope,
        "requestsPerSecond": token.requests_per_second,
        "ended": caller_of_record(state, token).is_err(),
        "createdAt": rfc3339(token.created_ms),
        "updatedAt": rfc3339(token.updated_ms),
    });
    insert_some(&mut view, "installation", token.installation_id());
    insert_some(&mut view, "expiresAt", token.expires_ms.and_then(rfc3339));
    insert_some(&mut view, "description", token.description.as_ref());
    let last = state.access.last_ms(token);
    insert_some(&mut view, "lastUsedAt", last.and_then(rfc3339_unless_zero));
    view
}
