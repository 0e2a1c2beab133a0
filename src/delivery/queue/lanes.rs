//! All lanes of one router, one per endpoint of an installation, and the permits that they share.
//!
//! A slow or dead handler delays no other: a delivery that may not wait, or gets no permit in time,
//! is parked until about the time when its turn comes.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;

use super::breaker::{Breaker, BreakerState, Tripped};
use super::breakers::{AppHostBreaker, BreakerScope, EndpointBreakers, host_breaker};
use super::fair::{EndpointOwners, FairLimits, PermitUse};
use super::lane::Lane;
use super::permits::{AdmissionError, EventShare, Permit, Permits};
use crate::clock;
use crate::domain::{AppId, InstallationId};

/// All lanes of one router. `C` is the connection of a lane.
pub(crate) struct Lanes<C> {
    lanes: DashMap<LaneKey, Arc<Lane<C>>>,
    permits: Permits,
    app_hosts: DashMap<(AppId, Box<str>), Arc<AppHostBreaker>>,
    hosts: DashMap<Box<str>, Arc<Breaker>>,
    concurrency: usize,
    connect: Box<dyn Fn() -> C + Send + Sync>,
}

/// An endpoint whose attempts a breaker stops.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenEndpoint {
    /// Its app.
    pub app: AppId,
    /// Its installation.
    pub installation: InstallationId,
    /// The endpoint, see [`shown_endpoint`].
    pub endpoint: String,
    /// What the breaker protects.
    pub scope: BreakerScope,
    /// Since when and why it is not closed.
    pub tripped: Tripped,
}

impl OpenEndpoint {
    /// Whether it may be the endpoint with a key, see [`shown_endpoint`].
    #[must_use]
    pub fn is_at(&self, endpoint: &str) -> bool {
        shown_endpoint(endpoint) == self.endpoint
    }
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
    pub(crate) fn new(limits: FairLimits, connect: impl Fn() -> C + Send + Sync + 'static) -> Self {
        Self {
            lanes: DashMap::new(),
            concurrency: limits.endpoint,
            permits: Permits::new(limits),
            app_hosts: DashMap::new(),
            hosts: DashMap::new(),
            connect: Box::new(connect),
        }
    }

