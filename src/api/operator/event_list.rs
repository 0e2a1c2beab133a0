//! Operator endpoint that lists stored events.

use axum::Json;
use axum::extract::{RawQuery, State};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::deliveries::read_time;
use super::list::{LIMIT_DEFAULT, LIMIT_MAX};
use super::unknown_names::with_hints;
use crate::api::access::Viewer;
use crate::api::error::ApiError;
use crate::api::json::{insert_some, rfc3339};
use crate::api::openapi::{Unavailable, route};
use crate::api::query_params::{self, QueryParams, encode_cursor};
use crate::api::schema::{EventListPage as PageSchema, EventListParams, PageParams};
use crate::api::state::Shared;
use crate::domain::{CloudId, EventType};
use crate::event::{
    EventListPage, EventListQuery, ListedEvent, ListedMessage, UnreadableEvent, identity,
};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    route(OpenApiRouter::default(), routes!(list))
}

/// Lists stored events, newest first, with where the retained part of the event stream begins. A page ends after two
/// seconds with what it found; `complete` says whether all was read.
#[utoipa::path(
    get, path = "/events", operation_id = "listEvents", params(PageParams, EventListParams),
    security(("operatorToken" = ["read"])),
    responses((status = 200, description = "A page of events.", body = PageSchema), Unavailable)
)]
async fn list(
    State(state): State<Shared>,
    viewer: Viewer,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let params = QueryParams::parse(query.as_deref());
    let limit = params.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
    let below = params.cursor("cursor")?.map(|text| read_position(&text)).transpose()?;
    let time = |name: &str| params.get(name).map(|text| read_time(name, text)).transpose();
    let query = EventListQuery {
        site: params.get("site").map(CloudId::from),
        entity: params.get("entity").map(Into::into),
        event: None,
        event_type: params.get("type").map(EventType::from),
        since_ms: time("since")?,
        until_ms: time("until")?,
    };
    let page = state.events.list(&query, below, limit).await.map_err(ApiError::Unavailable)?;
    Ok(Json(with_hints(&state, &viewer, &params, page_view(&page))))
}

fn read_position(text: &str) -> Result<u64, ApiError> {
    text.parse().map_err(|_| query_params::invalid_cursor("cursor"))
}

fn page_view(page: &EventListPage) -> Value {
    let mut retained = json!({"firstSequence": page.first, "lastSequence": page.last});
    insert_some(&mut retained, "since", page.first_ms.and_then(rfc3339));
    let mut view = json!({
        "items": page.items.iter().map(item_view).collect::<Vec<_>>(),
        "scanned": page.scanned,
        "complete": page.next.is_none(),
        "retained": retained,
    });
    insert_some(&mut view, "nextCursor", page.next.map(|below| encode_cursor(&below.to_string())));
    insert_some(&mut view, "examinedUntil", page.examined_until_ms.and_then(rfc3339));
    insert_some(&mut view, "unreadable", Some(page.unreadable).filter(|count| *count > 0));
    view
}

fn item_view(item: &ListedMessage) -> Value {
    match item {
        ListedMessage::Event(event) => event_view(event),
        ListedMessage::Unreadable(event) => unreadable_view(event),
    }
}

fn event_view(event: &ListedEvent) -> Value {
    let mut view = json!({
        "ref": identity::of_event(&event.site, &event.id),
        "sequence": event.sequence,
        "id": event.id,
        "site": event.site,
        "type": event.event_type,
        "bytes": event.bytes,
    });
    insert_some(&mut view, "storedAt", rfc3339(event.stored_ms));
    insert_some(&mut view, "time", event.time.map(|time| time.to_string()));
    insert_some(&mut view, "entity", event.entity.as_deref());
    insert_some(&mut view, "originApp", event.origin_app.as_ref());
    insert_some(&mut view, "actor", event.actor.as_deref());
    view
}

fn unreadable_view(event: &UnreadableEvent) -> Value {
    let mut view = json!({
        "ref": event.sequence.to_string(),
        "sequence": event.sequence,
        "unreadable": event.reason,
    });
    insert_some(&mut view, "storedAt", rfc3339(event.stored_ms));
    insert_some(&mut view, "id", event.id.as_ref());
    insert_some(&mut view, "site", event.site.as_ref());
    view
}
