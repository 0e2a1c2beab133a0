//! Fan-out: the deliveries of one event, with bounded concurrency.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, future, stream};
use tokio::sync::Semaphore;

use super::turns::Turn;
use crate::clock;
use crate::delivery::{Dispatcher, LogCollector, Origin, PlannedDelivery, PreparedEvent, coalesce};
use crate::matcher::Match;

/// Concurrent deliveries of one event.
const EVENT_DELIVERIES_MAX: usize = 256;
/// Concurrent deliveries of all events: waiting for a permit, attempted or being parked.
const DELIVERIES_MAX: usize = 16_384;
/// Those of events with more than [`NARROW_MAX`] deliveries; the rest is reserved for others, since
/// deliveries wait for these places in the order in which they come.
const WIDE_DELIVERIES_MAX: usize = DELIVERIES_MAX / 4 * 3;
/// Most deliveries of an event that needs no limits of its own.
const NARROW_MAX: usize = 8;
/// After this time, deliveries of an event that have no permit yet are parked without waiting.
const EVENT_WORK_MAX: Duration = Duration::from_secs(30);

/// Delivers matched events.
pub(super) struct FanOut {
    dispatcher: Arc<Dispatcher>,
    deliveries: Semaphore,
    wide_deliveries: Semaphore,
}

impl FanOut {
    /// Creates a fan-out over `dispatcher`.
    pub(super) fn new(dispatcher: Arc<Dispatcher>) -> Self {
        Self {
            dispatcher,
            deliveries: Semaphore::new(DELIVERIES_MAX),
            wide_deliveries: Semaphore::new(WIDE_DELIVERIES_MAX),
        }
    }

    /// Completes once every delivery of the event is accounted for, and the delivery log says how.
    pub(super) async fn deliver_all(
        &self,
        prepared: &Arc<PreparedEvent>,
        matches: Vec<Match>,
        origin: Origin,
    ) {
        let (started, now) = (clock::tick(), clock::broker_now());
        let log = LogCollector::new(self.dispatcher.log(), &prepared.event, origin);
        let mut planned = coalesce(matches);
        let wide = (planned.len() > NARROW_MAX).then_some(&self.wide_deliveries);
        let share = wide.map(|_| self.dispatcher.event_share());
        let deliver = async |planned: PlannedDelivery| {
            // The semaphores are never closed; an error would only mean that the limit is not
            // applied.
            let _wide_slot = match wide {
                Some(wide) => wide.acquire().await.ok(),
                None => None,
            };
            let _slot = self.deliveries.acquire().await;
            let late = clock::since(started) >= EVENT_WORK_MAX;
            let queue_timeout = if late { Duration::ZERO } else { self.dispatcher.park_after() };
            let mut delivery = planned.into_delivery(prepared, now);
            delivery.progress.stored_ms = origin.stored_ms;
            // Boxed: a delivery that waits for its slot takes almost no memory.
            let delivering = self.dispatcher.deliver(delivery, queue_timeout, share.as_ref());
            let report = Box::pin(delivering).await;
            log.add(report).await;
        };
        // A single delivery needs no set of futures.
        if planned.len() <= 1 {
            if let Some(only) = planned.pop() {
                deliver(only).await;
            }
            return log.store().await;
        }
        let turn = Turn::default();
        let deliveries = stream::iter(planned)
            .map(|planned| turn.limit(deliver(planned)))
            .buffer_unordered(EVENT_DELIVERIES_MAX)
            .for_each(|()| future::ready(()));
        turn.run(deliveries).await;
        log.store().await;
    }
}
