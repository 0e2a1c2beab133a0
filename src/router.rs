//! Routes events: pulls an event, decodes it, matches it, delivers it and acknowledges it.
//!
//! An event is acknowledged once each of its deliveries is accounted for, and not earlier. An event
//! without a match costs no task and no allocation. An event with matches becomes a task: it holds
//! a share of the limit on events in flight, extends the event's ack deadline while it works and
//! sends the matches through the dispatcher with bounded concurrency.
//!
//! Design: `docs/design/delivery-through.md`.

mod ack_deadline;
mod examine;
mod fan_out;
mod in_flight;
mod parked;
mod redelivery;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use ack_deadline::AckDeadline;
use examine::{Examined, Examiner, Work, WorkerState};
use fan_out::FanOut;
use in_flight::{InFlightLimit, InFlightPermit};
use parked::ParkedDeliveries;
use redelivery::RedeliveryLimit;

use crate::clock;
use crate::config::Config;
use crate::delivery::{
    DeadLetter, DeadLetterCause, DeadLetterReason, Dispatcher, SubscriptionDirectory,
};
use crate::event::{Message, MessageStream};
use crate::matcher::Matcher;
use crate::telemetry::LiveFeed;

/// How long running attempts may continue after the router was stopped.
const DRAIN_MAX: Duration = Duration::from_secs(25);
/// Interval between evictions of idle lanes.
const EVICTION_INTERVAL: Duration = Duration::from_secs(10);
/// Divisor of the limits on events in flight; the quotient is reserved for parked deliveries, which
/// must proceed while events wait for room in the parking stream.
const PARKED_SHARE: usize = 4;

