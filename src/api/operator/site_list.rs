//! Operator endpoints for sites: what is installed there, what they send, and what is refused.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde_json::{Map, Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::attention::failure;
use super::list::{LIMIT_DEFAULT, LIMIT_MAX, page_view};
use super::replica_view::replica_view;
use crate::api::error::ApiError;
use crate::api::extract::PathId;
use crate::api::ingest::RefusedSite;
use crate::api::json::{insert_some, rfc3339, rfc3339_unless_zero};
use crate::api::openapi::route;
use crate::api::query_params::{QueryParams, encode_cursor};
use crate::api::schema::{PageParams, Site, SitePage, SiteParams};
use crate::api::state::Shared;
use crate::delivery::ShareOwner;
use crate::domain::{CloudId, Product};
use crate::registry::{AppliedInstallation, InstallationState, RegistrationApi};
use crate::telemetry::sites::{SITES_COUNTED_MAX, SiteActivity, activity_of, activity_of_others};

/// Installations of a site that its view names.
const NAMED_MAX: usize = 100;
/// How long the view of a site waits for the broker to count its unmapped names.
const UNMAPPED_WAIT: Duration = Duration::from_secs(1);
/// Unmapped names that are counted.
const UNMAPPED_MAX: usize = 1_000;
/// Sites that are read before other tasks run.
const SITES_A_TURN: usize = 50;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    let router = route(OpenApiRouter::default(), routes!(list));
    route(router, routes!(show))
}

/// Lists the sites with an installation in the order of their ids.
#[utoipa::path(
    get, path = "/sites", operation_id = "listSites", params(PageParams, SiteParams),
    security(("operatorToken" = ["read"])),
    responses((status = 200, description = "A page of sites.", body = SitePage))
)]
async fn list(
    State(state): State<Shared>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let params = QueryParams::parse(query.as_deref());
    let limit = params.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
    let after = params.cursor("cursor")?;
    let mut sites = state.registry.sites();
    sites.retain(|site| params.get("q").is_none_or(|text| site.as_str().contains(text)));
    // A site of two products is listed once.
    sites.sort_unstable();
    sites.dedup();
    let total = sites.len();
    sites.retain(|site| after.as_deref().is_none_or(|after| site.as_str() > after));
    let next = sites.get(limit.saturating_sub(1)).filter(|_| sites.len() > limit);
    let next = next.map(|last| encode_cursor(last.as_str()));
    let mut items = Vec::new();
    for (number, site) in sites.iter().take(limit).enumerate() {
        if number.is_multiple_of(SITES_A_TURN) {
            tokio::task::yield_now().await;
        }
        items.push(SiteFigures::of(&state, site).view(&state, site));
    }
    let mut page = page_view(items, next);
    insert_some(&mut page, "total", Some(total));
    insert_some(&mut page, "sitesCountedMax", Some(SITES_COUNTED_MAX));
    insert_some(&mut page, "others", activity_of_others().map(activity_view));
    insert_some(&mut page, "replica", Some(replica_view(&state)));
    Ok(Json(page))
}

/// Shows a site with its installations. `unmapped` is left out if the broker does not count its names within a second.
#[utoipa::path(
    get, path = "/sites/{id}", operation_id = "getSite",
    security(("operatorToken" = ["read"])),
    responses((status = 200, description = "The site.", body = Site))
)]
async fn show(State(state): State<Shared>, PathId(id): PathId) -> Result<Json<Value>, ApiError> {
    let site = CloudId::from(id);
    let figures = SiteFigures::of(&state, &site);
    if figures.installations.is_empty() {
        return Err(ApiError::NotFound);
    }
    let mut view = figures.view(&state, &site);
    let named = figures.installations.iter().take(NAMED_MAX).map(|one| {
        let record = &one.record;
        json!({"id": record.id, "app": record.app, "product": record.product, "state": record.state})
    });
    insert_some(&mut view, "installationList", Some(named.collect::<Vec<_>>()));
    insert_some(&mut view, "unmapped", unmapped(&state, &site).await);
    insert_some(&mut view, "replica", Some(replica_view(&state)));
    Ok(Json(view))
}

