//! Operator endpoint for the busiest subscriptions of this replica, with its totals.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::list::{LIMIT_DEFAULT, LIMIT_MAX};
use super::replica_view::replica_view;
use crate::api::error::ApiError;
use crate::api::json::{insert_some, rfc3339_unless_zero};
use crate::api::openapi::route;
use crate::api::query_params::QueryParams;
use crate::api::schema::{Top, TopParams};
use crate::api::state::Shared;
use crate::clock;
use crate::delivery::Dispatcher;
use crate::registry::{AppliedInstallation, AppliedModule, Problem, code};

/// Subscriptions without an event, an error or a failure for longer than this are left out, in seconds.
const WITHIN_S: usize = 300;
/// Installations that are read before other tasks run.
const INSTALLATIONS_A_TURN: usize = 1_000;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    route(OpenApiRouter::default(), routes!(list))
}

/// What subscriptions are ranked by.
#[derive(Clone, Copy)]
enum Rank {
    Cost,
    Failures,
    Volume,
    Backlog,
}

impl Rank {
    const ALL: [(&'static str, Self); 4] = [
        ("cost", Self::Cost),
        ("failures", Self::Failures),
        ("volume", Self::Volume),
        ("backlog", Self::Backlog),
    ];

    fn read(params: &QueryParams) -> Result<Self, ApiError> {
        let text = params.get("by").unwrap_or("cost");
        let known = Self::ALL.into_iter().find(|(name, _)| *name == text);
        known.map(|(_, rank)| rank).ok_or_else(|| {
            let names = Self::ALL.map(|(name, _)| name).join(", ");
            Problem::new(code::FORM, "by", format!("`{text}` is not one of {names}")).into()
        })
    }
}

/// The figures of one subscription, or of all.
#[derive(Clone, Copy, Default)]
struct Figures {
    steps: u64,
    matched: u64,
    errors: u64,
    delivered: u64,
    failed: u64,
    dead: u64,
}

impl Figures {
    fn of(module: &AppliedModule) -> Self {
        let stats = module.stats().peek();
        Self {
            steps: stats.steps.load(Relaxed),
            matched: stats.matched.load(Relaxed),
            errors: stats.errors.load(Relaxed),
            delivered: stats.delivered.load(Relaxed),
            failed: stats.failed_attempts.load(Relaxed),
            dead: stats.dead.load(Relaxed),
        }
    }

    fn add(&mut self, other: Self) {
        self.steps = self.steps.wrapping_add(other.steps);
        self.matched = self.matched.wrapping_add(other.matched);
        self.errors = self.errors.wrapping_add(other.errors);
        self.delivered = self.delivered.wrapping_add(other.delivered);
        self.failed = self.failed.wrapping_add(other.failed);
        self.dead = self.dead.wrapping_add(other.dead);
    }

    fn view(self) -> Value {
        json!({
            "steps": self.steps,
            "matched": self.matched,
            "errors": self.errors,
            "delivered": self.delivered,
            "failedAttempts": self.failed,
            "dead": self.dead,
        })
    }
}

/// One subscription in the ranking.
struct Ranked {
    value: u64,
    figures: Figures,
    parked: u64,
    installation: Arc<AppliedInstallation>,
    /// Its place among the modules of the installation.
    module: usize,
}

/// Lists the subscriptions with the highest counts among those that were active lately. Counts are those since
/// this replica started; clients compute rates from two answers.
#[utoipa::path(
    get, path = "/top", operation_id = "listTop", params(TopParams),
    security(("operatorToken" = ["read"])),
    responses((status = 200, description = "The subscriptions, and the totals of all.", body = Top))
)]
async fn list(
    State(state): State<Shared>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let params = QueryParams::parse(query.as_deref());
    let limit = params.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
    let rank = Rank::read(&params)?;
    let within_s = params.number("within")?.unwrap_or(WITHIN_S);
    let now_ms = clock::now_ms();
    let within_ms = i64::try_from(within_s).unwrap_or(i64::MAX).saturating_mul(1_000);
    let since_ms = now_ms.saturating_sub(within_ms);
    let (mut ranked, mut totals, mut subscriptions) = (Vec::new(), Figures::default(), 0_u64);
    for (number, id) in state.registry.installation_ids(None, usize::MAX).iter().enumerate() {
        if number.is_multiple_of(INSTALLATIONS_A_TURN) {
            tokio::task::yield_now().await;
        }
        let Some(installation) = state.registry.installation(id.as_str()) else { continue };
        for (at, module) in installation.modules.iter().enumerate() {
            let figures = Figures::of(module);
            totals.add(figures);
            subscriptions += u64::from(module.subscription.is_some());
            let parked = if matches!(rank, Rank::Backlog) { parked_at(&state, module) } else { 0 };
            let value = match rank {
                Rank::Cost => figures.steps,
                Rank::Failures => figures.errors + figures.failed + figures.dead,
                Rank::Volume => figures.matched,
                Rank::Backlog => parked,
            };
            if value > 0 && (parked > 0 || last_active_ms(module) >= since_ms) {
                let installation = Arc::clone(&installation);
                ranked.push(Ranked { value, figures, parked, installation, module: at });
            }
        }
        if ranked.len() > 2 * LIMIT_MAX {
            cut(&mut ranked, limit);
        }
    }
    cut(&mut ranked, limit);
    let items: Vec<_> = ranked.iter().map(|one| item_view(&state, one)).collect();
    Ok(Json(answer(&state, (totals, subscriptions), now_ms, items)))
}

