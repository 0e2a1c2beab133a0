//! Operator endpoint for the account: what became of every delivery of a window.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::deliveries::{read_time, wrong};
use super::progress_lines::{self, ProgressLines, accepts_lines};
use super::unknown_names::with_hints;
use crate::api::access::Viewer;
use crate::api::error::ApiError;
use crate::api::json::{insert_some, rfc3339};
use crate::api::openapi::{Conflict, Unavailable, route};
use crate::api::query_params::QueryParams;
use crate::api::schema::{Account as AccountSchema, WindowParams};
use crate::api::state::Shared;
use crate::clock;
use crate::domain::SubscriptionId;
use crate::recovery::account::{
    Account, AccountProgress, DeliveryCounts, GapDelivery, MissingRecords, Scope,
    SubscriptionCounts,
};

/// Length of the window if none is given, in milliseconds.
const WINDOW_MS: i64 = 3_600_000;
/// Default number of subscriptions, installations and sites that are listed.
const ROWS_DEFAULT: usize = 500;
/// Most of them.
const ROWS_MAX: usize = 10_000;
/// Series of lost records that are listed.
const MISSING_MAX: usize = 100;
pub(super) fn routes() -> OpenApiRouter<Shared> {
    route(OpenApiRouter::default(), routes!(account))
}

/// Shows what became of every delivery of a window.
///
/// At once, or after lines of progress if the client accepts these.
#[utoipa::path(
    get, path = "/account", operation_id = "getAccount",
    security(("operatorToken" = ["read"])),
    params(WindowParams,
        ("site" = Option<String>, Query, description = "Id of a site."),
        ("installation" = Option<String>, Query, description = "Id of an installation."),
        ("subscription" = Option<String>, Query, description = "`<installation>/<key>`."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 10000,
            description = "Most rows of each list; 500 by default.")),
    responses((status = 200, description = "The account.", content(
        (AccountSchema = "application/json"),
        (String = "application/x-ndjson",
            example = "{\"progress\":{\"records\":100,\"left\":50,\"suspects\":0}}\n{\"account\":{}}\n"))),
        Conflict, Unavailable)
)]
async fn account(
    State(state): State<Shared>,
    viewer: Viewer,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let params = QueryParams::parse(query.as_deref());
    let rows = params.limit(ROWS_DEFAULT, ROWS_MAX)?;
    let scope = read_scope(&state, &params)?;
    if !accepts_lines(&headers) {
        let account = state.recovery.accountant.account(scope.clone(), &|_| {}).await?;
        let view = with_hints(&state, &viewer, &params, account_view(&account, &scope, rows));
        return Ok(Json(view).into_response());
    }
    Ok(progress_lines::respond(Arc::clone(&state.broker), async move |lines: ProgressLines| {
        let progress = |progress: AccountProgress| lines.send(&progress_view(progress));
        let account = state.recovery.accountant.account(scope.clone(), &progress).await?;
        let view = with_hints(&state, &viewer, &params, account_view(&account, &scope, rows));
        Ok(json!({ "account": view }))
    }))
}

fn progress_view(progress: AccountProgress) -> Value {
    let AccountProgress { records, left, suspects } = progress;
    json!({ "progress": { "records": records, "left": left, "suspects": suspects } })
}

/// Reads the window of events that a request is about: from then on, and before then.
pub(super) fn read_window(params: &QueryParams) -> Result<(i64, i64), ApiError> {
    let until_ms = match params.get("to") {
        Some(text) => read_time("to", text)?,
        None => clock::broker_now_ms().saturating_add(1),
    };
    let from_ms = match params.get("from") {
        Some(text) => read_time("from", text)?,
        None => until_ms.saturating_sub(WINDOW_MS),
    };
    if from_ms >= until_ms {
        return Err(wrong("from", "the window ends before it begins".into()));
    }
    Ok((from_ms, until_ms))
}

