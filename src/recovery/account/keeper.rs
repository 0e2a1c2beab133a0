//! The keeper: checks the account in the background, and sets the metric of the gap.
//!
//! One replica at a time is the keeper, by a lease in a document. The document has what the last checks
//! found, so that another replica goes on from there; all replicas set the metric from it. A window whose
//! account would take too much memory is checked in parts.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use metrics::gauge;
use thiserror::Error;

use super::checks::{Check, CheckKind, DueCheck, KeeperDocument, LEASE_MS};
use super::compute::{AccountError, Accountant};
use super::fold::Scope;
use super::limits::NAMED_MAX;
use super::reported::{Finding, Reported};
use super::sheet::Account;
use crate::clock;

/// Longest pause between two looks at the document.
const POLL_MAX: Duration = Duration::from_secs(15);
/// Interval at which the lease is renewed during a check.
const RENEW: Duration = Duration::from_millis(LEASE_MS.unsigned_abs() / 3);
/// Names errors of the document.
const DOCUMENT: &str = "document";
/// Names the condition that too many records were erased.
const ERASED: &str = "erased";

/// Stores the document; implemented in `bus`.
pub trait KeeperStore: Send + Sync {
    /// Returns the document and its revision; 0 if there is none.
    ///
    /// # Errors
    /// The broker does not answer.
    fn read(&self) -> BoxFuture<'_, Result<(KeeperDocument, u64), KeeperStoreError>>;

    /// Replaces the document if it has `revision`; returns the new revision.
    ///
    /// # Errors
    /// Another replica changed it, or the broker does not answer.
    fn replace<'a>(
        &'a self,
        document: &'a KeeperDocument,
        revision: u64,
    ) -> BoxFuture<'a, Result<u64, KeeperStoreError>>;
}

/// Why the document is not read or replaced.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum KeeperStoreError {
    /// Another replica changed it.
    #[error("another replica changed the document")]
    Conflict,
    /// The broker does not answer; one sentence.
    #[error("{0}")]
    Unavailable(String),
}

/// Keeps the account.
pub struct AccountKeeper {
    accountant: Arc<Accountant>,
    store: Arc<dyn KeeperStore>,
    /// Names this process, unique over restarts.
    replica: String,
    interval: Duration,
    reported: Reported,
    unstored: Option<FailedCheck>,
}

/// A check that failed, and whose failure is not in the document, because that could not be stored.
#[derive(Clone, Copy, Debug)]
struct FailedCheck {
    kind: CheckKind,
    started_ms: i64,
    ended_ms: i64,
}

/// What a check found.
#[derive(Debug, Default)]
struct Found {
    check: Check,
    /// What is named of it.
    findings: Vec<Finding>,
    /// See [`Account::has_too_many_erased`].
    has_too_many_erased: bool,
}

impl AccountKeeper {
    /// Creates a keeper whose recent checks are `interval` apart or more.
    #[must_use]
    pub fn new(
        accountant: Arc<Accountant>,
        store: Arc<dyn KeeperStore>,
        interval: Duration,
    ) -> Self {
        let replica = uuid::Uuid::new_v4().simple().to_string();
        let (reported, unstored) = (Reported::default(), None);
        Self { accountant, store, replica, interval, reported, unstored }
    }

