//! Operator endpoint of the live feed: routed events and deliveries of this replica as they happen, one JSON
//! object a line, with filters.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{RawQuery, Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::Instant;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::access::{Admitted, Viewer};
use crate::api::error::ApiError;
use crate::api::json::{insert_some, rfc3339};
use crate::api::openapi::route;
use crate::api::query_params::QueryParams;
use crate::api::schema::LiveParams;
use crate::api::state::Shared;
use crate::clock;
use crate::domain::{InstallationId, SubscriptionId};
use crate::registry::{Problem, code};
use crate::telemetry::{FEED_EVENTS_MAX, LiveEvent, LogBudget};

/// Live feeds at once on one replica, those of the console among them.
const FEEDS_MAX: usize = 32;
/// Pause after which an idle feed sends a line, and its token is checked again.
const IDLE: Duration = Duration::from_secs(5);
/// Time between two parts of a feed: soon enough for a reader, and long enough for routing.
const PART_INTERVAL: Duration = Duration::from_millis(50);
/// Lines of a feed within [`LINES_WINDOW`], more than a person reads. What it selects beyond is counted as missed.
const LINES_MAX: u64 = 500;
const LINES_WINDOW: Duration = Duration::from_secs(1);
/// What a feed may select.
const DECISIONS: [&str; 8] =
    ["matched", "unmatched", "failed", "delivered", "parked", "dead", "dropped", "removed"];
/// Media type of the answer.
const NDJSON: &str = "application/x-ndjson";

pub(super) fn routes() -> OpenApiRouter<Shared> {
    route(OpenApiRouter::default(), routes!(feed))
}

/// Sends the live events from now on that the query selects, at most 500 a second. A line
/// `{"notice":"missed"}` has the number of events that a client did not get, an idle one gets `{"notice":"idle"}`.
#[utoipa::path(
    get, path = "/live", operation_id = "followLive", params(LiveParams),
    security(("operatorToken" = ["read", "installation"])),
    responses((status = 200, description = "Lines, one for each event, without an end.",
        content_type = "application/x-ndjson", body = String,
        example = "{\"notice\":\"idle\",\"time\":\"2026-12-01T08:00:00Z\"}\n"))
)]
async fn feed(
    State(state): State<Shared>,
    viewer: Viewer,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, ApiError> {
    let wanted = Wanted::read(&viewer, &QueryParams::parse(query.as_deref()))?;
    if state.operations.live.subscribers() >= FEEDS_MAX {
        return Err(ApiError::TooManyFeeds);
    }
    let admitted = Admitted::of(request.extensions());
    let events = state.operations.live.subscribe();
    let lines = LogBudget::new(LINES_WINDOW, LINES_MAX);
    let feed = Feed { events, state, admitted, wanted, next_part: None, lines };
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
    /// The client: the feed ends when its token does. The console may have none, since it asks in this process.
    admitted: Option<Admitted>,
    wanted: Wanted,
    /// When the next part may be sent; none before the first one.
    next_part: Option<Instant>,
    lines: LogBudget,
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
            let next = tokio::time::timeout(IDLE, self.events.recv());
            let next = stop.run_until_cancelled(next).await?;
            // Before something is sent, not before it is waited for.
            if !self.admitted.as_ref()?.holds(&self.state) {
                return None;
            }
            let Ok(first) = next else {
                return Some(rendered(json!({"notice": "idle"})));
            };
            self.next_part = Some(Instant::now() + PART_INTERVAL);
            let first = first.map_or_else(Read::from, Read::Event);
            let select = |event: &LiveEvent| self.wanted.select(&self.state, event);
            let counts_missed = self.wanted.own.is_none();
            let part = part(first, &mut self.events, &self.lines, counts_missed, select)?;
            if !part.is_empty() {
                return Some(part.into());
            }
        }
    }
}

