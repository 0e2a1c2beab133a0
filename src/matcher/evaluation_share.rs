//! Shares of evaluation: an installation whose filters cost more than its share of the time, while
//! others wait, is left out of matching. Its events are postponed; the verdict of a filter never
//! depends on it.
//!
//! The path of an event that costs little reads one atomic. Only what evaluations really cost is
//! charged, not what the index decides.
//!
//! Design: `docs/design/evaluation-share.md`.

mod ledger;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use metrics::{counter, gauge};

use ledger::{ACCOUNTS_MAX, Ledger};
pub use ledger::{EventPart, ExceededShare};

use super::Owner;
use crate::clock;
use crate::domain::InstallationId;
use crate::telemetry::LogBudget;

/// Default share of one installation.
pub const SHARE: f64 = 0.1;
/// Most installations whose excess waits to be reported to their apps.
const REPORTS_MAX: usize = 256;
/// Shortest time between two reports of one installation, in milliseconds.
const REPORT_INTERVAL_MS: i64 = 3600 * 1000;

/// The installations that are left out of matching.
pub type LeftOut = HashSet<InstallationId, RandomState>;

/// The part of one event's steps that an owner pays.
pub type Charges = Vec<(Arc<Owner>, u64)>;

/// Charges evaluations to installations, and says which of them are left out. Shared by all threads.
#[derive(Debug)]
pub struct EvaluationShares {
    ledger: Mutex<Ledger>,
    is_any_left_out: AtomicBool,
    has_live_events: AtomicBool,
    left_out: ArcSwap<LeftOut>,
    reports: Mutex<Reports>,
    log: LogBudget,
}

/// What is to be reported to apps, and what was, and when.
#[derive(Debug, Default)]
struct Reports {
    waiting: Vec<ExceededShare>,
    reported_ms: HashMap<InstallationId, i64, RandomState>,
}

impl Reports {
    fn add(&mut self, exceeded: ExceededShare, now_ms: i64) {
        self.reported_ms.retain(|_, at_ms| now_ms.saturating_sub(*at_ms) < REPORT_INTERVAL_MS);
        let is_due = !self.reported_ms.contains_key(&exceeded.installation);
        if is_due && self.waiting.len() < REPORTS_MAX && self.reported_ms.len() < ACCOUNTS_MAX {
            self.reported_ms.insert(exceeded.installation.clone(), now_ms);
            self.waiting.push(exceeded);
        }
    }
}

impl EvaluationShares {
    /// Creates the shares: each installation may use `share` of one processor, 0.0 to 1.0; with 1.0
    /// none is left out.
    #[must_use]
    pub fn new(share: f64) -> Self {
        Self {
            ledger: Mutex::new(Ledger::new(share)),
            is_any_left_out: AtomicBool::new(false),
            has_live_events: AtomicBool::new(false),
            left_out: ArcSwap::default(),
            reports: Mutex::default(),
            log: LogBudget::default(),
        }
    }

    /// Returns the installations that are left out, if there are any.
    #[must_use]
    pub fn left_out(&self) -> Option<Arc<LeftOut>> {
        self.is_any_left_out.load(Relaxed).then(|| self.left_out.load_full())
    }

    /// Charges evaluations of an event, which together had so many steps and took so long.
    pub fn charge(&self, charges: &Charges, part: EventPart, (steps, took): (u64, Duration)) {
        self.change(|ledger, now_ms| {
            ledger.measure(steps, took.as_secs_f64() * 1e3);
            charges.iter().fold(false, |changed, (owner, steps)| {
                ledger.charge(owner, (*steps, part), now_ms) | changed
            })
        });
    }

    /// Counts evaluations of an event that are still to be made, until [`EvaluationShares::release`].
    pub fn reserve(&self, reserved: &Charges) {
        self.change(|ledger, now_ms| {
            reserved.iter().fold(false, |changed, (owner, steps)| {
                ledger.reserve(owner, *steps, now_ms) | changed
            })
        });
    }

    /// Ends what [`EvaluationShares::reserve`] began.
    pub fn release(&self, reserved: &Charges) {
        let mut ledger = self.lock();
        reserved.iter().for_each(|(owner, steps)| ledger.release(&owner.id, *steps));
    }

    /// Counts an event that an installation is left out of; returns for how long it is postponed.
    #[must_use]
    pub fn postpone(&self, installation: &InstallationId) -> Duration {
        counter!("switchyard_evaluations_postponed_total").increment(1);
        self.delay(installation, false)
    }

