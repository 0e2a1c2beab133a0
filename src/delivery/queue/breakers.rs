//! The circuit breakers of an endpoint, and who can close it for whom.
//!
//! | breaker | counts | who can open it |
//! |---|---|---|
//! | of the endpoint | every failure | its installation, for itself |
//! | of an app at a host | every failure | several installations of the app that fail within a minute |
//! | of a host | DNS, connect and TLS failures | anybody, since these do not depend on who asks |
//!
//! An attempt needs all three. A failing handler of one installation closes its endpoint; it closes
//! neither its other paths at the host, nor the host for other installations or other apps.

use std::sync::{Arc, Mutex, PoisonError};

use super::breaker::{Admission, Breaker, BreakerChange, BreakerState, Health, Tripped};
use crate::delivery::model::AttemptClass;
use crate::domain::{AppId, InstallationId};

/// Installations whose last result the breaker of an app at a host remembers.
const MEMBERS_MAX: usize = 32;
/// They are forgotten after this time, in milliseconds.
const MEMBERS_MS: i64 = 60_000;
/// Longest time that a breaker stays open which several installations share, in milliseconds: a
/// failed probe of one delays the others.
const SHARED_OPEN_MS_MAX: i64 = 60_000;

/// What a breaker protects; a closed set of metric labels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BreakerScope {
    /// One endpoint of an installation.
    Endpoint,
    /// All endpoints of an app at a host.
    App,
    /// A host, for every app.
    Host,
}

impl BreakerScope {
    /// All, the widest last.
    pub const ALL: [Self; 3] = [Self::Endpoint, Self::App, Self::Host];

    /// Returns the metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::App => "app",
            Self::Host => "host",
        }
    }
}

/// The breakers that decide on attempts at one endpoint.
#[derive(Debug)]
pub struct EndpointBreakers {
    app: AppId,
    installation: InstallationId,
    endpoint: Breaker,
    app_host: Arc<AppHostBreaker>,
    host: Arc<Breaker>,
}

/// What the breakers of an endpoint decide now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BreakerReport {
    /// State of the breaker that restricts attempts most.
    pub state: BreakerState,
    /// What that breaker protects; of the endpoint if all are closed.
    pub scope: BreakerScope,
    /// When the next attempt is admitted, milliseconds of monotonic time; none if one is admitted now.
    pub next_attempt_ms: Option<i64>,
    /// Since when and why it is not closed.
    pub tripped: Option<Tripped>,
}

/// The breaker of one app at one host.
#[derive(Debug)]
pub struct AppHostBreaker {
    breaker: Breaker,
    members: Mutex<Members>,
}

/// The last results of installations.
#[derive(Debug, Default)]
struct Members {
    since_ms: i64,
    failed: Vec<(InstallationId, bool)>,
}

impl EndpointBreakers {
    /// Creates the breakers of an endpoint of an installation of an app.
    #[must_use]
    pub fn new(
        (app, installation): (AppId, InstallationId),
        app_host: Arc<AppHostBreaker>,
        host: Arc<Breaker>,
    ) -> Self {
        Self { app, installation, endpoint: Breaker::default(), app_host, host }
    }

    /// Returns what [`admit`](Self::admit) would decide, without admitting a probe.
    pub fn peek(&self, now_ms: i64) -> Admission {
        self.all().into_iter().map(|breaker| breaker.peek(now_ms)).fold(Admission::Allow, later)
    }

    /// Decides on an attempt at `now_ms`. A caller that is admitted must [record](Self::record) the
    /// result.
    pub fn admit(&self, now_ms: i64) -> Admission {
        let decided = self.peek(now_ms);
        if decided != Admission::Allow {
            return decided;
        }
        for (number, breaker) in self.all().into_iter().enumerate() {
            let decided = breaker.admit(now_ms);
            if decided != Admission::Allow {
                // Another delivery took the probe since; return those taken here.
                for taken in self.all().into_iter().take(number) {
                    taken.record(Health::Unknown, false, now_ms, 0.0);
                }
                return decided;
            }
        }
        Admission::Allow
    }

