//! Parked deliveries that are due: read, looked up and attempted again. An event that waited for an
//! installation is matched first.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use futures_util::FutureExt;

use super::fan_out::FanOut;
use super::waiting::{LateMatch, WaitingEvents};
use crate::delivery::{
    DeadLetter, DeadLetterCause, DeadLetterReason, Delivery, DeliveryOutcome, DeliveryReport,
    Dispatcher, JobOutcome, LogCollector, MalformedRecord, Origin, ParkedDelivery, RemovalReason,
    StreamPosition, SubscriptionDirectory, erased_bytes, job_origin, parked_owner,
};
use crate::domain::AppId;
use crate::event::{Event, Message};

/// Resumes parked deliveries.
pub(super) struct ParkedDeliveries {
    dispatcher: Arc<Dispatcher>,
    directory: Arc<dyn SubscriptionDirectory>,
    fan_out: Arc<FanOut>,
    waiting: Arc<WaitingEvents>,
}

/// What becomes of a record that is due.
enum Next {
    /// It is attempted.
    Attempt(Box<Delivery>),
    /// It waits for the document of its installation.
    Wait(Box<ParkedDelivery>),
    /// Its event is matched.
    Match(Box<ParkedDelivery>),
    /// All of its subscriptions were removed.
    Drop(Box<ParkedDelivery>),
    /// Its body was erased.
    Erased(Box<ParkedDelivery>),
}

/// What became of a record that was due.
#[derive(Clone, Copy)]
enum Settled {
    /// Its delivery is parked again.
    Parked,
    /// Its delivery is accounted for.
    Ended(JobOutcome),
}

impl Settled {
    fn of(outcome: &DeliveryOutcome) -> Self {
        match outcome {
            DeliveryOutcome::Parked(_) => Self::Parked,
            DeliveryOutcome::Delivered => Self::Ended(JobOutcome::Delivered),
            DeliveryOutcome::DeadLettered(_) => Self::Ended(JobOutcome::Dead),
            DeliveryOutcome::Dropped(_) | DeliveryOutcome::Removed(_) => {
                Self::Ended(JobOutcome::Dropped)
            }
        }
    }
}

impl ParkedDeliveries {
    /// Creates the resumption of deliveries to the subscriptions of `directory`.
    pub(super) fn new(
        dispatcher: Arc<Dispatcher>,
        directory: Arc<dyn SubscriptionDirectory>,
        fan_out: Arc<FanOut>,
        waiting: Arc<WaitingEvents>,
    ) -> Self {
        Self { dispatcher, directory, fan_out, waiting }
    }

    /// Completes once the delivery of the record `message` is accounted for, and once a dead letter
    /// that it redrove is deleted.
    pub(super) async fn resume<M: Message>(&self, message: &M) {
        let app = message.address().rsplit('.').next().unwrap_or_default();
        let owner = parked_owner(message.headers(), &*self.directory, app);
        let settled = match AssertUnwindSafe(self.settle(message, app)).catch_unwind().await {
            Ok(settled) => settled,
            // Redelivered, it would panic again for ever.
            Err(_) => {
                let sequence = message.sequence();
                tracing::error!(sequence, "resuming a parked delivery panicked; dead-lettered");
                self.dead_letter(message, "crash", "its resumption panicked").await
            }
        };
        let Settled::Ended(outcome) = settled else { return };
        if let Ok(Some(origin)) = job_origin(message.headers()) {
            self.dispatcher.end_job_delivery(&origin, outcome).await;
        }
        if let Some(owner) = owner {
            let bytes = erased_bytes(message.headers());
            self.dispatcher.release_parked(&owner, bytes.unwrap_or(message.payload().len()));
        }
    }

    /// As [`ParkedDeliveries::resume`], without its job.
    async fn settle<M: Message>(&self, message: &M, app: &str) -> Settled {
        let outcome = match self.next(message) {
            Ok(Next::Attempt(delivery)) => {
                let prepared = Arc::clone(&delivery.prepared);
                let queue_timeout = self.dispatcher.park_after();
                let is_replay = delivery.progress.replay_job().is_some();
                let share = is_replay.then(|| self.dispatcher.replay_share());
                let log = self.begin_record(message, &prepared.event);
                let delivering = self.dispatcher.deliver(*delivery, queue_timeout, share.as_ref());
                store(log, delivering.await).await
            }
            Ok(Next::Wait(parked)) => {
                let (event, is_matched) =
                    (parked.event().clone(), !parked.subscriptions.is_empty());
                let due_app = AppId::from(app);
                let log = self.begin_record(message, &event);
                let report = self.dispatcher.wait_for_document(*parked, &due_app).await;
                // An event that is not matched yet is no delivery.
                if is_matched { store(log, report).await } else { report.outcome }
            }
            Ok(Next::Match(parked)) => return self.match_late(message, app, parked).await,
            Ok(Next::Drop(parked)) => {
                self.dispatcher.drop_by_policy();
                let report = DeliveryReport::of_removed(&parked);
                store(self.begin_record(message, parked.event()), report).await
            }
            Ok(Next::Erased(parked)) => {
                self.dispatcher.record_erased();
                let report = DeliveryReport::of_removal(&parked, RemovalReason::Erased);
                // An event that is not matched yet is no delivery.
                match parked.subscriptions.is_empty() {
                    true => report.outcome,
                    false => store(self.begin_record(message, parked.event()), report).await,
                }
            }
            Err(malformed) => {
                return self.dead_letter(message, "schema", &malformed.to_string()).await;
            }
        };
        Settled::of(&outcome)
    }

