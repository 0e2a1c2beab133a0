//! Operator endpoints for dead letters: list, show, delete.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use url::Url;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::list::{LIMIT_DEFAULT, LIMIT_MAX, page_view};
use super::unknown_names::with_hints;
use crate::api::access::Viewer;
use crate::api::error::ApiError;
use crate::api::extract::PathId;
use crate::api::json::{insert_some, rfc3339};
use crate::api::openapi::{Unavailable, route};
use crate::api::query_params::{self, QueryParams};
use crate::api::schema::{Letter, LetterPage, LetterParams, OctetStream, PageParams};
use crate::api::state::Shared;
use crate::clock;
use crate::delivery::RemovalReason;
use crate::event::codec::names::{self, dead_letter, parked};
use crate::recovery::redrive::{
    self, BadQuery, LetterId, LetterKind, LetterQuery, StoredLetter, newest_first,
};
use crate::registry::{Problem, code};

/// Shown in place of a value that may be a secret.
const REDACTED: &str = "[redacted]";
/// Starts of the names of headers that are shown: those that routers write, and CloudEvents.
const SHOWN_PREFIXES: [&str; 2] = ["switchyard-", "ce-"];
/// Further headers that are shown.
const SHOWN: [&str; 2] = [names::CONTENT_TYPE, names::TRACEPARENT];

pub(super) fn routes() -> OpenApiRouter<Shared> {
    let router = route(OpenApiRouter::default(), routes!(list));
    let router = route(router, routes!(show, remove));
    route(router, routes!(body))
}

/// Lists dead letters, newest first.
#[utoipa::path(
    get, path = "/dlq", operation_id = "listDeadLetters", params(PageParams, LetterParams),
    security(("operatorToken" = ["read", "installation"])),
    responses((status = 200, description = "A page of dead letters.", body = LetterPage), Unavailable)
)]
async fn list(
    State(state): State<Shared>,
    viewer: Viewer,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let params = QueryParams::parse(query.as_deref());
    let limit = params.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
    let before = match params.cursor("cursor")? {
        Some(text) => Some(text.parse().map_err(|_| query_params::invalid_cursor("cursor"))?),
        None => None,
    };
    let text = |name| params.get(name).map(str::to_owned);
    let query = LetterQuery {
        site: text("site"),
        installation: viewer.own().map(ToString::to_string).or_else(|| text("installation")),
        subscription: text("subscription"),
        reason: text("reason"),
        since: text("since"),
    };
    let query = query.fix(clock::broker_now()).map_err(|error| bad_query("", &error))?;
    let page = newest_first(&*state.recovery.letters, &query, before, limit).await?;
    let items = page.letters.iter().map(|letter| letter_view(&state, letter)).collect();
    let next = page.before.map(|before| query_params::encode_cursor(&before.to_string()));
    let mut view = page_view(items, next);
    insert_some(&mut view, "scanned", Some(page.scanned));
    Ok(Json(viewer.trimmed(with_hints(&state, &viewer, &params, view))))
}

/// Returns the error of a query that is in the member `parent` of a body, or in the address.
pub(super) fn bad_query(parent: &str, error: &BadQuery) -> ApiError {
    let path = match parent {
        "" => error.name.to_owned(),
        parent => format!("{parent}.{}", error.name),
    };
    Problem::new(code::FORM, path, error.message.clone()).into()
}

/// A letter with its body: as JSON if it is JSON, with every byte of it, else in base64.
#[derive(Serialize)]
struct WholeLetter<'a> {
    #[serde(flatten)]
    view: Value,
    headers: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a RawValue>,
    #[serde(rename = "bodyBase64", skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

/// Shows a dead letter with its headers and its body.
#[utoipa::path(
    get, path = "/dlq/{id}", operation_id = "getDeadLetter",
    security(("operatorToken" = ["read", "installation"])),
    responses((status = 200, description = "The dead letter.", body = Letter), Unavailable)
)]
async fn show(
    State(state): State<Shared>,
    viewer: Viewer,
    PathId(id): PathId,
) -> Result<Response, ApiError> {
    let letter = find(&state, &viewer, &id).await?;
    let body: Option<&RawValue> = serde_json::from_slice(&letter.body).ok();
    let has_body = !letter.body.is_empty();
    let body_base64 = (body.is_none() && has_body).then(|| BASE64.encode(&letter.body));
    let whole = WholeLetter {
        view: viewer.trimmed(letter_view(&state, &letter)),
        headers: shown_headers(&letter, &viewer),
        body,
        body_base64,
    };
    Ok(Json(whole).into_response())
}

/// Returns the body of a dead letter, byte for byte.
#[utoipa::path(
    get, path = "/dlq/{id}/body", operation_id = "getDeadLetterBody",
    security(("operatorToken" = ["read", "installation"])),
    responses((status = 200, description = "The body.", body = OctetStream, content_type = "application/octet-stream"),
        Unavailable)
)]
async fn body(
    State(state): State<Shared>,
    viewer: Viewer,
    PathId(id): PathId,
) -> Result<Response, ApiError> {
    let letter = find(&state, &viewer, &id).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, letter.body).into_response())
}

