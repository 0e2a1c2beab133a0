//! Fan-out: the deliveries of one event, with bounded concurrency.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, future, stream};
use tokio::sync::Semaphore;

use crate::clock;
use crate::delivery::{Dispatcher, PlannedDelivery, PreparedEvent, coalesce};
use crate::matcher::Match;

/// Concurrent deliveries of one event.
const EVENT_DELIVERIES_MAX: usize = 256;
/// Concurrent deliveries of all events: waiting for a permit, attempted or being parked.
const DELIVERIES_MAX: usize = 16_384;
/// After this time, deliveries of an event that have no permit yet are parked without waiting.
const EVENT_WORK_MAX: Duration = Duration::from_secs(30);

/// Delivers matched events.
pub(super) struct FanOut {
    dispatcher: Arc<Dispatcher>,
    deliveries: Semaphore,
}

impl FanOut {
    /// Creates a fan-out over `dispatcher`.
    pub(super) fn new(dispatcher: Arc<Dispatcher>) -> Self {
        Self { dispatcher, deliveries: Semaphore::new(DELIVERIES_MAX) }
    }

    /// Completes once every delivery of the event is accounted for.
    pub(super) async fn deliver_all(&self, prepared: &Arc<PreparedEvent>, matches: Vec<Match>) {
        let (started, now) = (clock::tick(), clock::broker_now());
        let deliver = async |planned: PlannedDelivery| {
            // The semaphore is never closed; an error would only mean that the limit is not
            // applied.
            let _slot = self.deliveries.acquire().await;
            let late = clock::since(started) >= EVENT_WORK_MAX;
            let queue_timeout = if late { Duration::ZERO } else { self.dispatcher.park_after() };
            let delivery = planned.into_delivery(prepared, now);
            // Boxed: a delivery that waits for its slot takes almost no memory.
            Box::pin(self.dispatcher.deliver(delivery, queue_timeout)).await
        };
        let mut planned = coalesce(matches);
        // A single delivery needs no set of futures.
        if planned.len() <= 1 {
            if let Some(only) = planned.pop() {
                deliver(only).await;
            }
            return;
        }
        stream::iter(planned)
            .map(deliver)
            .buffer_unordered(EVENT_DELIVERIES_MAX)
            .for_each(|_accounted| future::ready(()))
            .await;
    }
}