    /// Begins the record of a parked delivery, before the work on it: the time at which that begins says which
    /// record of a delivery is the later one.
    fn begin_record<'a, M: Message>(&'a self, message: &M, event: &'a Event) -> LogCollector<'a> {
        LogCollector::new(self.dispatcher.log(), event, Origin::parked(message))
    }

    /// Reads a parked record and looks its subscriptions up.
    fn next<M: Message>(&self, message: &M) -> Result<Next, MalformedRecord> {
        let parked = ParkedDelivery::read(message.headers(), message.payload())?;
        if erased_bytes(message.headers()).is_some() {
            return Ok(Next::Erased(Box::new(parked)));
        }
        // Asked before the subscriptions: those of an installation that waits no longer are live.
        if self.directory.is_waiting(&parked.installation) {
            return Ok(Next::Wait(Box::new(parked)));
        }
        if parked.subscriptions.is_empty() {
            return Ok(Next::Match(Box::new(parked)));
        }
        let mut live = parked.subscriptions.iter().filter_map(|id| self.directory.find(id));
        match live.next() {
            Some(subscription) => {
                let coalesced_with = live.collect();
                let delivery = parked.resume(subscription, coalesced_with)?;
                if delivery.progress.job.is_none() {
                    for subscription in delivery.subscriptions() {
                        subscription.stats.resumed.fetch_add(1, Relaxed);
                    }
                }
                Ok(Next::Attempt(Box::new(delivery)))
            }
            None => Ok(Next::Drop(Box::new(parked))),
        }
    }

    /// Matches an event that waited, and completes once its deliveries are accounted for.
    async fn match_late<M: Message>(
        &self,
        message: &M,
        app: &str,
        parked: Box<ParkedDelivery>,
    ) -> Settled {
        match self.waiting.match_late(parked).await {
            Ok(LateMatch::Matched(prepared, matches)) => {
                self.fan_out.deliver_all(&prepared, matches, Origin::late(message)).await;
                Settled::Ended(JobOutcome::Delivered)
            }
            Ok(LateMatch::Unmatched) => Settled::Ended(JobOutcome::Delivered),
            Ok(LateMatch::NoSubscription) => Settled::of(&self.dispatcher.drop_by_policy()),
            Ok(LateMatch::Postponed(parked, delay)) => {
                let app = AppId::from(app);
                Settled::of(&self.dispatcher.wait_for_share(*parked, &app, delay).await)
            }
            Err(error) => self.dead_letter(message, error.label(), &error.to_string()).await,
        }
    }

    /// Dead-letters a record that cannot be resumed. One that redrives a dead letter leaves that
    /// letter as it is, which has more than the record.
    async fn dead_letter<M: Message>(
        &self,
        message: &M,
        label: &'static str,
        error: &str,
    ) -> Settled {
        let origin = job_origin(message.headers()).ok().flatten();
        if origin.is_some_and(|origin| !origin.dead_letters.is_empty()) {
            let sequence = message.sequence();
            tracing::warn!(sequence, error, "redrive of a dead letter failed; the letter stays");
            return Settled::Ended(JobOutcome::Dropped);
        }
        let reason = DeadLetterReason::Poison(label);
        let cause = DeadLetterCause { reason: &reason, stage: "parking", error };
        let letter = DeadLetter::of_record(message.payload(), StreamPosition::of(message), &cause);
        let outcome = self.dispatcher.store_dead_letter(letter, &reason).await;
        let parked = ParkedDelivery::read(message.headers(), message.payload()).ok();
        if let Some(parked) = parked.filter(|parked| !parked.subscriptions.is_empty()) {
            let report = DeliveryReport::of_unresumable(&parked, outcome);
            store(self.begin_record(message, parked.event()), report).await;
        }
        Settled::Ended(JobOutcome::Dead)
    }
}

/// Stores what became of a parked delivery in the delivery log.
async fn store(log: LogCollector<'_>, report: DeliveryReport) -> DeliveryOutcome {
    let outcome = report.outcome.clone();
    log.add(report).await;
    log.store().await;
    outcome
}
