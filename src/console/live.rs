//! Streams the live feed as server-sent events.

use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::Stream;
use futures_util::stream;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::state::{Console, Visitor};
use crate::telemetry::LiveEvent;

/// Interval of the comments that keep an idle connection open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Longest time for which an idle feed continues after its token was revoked.
const TOKEN_CHECK: Duration = Duration::from_secs(5);

/// Streams every live event from now on; a slow subscriber receives `missed` with the number of
/// skipped ones. The stream ends when the token of the visitor is revoked.
pub(super) async fn stream(
    State(console): State<Console>,
    visitor: Option<Extension<Visitor>>,
) -> Sse<impl Stream<Item = Result<Event, axum::Error>>> {
    let subscriber = console.live.subscribe();
    let visitor = visitor.map(|Extension(visitor)| visitor);
    let events = stream::unfold((subscriber, console, visitor), |mut state| async move {
        let (subscriber, console, visitor) = &mut state;
        let event = loop {
            if !console.admits(visitor.as_ref()) {
                return None;
            }
            let next = tokio::time::timeout(TOKEN_CHECK, next(subscriber));
            match console.stop.run_until_cancelled(next).await? {
                Ok(event) => break event?,
                Err(_no_event) => {}
            }
        };
        Some((event, state))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

async fn next(
    subscriber: &mut Receiver<std::sync::Arc<LiveEvent>>,
) -> Option<Result<Event, axum::Error>> {
    match subscriber.recv().await {
        Ok(event) => Some(Event::default().json_data(&*event)),
        Err(RecvError::Lagged(missed)) => {
            Some(Ok(Event::default().event("missed").data(missed.to_string())))
        }
        Err(RecvError::Closed) => None,
    }
}