fn read_scope(state: &Shared, params: &QueryParams) -> Result<Scope, ApiError> {
    let (from_ms, until_ms) = read_window(params)?;
    let subscription = match params.get("subscription") {
        Some(text) => Some(SubscriptionId::parse(text).ok_or_else(|| {
            wrong("subscription", format!("`{text}` is not `<installation>/<key>`"))
        })?),
        None => None,
    };
    let named = subscription.as_ref().map(|id| id.installation.as_str());
    let installation = named.or_else(|| params.get("installation"));
    // The subjects of the log name sites: without one, all of them are read.
    let home = installation.and_then(|id| state.registry.installation(id));
    let home = home.as_ref().map(|found| found.record.cloud_id.as_str());
    Ok(Scope {
        from_ms,
        until_ms,
        site: params.get("site").or(home).map(Into::into),
        installation: installation.map(Into::into),
        key: subscription.as_ref().map(|id| id.key.as_str().into()),
    })
}

fn account_view(account: &Account, asked: &Scope, rows: usize) -> Value {
    let total = account.total();
    let installations = account.sums(SubscriptionCounts::installation);
    let sites = account.sums(|one| &one.site);
    let mut view = json!({
        "from": rfc3339(asked.from_ms),
        "to": rfc3339(account.until_ms),
        "since": rfc3339(account.since_ms),
        "complete": account.since_ms <= asked.from_ms,
        "gap": account.gap(),
        "total": counts_view(&total),
        "sites": named_rows("site", sites, rows),
        "installations": named_rows("installation", installations, rows),
        "subscriptions": subscription_rows(account, rows),
        "gaps": account.gaps.iter().map(gap_view).collect::<Vec<_>>(),
        "inFlight": account.in_flight,
        "records": account.records,
    });
    let omitted = account.subscriptions.len().saturating_sub(rows);
    insert_some(&mut view, "omittedSubscriptions", Some(omitted).filter(|number| *number > 0));
    insert_some(&mut view, "unreadable", Some(account.unreadable).filter(|number| *number > 0));
    let undetermined = Some(account.undetermined).filter(|number| *number > 0);
    insert_some(&mut view, "undetermined", undetermined);
    let is_unknown = Some(account.has_too_many_erased).filter(|is_unknown| *is_unknown);
    insert_some(&mut view, "missingUnknown", is_unknown);
    let missing = account.missing.as_deref();
    insert_some(&mut view, "missingRecords", missing.map(|_| account.missing_records()));
    let missing = missing.map(|all| all.iter().take(MISSING_MAX).map(missing_view));
    insert_some(&mut view, "missing", missing.map(Iterator::collect::<Vec<_>>));
    view
}

fn counts_view(counts: &DeliveryCounts) -> Value {
    json!({
        "matched": counts.matched,
        "replayed": counts.replayed,
        "delivered": counts.delivered,
        "dead": counts.dead,
        "droppedByPolicy": counts.dropped,
        "removed": counts.removed,
        "pending": counts.pending,
        "gap": counts.gap,
    })
}

/// Renders sums: those with a gap first, then those with most deliveries.
fn named_rows<'a>(
    name: &str,
    sums: impl IntoIterator<Item = (&'a str, DeliveryCounts)>,
    rows: usize,
) -> Vec<Value> {
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by_key(|(_, counts)| order(counts));
    let row = |(id, counts): (&str, DeliveryCounts)| {
        let mut view = json!({});
        insert_some(&mut view, name, Some(id));
        insert_some(&mut view, "counts", Some(counts_view(&counts)));
        view
    };
    sums.into_iter().take(rows).map(row).collect()
}

fn subscription_rows(account: &Account, rows: usize) -> Vec<Value> {
    let mut all: Vec<_> = account.subscriptions.iter().collect();
    all.sort_by_key(|one| order(&one.counts));
    let row = |one: &SubscriptionCounts| {
        json!({
            "subscription": one.subscription,
            "site": one.site,
            "counts": counts_view(&one.counts),
        })
    };
    all.into_iter().take(rows).map(row).collect()
}

fn order(counts: &DeliveryCounts) -> std::cmp::Reverse<(u64, u64)> {
    std::cmp::Reverse((counts.gap, counts.matched.saturating_add(counts.replayed)))
}

fn gap_view(gap: &GapDelivery) -> Value {
    let mut view = json!({
        "deliveryId": gap.delivery,
        "event": { "site": gap.site, "id": gap.event, "sequence": gap.sequence },
        "subscriptions": gap.subscriptions,
        "last": gap.last,
    });
    insert_some(&mut view, "replay", gap.replay.as_ref());
    view
}

fn missing_view(missing: &MissingRecords) -> Value {
    json!({ "process": missing.series, "first": missing.first, "last": missing.last })
}
