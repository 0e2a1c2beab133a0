//! Operator endpoint of the doctor: what is wrong with the broker and this replica, and what to do about it.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::attention::Attention;
use super::known_endpoints::endpoints_of;
use super::replica_view::replica_view;
use crate::api::json::insert_some;
use crate::api::openapi::route;
use crate::api::schema::Diagnosis;
use crate::api::state::Shared;
use crate::clock;
use crate::delivery::OpenEndpoint;
use crate::recovery::doctor::{
    BROKER_UNREACHABLE, BusiestSite, CHECKS, Finding, OpenBreaker, RouterFacts, Severity, examine,
};

/// Endpoints with an open breaker that are named.
const ENDPOINTS_MAX: usize = 10;
/// Part of all events that makes a site worth a mention, in percent.
const BUSY_PERCENT_MIN: u64 = 20;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    route(OpenApiRouter::default(), routes!(run))
}

/// Examines the broker and this replica; the answer has every check with its worst finding.
#[utoipa::path(
    get, path = "/doctor", operation_id = "getDiagnosis",
    security(("operatorToken" = ["read"])),
    responses((status = 200, description = "The findings.", body = Diagnosis))
)]
async fn run(State(state): State<Shared>) -> Json<Value> {
    // A broker that does not answer is not asked again: what this replica knows is said at once.
    let broker = match state.operations.health.failing().iter().any(|one| one == BROKER_UNREACHABLE)
    {
        true => Err("it did not answer the last check".to_owned()),
        false => state.operations.broker.facts().await,
    };
    let findings = examine(&broker, &router_facts(&state, None).await);
    let worst = findings.iter().map(|one| one.severity).max();
    let mut answer = json!({
        "status": status(worst),
        "checks": CHECKS.map(|check| check_view(check, &findings)),
        "findings": findings,
        "replica": replica_view(&state),
    });
    insert_some(&mut answer, "broker", broker.ok());
    Json(answer)
}

fn check_view(check: &str, findings: &[Finding]) -> Value {
    let worst = findings.iter().filter(|one| one.check == check).map(|one| one.severity).max();
    json!({ "check": check, "status": status(worst) })
}

/// Notes are advice: with notes alone the status is `ok`.
fn status(worst: Option<Severity>) -> &'static str {
    match worst {
        None | Some(Severity::Note) => "ok",
        Some(Severity::Warning) => "warning",
        Some(Severity::Critical) => "critical",
    }
}

/// Returns what this replica knows without asking the broker; of subscriptions and endpoints those of one installation
/// alone, if there is one.
pub(super) async fn router_facts(state: &Shared, only: Option<&str>) -> RouterFacts {
    let operations = &state.operations;
    let skew_ms = clock::skew().map(|skew| skew.unsigned_abs().as_millis());
    let Attention { failing_subscriptions, failing_count, flooding, most_dead } =
        Attention::of(state, only).await;
    RouterFacts {
        broker: operations.broker_address.clone(),
        failing: operations.health.failing(),
        degraded: operations.health.degraded(),
        skew_ms: skew_ms.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX)),
        lag_s: operations.publisher.backlog().map(|backlog| backlog.lag_s),
        busiest_site: busiest_site(state),
        dead_letters: match (only, &most_dead) {
            (None, _) => operations.shares.stored().1,
            (Some(_), most) => most.as_ref().map_or(0, |most| most.count),
        },
        most_dead,
        failing_subscriptions,
        failing_count,
        flooding,
        open_breakers: open_breakers(state, only),
        configuration: operations.configuration.clone(),
    }
}

fn open_breakers(state: &Shared, only: Option<&str>) -> Vec<OpenBreaker> {
    let most = if only.is_some() { usize::MAX } else { ENDPOINTS_MAX };
    let open = state.operations.dispatcher.open_endpoints(most);
    let open = open.iter().filter(|one| only.is_none_or(|id| one.installation.as_str() == id));
    open.take(ENDPOINTS_MAX).map(|open| open_breaker(state, open)).collect()
}

fn open_breaker(state: &Shared, open: &OpenEndpoint) -> OpenBreaker {
    let installation = state.registry.installation(open.installation.as_str());
    let known = installation.map(|installation| endpoints_of(state, &installation));
    let known = known.and_then(|known| known.into_iter().find(|one| open.is_at(&one.key.endpoint)));
    OpenBreaker {
        id: known.map(|known| known.id),
        installation: open.installation.to_string(),
        endpoint: open.endpoint.clone(),
        scope: open.scope.label(),
        cause: open.tripped.cause.label(),
    }
}

/// Returns the site with most events since the start, if it has a notable part of all.
fn busiest_site(state: &Shared) -> Option<BusiestSite> {
    let sites = state.matcher.busiest_sites(usize::MAX);
    let all: u64 = sites.iter().map(|(_, events)| *events).sum();
    let (site, events) = sites.first().filter(|(_, events)| *events > 0)?;
    let percent = events.saturating_mul(100) / all.max(1);
    (percent >= BUSY_PERCENT_MIN).then(|| BusiestSite { site: site.to_string(), percent })
}
