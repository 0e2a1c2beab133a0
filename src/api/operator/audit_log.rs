//! Operator endpoint for the audit log. Nothing changes it.

use axum::Json;
use axum::extract::{RawQuery, State};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::deliveries::read_time;
use super::list::{LIMIT_DEFAULT, LIMIT_MAX};
use crate::api::error::ApiError;
use crate::api::extract::PathId;
use crate::api::json::{insert_some, rfc3339};
use crate::api::openapi::{Unavailable, route};
use crate::api::query_params::{self, QueryParams, encode_cursor};
use crate::api::schema::{AuditLogEntry, AuditLogPage, AuditLogParams, PageParams};
use crate::api::state::Shared;
use crate::audit::{AuditEntry, AuditId, AuditPage, AuditQuery, Content, PendingReason};

/// Most entries of a page that has what was shown of the resources: each may have 128 KiB of it.
const DETAILS_MAX: usize = 50;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    let router = route(OpenApiRouter::default(), routes!(list));
    route(router, routes!(show))
}

/// Lists who changed what, and who logged in, newest first. A page may have fewer entries than asked for, and a cursor.
#[utoipa::path(
    get, path = "/audit-log", operation_id = "listAuditLog", security(("operatorToken" = ["admin"])), params(PageParams, AuditLogParams),
    responses((status = 200, description = "A page of entries.", body = AuditLogPage), Unavailable)
)]
async fn list(
    State(state): State<Shared>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let params = QueryParams::parse(query.as_deref());
    let limit = params.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
    let before = params
        .cursor("cursor")?
        .map(|text| text.parse().map_err(|_| query_params::invalid_cursor("cursor")));
    let text = |name| params.get(name).map(str::to_owned);
    let query = AuditQuery {
        caller: text("caller"),
        operation: text("operation"),
        path: text("path"),
        since_ms: params.get("since").map(|text| read_time("since", text)).transpose()?,
        with_content: params.flag("details")?,
    };
    let limit = if query.with_content { limit.min(DETAILS_MAX) } else { limit };
    let page = state.audit.page(&query, before.transpose()?, limit).await?;
    let AuditPage { entries, next, examined_until_ms, unreadable } = page;
    let has_content = query.with_content;
    let view_of = |entry| if has_content { whole_view(entry) } else { entry_view(&entry) };
    let mut view = json!({ "items": entries.into_iter().map(view_of).collect::<Vec<_>>() });
    insert_some(&mut view, "nextCursor", next.map(|next| encode_cursor(&next.to_string())));
    insert_some(&mut view, "examinedUntil", examined_until_ms.and_then(rfc3339));
    insert_some(&mut view, "unreadable", Some(unreadable).filter(|count| *count > 0));
    Ok(Json(view))
}

/// Shows an entry with the resource before and after the change.
#[utoipa::path(
    get, path = "/audit-log/{id}", operation_id = "getAuditLogEntry", security(("operatorToken" = ["admin"])),
    responses((status = 200, description = "The entry.", body = AuditLogEntry), Unavailable)
)]
async fn show(State(state): State<Shared>, PathId(id): PathId) -> Result<Json<Value>, ApiError> {
    let id: AuditId = id.parse().map_err(|_| ApiError::NotFound)?;
    let entry = state.audit.find(&id).await?.ok_or(ApiError::NotFound)?;
    Ok(Json(whole_view(entry)))
}

/// Returns an entry with what was shown of the resource.
fn whole_view(entry: AuditEntry) -> Value {
    let mut view = entry_view(&entry);
    add_content(&mut view, "before", entry.before);
    add_content(&mut view, "after", entry.result.ok().and_then(|result| result.after));
    view
}

/// Returns an entry without what was shown of the resource.
fn entry_view(entry: &AuditEntry) -> Value {
    let AuditEntry { id, at_ms, action, result, .. } = entry;
    let mut view = json!({
        "id": id.to_string(),
        "time": rfc3339(*at_ms),
        "caller": action.caller,
        "via": action.via.as_str(),
        "operation": action.operation,
        "method": action.method,
        "path": action.path,
        "outcome": outcome(entry),
    });
    insert_some(&mut view, "scope", action.scope.map(crate::domain::Scope::as_str));
    let installation = action.installation.as_ref().map(|id| id.as_str());
    insert_some(&mut view, "installation", installation);
    insert_some(&mut view, "address", action.address.as_deref());
    insert_some(&mut view, "requestId", action.request_id.as_deref());
    insert_some(&mut view, "detail", action.detail.as_deref());
    if let Ok(result) = result {
        insert_some(&mut view, "status", Some(result.status));
        insert_some(&mut view, "endedAt", rfc3339(result.at_ms));
    }
    view
}

fn outcome(entry: &AuditEntry) -> &'static str {
    match &entry.result {
        Ok(result) if result.status < 400 => "done",
        Ok(_) => "refused",
        Err(PendingReason::Running) => "running",
        Err(PendingReason::Unknown) => "unknown",
    }
}

/// Adds what was shown of a resource, or why that is not recorded.
fn add_content(view: &mut Value, name: &str, content: Option<Content>) {
    match content {
        Some(Content::Value(value)) => insert_some(view, name, Some(value)),
        Some(Content::Omitted(reason)) => {
            insert_some(view, &format!("{name}Omitted"), Some(reason))
        }
        None => {}
    }
}
