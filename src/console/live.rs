//! Streams the live feed as server-sent events.

use std::convert::Infallible;
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

/// Streams every notice from now on; a slow subscriber receives `missed` with the number skipped.
pub(super) async fn stream(
    State(console): State<Console>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let notices = stream::unfold(console.live.subscribe(), |mut subscriber| async move {
        next(&mut subscriber).await.map(|event| (Ok(event), subscriber))
    });
    Sse::new(notices).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

async fn next(subscriber: &mut Receiver<std::sync::Arc<LiveEvent>>) -> Option<Event> {
    match subscriber.recv().await {
        Ok(notice) => Some(Event::default().json_data(&*notice).unwrap_or_default()),
        Err(RecvError::Lagged(missed)) => {
            Some(Event::default().event("missed").data(missed.to_string()))
        }
        Err(RecvError::Closed) => None,
    }
}