    /// Records the result of an attempt; `random` is a number from 0.0 to 1.0. Returns which breakers
    /// opened or closed.
    pub fn record(
        &self,
        class: AttemptClass,
        now_ms: i64,
        random: f64,
    ) -> impl Iterator<Item = (BreakerScope, BreakerChange)> + use<> {
        let health = handler_health(class);
        let changes = [
            self.endpoint.record(health, true, now_ms, random),
            self.app_host.record(&self.installation, health, now_ms, random),
            self.host.record(host_health(class), true, now_ms, random),
        ];
        let changes = BreakerScope::ALL.into_iter().zip(changes);
        changes.filter_map(|(scope, change)| Some((scope, change?)))
    }

    /// Returns since when and why attempts are stopped, by the widest breaker that is not closed;
    /// none if all are closed.
    #[must_use]
    pub fn tripped(&self) -> Option<(BreakerScope, Tripped)> {
        let mut all = BreakerScope::ALL.into_iter().zip(self.all()).rev();
        all.find_map(|(scope, breaker)| Some((scope, breaker.tripped()?)))
    }

    /// Returns the app of the endpoint.
    #[must_use]
    pub fn app(&self) -> &AppId {
        &self.app
    }

    /// Returns whether attempts are admitted without a probe.
    pub(super) fn is_closed(&self) -> bool {
        self.state() == BreakerState::Closed
    }

    /// Returns the state of the breaker that restricts attempts most.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        self.all().map(Breaker::state).into_iter().max().unwrap_or(BreakerState::Closed)
    }

    /// Returns what the breaker that restricts attempts most decides at `now_ms`.
    #[must_use]
    pub fn report(&self, now_ms: i64) -> BreakerReport {
        let scopes = [BreakerScope::Endpoint, BreakerScope::App, BreakerScope::Host];
        let own = BreakerReport {
            state: BreakerState::Closed,
            scope: BreakerScope::Endpoint,
            next_attempt_ms: None,
            tripped: None,
        };
        self.all().into_iter().zip(scopes).fold(own, |worst, (breaker, scope)| {
            let (state, next_attempt_ms) = (breaker.state(), breaker.next_attempt_ms(now_ms));
            // Of several that opened together, the one that most endpoints share.
            let is_worse = (state, next_attempt_ms) >= (worst.state, worst.next_attempt_ms);
            if is_worse && state != BreakerState::Closed {
                BreakerReport { state, scope, next_attempt_ms, tripped: breaker.tripped() }
            } else {
                worst
            }
        })
    }

    /// Admits a probe at once; returns whether a breaker was open.
    pub fn admit_probe_now(&self) -> bool {
        // All of them, not only the first that is open.
        self.all().into_iter().filter(|breaker| breaker.admit_probe_now()).count() > 0
    }

    fn all(&self) -> [&Breaker; 3] {
        [&self.endpoint, &self.app_host.breaker, &self.host]
    }
}

impl Default for AppHostBreaker {
    fn default() -> Self {
        Self { breaker: host_breaker(), members: Mutex::default() }
    }
}

impl AppHostBreaker {
    fn record(
        &self,
        installation: &InstallationId,
        health: Health,
        now_ms: i64,
        random: f64,
    ) -> Option<BreakerChange> {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.record(installation, health, now_ms);
        let may_open = matches!(health, Health::Failed(_)) && members.mostly_fail();
        drop(members);
        self.breaker.record(health, may_open, now_ms, random)
    }
}

impl Members {
    fn record(&mut self, installation: &InstallationId, health: Health, now_ms: i64) {
        if now_ms.saturating_sub(self.since_ms) > MEMBERS_MS {
            self.since_ms = now_ms;
            self.failed.clear();
        }
        if health == Health::Unknown {
            return;
        }
        let has_failed = matches!(health, Health::Failed(_));
        if let Some((_, failed)) = self.failed.iter_mut().find(|(id, _)| id == installation) {
            *failed = has_failed;
        } else if self.failed.len() < MEMBERS_MAX {
            self.failed.push((installation.clone(), has_failed));
        }
    }

