//! All lanes of one router, one per endpoint of an installation.
//!
//! A slow or dead handler delays no other: a delivery that finds the queue of its lane full, or
//! gets no permit in time, is parked until about the time when its turn comes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::Semaphore;

use super::breaker::BreakerState;
use super::lane::{Lane, LaneLimits};
use super::permits::{AdmissionError, Permit};
use crate::clock;
use crate::config;
use crate::domain::InstallationId;

/// All lanes of one router. `C` is the connection of a lane.
pub(crate) struct Lanes<C> {
    lanes: DashMap<LaneKey, Arc<Lane<C>>>,
    /// Permits over all lanes.
    permits: Semaphore,
    limits: LaneLimits,
    connect: Box<dyn Fn() -> C + Send + Sync>,
}

/// Identifies a lane.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct LaneKey {
    installation: InstallationId,
    endpoint: Box<str>,
}

impl<C> Lanes<C> {
    /// Creates an empty set; each lane gets its own connection from `connect`.
    #[must_use]
    pub(crate) fn new(
        config: &config::DeliveryConfig,
        connect: impl Fn() -> C + Send + Sync + 'static,
    ) -> Self {
        Self {
            lanes: DashMap::new(),
            permits: Semaphore::new(config.concurrency),
            limits: LaneLimits {
                concurrency: config.endpoint_concurrency,
                waiting_max: config.endpoint_queue_max,
            },
            connect: Box::new(connect),
        }
    }

    /// Returns the lane of an endpoint, created on first use.
    #[must_use]
    pub(crate) fn lane(&self, installation: &InstallationId, endpoint: &str) -> Arc<Lane<C>> {
        let key = LaneKey { installation: installation.clone(), endpoint: endpoint.into() };
        let new_lane = || Arc::new(Lane::new(self.limits, (self.connect)()));
        let lane = Arc::clone(self.lanes.entry(key).or_insert_with(new_lane).value());
        lane.touch(clock::broker_now_ms());
        lane
    }

    /// Waits at most `queue_timeout` for a permit of `lane`.
    ///
    /// # Errors
    /// The queue is full, or no permit was available in time.
    pub(crate) async fn acquire<'a>(
        &'a self,
        lane: &'a Lane<C>,
        queue_timeout: Duration,
    ) -> Result<Permit<'a>, AdmissionError> {
        lane.acquire(&self.permits, queue_timeout).await
    }

    /// Evicts lanes that were not used lately, with their connections.
    pub(crate) fn evict_idle(&self) {
        let now_ms = clock::broker_now_ms();
        self.lanes.retain(|_, lane| Arc::strong_count(lane) > 1 || !lane.is_idle(now_ms));
    }

    /// Counts the endpoints by breaker state: closed, half open, open.
    #[must_use]
    pub(crate) fn breaker_states(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for lane in &self.lanes {
            let [closed, half_open, open] = &mut counts;
            *match lane.breaker().state() {
                BreakerState::Closed => closed,
                BreakerState::HalfOpen => half_open,
                BreakerState::Open => open,
            } += 1;
        }
        counts
    }

    /// Returns how many deliveries wait in memory.
    #[must_use]
    pub(crate) fn waiting(&self) -> usize {
        self.lanes.iter().map(|lane| lane.waiting()).sum()
    }
}

impl<C> fmt::Debug for Lanes<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lanes").field("lanes", &self.lanes.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn lanes() -> Lanes<()> {
        Lanes::new(&Config::defaults().unwrap().delivery, || ())
    }

    fn lane(lanes: &Lanes<()>, installation: &str, endpoint: &str) -> Arc<Lane<()>> {
        lanes.lane(&installation.into(), endpoint)
    }

    #[test]
    fn lane_belongs_to_an_endpoint_of_an_installation() {
        let lanes = lanes();
        assert!(Arc::ptr_eq(&lane(&lanes, "i", "a"), &lane(&lanes, "i", "a")));
        assert!(!Arc::ptr_eq(&lane(&lanes, "i", "a"), &lane(&lanes, "i", "b")));
        assert!(!Arc::ptr_eq(&lane(&lanes, "i", "a"), &lane(&lanes, "j", "a")));
    }

    #[test]
    fn idle_lane_is_evicted_and_busy_one_kept() {
        let lanes = lanes();
        let busy = lane(&lanes, "i", "busy");
        for endpoint in ["busy", "idle"] {
            lane(&lanes, "i", endpoint).touch(0);
        }
        lanes.evict_idle();
        assert_eq!(lanes.lanes.len(), 1);
        assert!(Arc::ptr_eq(lanes.lanes.iter().next().unwrap().value(), &busy));
    }
}
