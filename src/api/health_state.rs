//! The state that health probes show: the checks of the broker, and what stages report.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::clock;
use crate::recovery::doctor::{BROKER_UNREACHABLE, NOT_CONFIRMED};
use crate::telemetry::history::BrokerState;

/// Age of the checks of the broker above which they say nothing.
const CHECKS_MS_MAX: i64 = 15_000;

/// The state that probes read; the stages write it.
#[derive(Debug, Default)]
pub struct Health {
    /// The registry is loaded, and streams and consumers exist.
    pub started: AtomicBool,
    /// The broker does not store parked deliveries or dead letters.
    pub writes_blocked: AtomicBool,
    /// Registry documents that cannot be read. No reason to be unready: they stop only their own
    /// installations.
    pub unreadable_documents: AtomicUsize,
    /// The router is stopping.
    pub draining: AtomicBool,
    /// When the heartbeat task last ran, milliseconds of monotonic time.
    pub heartbeat_ms: AtomicI64,
    broker: Mutex<Option<BrokerChecks>>,
}

/// The checks of the last round.
#[derive(Debug)]
struct BrokerChecks {
    /// Milliseconds of monotonic time.
    at_ms: i64,
    checks: Vec<CheckView>,
}

/// The state of one check of the broker.
#[derive(Clone, Debug)]
pub struct CheckView {
    /// Its name.
    pub check: &'static str,
    /// `passed`, `failing` or `not_checked`.
    pub state: &'static str,
    /// Since when it is in this state.
    pub since: Timestamp,
    /// What fails, as `/healthz/ready` names it.
    pub failure: Option<String>,
}

impl CheckView {
    /// Returns what fails.
    #[must_use]
    pub fn failing(&self) -> Option<&str> {
        self.failure.as_deref()
    }
}

impl Health {
    /// Publishes the checks of a round.
    pub fn set_checks(&self, checks: Vec<CheckView>) {
        let round = BrokerChecks { at_ms: clock::uptime_ms(), checks };
        *self.broker.lock().unwrap_or_else(PoisonError::into_inner) = Some(round);
    }

    /// Returns why the router is not ready; empty if it is.
    #[must_use]
    pub fn failing(&self) -> Vec<String> {
        let own = [
            (self.started.load(Relaxed), "starting"),
            (!self.writes_blocked.load(Relaxed), "broker stores no deliveries"),
            (!self.draining.load(Relaxed), "draining"),
        ];
        let own = own.into_iter().filter(|(holds, _)| !holds).map(|(_, name)| name.to_owned());
        own.chain(self.failing_checks()).collect()
    }

    fn failing_checks(&self) -> Vec<String> {
        let broker = self.broker.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(round) = broker.as_ref() else { return vec!["broker not checked yet".into()] };
        if clock::uptime_ms().saturating_sub(round.at_ms) > CHECKS_MS_MAX {
            return vec!["broker not checked lately".into()];
        }
        round.checks.iter().filter_map(|check| check.failure.clone()).collect()
    }

    /// Returns the state of the broker, as the checks of readiness see it.
    #[must_use]
    pub fn broker_state(&self) -> BrokerState {
        let failing = self.failing_checks();
        if failing.iter().any(|one| one == BROKER_UNREACHABLE) {
            BrokerState::Unreachable
        } else if failing.iter().any(|one| one.ends_with(NOT_CONFIRMED)) {
            BrokerState::NotWriting
        } else if failing.is_empty() {
            BrokerState::Ok
        } else {
            BrokerState::Failing
        }
    }

    /// Returns what an operator should look at although the router is ready.
    #[must_use]
    pub fn degraded(&self) -> Vec<String> {
        let unreadable = self.unreadable_documents.load(Relaxed);
        let text = format!("registry documents that cannot be read: {unreadable}");
        (unreadable > 0).then_some(text).into_iter().collect()
    }

    /// Renders the state of every check.
    pub(super) fn report(&self) -> Value {
        let failing = self.failing();
        let broker = self.broker.lock().unwrap_or_else(PoisonError::into_inner);
        let checks = broker.iter().flat_map(|round| &round.checks).map(|check| {
            json!({ "check": check.check, "state": check.state,
                "since": check.since.to_string(), "failure": check.failure })
        });
        let skew_s = clock::skew().map(|skew| skew.as_secs_f64());
        json!({ "status": if failing.is_empty() { "ok" } else { "failing" }, "failing": failing,
            "degraded": self.degraded(), "checks": Vec::from_iter(checks), "clockSkewSeconds": skew_s })
    }
}
