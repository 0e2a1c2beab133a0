//! Streams the live feed as server-sent events.

use std::time::Duration;

use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::Stream;
use futures_util::stream;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::state::Console;
use crate::telemetry::LiveEvent;

/// Interval of the comments that keep an idle connection open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Streams every live event from now on; a slow subscriber receives `missed` with the number of
/// skipped ones.
pub(super) async fn stream(
    State(console): State<Console>,
) -> Sse<impl Stream<Item = Result<Event, axum::Error>>> {
    let Console { live, stop, .. } = console;
    let events = stream::unfold((live.subscribe(), stop), |(mut subscriber, stop)| async move {
        let event = stop.run_until_cancelled(next(&mut subscriber)).await.flatten()?;
        Some((event, (subscriber, stop)))
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
