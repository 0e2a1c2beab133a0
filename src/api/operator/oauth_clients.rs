//! Operator endpoints for OAuth clients.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::list::{next_cursor, page_params, page_view};
use super::status::put_status;
use crate::api::error::ApiError;
use crate::api::extract::{JsonObject, PathId};
use crate::api::json::{insert_some, rfc3339};
use crate::api::openapi::{Invalid, route};
use crate::api::schema::{OauthClient, OauthClientStored, Page, PageParams};
use crate::api::state::Shared;
use crate::registry::{ClientRecord, ClientSpec};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    let router = route(OpenApiRouter::default(), routes!(list_clients));
    let router = route(router, routes!(put_client, get_client, delete_client));
    route(router, routes!(retire_secret))
}

/// Stores an OAuth client, which registers webhooks for a user.
#[utoipa::path(
    put, path = "/oauth-clients/{id}", operation_id = "putOauthClient", request_body = ClientSpec,
    security(("operatorToken" = ["admin"])),
    responses((status = 200, description = "The client was changed.", body = OauthClientStored),
        (status = 201, description = "The client is new.", body = OauthClientStored))
)]
async fn put_client(
    State(state): State<Shared>,
    PathId(id): PathId,
    body: JsonObject,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let spec: ClientSpec = body.read()?;
    let put = state.registry.clients().put(&id, spec).await?;
    let mut answer = json!({"id": id});
    insert_some(&mut answer, "warnings", Some(put.warnings).filter(|all| !all.is_empty()));
    Ok((put_status(put.created), Json(answer)))
}

/// Shows an OAuth client.
#[utoipa::path(
    get, path = "/oauth-clients/{id}", operation_id = "getOauthClient",
    security(("operatorToken" = ["read"])),
    responses((status = 200, description = "The client.", body = OauthClient))
)]
async fn get_client(
    State(state): State<Shared>,
    PathId(id): PathId,
) -> Result<Json<Value>, ApiError> {
    let client = state.registry.client(&id).ok_or(ApiError::NotFound)?;
    Ok(Json(client_view(&state, &client)))
}

/// Renders a client without its token, of which only a digest is stored, and without its secret.
fn client_view(state: &Shared, client: &ClientRecord) -> Value {
    let installation = state.registry.installation(client.installation.as_str());
    let record = installation.as_ref().map(|installation| &installation.record);
    let signing = record.and_then(|record| record.oauth_clients.get(&client.id));
    let mut view =
        json!({"id": client.id, "user": client.user, "installation": client.installation});
    insert_some(&mut view, "signsWebhooks", signing.map(|_| true));
    let previous = signing.and_then(|signing| signing.previous.as_ref());
    let until = previous.and_then(|previous| rfc3339(previous.until_ms));
    insert_some(&mut view, "previousSecretUntil", until);
    view
}

/// Lists the OAuth clients in the order of their ids.
#[utoipa::path(
    get, path = "/oauth-clients", operation_id = "listOauthClients", params(PageParams),
    security(("operatorToken" = ["read"])),
    responses((status = 200, description = "A page of clients.", body = Page<OauthClient>))
)]
async fn list_clients(
    State(state): State<Shared>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let (after, limit) = page_params(query.as_deref())?;
    let ids = state.registry.client_ids(after.as_deref(), limit + 1);
    let found = ids.iter().take(limit).filter_map(|id| state.registry.client(id));
    let items = found.map(|client| client_view(&state, &client)).collect();
    Ok(Json(page_view(items, next_cursor(&ids, limit, String::as_str))))
}

/// Deletes an OAuth client with its webhooks.
#[utoipa::path(
    delete, path = "/oauth-clients/{id}", operation_id = "deleteOauthClient",
    security(("operatorToken" = ["admin"])),
    responses((status = 204, description = "It is deleted."), Invalid)
)]
async fn delete_client(
    State(state): State<Shared>,
    PathId(id): PathId,
) -> Result<StatusCode, ApiError> {
    state.registry.clients().delete(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Stops to sign with the secret of before.
#[utoipa::path(
    delete, path = "/oauth-clients/{id}/previous-secret", operation_id = "retireOauthClientSecret",
    security(("operatorToken" = ["admin"])),
    responses((status = 204, description = "It is retired."), Invalid)
)]
async fn retire_secret(
    State(state): State<Shared>,
    PathId(id): PathId,
) -> Result<StatusCode, ApiError> {
    state.registry.clients().retire_secret(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}