/// Routes events. Shared by its workers and tasks.
pub struct Router {
    examiner: Examiner,
    fan_out: FanOut,
    parked: ParkedDeliveries,
    dispatcher: Arc<Dispatcher>,
    redeliveries: RedeliveryLimit,
    deadline: AckDeadline,
    events_in_flight: InFlightLimit,
    parked_in_flight: InFlightLimit,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Router {
    /// Creates a router that works until `stop` is cancelled.
    #[must_use]
    pub fn new(
        config: &Config,
        matcher: Arc<Matcher>,
        dispatcher: Arc<Dispatcher>,
        directory: Arc<dyn SubscriptionDirectory>,
        live: LiveFeed,
        stop: CancellationToken,
    ) -> Self {
        let (event_bytes_max, config) = (config.limits.event, &config.events);
        let (messages, bytes) = (config.in_flight_max, config.in_flight_bytes_max);
        let share = |limit: usize| limit.div_ceil(PARKED_SHARE);
        Self {
            examiner: Examiner::new(matcher, live, event_bytes_max, config.trust_body_self),
            fan_out: FanOut::new(Arc::clone(&dispatcher)),
            parked: ParkedDeliveries::new(Arc::clone(&dispatcher), directory),
            dispatcher,
            redeliveries: RedeliveryLimit::new(config.deliver_max, config.ack_wait_s),
            deadline: AckDeadline::new(Duration::from_secs(config.ack_wait_s)),
            events_in_flight: InFlightLimit::new(messages, bytes),
            parked_in_flight: InFlightLimit::new(share(messages), share(bytes)),
            stop,
            tasks: TaskTracker::new(),
        }
    }

    /// Processes `events`, one worker per source, and parked deliveries as they fire, until the
    /// router is stopped; then waits up to `DRAIN_MAX` for running tasks. The broker redelivers
    /// what is unfinished by then.
    pub async fn run<S, D>(self: Arc<Self>, events: Vec<S>, due: D)
    where
        S: MessageStream,
        D: MessageStream,
    {
        let mut workers = JoinSet::new();
        for source in events {
            workers.spawn(Arc::clone(&self).route(source));
        }
        workers.spawn(Arc::clone(&self).resume_parked(due));
        workers.spawn(Arc::clone(&self).evict_idle_lanes());
        while let Some(ended) = workers.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "router worker panicked; stopping");
                self.stop.cancel();
            }
        }
        self.tasks.close();
        if tokio::time::timeout(DRAIN_MAX, self.tasks.wait()).await.is_err() {
            tracing::warn!(
                unfinished = self.tasks.len(),
                "drain timed out; releasing unfinished messages"
            );
            self.deadline.abandon();
            self.tasks.wait().await;
        }
    }

    /// Runs one worker: processes one event after the other.
    async fn route<S: MessageStream>(self: Arc<Self>, mut source: S) {
        let mut worker = self.examiner.new_worker();
        while let Some(message) = self.pull(&mut source).await {
            let work = match self.decode_and_match(&mut worker, &message) {
                Examined::Work(work) => work,
                Examined::Unmatched => {
                    message.ack().await;
                    worker.metrics.unmatched.increment(1);
                    continue;
                }
                Examined::Crashed => continue,
            };
            let limit = &self.events_in_flight;
            let Some(permit) = self.acquire(&mut source, &message, limit).await else {
                message.release().await;
                break;
            };
            let acked = match &work {
                Work::Deliver { .. } => worker.metrics.matched.clone(),
                Work::DeadLetter { .. } => worker.metrics.poison.clone(),
            };
            let router = Arc::clone(&self);
            self.tasks.spawn(async move {
                let settled = router.deliver(&message, work);
                if router.deadline.settle_then_ack(&message, settled).await {
                    acked.increment(1);
                }
                drop(permit);
            });
        }
    }

    /// Runs the worker that resumes parked deliveries as they fire.
    async fn resume_parked<S: MessageStream>(self: Arc<Self>, mut source: S) {
        while let Some(message) = self.pull(&mut source).await {
            let limit = &self.parked_in_flight;
            let Some(permit) = self.acquire(&mut source, &message, limit).await else {
                message.release().await;
                break;
            };
            let router = Arc::clone(&self);
            self.tasks.spawn(async move {
                let settled = router.parked.resume(&message);
                router.deadline.settle_then_ack(&message, settled).await;
                drop(permit);
            });
        }
    }

    /// Returns the next message, or none once the router stops.
    async fn pull<S: MessageStream>(&self, source: &mut S) -> Option<S::Item> {
        if self.stop.is_cancelled() {
            return None;
        }
        tokio::select! {
            biased;
            message = source.next() => Some(message),
            () = self.stop.cancelled() => None,
        }
    }

    /// Waits for the in-flight limit; returns none once the router stops.
    async fn acquire<S: MessageStream>(
        &self,
        source: &mut S,
        message: &S::Item,
        limit: &InFlightLimit,
    ) -> Option<InFlightPermit> {
        let bytes = message.payload().len();
        if let Some(permit) = limit.try_take(bytes) {
            return Some(permit);
        }
        let permit = tokio::select! {
            permit = limit.take(bytes) => permit,
            () = self.deadline.extend(message) => None,
            () = source.extend_deadlines() => None,
            () = self.stop.cancelled() => None,
        };
        self.redeliveries.record_backpressure(clock::now_ms());
        permit
    }

    fn decode_and_match<M: Message>(&self, worker: &mut WorkerState, message: &M) -> Examined {
        worker.metrics.count(message);
        let delivery_count = message.delivery_count();
        if self.redeliveries.is_exceeded(delivery_count, clock::now_ms()) {
            let reason = DeadLetterReason::Poison("crash");
            let error = format!("delivered {delivery_count} times without an acknowledgement");
            return Examined::Work(Work::DeadLetter { reason, error });
        }
        self.examiner.examine(worker, message)
    }

    /// Completes once the event is accounted for.
    async fn deliver<M: Message>(&self, message: &M, work: Work) {
        match work {
            Work::Deliver { prepared, matches } => {
                self.fan_out.deliver_all(&prepared, matches).await;
            }
            Work::DeadLetter { reason, error } => {
                self.dead_letter_event(message, &reason, &error).await;
            }
        }
    }

    /// Dead-letters an event that cannot be processed, with its original bytes.
    async fn dead_letter_event<M: Message>(
        &self,
        message: &M,
        reason: &DeadLetterReason,
        error: &str,
    ) {
        let cause = DeadLetterCause { reason, stage: "decode", error };
        let (subject, headers) = (message.address(), message.headers());
        let body = message.payload();
        let letter = DeadLetter::of_event(subject, headers, body, message.sequence(), &cause);
        tracing::warn!(sequence = message.sequence(), reason = %reason.text(), error, "event dead-lettered");
        self.dispatcher.store_dead_letter(letter, reason).await;
    }

    async fn evict_idle_lanes(self: Arc<Self>) {
        while !self.stop.is_cancelled() {
            tokio::select! {
                () = tokio::time::sleep(EVICTION_INTERVAL) => self.dispatcher.evict_idle_lanes(),
                () = self.stop.cancelled() => {}
            }
        }
    }
}