fn cut(ranked: &mut Vec<Ranked>, limit: usize) {
    ranked.sort_by_key(|one| Reverse(one.value));
    ranked.truncate(limit);
}

fn answer(
    state: &Shared,
    (totals, subscriptions): (Figures, u64),
    now_ms: i64,
    items: Vec<Value>,
) -> Value {
    let operations = &state.operations;
    let (parked, dead_letters) = operations.shares.stored();
    let failing = operations.health.failing();
    let mut answer = json!({
        "time": rfc3339_unless_zero(now_ms),
        "timeMs": now_ms,
        "replica": replica_view(state),
        "subscriptions": subscriptions,
        "totals": totals.view(),
        "parked": parked,
        "deadLetters": dead_letters,
        "ready": failing.is_empty(),
        "failing": failing,
        "items": items,
    });
    if let Some(backlog) = operations.publisher.backlog() {
        let input = json!({
            "pending": backlog.pending,
            "unacknowledged": backlog.unacknowledged,
            "lagSeconds": backlog.lag_s,
            "measuredSecondsAgo": clock::uptime_ms().saturating_sub(backlog.measured_ms) / 1_000,
        });
        insert_some(&mut answer, "input", Some(input));
    }
    answer
}

/// Returns when a subscription last matched or failed, milliseconds since the epoch; 0 = never.
fn last_active_ms(module: &AppliedModule) -> i64 {
    let stats = module.stats().peek();
    let times = [
        &stats.last_match_ms,
        &stats.last_delivered_ms,
        &stats.last_error_ms,
        &stats.last_failure_ms,
    ];
    times.into_iter().map(|time| time.load(Relaxed)).max().unwrap_or(0)
}

fn parked_at(state: &Shared, module: &AppliedModule) -> u64 {
    let live = module.subscription.as_ref();
    live.map_or(0, |live| state.operations.shares.parked_at(&Dispatcher::owner_of(live)))
}

fn item_view(state: &Shared, ranked: &Ranked) -> Value {
    let Some(module) = ranked.installation.modules.get(ranked.module) else { return Value::Null };
    let mut view = ranked.figures.view();
    let record = &ranked.installation.record;
    let stats = module.stats().peek();
    let parked = if ranked.parked > 0 { ranked.parked } else { parked_at(state, module) };
    insert_some(&mut view, "id", Some(module.id.to_string()));
    insert_some(&mut view, "app", Some(&record.app));
    insert_some(&mut view, "cloudId", Some(&record.cloud_id));
    insert_some(&mut view, "state", Some(module.effective_status.as_str()));
    insert_some(&mut view, "parked", Some(parked));
    insert_some(&mut view, "lastError", stats.last_error());
    insert_some(&mut view, "lastFailure", stats.last_failure());
    insert_some(&mut view, "lastMatch", rfc3339_unless_zero(stats.last_match_ms.load(Relaxed)));
    view
}