/// Counts the names of webhooks that map to no event; none if the broker does not answer in time.
async fn unmapped(state: &Shared, site: &CloudId) -> Option<Value> {
    let names = state.unmapped_webhooks.list(site, UNMAPPED_MAX);
    let found = tokio::time::timeout(UNMAPPED_WAIT, names).await.ok()?.ok()?;
    let events = found.names.iter().map(|(_, count)| *count).sum::<u64>();
    Some(json!({
        "names": found.names.len(),
        "events": events.saturating_add(found.other),
        "truncated": found.is_cut,
    }))
}

/// What is known of one site.
#[derive(Default)]
struct SiteFigures {
    installations: Vec<Arc<AppliedInstallation>>,
    enabled: usize,
    subscriptions: u64,
    failing: u64,
    matched_ms: i64,
    parked: u64,
    dead: u64,
    dead_letters: u64,
    dynamic: usize,
    dynamic_max: usize,
}

impl SiteFigures {
    fn of(state: &Shared, site: &CloudId) -> Self {
        let mut figures = Self::default();
        for id in state.registry.installations_at(site) {
            if let Some(installation) = state.registry.installation(id.as_str()) {
                figures.add(state, installation);
            }
        }
        // Events that are dead letters themselves belong to the site.
        let (_, events) = state.operations.shares.used_by(&ShareOwner::events_of(&site.token()));
        figures.dead_letters += events;
        figures
    }

    fn add(&mut self, state: &Shared, installation: Arc<AppliedInstallation>) {
        let record = &installation.record;
        self.enabled += usize::from(record.state == InstallationState::Enabled);
        for module in &installation.modules {
            self.subscriptions += u64::from(module.subscription.is_some());
            self.failing += u64::from(failure(module).is_some());
            let stats = module.stats().peek();
            self.matched_ms = self.matched_ms.max(stats.last_match_ms.load(Relaxed));
            self.dead += stats.dead.load(Relaxed);
        }
        let owner = ShareOwner::installation(&record.app, &record.id);
        let (parked, dead_letters) = state.operations.shares.used_by(&owner);
        self.parked += parked;
        self.dead_letters += dead_letters;
        let dynamic = record.modules.iter().filter(|one| one.api != RegistrationApi::Webhook);
        self.dynamic += dynamic.count();
        let app = state.registry.app(record.app.as_str());
        let app = app.as_ref().map(|app| &app.record);
        self.dynamic_max += state.registry.settings().dynamic_modules_max(app, record.product);
        self.installations.push(installation);
    }

    fn view(&self, state: &Shared, site: &CloudId) -> Value {
        let has =
            |product: &Product| self.installations.iter().any(|one| one.record.product == *product);
        let products: Vec<_> = Product::ALL.into_iter().filter(has).collect();
        let activity = activity_of(site.as_str()).unwrap_or_default();
        let mut view = activity_view(activity);
        let own = json!({
            "id": site,
            "products": products,
            "installations": self.installations.len(),
            "enabled": self.enabled,
            "subscriptions": self.subscriptions,
            "failing": self.failing,
            "parked": self.parked,
            "dead": self.dead,
            "deadLetters": self.dead_letters,
            "modules": {"dynamic": self.dynamic, "dynamicMax": self.dynamic_max},
        });
        if let (Value::Object(view), Value::Object(own)) = (&mut view, own) {
            view.extend(own);
        }
        insert_some(&mut view, "lastMatch", rfc3339_unless_zero(self.matched_ms));
        if let Some(refused) = state.refusals.webhooks_of(site) {
            insert_some(&mut view, "refusedSince", rfc3339(refused.since_ms));
            insert_some(&mut view, "lastRefused", rfc3339(refused.last_ms));
            insert_some(&mut view, "refused", Some(reasons_view(&refused)));
        }
        let events = state.refusals.events_of(site);
        insert_some(&mut view, "refusedEvents", events.as_ref().map(reasons_view));
        view
    }
}

fn activity_view(activity: SiteActivity) -> Value {
    let SiteActivity { events, matched, last_event_ms } = activity;
    let mut view = json!({"events": events, "matched": matched});
    insert_some(&mut view, "lastEvent", rfc3339_unless_zero(last_event_ms));
    view
}

fn reasons_view(refused: &RefusedSite) -> Map<String, Value> {
    let counted = |(reason, count): &(&str, u64)| ((*reason).to_owned(), Value::from(*count));
    refused.reasons.iter().map(counted).collect()
}
