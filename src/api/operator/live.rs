//! Operator endpoint of the live feed: routed events and deliveries of this replica as they happen, one JSON
//! object a line, with filters.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::Instant;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::auth::bearer;
use crate::api::error::ApiError;
use crate::api::json::{insert_some, rfc3339};
use crate::api::openapi::route;
use crate::api::query_params::QueryParams;
use crate::api::schema::LiveParams;
use crate::api::state::Shared;
use crate::clock;
use crate::domain::{Secret, SubscriptionId};
use crate::registry::{Problem, code};
use crate::telemetry::{FEED_EVENTS_MAX, LiveEvent};

/// Live feeds at once on one replica, those of the console among them.
const FEEDS_MAX: usize = 32;
/// Pause after which an idle feed sends a line, and its token is checked again.
const IDLE: Duration = Duration::from_secs(5);
/// Time between two parts of a feed: soon enough for a reader, and long enough for routing.
const PART_INTERVAL: Duration = Duration::from_millis(50);
/// Lines a second of a feed, which is more than a person reads. What it selects beyond is counted as missed.
const LINES_PER_SECOND: u64 = 500;
/// Lines that a feed may send at once after a quiet time.
const LINES_AT_ONCE: u64 = 1_000;
/// What a feed may select.
const DECISIONS: [&str; 8] =
    ["matched", "unmatched", "failed", "delivered", "parked", "dead", "dropped", "removed"];
/// Media type of the answer.
const NDJSON: &str = "application/x-ndjson";

pub(super) fn routes() -> OpenApiRouter<Shared> {
    route(OpenApiRouter::default(), routes!(feed))
}

/// Sends the live events from now on that the query selects, at most 500 a second after the first 1,000. A line
/// `{"notice":"missed"}` has the number of events that a client did not get, an idle one gets `{"notice":"idle"}`.
#[utoipa::path(
    get, path = "/live", operation_id = "followLive", params(LiveParams),
    responses((status = 200, description = "Lines, one for each event, without an end.",
        content_type = "application/x-ndjson", body = String,
        example = "{\"notice\":\"idle\",\"time\":\"2026-12-01T08:00:00Z\"}\n"))
)]
async fn feed(
    State(state): State<Shared>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let wanted = Wanted::read(&QueryParams::parse(query.as_deref()))?;
    if state.operations.live.subscribers() >= FEEDS_MAX {
        return Err(ApiError::TooManyFeeds);
    }
    let token = bearer(&headers).map(Secret::new);
    let (events, lines) = (state.operations.live.subscribe(), LineBudget::new(Instant::now()));
    let feed = Feed { events, state, token, wanted, next_part: None, lines };
    let lines = stream::unfold(feed, |mut feed| async move {
        let line = feed.next().await?;
        Some((Ok::<_, Infallible>(line), feed))
    });
    Ok(([(header::CONTENT_TYPE, NDJSON)], Body::from_stream(lines)).into_response())
}

/// A feed of one client. What happened within [`PART_INTERVAL`] is sent together: routing wakes a feed for each part
/// and not for each event.
struct Feed {
    state: Shared,
    events: Receiver<Arc<LiveEvent>>,
    /// The token of the client: the feed ends when it is revoked.
    token: Option<Secret>,
    wanted: Wanted,
    /// When the next part may be sent; none before the first one.
    next_part: Option<Instant>,
    lines: LineBudget,
}

/// What a feed reads of the events.
enum Read {
    Event(Arc<LiveEvent>),
    /// So many came too fast.
    Missed(u64),
    Closed,
}

impl Feed {
    /// Returns the next lines; none when the router stops or the token is revoked.
    async fn next(&mut self) -> Option<Bytes> {
        let stop = self.state.operations.stop.clone();
        loop {
            if let Some(moment) = self.next_part {
                stop.run_until_cancelled(tokio::time::sleep_until(moment)).await?;
            }
            let token = self.token.as_ref()?;
            if !self.state.admin_tokens.accepts(token.reveal()) {
                return None;
            }
            let next = tokio::time::timeout(IDLE, self.events.recv());
            let Ok(first) = stop.run_until_cancelled(next).await? else {
                return Some(rendered(json!({"notice": "idle"})));
            };
            let now = Instant::now();
            self.next_part = Some(now + PART_INTERVAL);
            self.lines.refill(now);
            let first = first.map_or_else(Read::from, Read::Event);
            let part = self.part(first)?;
            if !part.is_empty() {
                return Some(part.into());
            }
        }
    }

    /// Returns the lines of an event and of those that wait after it; none if there will be no more.
    fn part(&mut self, first: Read) -> Option<Vec<u8>> {
        let (mut part, mut missed, mut next) = (Vec::new(), 0, Some(first));
        // More than the feed holds are not read at once.
        for _ in 0..FEED_EVENTS_MAX {
            match next {
                Some(Read::Event(event)) => match self.wanted.select(&self.state, &event) {
                    Some(event) if self.lines.take() => part.extend(rendered(json!(event))),
                    Some(_) => missed += 1,
                    None => {}
                },
                Some(Read::Missed(events)) => missed += events,
                Some(Read::Closed) => return None,
                None => break,
            }
            next = match self.events.try_recv() {
                Ok(event) => Some(Read::Event(event)),
                Err(TryRecvError::Lagged(events)) => Some(Read::Missed(events)),
                Err(TryRecvError::Empty | TryRecvError::Closed) => None,
            };
        }
        // Read, and not sent with this part.
        missed += u64::from(matches!(next, Some(Read::Event(_))));
        if missed > 0 {
            part.extend(rendered(json!({"notice": "missed", "events": missed})));
        }
        Some(part)
    }
}

