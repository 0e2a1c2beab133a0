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
use tokio::sync::broadcast::error::RecvError;
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
use crate::telemetry::LiveEvent;

/// Live feeds at once on one replica, those of the console among them.
const FEEDS_MAX: usize = 32;
/// Pause after which an idle feed sends a line, and its token is checked again.
const IDLE: Duration = Duration::from_secs(5);
/// What a feed may select.
const DECISIONS: [&str; 8] =
    ["matched", "unmatched", "failed", "delivered", "parked", "dead", "dropped", "removed"];
/// Media type of the answer.
const NDJSON: &str = "application/x-ndjson";

pub(super) fn routes() -> OpenApiRouter<Shared> {
    route(OpenApiRouter::default(), routes!(feed))
}

/// Sends every live event from now on that the query selects. A slow client gets a line
/// `{"notice":"missed"}` with the number of events that it did not get, an idle one `{"notice":"idle"}`.
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
    let feed = Feed { events: state.operations.live.subscribe(), state, token, wanted };
    let lines = stream::unfold(feed, |mut feed| async move {
        let line = feed.next().await?;
        Some((Ok::<_, Infallible>(line), feed))
    });
    Ok(([(header::CONTENT_TYPE, NDJSON)], Body::from_stream(lines)).into_response())
}

/// A feed of one client.
struct Feed {
    state: Shared,
    events: Receiver<Arc<LiveEvent>>,
    /// The token of the client: the feed ends when it is revoked.
    token: Option<Secret>,
    wanted: Wanted,
}

impl Feed {
    /// Returns the next line; none when the router stops or the token is revoked.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let token = self.token.as_ref()?;
            if !self.state.admin_tokens.accepts(token.reveal()) {
                return None;
            }
            let stop = &self.state.operations.stop;
            let next = tokio::time::timeout(IDLE, self.events.recv());
            let line = match stop.run_until_cancelled(next).await? {
                Ok(Ok(event)) => match self.wanted.select(&self.state, &event) {
                    Some(event) => json!(event),
                    None => continue,
                },
                Ok(Err(RecvError::Lagged(missed))) => json!({"notice": "missed", "events": missed}),
                Ok(Err(RecvError::Closed)) => return None,
                Err(_no_event) => json!({"notice": "idle"}),
            };
            return Some(rendered(line));
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