    /// Checks until the future is dropped.
    pub async fn run(mut self) {
        let poll = self.interval.min(POLL_MAX);
        let mut polls = tokio::time::interval_at(tokio::time::Instant::now() + poll, poll);
        polls.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            polls.tick().await;
            match self.check_if_due().await {
                Ok(()) => self.reported.end_error(DOCUMENT),
                // Another replica is faster.
                Err(KeeperStoreError::Conflict) => {}
                Err(error) => self.report_error(DOCUMENT, &error),
            }
        }
    }

    async fn check_if_due(&mut self) -> Result<(), KeeperStoreError> {
        let (mut document, mut revision) = self.store.read().await?;
        publish(&document);
        if let Some(FailedCheck { kind, started_ms, ended_ms }) = self.unstored
            && document.last(kind).at_ms < started_ms
        {
            document.note_failure(kind, started_ms, ended_ms);
        }
        let (now_ms, interval_ms) = (clock::broker_now_ms(), self.interval.as_millis());
        let interval_ms = i64::try_from(interval_ms).unwrap_or(i64::MAX);
        if !document.is_free_for(&self.replica, now_ms) {
            return Ok(());
        }
        let Some(due) = document.due(now_ms, interval_ms) else { return Ok(()) };
        document.lease_to(&self.replica, now_ms);
        revision = self.store.replace(&document, revision).await?;
        let found = match self.check(due, &mut document, &mut revision).await {
            Ok(found) => Some(found),
            // The lease is not renewed: another replica may be the keeper.
            Err(CheckError::Store(error)) => {
                let (kind, started_ms, ended_ms) = (due.kind, now_ms, clock::broker_now_ms());
                self.unstored = Some(FailedCheck { kind, started_ms, ended_ms });
                return Err(error);
            }
            Err(CheckError::Account(error)) => {
                self.report_error(due.kind.label(), &error);
                None
            }
        };
        let (ended_ms, before) = (clock::broker_now_ms(), document.clone());
        match &found {
            Some(Found { check, .. }) => {
                let took_ms = ended_ms.saturating_sub(now_ms).max(0);
                let until_ms = due.until_ms;
                let times = Check { at_ms: ended_ms, took_ms, until_ms, ..Check::default() };
                let Check { halvings, gap, missing, .. } = *check;
                document.note(due.kind, Check { halvings, gap, missing, ..times });
            }
            None => document.note_failure(due.kind, now_ms, ended_ms),
        }
        document.lease_to(&self.replica, ended_ms);
        self.store.replace(&document, revision).await?;
        self.unstored = None;
        publish(&document);
        if let Some(found) = found {
            self.reported.end_error(due.kind.label());
            self.report(due.kind, found, &before, &document);
        }
        Ok(())
    }

    /// Makes a check, and renews the lease until it ends. It ends early if the lease is not renewed.
    async fn check(
        &self,
        due: DueCheck,
        document: &mut KeeperDocument,
        revision: &mut u64,
    ) -> Result<Found, CheckError> {
        let check = in_parts(due, |part| {
            let DueCheck { from_ms, until_ms, .. } = part;
            let scope = Scope { from_ms, until_ms, site: None, installation: None, key: None };
            let accountant = Arc::clone(&self.accountant);
            async move { accountant.account(scope, &|_| {}).await }
        });
        tokio::pin!(check);
        let mut renewal = tokio::time::interval_at(tokio::time::Instant::now() + RENEW, RENEW);
        loop {
            tokio::select! {
                found = &mut check => return Ok(found?),
                _ = renewal.tick() => {
                    document.lease_to(&self.replica, clock::broker_now_ms());
                    *revision = self.store.replace(document, *revision).await?;
                }
            }
        }
    }

    /// Logs what changed since the last checks.
    fn report(
        &mut self,
        kind: CheckKind,
        found: Found,
        before: &KeeperDocument,
        document: &KeeperDocument,
    ) {
        let halvings = found.check.halvings;
        if halvings > before.last(kind).halvings {
            let (parts, check) = (1_u64 << halvings, kind.label());
            tracing::warn!(
                parts,
                check,
                "account of deliveries is checked in parts: its window is too large"
            );
        }
        if !found.has_too_many_erased {
            self.reported.end_error(ERASED);
        } else if self.reported.is_new_error(ERASED, String::new()) {
            tracing::warn!(
                "records of the delivery log that are missing are not counted: erasures deleted too many"
            );
        }
        for finding in self.reported.new_findings(kind, found.findings) {
            report_finding(&finding);
        }
        if let Some(gap) = document.gap().filter(|gap| Some(*gap) != before.gap()) {
            report_gap(gap, before.gap());
        }
    }

    /// Logs an error, as a warning if it is another one than the last.
    fn report_error(&mut self, action: &'static str, error: &dyn std::error::Error) {
        let text = error.to_string();
        if self.reported.is_new_error(action, text.clone()) {
            tracing::warn!(error = text, check = action, "account of deliveries not checked");
        } else {
            tracing::debug!(error = text, check = action, "account of deliveries not checked");
        }
    }
}

/// Makes a check by accounts of its parts. A part whose account would take too much memory is halved.
async fn in_parts<F>(
    due: DueCheck,
    account_of: impl Fn(DueCheck) -> F,
) -> Result<Found, AccountError>
where
    F: Future<Output = Result<Account, AccountError>>,
{
    let (mut parts, mut found) = (due.parts(), Found::default());
    while let Some(part) = parts.pop() {
        match (account_of(part).await, part.halves()) {
            (Ok(account), _) => {
                found.check.add(&account);
                found.check.halvings = found.check.halvings.max(part.halvings);
                found.has_too_many_erased |= account.has_too_many_erased;
                found.findings.extend(account.gaps.into_iter().map(Finding::Gap));
                let missing = account.missing.into_iter().flatten().take(NAMED_MAX);
                found.findings.extend(missing.map(Finding::Missing));
            }
            (Err(AccountError::TooLarge(_)), Some(halves)) => parts.extend(halves),
            (Err(error), _) => return Err(error),
        }
    }
    Ok(found)
}

/// Why a check was not made.
#[derive(Debug, Error)]
enum CheckError {
    #[error(transparent)]
    Store(#[from] KeeperStoreError),
    #[error(transparent)]
    Account(#[from] AccountError),
}

fn report_finding(finding: &Finding) {
    match finding {
        Finding::Gap(gap) => tracing::error!(
            delivery_id = gap.delivery,
            site = gap.site,
            event_id = gap.event,
            sequence = gap.sequence,
            subscription = gap.subscriptions.first().map_or("", String::as_str),
            last = gap.last,
            "delivery unaccounted for"
        ),
        Finding::Missing(missing) => {
            let (process, first, last) = (&missing.series, missing.first, missing.last);
            tracing::error!(%process, first, last, "records of the delivery log are missing");
        }
    }
}

fn report_gap(gap: u64, before: Option<u64>) {
    match (gap, before) {
        (0, None) => tracing::debug!("the account of deliveries closes"),
        (0, Some(_)) => tracing::info!("the account of deliveries closes again"),
        (gap, _) => tracing::error!(gap, "the account of deliveries has a gap"),
    }
}

/// Sets the metrics.
#[expect(clippy::cast_precision_loss, reason = "a gauge needs no more than 53 bits")]
fn publish(document: &KeeperDocument) {
    if let Some(gap) = document.gap() {
        gauge!("switchyard_account_gap").set(gap as f64);
    }
    if document.checked_ms() > 0 {
        gauge!("switchyard_account_checked_seconds").set(document.checked_ms() as f64 / 1_000.0);
    }
}

#[cfg(test)]
mod tests;
