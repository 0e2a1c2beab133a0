//! Operator endpoint that lists subscriptions: searched, ranked, counted by state, and page by page.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde_json::{Map, Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::attention::failure;
use super::list::{LIMIT_DEFAULT, LIMIT_MAX, page_view};
use super::replica_view::replica_view;
use super::subscriptions::subscription_view;
use super::unknown_names::with_hints;
use crate::api::access::Viewer;
use crate::api::error::ApiError;
use crate::api::json::insert_some;
use crate::api::openapi::route;
use crate::api::query_params::{self, QueryParams};
use crate::api::schema::{PageParams, SubscriptionPage, SubscriptionParams};
use crate::api::state::Shared;
use crate::registry::{AppliedInstallation, AppliedModule, EffectiveStatus, Problem, code};

/// Modules that are read before other tasks run.
const MODULES_A_TURN: usize = 500;
/// Modules that one request reads to count those that answer; a page without `sort` is found beyond.
const COUNTED_MAX: usize = 200_000;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    route(OpenApiRouter::default(), routes!(list_subscriptions))
}

/// Lists the subscriptions in the order of their ids, or by a count, with how many there are by state. Counts change
/// between two pages, so that a page of a ranking may miss or repeat one.
#[utoipa::path(
    get, path = "/subscriptions", operation_id = "listSubscriptions", params(PageParams, SubscriptionParams),
    security(("operatorToken" = ["read", "installation"])),
    responses((status = 200, description = "A page of subscriptions.", body = SubscriptionPage))
)]
async fn list_subscriptions(
    State(state): State<Shared>,
    viewer: Viewer,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let params = QueryParams::parse(query.as_deref());
    let limit = params.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
    let (query, rank) = (SubscriptionQuery::read(&params)?, Rank::read(&params)?);
    let after = params.cursor("cursor")?.map(|position| rank.read_position(&position));
    let mut found = Found::new(rank, limit, after.transpose()?);
    let mut read = 0;
    for id in state.registry.installation_ids(None, usize::MAX) {
        if found.is_complete_after(read) {
            break;
        }
        if !query.installation(id.as_str()) || !viewer.sees(&id) {
            continue;
        }
        let Some(installation) = state.registry.installation(id.as_str()) else { continue };
        for (at, module) in installation.modules.iter().enumerate() {
            read += 1;
            if read.is_multiple_of(MODULES_A_TURN) {
                tokio::task::yield_now().await;
            }
            if query.selects(&installation, module) {
                found.add(&installation, at, module, &query);
            }
        }
    }
    let page = found.page(&state).await;
    Ok(Json(viewer.trimmed(with_hints(&state, &viewer, &params, page))))
}

/// What subscriptions are ordered by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rank {
    Id,
    Failures,
    Volume,
    LastMatch,
}

impl Rank {
    const ALL: [(&'static str, Self); 4] = [
        ("id", Self::Id),
        ("failures", Self::Failures),
        ("volume", Self::Volume),
        ("last_match", Self::LastMatch),
    ];

    fn read(params: &QueryParams) -> Result<Self, ApiError> {
        let Some(text) = params.get("sort") else { return Ok(Self::Id) };
        let known = Self::ALL.into_iter().find(|(name, _)| *name == text);
        known.map(|(_, rank)| rank).ok_or_else(|| {
            let names = Self::ALL.map(|(name, _)| name).join(", ");
            Problem::new(code::FORM, "sort", format!("`{text}` is not one of {names}")).into()
        })
    }

    fn value(self, module: &AppliedModule) -> u64 {
        let stats = module.stats().peek();
        match self {
            Self::Id => 0,
            Self::Failures => {
                let counts = [&stats.errors, &stats.failed_attempts, &stats.dead];
                counts.into_iter().map(|count| count.load(Relaxed)).sum()
            }
            Self::Volume => stats.matched.load(Relaxed),
            Self::LastMatch => stats.last_match_ms.load(Relaxed).unsigned_abs(),
        }
    }

    fn read_position(self, text: &str) -> Result<Position, ApiError> {
        let invalid = |_| query_params::invalid_cursor("cursor");
        let (value, (installation, key, registered)) = match self {
            Self::Id => (0, serde_json::from_str(text).map_err(invalid)?),
            _ => serde_json::from_str(text).map_err(invalid)?,
        };
        Ok(Position { value: Reverse(value), installation, key, registered })
    }
}

/// A position in the list: highest values first, then by id. A dynamic and a static module may share an id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    value: Reverse<u64>,
    installation: String,
    key: String,
    registered: bool,
}

impl Position {
    fn of(module: &AppliedModule, rank: Rank) -> Self {
        Self {
            value: Reverse(rank.value(module)),
            installation: module.id.installation.to_string(),
            key: module.id.key.to_string(),
            registered: !module.is_static,
        }
    }

    fn write(&self, rank: Rank) -> String {
        let id = json!([self.installation, self.key, self.registered]);
        match rank {
            Rank::Id => id.to_string(),
            _ => json!([self.value.0, id]).to_string(),
        }
    }
}

/// The subscriptions of a page, and the counts of all that answer.
struct Found {
    rank: Rank,
    limit: usize,
    after: Option<Position>,
    /// The first ones after the cursor, unordered; more than the page has.
    first: Vec<(Position, Arc<AppliedInstallation>, usize)>,
    total: u64,
    failing: u64,
    by_state: [u64; EffectiveStatus::ALL.len()],
    is_counted: bool,
}

