//! Operator endpoint that checks the delivery log against the event stream: events are matched again, and
//! each delivery that the log does not know is listed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::SemaphorePermit;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::account::read_window;
use super::deliveries::wrong;
use super::progress_lines::{self, ProgressLines, accepts_lines};
use crate::api::error::ApiError;
use crate::api::json::{insert_some, rfc3339};
use crate::api::openapi::{Conflict, Unavailable, route};
use crate::api::query_params::QueryParams;
use crate::api::schema::{Ledger, WindowParams};
use crate::api::state::Shared;
use crate::api::unknown_names::{no_installation, wrong_member};
use crate::domain::{CloudId, InstallationId};
use crate::recovery::account::AccountError;
use crate::recovery::replay::{Gap, LedgerQuery, LedgerReport, WindowRequest, check_ledger};

/// How long a request waits for the check of another one.
const TURN_MAX: Duration = Duration::from_secs(5);

pub(super) fn routes() -> OpenApiRouter<Shared> {
    route(OpenApiRouter::default(), routes!(ledger))
}

/// What a request asks for.
struct Asked {
    from_ms: i64,
    until_ms: i64,
    installation: Option<InstallationId>,
    /// The sites whose events are matched again, with the installations that they are matched for.
    sites: Vec<(CloudId, Vec<InstallationId>)>,
}

/// Checks the delivery log against the event stream.
///
/// Events are matched again, and each delivery that the log does not know is listed. Answers at once, or after
/// lines of progress if the client accepts these.
#[utoipa::path(
    get, path = "/account/ledger", operation_id = "checkLedger",
    security(("operatorToken" = ["read"])),
    params(WindowParams,
        ("site" = Option<String>, Query, description = "Id of a site."),
        ("installation" = Option<String>, Query, description = "Id of an installation.")),
    responses((status = 200, description = "What the check found.", content(
        (Ledger = "application/json"),
        (String = "application/x-ndjson",
            example = "{\"progress\":{\"events\":100,\"gap\":0,\"sitesLeft\":1}}\n{\"ledger\":{}}\n"))),
        Conflict, Unavailable)
)]
async fn ledger(
    State(state): State<Shared>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let asked = read(&state, &QueryParams::parse(query.as_deref()))?;
    if state.recovery.replay.log.is_none() {
        return Err(ApiError::DeliveryLogOff);
    }
    if !accepts_lines(&headers) {
        return Ok(Json(check(&state, &asked, &|_, _| {}).await?).into_response());
    }
    Ok(progress_lines::respond(Arc::clone(&state.broker), async move |lines: ProgressLines| {
        let progress = |sites_left: usize, report: &LedgerReport| {
            lines.send(&json!({ "progress": {
                "events": report.events,
                "gap": report.gap,
                "sitesLeft": sites_left,
            } }));
        };
        Ok(json!({ "ledger": check(&state, &asked, &progress).await? }))
    }))
}

fn read(state: &Shared, params: &QueryParams) -> Result<Asked, ApiError> {
    let (from_ms, until_ms) = read_window(params)?;
    let installation = params.get("installation").map(InstallationId::from);
    let sites = match (&installation, params.get("site")) {
        (Some(id), _) => {
            let known = state.registry.installation(id.as_str());
            let unknown = || {
                let problem = no_installation(state, id.as_str());
                problem.map_or(ApiError::NotFound, |one| wrong_member("installation", one))
            };
            let known = known.ok_or_else(unknown)?;
            vec![(known.record.cloud_id.clone(), vec![id.clone()])]
        }
        (None, Some(site)) => {
            let site = CloudId::from(site);
            let installations = all_sites(state).remove(&site).unwrap_or_default();
            vec![(site, installations)]
        }
        (None, None) => all_sites(state).into_iter().collect(),
    };
    Ok(Asked { from_ms, until_ms, installation, sites })
}

/// Returns the sites of all installations, with these.
fn all_sites(state: &Shared) -> BTreeMap<CloudId, Vec<InstallationId>> {
    let ids = state.registry.installation_ids(None, usize::MAX);
    let known = ids.iter().filter_map(|id| state.registry.installation(id.as_str()));
    let mut sites = BTreeMap::<CloudId, Vec<InstallationId>>::new();
    for known in known {
        let of_site = sites.entry(known.record.cloud_id.clone()).or_default();
        of_site.push(known.record.id.clone());
    }
    sites
}

/// Checks one site after the other; `progress` gets the number of sites that are left.
async fn check(
    state: &Shared,
    asked: &Asked,
    progress: &(dyn Fn(usize, &LedgerReport) + Send + Sync),
) -> Result<Value, ApiError> {
    let _turn = turn(state).await?;
    let parts = &state.recovery.replay;
    let log = parts.streams.log_bounds().await?.ok_or(ApiError::DeliveryLogOff)?;
    let log_from_ms = log.complete_from_ms();
    let window =
        WindowRequest::Times { from: time(asked.from_ms)?, to: Some(time(asked.until_ms)?) };
    let (mut report, mut starts) = (LedgerReport::default(), None);
    for (at, (site, installations)) in asked.sites.iter().enumerate() {
        let (window, coverage) = window.find(&*parts.streams, site).await?;
        // One that began later was checked for less; what was deleted during the check of an earlier one is counted.
        // A stream that nothing was deleted from begins with its first event.
        starts = starts.max(coverage.events_from_ms.filter(|_| coverage.begins_before_events));
        let (site, installation) = (site.clone(), asked.installation.clone());
        let installations = installations.clone();
        let query = LedgerQuery { site, installation, installations, window, log_from_ms };
        let left = asked.sites.len().saturating_sub(at);
        progress(left, &report);
        check_ledger(parts, &query, &mut report, &|report| progress(left, report)).await?;
    }
    Ok(view(asked, &report, starts))
}

/// Waits until this request is the only one of this router that checks.
async fn turn(state: &Shared) -> Result<SemaphorePermit<'_>, ApiError> {
    let turn = tokio::time::timeout(TURN_MAX, state.recovery.ledger_turn.acquire()).await;
    turn.ok().and_then(Result::ok).ok_or(ApiError::Account(AccountError::Busy))
}

fn time(ms: i64) -> Result<Timestamp, ApiError> {
    Timestamp::from_millisecond(ms).map_err(|error| wrong("from", error.to_string()))
}

fn view(asked: &Asked, report: &LedgerReport, events_from_ms: Option<i64>) -> Value {
    let mut view = json!({
        "from": rfc3339(asked.from_ms),
        "to": rfc3339(asked.until_ms),
        "sites": asked.sites.len(),
        "events": report.events,
        "matched": report.matched,
        "recorded": report.recorded,
        "notVerifiable": report.not_verifiable,
        "unreadable": report.unreadable,
        "expired": report.expired,
        "gap": report.gap,
        "gaps": report.gaps.iter().map(gap_view).collect::<Vec<_>>(),
    });
    // Events before it are deleted.
    let starts = events_from_ms.filter(|from_ms| *from_ms > asked.from_ms);
    insert_some(&mut view, "eventsFrom", starts.and_then(rfc3339));
    let open = report.open.iter().map(|(site, at)| json!({ "site": site, "sequence": at }));
    insert_some(&mut view, "open", Some(open.collect::<Vec<_>>()).filter(|all| !all.is_empty()));
    view
}

fn gap_view(gap: &Gap) -> Value {
    json!({
        "deliveryId": gap.delivery.as_str(),
        "event": {
            "site": gap.site,
            "id": gap.event,
            "sequence": gap.sequence,
            "stored": rfc3339(gap.stored_ms),
        },
        "subscription": gap.subscription.to_string(),
    })
}
