//! The keeper: checks the account in the background, and sets the metric of the gap.
//!
//! One replica at a time is the keeper, by a lease in a document. The document has what the last checks
//! found, so that another replica goes on from there; all replicas set the metric from it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use metrics::gauge;
use thiserror::Error;

use super::checks::{Check, DueCheck, KeeperDocument, LEASE_MS};
use super::compute::{AccountError, Accountant};
use super::fold::Scope;
use crate::clock;

/// Longest pause between two looks at the document.
const POLL_MAX: Duration = Duration::from_secs(15);
/// Interval at which the lease is renewed during a check.
const RENEW: Duration = Duration::from_millis(LEASE_MS.unsigned_abs() / 3);

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
        Self { accountant, store, replica, interval }
    }

    /// Checks until the future is dropped.
    pub async fn run(self) {
        let poll = self.interval.min(POLL_MAX);
        let mut polls = tokio::time::interval_at(tokio::time::Instant::now() + poll, poll);
        polls.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            polls.tick().await;
            match self.check_if_due().await {
                Ok(()) => {}
                // Another replica is faster.
                Err(CheckError::Store(KeeperStoreError::Conflict)) => {}
                Err(CheckError::Account(error @ AccountError::TooLarge(_))) => {
                    tracing::warn!(%error, "account of deliveries not checked");
                }
                Err(error) => tracing::debug!(%error, "account of deliveries not checked"),
            }
        }
    }

    async fn check_if_due(&self) -> Result<(), CheckError> {
        let (mut document, mut revision) = self.store.read().await?;
        publish(&document);
        let (now_ms, interval_ms) = (clock::broker_now_ms(), self.interval.as_millis());
        let interval_ms = i64::try_from(interval_ms).unwrap_or(i64::MAX);
        if !document.is_free_for(&self.replica, now_ms) {
            return Ok(());
        }
        let Some(due) = document.due(now_ms, interval_ms) else { return Ok(()) };
        document.lease_to(&self.replica, now_ms);
        revision = self.store.replace(&document, revision).await?;
        let found = self.check(due, &mut document, &mut revision).await?;
        let gap_before = document.gap();
        document.note(due.kind, found);
        document.lease_to(&self.replica, clock::broker_now_ms());
        self.store.replace(&document, revision).await?;
        publish(&document);
        if let Some(gap) = document.gap().filter(|gap| Some(*gap) != gap_before) {
            report(gap, gap_before);
        }
        Ok(())
    }

    /// Makes a check, and renews the lease until it ends.
    async fn check(
        &self,
        due: DueCheck,
        document: &mut KeeperDocument,
        revision: &mut u64,
    ) -> Result<Check, CheckError> {
        let started_ms = clock::broker_now_ms();
        let DueCheck { from_ms, until_ms, .. } = due;
        let scope = Scope { from_ms, until_ms, site: None, installation: None, key: None };
        let account = self.accountant.account(scope, &|_| {});
        tokio::pin!(account);
        let mut renewal = tokio::time::interval_at(tokio::time::Instant::now() + RENEW, RENEW);
        let account = loop {
            tokio::select! {
                account = &mut account => break account?,
                _ = renewal.tick() => {
                    document.lease_to(&self.replica, clock::broker_now_ms());
                    *revision = self.store.replace(document, *revision).await?;
                }
            }
        };
        for gap in &account.gaps {
            tracing::error!(
                delivery_id = gap.delivery,
                site = gap.site,
                event_id = gap.event,
                sequence = gap.sequence,
                subscription = gap.subscriptions.first().map_or("", String::as_str),
                last = gap.last,
                "delivery without a trace"
            );
        }
        for missing in account.missing.iter().flatten() {
            let (process, first, last) = (&missing.series, missing.first, missing.last);
            tracing::error!(%process, first, last, "records of the delivery log are missing");
        }
        Ok(Check::of(&account, started_ms, clock::broker_now_ms()))
    }
}

/// Why a check was not made.
#[derive(Debug, Error)]
enum CheckError {
    #[error(transparent)]
    Store(#[from] KeeperStoreError),
    #[error(transparent)]
    Account(#[from] AccountError),
}

fn report(gap: u64, before: Option<u64>) {
    match (gap, before) {
        (0, None) => tracing::debug!("the account of deliveries closes"),
        (0, Some(_)) => tracing::info!("the account of deliveries closes again"),
        (gap, _) => tracing::error!(gap, "the account of deliveries has a gap"),
    }
}

/// Sets the metrics.
#[expect(clippy::cast_precision_loss, reason = "a gauge needs no more than 53 bits")]
fn publish(document: &KeeperDocument) {
    let Some(gap) = document.gap() else { return };
    gauge!("switchyard_account_gap").set(gap as f64);
    gauge!("switchyard_account_checked_seconds").set(document.checked_ms() as f64 / 1_000.0);
}