/// Returns the lines of an event and of those that wait after it, as far as `select` returns them and `lines` allows;
/// none if there will be no more. The events that were missed are counted unless they are those of others, too.
fn part(
    first: Read,
    events: &mut Receiver<Arc<LiveEvent>>,
    lines: &LogBudget,
    counts_missed: bool,
    select: impl Fn(&LiveEvent) -> Option<LiveEvent>,
) -> Option<Vec<u8>> {
    let (mut part, mut missed, mut next) = (Vec::new(), 0, Some(first));
    // As many as the feed holds: what comes until then is read with the next part.
    for number in 1..=FEED_EVENTS_MAX {
        match next.take() {
            Some(Read::Event(event)) => match select(&event) {
                Some(event) if lines.take().is_some() => part.extend(rendered(json!(event))),
                Some(_) => missed += 1,
                None => {}
            },
            Some(Read::Missed(events)) => missed += events,
            Some(Read::Closed) => return None,
            None => break,
        }
        if number < FEED_EVENTS_MAX {
            next = match events.try_recv() {
                Ok(event) => Some(Read::Event(event)),
                Err(TryRecvError::Lagged(events)) => Some(Read::Missed(events)),
                Err(TryRecvError::Empty | TryRecvError::Closed) => None,
            };
        }
    }
    if missed > 0 {
        let mut notice = json!({"notice": "missed"});
        insert_some(&mut notice, "events", counts_missed.then_some(missed));
        part.extend(rendered(notice));
    }
    Some(part)
}

impl From<RecvError> for Read {
    fn from(error: RecvError) -> Self {
        match error {
            RecvError::Lagged(events) => Self::Missed(events),
            RecvError::Closed => Self::Closed,
        }
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
    /// The only installation that is shown.
    own: Option<InstallationId>,
    app: Option<String>,
    site: Option<String>,
    event_type: Option<String>,
    subscription: Option<String>,
    decision: Option<String>,
}

impl Wanted {
    fn read(viewer: &Viewer, params: &QueryParams) -> Result<Self, ApiError> {
        let text = |name: &str| params.get(name).map(str::to_owned);
        let decision = text("decision");
        if decision.as_deref().is_some_and(|one| !DECISIONS.contains(&one)) {
            let message = format!("a decision is one of {}", DECISIONS.join(", "));
            return Err(Problem::new(code::FORM, "decision", message).into());
        }
        Ok(Self {
            own: viewer.own().cloned(),
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
        let names_subscriptions =
            self.own.is_some() || self.app.is_some() || self.subscription.is_some();
        let mut event = event.clone();
        let decision = match &mut event {
            LiveEvent::Routed { site, event_type, matches, errors, failures, ignored, .. } => {
                self.is_at(site, event_type).then_some(())?;
                matches.retain(|id| is_wanted(id));
                errors.retain(|id| is_wanted(id));
                failures.retain(|failure| is_wanted(&failure.subscription));
                if self.own.is_some() {
                    // It counts the subscriptions of others.
                    *ignored = 0;
                }
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
        let is_own = |own: &InstallationId| {
            SubscriptionId::parse(id).is_some_and(|id| id.installation == *own)
        };
        self.own.as_ref().is_none_or(is_own)
            && self.subscription.as_deref().is_none_or(is_named)
            && self.app.as_deref().is_none_or(is_of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::LiveFeed;

    fn delivery(number: u64) -> LiveEvent {
        LiveEvent::Delivery {
            delivery_id: number.to_string(),
            subscription: "i/k".into(),
            site: if number.is_multiple_of(4) { "other" } else { "site" }.into(),
            event_type: "t".into(),
            entity: None,
            attempt: 1,
            outcome: "delivered".into(),
            ms: None,
        }
    }

    #[tokio::test]
    async fn each_event_is_a_line_left_out_or_counted_as_missed() {
        let live = LiveFeed::default();
        let mut events = live.subscribe();
        let budget = LogBudget::new(Duration::from_secs(3600), 100);
        let select = |event: &LiveEvent| match event {
            LiveEvent::Delivery { site, .. } if site == "site" => Some(event.clone()),
            _ => None,
        };
        let published = 3_000;
        (0..published).for_each(|number| live.publish(|| delivery(number)));
        let (mut lines, mut missed) = (0, 0);
        loop {
            let Ok(next) = tokio::time::timeout(Duration::ZERO, events.recv()).await else { break };
            let first = next.map_or_else(Read::from, Read::Event);
            let text = String::from_utf8(part(first, &mut events, &budget, true, select).unwrap())
                .unwrap();
            for line in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
                match line["notice"].as_str() {
                    Some("missed") => missed += line["events"].as_u64().unwrap(),
                    _ => lines += 1,
                }
            }
        }
        let held = FEED_EVENTS_MAX as u64;
        let of_other = held / 4;
        assert_eq!((lines, missed), (100, published - of_other - 100));
    }
}