    /// Returns whether most of several installations fail. A single one proves nothing for those
    /// that had no delivery lately.
    fn mostly_fail(&self) -> bool {
        let failed = self.failed.iter().filter(|(_, failed)| *failed).count();
        failed > 1 && failed * 2 >= self.failed.len()
    }
}

/// Creates the breaker of a host.
#[must_use]
pub fn host_breaker() -> Breaker {
    Breaker::open_at_most(SHARED_OPEN_MS_MAX)
}

/// Returns the later of two decisions.
fn later(one: Admission, other: Admission) -> Admission {
    match (one, other) {
        (Admission::RetryAfter(one), Admission::RetryAfter(other)) => {
            Admission::RetryAfter(one.max(other))
        }
        (Admission::Allow, other) => other,
        (one, Admission::Allow) => one,
    }
}

/// Returns what a result says about the handler: it is down, overloaded or broken. A 4xx rejects
/// one request and predicts nothing about the next; what the router itself prevented says nothing.
fn handler_health(class: AttemptClass) -> Health {
    match class {
        AttemptClass::Timeout
        | AttemptClass::Connect
        | AttemptClass::Tls
        | AttemptClass::Dns
        | AttemptClass::ServerError
        | AttemptClass::TooManyRequests
        | AttemptClass::Protocol => Health::Failed(class),
        AttemptClass::Success
        | AttemptClass::Redirect
        | AttemptClass::ClientError
        | AttemptClass::Gone => Health::Healthy,
        AttemptClass::Blocked
        | AttemptClass::TooLarge
        | AttemptClass::Local
        | AttemptClass::Other => Health::Unknown,
    }
}