    /// Returns for how long an event that was postponed and is due is postponed again.
    #[must_use]
    pub fn postpone_again(&self, installation: &InstallationId) -> Duration {
        self.delay(installation, true)
    }

    fn delay(&self, installation: &InstallationId, is_due: bool) -> Duration {
        let delay_ms = self.lock().postpone(installation, is_due, clock::uptime_ms());
        Duration::from_millis(delay_ms.unsigned_abs())
    }

    /// Whether a postponed event of an installation may be evaluated now.
    #[must_use]
    pub fn may_evaluate(&self, installation: &InstallationId) -> bool {
        self.lock().may_evaluate(installation, clock::uptime_ms())
    }

    /// Average steps of an event of an installation; 0 if they are few.
    #[must_use]
    pub fn cost(&self, installation: &InstallationId) -> u64 {
        self.lock().cost(installation)
    }

    /// Whether others wait, as it was reported last.
    #[must_use]
    pub fn is_contended(&self) -> bool {
        self.lock().is_contended()
    }

    /// Says at once that others wait; it lasts until the next [`EvaluationShares::tick`].
    pub fn report_contention(&self) {
        self.lock().set_contended(true);
    }

    /// Whether events were routed within the last seconds: then what else uses processors goes slowly.
    #[must_use]
    pub fn has_live_events(&self) -> bool {
        self.has_live_events.load(Relaxed)
    }

    /// Called several times a second, with whether others wait and whether events are routed.
    pub fn tick(&self, is_contended: bool, has_live_events: bool) {
        self.has_live_events.store(has_live_events, Relaxed);
        self.change(|ledger, now_ms| {
            ledger.set_contended(is_contended);
            let readmitted = ledger.tick(now_ms);
            for installation in &readmitted {
                tracing::info!(%installation, "installation is within its share of evaluation again");
            }
            !readmitted.is_empty()
        });
        let count = u32::try_from(self.left_out().map_or(0, |all| all.len())).unwrap_or(u32::MAX);
        gauge!("switchyard_evaluation_share_exceeded").set(count);
    }

    /// Returns the installations whose events are postponed, by id.
    #[must_use]
    pub fn exceeded(&self) -> Vec<ExceededShare> {
        let (ledger, times) = (self.lock(), times());
        let mut all: Vec<_> =
            ledger.left_out().filter_map(|id| ledger.exceeded(id, times)).collect();
        all.sort_unstable_by(|a, b| a.installation.cmp(&b.installation));
        all
    }

    /// Removes and returns the installations that were left out since the last call; each at most once
    /// an hour.
    #[must_use]
    pub fn take_reports(&self) -> Vec<ExceededShare> {
        std::mem::take(&mut self.reports.lock().unwrap_or_else(PoisonError::into_inner).waiting)
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the ledger; publishes the installations that are left out if `change` returns that
    /// they changed.
    fn change(&self, change: impl FnOnce(&mut Ledger, i64) -> bool) {
        let mut ledger = self.lock();
        if !change(&mut ledger, clock::uptime_ms()) {
            return;
        }
        let before = self.left_out.load();
        let after: LeftOut = ledger.left_out().cloned().collect();
        let added = after.iter().filter(|id| !before.contains(*id));
        let added: Vec<_> = added.filter_map(|id| ledger.exceeded(id, times())).collect();
        self.is_any_left_out.store(!after.is_empty(), Relaxed);
        self.left_out.store(Arc::new(after));
        drop(ledger);
        added.into_iter().for_each(|exceeded| self.report(exceeded));
    }

    fn report(&self, exceeded: ExceededShare) {
        if let Some(suppressed) = self.log.take() {
            tracing::warn!(
                installation = %exceeded.installation,
                app = %exceeded.app,
                site = %exceeded.site,
                steps_per_event = exceeded.steps_per_event,
                steps_per_second = exceeded.steps_per_second,
                suppressed,
                "installation exceeds limits.evaluation_share: its events are postponed"
            );
        }
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        reports.add(exceeded, clock::uptime_ms());
    }
}

impl Default for EvaluationShares {
    fn default() -> Self {
        Self::new(SHARE)
    }
}

/// Returns the monotonic time and the wall time, in milliseconds.
fn times() -> (i64, i64) {
    (clock::uptime_ms(), clock::now_ms())
}