/// Deletes a dead letter.
#[utoipa::path(
    delete, path = "/dlq/{id}", operation_id = "deleteDeadLetter",
    security(("operatorToken" = ["operate"])),
    responses((status = 204, description = "It is deleted."))
)]
async fn remove(State(state): State<Shared>, PathId(id): PathId) -> Result<StatusCode, ApiError> {
    let id = LetterId::parse(&id).ok_or(ApiError::NotFound)?;
    let log = state.recovery.log.as_deref();
    if !redrive::remove(&*state.recovery.letters, log, id, RemovalReason::Operator).await? {
        return Err(ApiError::NotFound);
    }
    tracing::info!(%id, "dead letter deleted by an operator");
    Ok(StatusCode::NO_CONTENT)
}

async fn find(state: &Shared, viewer: &Viewer, id: &str) -> Result<StoredLetter, ApiError> {
    let id = LetterId::parse(id).ok_or(ApiError::NotFound)?;
    let found = state.recovery.letters.get(id).await?;
    let is_shown = |letter: &StoredLetter| {
        viewer.own().is_none_or(|own| letter.is_of_installation(own.as_str()))
    };
    found.filter(is_shown).ok_or(ApiError::NotFound)
}

fn letter_view(state: &Shared, letter: &StoredLetter) -> Value {
    let mut view = json!({
        "id": letter.id,
        "kind": letter.kind.as_str(),
        "storedAt": rfc3339(letter.id.0.stored_ms),
        "reason": letter.reason(),
        "bytes": letter.body_bytes,
    });
    let installation = letter.installation();
    for (name, value) in [
        ("stage", letter.text(dead_letter::STAGE)),
        ("error", letter.text(dead_letter::LAST_ERROR)),
        ("deliveryId", letter.text(names::DELIVERY_ID)),
        ("subscription", letter.subscription()),
        ("installation", installation.clone()),
        ("site", letter.site()),
        ("firstSeen", letter.text(dead_letter::FIRST_SEEN)),
        ("lastClass", letter.text(dead_letter::LAST_CLASS)),
        ("job", letter.text(names::JOB)),
    ] {
        insert_some(&mut view, name, value.filter(|value| !value.is_empty()));
    }
    if let LetterKind::Delivery { app, .. } = &letter.kind {
        let known = installation.and_then(|id| state.registry.installation_by_id_or_token(&id));
        let app = known.map_or_else(|| app.to_string(), |known| known.record.app.to_string());
        insert_some(&mut view, "app", Some(app));
    }
    let number = |name| letter.text(name)?.parse::<u64>().ok();
    insert_some(&mut view, "attempts", number(dead_letter::ATTEMPTS));
    insert_some(&mut view, "revision", number(dead_letter::REVISION));
    insert_some(&mut view, "omittedBytes", number(dead_letter::BODY_OMITTED));
    insert_some(&mut view, "bodyRemoved", letter.text(dead_letter::BODY_REMOVED));
    let also: Vec<String> = letter
        .text(parked::COALESCED_WITH)
        .map(|keys| keys.split(' ').map(str::to_owned).collect())
        .unwrap_or_default();
    insert_some(&mut view, "also", Some(also).filter(|keys| !keys.is_empty()));
    insert_some(&mut view, "event", event_view(letter));
    view
}

/// Renders the event of a letter; none if nothing is known of it.
fn event_view(letter: &StoredLetter) -> Option<Value> {
    let mut view = json!({});
    for (name, header) in [
        ("id", names::EVENT_ID),
        ("type", names::EVENT_TYPE),
        ("time", names::EVENT_TIME),
        ("entity", names::EVENT_ENTITY),
    ] {
        insert_some(&mut view, name, letter.text(header));
    }
    let sequence = letter.text(names::SEQUENCE).and_then(|text| text.parse::<u64>().ok());
    insert_some(&mut view, "sequence", sequence);
    view.as_object().is_some_and(|members| !members.is_empty()).then_some(view)
}

/// Returns the headers of a letter. Those of other writers may be secrets, and so may be the query of
/// the address of a webhook.
fn shown_headers(letter: &StoredLetter, viewer: &Viewer) -> Map<String, Value> {
    let is_hidden =
        |name: &str| !viewer.is_operator() && name.eq_ignore_ascii_case(names::SEQUENCE);
    let headers = letter.headers.iter().filter(|(name, _)| !is_hidden(name));
    let shown = headers.map(|(name, value)| {
        let name = name.to_ascii_lowercase();
        let is_shown = SHOWN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            || SHOWN.contains(&name.as_str());
        let decoded = percent_encoding::percent_decode_str(value).decode_utf8_lossy();
        let text = match name.as_str() {
            dead_letter::WEBHOOK_URL => address_without_secrets(&decoded),
            _ if is_shown => decoded.into_owned(),
            _ => REDACTED.to_owned(),
        };
        (name, Value::String(text))
    });
    shown.collect()
}

fn address_without_secrets(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else { return REDACTED.to_owned() };
    if url.query().is_some() {
        url.set_query(Some(REDACTED));
    }
    // Fails only for addresses that cannot have them.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_of_a_webhook_is_shown_without_its_query_and_password() {
        let shown = address_without_secrets("https://u:p@app.example.com/hook?token=abc#x");
        assert_eq!(shown, "https://app.example.com/hook?[redacted]#x");
        assert_eq!(address_without_secrets("https://a.example/"), "https://a.example/");
        assert_eq!(address_without_secrets("no address"), REDACTED);
    }
}