impl From<RecvError> for Read {
    fn from(error: RecvError) -> Self {
        match error {
            RecvError::Lagged(events) => Self::Missed(events),
            RecvError::Closed => Self::Closed,
        }
    }
}

/// How many lines a feed may send: [`LINES_PER_SECOND`], after a quiet time up to [`LINES_AT_ONCE`].
struct LineBudget {
    left: u64,
    filled: Instant,
}

impl LineBudget {
    fn new(now: Instant) -> Self {
        Self { left: LINES_AT_ONCE, filled: now }
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_millis();
        let earned =
            u64::try_from(passed).unwrap_or(u64::MAX).saturating_mul(LINES_PER_SECOND) / 1_000;
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(LINES_AT_ONCE);
            self.filled = now;
        }
    }

    fn take(&mut self) -> bool {
        let is_left = self.left > 0;
        self.left = self.left.saturating_sub(1);
        is_left
    }
}

fn rendered(mut line: Value) -> Bytes {
    insert_some(&mut line, "time", rfc3339(clock::now_ms()));
    let mut text = line.to_string();
    text.push('\n');
    text.into()
}

/// The query parameters that select live events.
#[derive(Default)]
struct Wanted {
    app: Option<String>,
    site: Option<String>,
    event_type: Option<String>,
    subscription: Option<String>,
    decision: Option<String>,
}

impl Wanted {
    fn read(params: &QueryParams) -> Result<Self, ApiError> {
        let text = |name: &str| params.get(name).map(str::to_owned);
        let decision = text("decision");
        if decision.as_deref().is_some_and(|one| !DECISIONS.contains(&one)) {
            let message = format!("a decision is one of {}", DECISIONS.join(", "));
            return Err(Problem::new(code::FORM, "decision", message).into());
        }
        Ok(Self {
            app: text("app"),
            site: text("site"),
            event_type: text("type"),
            subscription: text("subscription"),
            decision,
        })
    }

    /// Returns the event with the subscriptions that are selected; none if it is not.
    fn select(&self, state: &Shared, event: &LiveEvent) -> Option<LiveEvent> {
        let is_wanted = |id: &str| self.is_wanted(state, id);
        let names_subscriptions = self.app.is_some() || self.subscription.is_some();
        let mut event = event.clone();
        let decision = match &mut event {
            LiveEvent::Routed { site, event_type, matches, errors, failures, .. } => {
                self.is_at(site, event_type).then_some(())?;
                matches.retain(|id| is_wanted(id));
                errors.retain(|id| is_wanted(id));
                failures.retain(|failure| is_wanted(&failure.subscription));
                if names_subscriptions && matches.is_empty() && errors.is_empty() {
                    return None;
                }
                match (errors.is_empty(), matches.is_empty()) {
                    (false, _) => "failed",
                    (true, false) => "matched",
                    (true, true) => "unmatched",
                }
            }
            LiveEvent::Delivery { site, event_type, subscription, outcome, .. } => {
                (self.is_at(site, event_type) && is_wanted(subscription)).then_some(())?;
                outcome.split(':').next().unwrap_or_default()
            }
        };
        let is_selected = self.decision.as_deref().is_none_or(|wanted| wanted == decision);
        is_selected.then_some(event)
    }

    fn is_at(&self, site: &str, event_type: &str) -> bool {
        self.site.as_deref().is_none_or(|wanted| wanted == site)
            && self.event_type.as_deref().is_none_or(|wanted| wanted == event_type)
    }

    fn is_wanted(&self, state: &Shared, id: &str) -> bool {
        let is_of = |app: &str| {
            let installation = SubscriptionId::parse(id).map(|id| id.installation);
            let found = installation.and_then(|id| state.registry.installation(id.as_str()));
            found.is_some_and(|found| found.record.app.as_str() == app)
        };
        // An installation alone selects all of its subscriptions.
        let is_named = |wanted: &str| {
            id == wanted || id.strip_prefix(wanted).is_some_and(|key| key.starts_with('/'))
        };
        self.subscription.as_deref().is_none_or(is_named) && self.app.as_deref().is_none_or(is_of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feed_sends_a_burst_and_then_lines_at_its_rate() {
        let start = Instant::now();
        let mut lines = LineBudget::new(start);
        assert_eq!((0..5_000).filter(|_| lines.take()).count(), 1_000);
        lines.refill(start + Duration::from_millis(1));
        assert!(!lines.take(), "half a line is none, and is not lost");
        lines.refill(start + Duration::from_millis(100));
        assert_eq!((0..5_000).filter(|_| lines.take()).count(), 50);
        lines.refill(start + Duration::from_secs(60));
        assert_eq!((0..5_000).filter(|_| lines.take()).count(), 1_000);
    }
}