/// Returns what a result says about the host, for every app.
fn host_health(class: AttemptClass) -> Health {
    match class {
        AttemptClass::Connect | AttemptClass::Tls | AttemptClass::Dns => Health::Failed(class),
        AttemptClass::Timeout => Health::Unknown,
        other if handler_health(other) == Health::Unknown => Health::Unknown,
        _ => Health::Healthy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Endpoints of installations of one app at one host, and the host.
    fn endpoints<const N: usize>(
        installations: [&str; N],
    ) -> ([EndpointBreakers; N], Arc<Breaker>) {
        let host = Arc::new(host_breaker());
        let app_host = Arc::new(AppHostBreaker::default());
        let endpoint = |installation: &str| {
            let owner = ("app".into(), installation.into());
            EndpointBreakers::new(owner, Arc::clone(&app_host), Arc::clone(&host))
        };
        (installations.map(endpoint), host)
    }

    fn fail(endpoint: &EndpointBreakers, class: AttemptClass) {
        for _ in 0..10 {
            let _changes = endpoint.record(class, 1_000, 0.5);
        }
    }

    #[test]
    fn failing_path_closes_no_other_path_of_its_installation() {
        let ([one, other], _) = endpoints(["i", "i"]);
        fail(&one, AttemptClass::ServerError);
        assert!(matches!(one.admit(1_001), Admission::RetryAfter(_)));
        assert_eq!(other.admit(1_001), Admission::Allow);
    }

    #[test]
    fn failing_installation_closes_none_that_had_no_delivery_lately() {
        let ([broken, quiet], _) = endpoints(["broken", "quiet"]);
        fail(&broken, AttemptClass::Timeout);
        assert_eq!(quiet.admit(1_001), Admission::Allow);
    }

    #[test]
    fn one_failing_installation_closes_no_other() {
        let ([broken, healthy], _) = endpoints(["broken", "healthy"]);
        let _changes = healthy.record(AttemptClass::Success, 1_000, 0.5);
        fail(&broken, AttemptClass::Timeout);
        assert!(matches!(broken.admit(1_001), Admission::RetryAfter(_)));
        assert_eq!(healthy.admit(1_001), Admission::Allow);
    }

    #[test]
    fn backend_that_fails_for_several_installations_is_closed_for_all() {
        let ([one, two, other], _) = endpoints(["1", "2", "3"]);
        let _changes = other.record(AttemptClass::Success, 1_000, 0.5);
        fail(&one, AttemptClass::Timeout);
        fail(&two, AttemptClass::Timeout);
        assert!(matches!(other.admit(1_001), Admission::RetryAfter(_)));
    }

    #[test]
    fn other_apps_share_only_failures_to_reach_the_host() {
        for class in [AttemptClass::Dns, AttemptClass::Connect, AttemptClass::Tls] {
            let ([one], host) = endpoints(["1"]);
            fail(&one, class);
            assert_eq!(host.state(), BreakerState::Open, "{class:?}");
        }
        for class in [AttemptClass::Timeout, AttemptClass::ServerError, AttemptClass::Protocol] {
            let ([one], host) = endpoints(["1"]);
            fail(&one, class);
            assert_eq!(host.state(), BreakerState::Closed, "{class:?}");
        }
    }

    #[test]
    fn report_names_the_breaker_that_is_open_and_a_reset_admits_a_probe_at_once() {
        let ([one, other], _) = endpoints(["1", "2"]);
        assert_eq!(one.report(1_001).state, BreakerState::Closed);
        assert!(!one.admit_probe_now(), "a closed breaker has nothing to reset");
        fail(&one, AttemptClass::ServerError);
        let own = one.report(1_001);
        assert_eq!((own.state, own.scope), (BreakerState::Open, BreakerScope::Endpoint));
        assert!(own.next_attempt_ms.is_some_and(|moment_ms| moment_ms > 20_000));
        assert_eq!(other.report(1_001).state, BreakerState::Closed);
        assert!(one.admit_probe_now());
        let reset = one.report(1_001);
        assert_eq!((reset.state, reset.next_attempt_ms), (BreakerState::HalfOpen, None));
        assert_eq!(one.admit(1_001), Admission::Allow);
        assert!(one.report(1_002).next_attempt_ms.is_some(), "one probe at a time");
        fail(&other, AttemptClass::Dns);
        assert_eq!(other.report(1_001).scope, BreakerScope::Host, "for every app at the host");
    }

    #[test]
    fn faults_of_the_router_open_nothing() {
        let ([one], _) = endpoints(["1"]);
        for class in [AttemptClass::Local, AttemptClass::Other, AttemptClass::Blocked] {
            fail(&one, class);
        }
        assert!(one.is_closed());
    }

    #[test]
    fn refused_attempt_takes_no_probe() {
        let ([one, other, third], _) = endpoints(["1", "2", "3"]);
        fail(&third, AttemptClass::Timeout);
        fail(&one, AttemptClass::Timeout);
        // The breaker of the app at the host admits one probe of either endpoint.
        let later = 1_000 + 2 * SHARED_OPEN_MS_MAX;
        assert_eq!(other.admit(later), Admission::Allow);
        assert!(matches!(one.admit(later), Admission::RetryAfter(_)));
        let _changes = other.record(AttemptClass::Success, later, 0.5);
        assert_eq!(one.admit(later), Admission::Allow, "its own probe is still available");
    }

    #[test]
    fn widest_breaker_that_stops_attempts_is_named() {
        let ([one, other], _) = endpoints(["1", "2"]);
        fail(&one, AttemptClass::Timeout);
        let tripped = |endpoint: &EndpointBreakers| {
            endpoint.tripped().map(|(scope, tripped)| (scope.label(), tripped.cause))
        };
        assert_eq!(tripped(&one), Some(("endpoint", AttemptClass::Timeout)));
        assert_eq!(tripped(&other), None);
        let opened: Vec<_> = (0..10)
            .flat_map(|_| other.record(AttemptClass::Connect, 1_000, 0.5))
            .map(|(scope, _)| scope.label())
            .collect();
        assert_eq!(opened, ["app", "endpoint", "host"]);
        assert_eq!(tripped(&one), Some(("host", AttemptClass::Connect)));
    }
}
