//! Operator endpoints for the delivery log: what became of deliveries.

use axum::Json;
use axum::extract::{RawQuery, State};
use jiff::Timestamp;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::delivery_view::{delivery_view, event_head_view};
use super::event_ref;
use super::list::{LIMIT_DEFAULT, LIMIT_MAX};
use super::unknown_names::with_hints;
use crate::api::access::Viewer;
use crate::api::error::ApiError;
use crate::api::extract::PathId;
use crate::api::json::{insert_some, rfc3339};
use crate::api::openapi::{Conflict, Unavailable, route};
use crate::api::query_params::{self, QueryParams, encode_cursor};
use crate::api::schema::{
    CursorParams, DeliveryAttempts, DeliveryPage, DeliveryParams, PageParams,
};
use crate::api::state::Shared;
use crate::clock;
use crate::delivery::{
    AttemptClass, EventHistory, LogPage, LogPosition, LogQuery, LoggedDelivery, OutcomeFilter,
};
use crate::domain::{CloudId, DeliveryId, InstallationId, SubscriptionId};
use crate::recovery::redrive::time_of;
use crate::registry::{Problem, code};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    let router = route(OpenApiRouter::default(), routes!(list_deliveries));
    route(router, routes!(get_delivery))
}

/// Lists records of deliveries, newest first.
#[utoipa::path(
    get, path = "/deliveries", operation_id = "listDeliveries",
    security(("operatorToken" = ["read", "installation"])),
    params(PageParams, DeliveryParams,
        ("event" = Option<String>, Query,
            description = "`<site>/<event id>`, a sequence of the event stream, or with `site` an event id.")),
    responses((status = 200, description = "A page of records.", body = DeliveryPage), Conflict, Unavailable)
)]
async fn list_deliveries(
    State(state): State<Shared>,
    viewer: Viewer,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let params = QueryParams::parse(query.as_deref());
    let limit = params.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
    let after = params.cursor("cursor")?.map(|text| read_position(&text)).transpose()?;
    let mut query = read_query(&state, &viewer, &params)?;
    let page = match params.get("event") {
        Some(text) => {
            let Some(key) = event_ref::find(&state, text, query.site.as_ref()).await? else {
                let empty = page_view(LogPage::default());
                let empty = with_hints(&state, &viewer, &params, empty);
                return Ok(Json(viewer.trimmed(empty)));
            };
            query.event = Some(key.id.clone());
            let history = state.delivery_log.history(&key).await?;
            page_of_history(history, &query, after, limit)
        }
        None => state.delivery_log.list(&query, after, limit).await?,
    };
    Ok(Json(viewer.trimmed(with_hints(&state, &viewer, &params, page_view(page)))))
}

/// Shows all attempts of one delivery, oldest first.
#[utoipa::path(
    get, path = "/deliveries/{id}", operation_id = "getDelivery",
    security(("operatorToken" = ["read", "installation"])),
    params(CursorParams, DeliveryParams,
        ("event" = Option<String>, Query, description = "Its event, which makes it found at once.")),
    responses((status = 200, description = "The delivery.", body = DeliveryAttempts), Conflict, Unavailable)
)]
async fn get_delivery(
    State(state): State<Shared>,
    viewer: Viewer,
    PathId(id): PathId,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let params = QueryParams::parse(query.as_deref());
    let id = DeliveryId::from_record(&id);
    let history = match look_up(&state, &viewer, &params, &id).await? {
        Lookup::Found(history) => history,
        Lookup::Later(answer) => return Ok(Json(answer)),
    };
    let attempts = attempts_of(&history, &viewer, &id);
    let Some(last) = attempts.last() else { return Err(ApiError::NotFound) };
    let mut answer = json!({
        "id": id.as_str(),
        "event": event_head_view(&last.record.event),
        "attempts": attempts.iter().map(|item| delivery_view(item)).collect::<Vec<_>>(),
        "complete": history.is_complete,
    });
    let outcome = last.delivery().map(|one| one.outcome.clone());
    insert_some(&mut answer, "outcome", outcome);
    insert_some(
        &mut answer,
        "subscription",
        last.delivery().map(|one| one.subscription().to_string()),
    );
    Ok(Json(viewer.trimmed(answer)))
}

/// What a search for a delivery found.
pub(super) enum Lookup {
    /// All deliveries of its event.
    Found(EventHistory),
    /// Nothing in the time of one request; the answer has the cursor to continue at.
    Later(Value),
}

/// Finds a delivery in the log, where `params` say: `event`, `site` or `installation`, and `cursor`.
///
/// # Errors
/// There is no such delivery, or the broker does not answer.
pub(super) async fn look_up(
    state: &Shared,
    viewer: &Viewer,
    params: &QueryParams,
    id: &DeliveryId,
) -> Result<Lookup, ApiError> {
    let after = params.cursor("cursor")?.map(|text| read_position(&text)).transpose()?;
    let key = match params.get("event") {
        Some(text) => event_ref::find(state, text, None).await?,
        None => None,
    };
    let key = match key {
        Some(key) => key,
        None => {
            let query =
                LogQuery { delivery: Some(id.clone()), ..read_query(state, viewer, params)? };
            let page = state.delivery_log.list(&query, after, 1).await?;
            match (page.items.first(), page.next) {
                (Some(found), _) => event_ref::of_record(state, &found.record.event).await?,
                (None, None) => return Err(ApiError::NotFound),
                // Not found in the time of one request: the caller continues at the cursor.
                (None, Some(_)) => {
                    let mut answer = page_view(page);
                    insert_some(&mut answer, "id", Some(id.to_string()));
                    return Ok(Lookup::Later(viewer.trimmed(answer)));
                }
            }
        }
    };
    Ok(Lookup::Found(state.delivery_log.history(&key).await?))
}