    /// Returns the lane of an endpoint of an installation of `app`, created on first use at the
    /// host that `host` returns.
    #[must_use]
    pub(crate) fn lane<'a>(
        &self,
        (app, installation): (&AppId, &InstallationId),
        endpoint: &str,
        host: impl FnOnce() -> Cow<'a, str>,
    ) -> Arc<Lane<C>> {
        let key = LaneKey { installation: installation.clone(), endpoint: endpoint.into() };
        let new_lane = || self.new_lane(app, installation, &host());
        let lane = Arc::clone(self.lanes.entry(key).or_insert_with(new_lane).value());
        lane.touch(clock::broker_now_ms());
        lane
    }

    fn new_lane(&self, app: &AppId, installation: &InstallationId, host: &str) -> Arc<Lane<C>> {
        let endpoint = self.permits.add_endpoint(&EndpointOwners { app, installation, host });
        let app_host = self.app_hosts.entry((app.clone(), host.into()));
        let app_host = Arc::clone(&app_host.or_default());
        let new_host = || Arc::new(host_breaker());
        let host = Arc::clone(&self.hosts.entry(host.into()).or_insert_with(new_host));
        let breakers = EndpointBreakers::new((app.clone(), installation.clone()), app_host, host);
        Arc::new(Lane::new(endpoint, self.concurrency, breakers, (self.connect)()))
    }

    /// Returns the lane of an endpoint of an installation, if it was used lately.
    #[must_use]
    pub(crate) fn find(
        &self,
        installation: &InstallationId,
        endpoint: &str,
    ) -> Option<Arc<Lane<C>>> {
        let key = LaneKey { installation: installation.clone(), endpoint: endpoint.into() };
        self.lanes.get(&key).map(|lane| Arc::clone(&lane))
    }

    /// Reserves a share of the permits for the deliveries of one event.
    #[must_use]
    pub(crate) fn event_share(&self) -> EventShare<'_> {
        self.permits.add_event()
    }

    /// Returns the share of the permits that all deliveries of replays have together.
    #[must_use]
    pub(crate) fn replay_share(&self) -> EventShare<'_> {
        self.permits.replays()
    }

    /// Waits at most `queue_timeout` for a permit of `lane`, within the share of `event`.
    ///
    /// # Errors
    /// The delivery may not wait, or no permit was available in time.
    pub(crate) async fn acquire(
        &self,
        lane: &Lane<C>,
        event: Option<&EventShare<'_>>,
        queue_timeout: Duration,
    ) -> Result<Permit<'_>, AdmissionError> {
        let attempt_us = lane.shortest_attempt_us();
        self.permits.acquire(lane.endpoint(), event, attempt_us, queue_timeout).await
    }

    /// Evicts lanes that were not used lately, with their connections.
    pub(crate) fn evict_idle(&self) {
        let now_ms = clock::broker_now_ms();
        self.lanes.retain(|_, lane| {
            let is_kept = Arc::strong_count(lane) > 1 || !lane.is_idle(now_ms);
            if !is_kept {
                self.permits.remove_endpoint(lane.endpoint());
            }
            is_kept
        });
        self.app_hosts.retain(|_, breaker| Arc::strong_count(breaker) > 1);
        self.hosts.retain(|_, breaker| Arc::strong_count(breaker) > 1);
    }

    /// Returns how many permits are in use.
    #[must_use]
    pub(crate) fn permit_use(&self) -> PermitUse {
        self.permits.permit_use()
    }

    /// Returns the endpoints whose attempts a breaker stops, at most `most`: those that are stopped for
    /// longest, so that one does not replace another with each look.
    #[must_use]
    pub(crate) fn open_endpoints(&self, most: usize) -> Vec<OpenEndpoint> {
        let open = self.lanes.iter().filter_map(|lane| {
            let (scope, tripped) = lane.breakers().tripped()?;
            Some(OpenEndpoint {
                app: lane.breakers().app().clone(),
                installation: lane.key().installation.clone(),
                endpoint: shown_endpoint(&lane.key().endpoint),
                scope,
                tripped,
            })
        });
        let mut open: Vec<_> = open.collect();
        open.sort_by(|one, other| {
            let key = |one: &OpenEndpoint| (one.tripped.since_ms, one.installation.clone());
            key(one).cmp(&key(other)).then_with(|| one.endpoint.cmp(&other.endpoint))
        });
        // Two endpoints may differ only in what is not shown.
        open.dedup_by(|one, other| {
            (&one.installation, &one.endpoint) == (&other.installation, &other.endpoint)
        });
        open.truncate(most);
        open
    }

    /// Counts the endpoints by breaker state: closed, half open, open.
    #[must_use]
    pub(crate) fn breaker_states(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for lane in &self.lanes {
            let [closed, half_open, open] = &mut counts;
            *match lane.breakers().state() {
                BreakerState::Closed => closed,
                BreakerState::HalfOpen => half_open,
                BreakerState::Open => open,
            } += 1;
        }
        counts
    }
}

/// Longest shown endpoint, in bytes.
const SHOWN_BYTES_MAX: usize = 200;

/// Returns an endpoint as logs and metrics show it: without a query, which may have a secret, and cut.
#[must_use]
pub(crate) fn shown_endpoint(endpoint: &str) -> String {
    let shown = endpoint.split(['?', '#']).next().unwrap_or_default();
    shown.get(..shown.floor_char_boundary(SHOWN_BYTES_MAX)).unwrap_or_default().to_owned()
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
    use crate::delivery::model::AttemptClass;

    fn lanes() -> Lanes<()> {
        Lanes::new(FairLimits::new(&Config::defaults().unwrap().delivery, usize::MAX), || ())
    }

    fn lane(lanes: &Lanes<()>, installation: &str, endpoint: &str) -> Arc<Lane<()>> {
        lanes.lane((&"app".into(), &installation.into()), endpoint, || "host".into())
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

    #[test]
    fn open_endpoints_are_named_up_to_the_bound_without_secrets() {
        let lanes = lanes();
        for number in 0..12 {
            let endpoint = format!("https://h/{number}?token=secret");
            let lane = lane(&lanes, &format!("i{}", number / 2), &endpoint);
            for _ in 0..10 {
                let _changes = lane.breakers().record(AttemptClass::Timeout, number, 0.5);
            }
        }
        let open = lanes.open_endpoints(10);
        assert_eq!(open.len(), 10);
        let OpenEndpoint { app, installation, endpoint, tripped, .. } = &open[0];
        assert_eq!((app.as_str(), installation.as_str()), ("app", "i0"));
        assert_eq!((endpoint.as_str(), tripped.cause), ("https://h/0", AttemptClass::Timeout));
        assert!(open.iter().all(|one| !one.endpoint.contains("secret")));
        assert_eq!(shown_endpoint(&"ä".repeat(200)).len(), SHOWN_BYTES_MAX);
    }
}