impl Found {
    fn new(rank: Rank, limit: usize, after: Option<Position>) -> Self {
        let by_state = [0; EffectiveStatus::ALL.len()];
        let (total, failing) = (0, 0);
        Self { rank, limit, after, first: Vec::new(), total, failing, by_state, is_counted: true }
    }

    /// Whether the page is complete, and so many modules were read that the others are not counted.
    fn is_complete_after(&mut self, read: usize) -> bool {
        let is_complete =
            read >= COUNTED_MAX && self.rank == Rank::Id && self.first.len() > self.limit;
        self.is_counted &= !is_complete;
        is_complete
    }

    /// Counts a module that answers but for its state, and keeps it if it may be on the page.
    fn add(
        &mut self,
        installation: &Arc<AppliedInstallation>,
        at: usize,
        module: &AppliedModule,
        query: &SubscriptionQuery<'_>,
    ) {
        let is_failing = failure(module).is_some();
        let is_state = query.state.is_none_or(|state| module.effective_status.as_str() == state);
        // The counts of a filter are those of what it would select, whatever it selects now.
        if !query.is_failing || is_failing {
            let states =
                EffectiveStatus::ALL.iter().position(|one| *one == module.effective_status);
            if let Some(count) = states.and_then(|at| self.by_state.get_mut(at)) {
                *count += 1;
            }
        }
        if is_state {
            self.failing += u64::from(is_failing);
        }
        if !is_state || (query.is_failing && !is_failing) {
            return;
        }
        self.total += 1;
        let position = Position::of(module, self.rank);
        if self.after.as_ref().is_none_or(|after| position > *after) {
            self.first.push((position, Arc::clone(installation), at));
        }
        if self.first.len() > 4 * self.limit.max(LIMIT_DEFAULT) {
            self.cut();
        }
    }

    /// Keeps the first ones, one more than the page has.
    fn cut(&mut self) {
        self.first.sort_by(|one, other| one.0.cmp(&other.0));
        self.first.truncate(self.limit + 1);
    }

    async fn page(mut self, state: &Shared) -> Value {
        self.cut();
        let has_more = self.first.len() > self.limit;
        self.first.truncate(self.limit);
        let last = self.first.last().filter(|_| has_more);
        let next = last.map(|(at, ..)| query_params::encode_cursor(&at.write(self.rank)));
        let mut items = Vec::new();
        for (_, installation, at) in &self.first {
            let Some(module) = installation.modules.get(*at) else { continue };
            items.push(subscription_view(state, installation, module));
            // Warnings are found when they are first read: a filter may take milliseconds, a page
            // has hundreds.
            tokio::task::yield_now().await;
        }
        let mut page = page_view(items, next);
        if self.is_counted {
            let by_state = EffectiveStatus::ALL.iter().zip(self.by_state);
            let by_state: Map<String, Value> =
                by_state.map(|(one, count)| (one.as_str().to_owned(), count.into())).collect();
            insert_some(&mut page, "total", Some(self.total));
            let counts = json!({"states": by_state, "failing": self.failing});
            insert_some(&mut page, "counts", Some(counts));
        }
        insert_some(&mut page, "replica", Some(replica_view(state)));
        page
    }
}

/// The query parameters that select subscriptions.
struct SubscriptionQuery<'q> {
    site: Option<&'q str>,
    installation: Option<&'q str>,
    app: Option<&'q str>,
    event: Option<&'q str>,
    state: Option<&'q str>,
    text: Option<&'q str>,
    is_failing: bool,
}

impl<'q> SubscriptionQuery<'q> {
    fn read(params: &'q QueryParams) -> Result<Self, ApiError> {
        let state = params.get("state");
        let known = EffectiveStatus::ALL.map(|state| state.as_str());
        if state.is_some_and(|state| !known.contains(&state)) {
            let message = format!("a state is one of {}", known.join(", "));
            return Err(Problem::new(code::FORM, "state", message).into());
        }
        Ok(Self {
            site: params.get("site"),
            installation: params.get("installation"),
            app: params.get("app"),
            event: params.get("event"),
            state,
            text: params.get("q"),
            is_failing: params.flag("failing")?,
        })
    }

    fn installation(&self, id: &str) -> bool {
        self.installation.is_none_or(|wanted| wanted == id)
    }

    /// Whether a module answers, whatever its state is and whether it fails.
    fn selects(&self, installation: &AppliedInstallation, module: &AppliedModule) -> bool {
        self.app.is_none_or(|app| installation.record.app.as_str() == app)
            && self.site.is_none_or(|site| installation.record.cloud_id.as_str() == site)
            && self.event.is_none_or(|event| subscribes_to(module, event))
            && self.text.is_none_or(|text| has_text(module, text))
    }
}

fn subscribes_to(module: &AppliedModule, event: &str) -> bool {
    let live =
        module.subscription.iter().flat_map(|subscription| &subscription.event_subscriptions);
    if live.into_iter().any(|entry| entry.conditions.event_type.as_str() == event) {
        return true;
    }
    if !module.data.has_text(event) {
        return false;
    }
    let data = module.data.read();
    let names = data.get("events").and_then(Value::as_array).into_iter().flatten();
    let mut names =
        names.filter_map(|item| item.as_str().or_else(|| item.get("eventType")?.as_str()));
    names.any(|name| name == event)
}

fn has_text(module: &AppliedModule, text: &str) -> bool {
    module.id.key.as_str().contains(text)
        || module.id.installation.as_str().contains(text)
        || (text.contains('/') && module.id.to_string().contains(text))
        || module.data.has_text(text)
}