/// Returns the records of one delivery, oldest first; none if it is of an installation that is not shown.
pub(super) fn attempts_of<'h>(
    history: &'h EventHistory,
    viewer: &Viewer,
    id: &DeliveryId,
) -> Vec<&'h LoggedDelivery> {
    let is_it = |item: &&LoggedDelivery| {
        let found = item.delivery().filter(|one| viewer.sees(&one.installation));
        found.is_some_and(|one| one.delivery_id(&item.record.event) == *id)
    };
    history.items.iter().filter(is_it).collect()
}

fn page_view(page: LogPage) -> Value {
    let items: Vec<Value> = page.items.iter().map(delivery_view).collect();
    let mut answer = json!({"items": items, "scanned": page.scanned});
    insert_some(&mut answer, "nextCursor", page.next.map(|at| encode_cursor(&position_text(at))));
    insert_some(&mut answer, "examinedUntil", page.examined_until_ms.and_then(rfc3339));
    if page.unreadable > 0 {
        insert_some(&mut answer, "unreadable", Some(page.unreadable));
    }
    answer
}

/// Returns a page of all deliveries of an event, newest first.
fn page_of_history(
    history: EventHistory,
    query: &LogQuery,
    after: Option<LogPosition>,
    limit: usize,
) -> LogPage {
    let is_in = |ms: i64| {
        query.since_ms.is_none_or(|since| ms >= since)
            && query.until_ms.is_none_or(|until| ms < until)
    };
    let answers = |item: &LoggedDelivery| {
        is_in(item.recorded_ms)
            && after.is_none_or(|after| is_after(item.position, after))
            && item.delivery().is_some_and(|one| query.accepts(&item.record.event, one))
    };
    let mut items: Vec<_> = history.items.into_iter().filter(answers).collect();
    items.sort_by_key(|item| (std::cmp::Reverse(item.position.sequence), item.position.entry));
    let has_more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| has_more).map(|last| last.position);
    LogPage { items, next, scanned: history.scanned, ..LogPage::default() }
}

/// Whether a position comes after another, newest first.
fn is_after(position: LogPosition, after: LogPosition) -> bool {
    position.sequence < after.sequence
        || (position.sequence == after.sequence && position.entry > after.entry)
}

fn read_query(state: &Shared, viewer: &Viewer, params: &QueryParams) -> Result<LogQuery, ApiError> {
    let installation = params.get("installation").map(InstallationId::from);
    let installation = viewer.own().cloned().or(installation);
    let subscription = match params.get("subscription") {
        Some(text) => Some(SubscriptionId::parse(text).ok_or_else(|| {
            wrong("subscription", format!("`{text}` is not `<installation>/<key>`"))
        })?),
        None => None,
    };
    let named = subscription.as_ref().map(|id| &id.installation).or(installation.as_ref());
    // The subjects of the log name sites: without one, all of them would be read.
    let home = named.and_then(|id| state.registry.installation(id.as_str()));
    let site = params.get("site").map(CloudId::from);
    Ok(LogQuery {
        site: site.or_else(|| home.map(|found| found.record.cloud_id.clone())),
        entity: params.get("entity").map(Into::into),
        event: None,
        installation,
        subscription,
        delivery: None,
        outcome: params.get("outcome").map(read_outcome).transpose()?,
        class: params.get("class").map(read_class).transpose()?,
        since_ms: params.get("since").map(|text| read_time("since", text)).transpose()?,
        until_ms: params.get("until").map(|text| read_time("until", text)).transpose()?,
    })
}

fn read_outcome(text: &str) -> Result<OutcomeFilter, ApiError> {
    let known = OutcomeFilter::ALL.into_iter().find(|outcome| outcome.label() == text);
    known.ok_or_else(|| {
        let names = OutcomeFilter::ALL.map(OutcomeFilter::label).join(", ");
        wrong("outcome", format!("`{text}` is not one of {names}"))
    })
}

fn read_class(text: &str) -> Result<Box<str>, ApiError> {
    if AttemptClass::ALL.into_iter().any(|class| class.label() == text) {
        return Ok(text.into());
    }
    let names = AttemptClass::ALL.map(AttemptClass::label).join(", ");
    Err(wrong("class", format!("`{text}` is not one of {names}")))
}

/// Reads a time in RFC 3339, how long ago it is, or milliseconds since the epoch.
pub(super) fn read_time(name: &str, text: &str) -> Result<i64, ApiError> {
    let time = time_of(text, clock::broker_now()).map(Timestamp::as_millisecond);
    time.or_else(|| text.parse().ok()).ok_or_else(|| {
        wrong(
            name,
            format!(
                "`{text}` is neither a time such as 2026-11-30T08:00:00Z, nor an age such as 15m, 2h or 7d, nor milliseconds"
            ),
        )
    })
}

pub(super) fn wrong(name: &str, message: String) -> ApiError {
    Problem::new(code::FORM, name, message).into()
}

fn position_text(position: LogPosition) -> String {
    format!("{}.{}", position.sequence, position.entry)
}

fn read_position(text: &str) -> Result<LogPosition, ApiError> {
    let read = || {
        let (sequence, entry) = text.split_once('.')?;
        Some(LogPosition { sequence: sequence.parse().ok()?, entry: entry.parse().ok()? })
    };
    read().ok_or_else(|| query_params::invalid_cursor("cursor"))
}
