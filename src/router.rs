//! Routes events: pulls an event, decodes it, matches it, delivers it and acknowledges it.
//!
//! An event is acknowledged once each of its deliveries is accounted for, and not earlier. An event
//! without a match costs no task and no allocation. An event with matches becomes a task: it holds
//! a share of the limit on events in flight, extends the event's ack deadline while it works and
//! sends the matches through the dispatcher with bounded concurrency.
//!
//! Design: `docs/design/delivery-through.md`.

mod ack_deadline;
mod event_span;
mod examine;
mod fan_out;
mod in_flight;
mod live_events;
mod load;
mod parked;
pub mod poison;
mod redelivery;
mod slow_lane;
mod turns;
mod waiting;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use ack_deadline::AckDeadline;
use examine::{Examined, Examiner, Unfinished, Wait, Work, WorkerState};
use fan_out::FanOut;
use in_flight::{InFlightLimit, InFlightPermit};
use load::WorkerLoads;
use parked::ParkedDeliveries;
use redelivery::{Redeliveries, Taken, Verdict};
use slow_lane::SlowLane;
use waiting::WaitingEvents;

use crate::clock;
use crate::config::Config;
use crate::delivery::{
    DeadLetter, DeadLetterCause, DeadLetterReason, Dispatcher, Origin, PauseGate, StreamPosition,
    SubscriptionDirectory,
};
use crate::event::{CrashRecords, Message, MessageStream};
use crate::matcher::Matcher;
use crate::telemetry::traces::{EventSpan, Value};
use crate::telemetry::{LiveFeed, LogBudget};

/// How long running attempts may continue after the router was stopped.
const DRAIN_MAX: Duration = Duration::from_secs(25);
/// Interval between evictions of idle lanes.
const EVICTION_INTERVAL: Duration = Duration::from_secs(10);
/// A worker that has examined events for this long lets other tasks run, in milliseconds.
const EXAMINE_MAX_MS: i64 = 5;
/// Divisor of the limits on events in flight; the quotient is reserved for parked deliveries, which
/// must proceed while events wait for room in the parking stream.
const PARKED_SHARE: usize = 4;

/// One worker of the event stream.
struct Worker {
    number: usize,
    state: WorkerState,
    /// Cancelled when a pause of the process made its work stale.
    work: CancellationToken,
}

/// How waiting for the in-flight limit ended.
enum Acquired {
    Permit(InFlightPermit),
    /// The message is stale.
    Paused,
    Stopped,
}

/// Routes events. Shared by its workers and tasks.
pub struct Router {
    matcher: Arc<Matcher>,
    examiner: Arc<Examiner>,
    lane: Arc<SlowLane>,
    fan_out: Arc<FanOut>,
    waiting: Arc<WaitingEvents>,
    parked: ParkedDeliveries,
    dispatcher: Arc<Dispatcher>,
    directory: Arc<dyn SubscriptionDirectory>,
    redeliveries: Redeliveries,
    deadline: AckDeadline,
    pause: Arc<PauseGate>,
    events_in_flight: InFlightLimit,
    parked_in_flight: InFlightLimit,
    stop: CancellationToken,
    tasks: TaskTracker,
    dead_letter_log: LogBudget,
}

impl Router {
    /// Creates a router that works until `stop` is cancelled.
    #[must_use]
    pub fn new(
        config: &Config,
        matcher: Arc<Matcher>,
        dispatcher: Arc<Dispatcher>,
        directory: Arc<dyn SubscriptionDirectory>,
        crash_records: Arc<dyn CrashRecords>,
        live: LiveFeed,
        stop: CancellationToken,
    ) -> Self {
        let (event_bytes_max, config) = (config.limits.event, &config.events);
        let (messages, bytes) = (config.in_flight_max, config.in_flight_bytes_max);
        let share = |limit: usize| limit.div_ceil(PARKED_SHARE);
        let ack_wait = Duration::from_secs(config.ack_wait_s);
        let pause = Arc::new(PauseGate::new(ack_wait));
        dispatcher.set_pause_gate(Arc::clone(&pause));
        let trust_body_self = config.trust_body_self;
        let fan_out = Arc::new(FanOut::new(Arc::clone(&dispatcher)));
        let lane = Arc::new(SlowLane::new());
        let waiting = Arc::new(WaitingEvents::new(
            Arc::clone(&dispatcher),
            Arc::clone(&directory),
            (Arc::clone(&matcher), Arc::clone(&lane)),
            event_bytes_max,
            trust_body_self,
        ));
        let examiner = Examiner::new(
            Arc::clone(&matcher),
            Arc::clone(&directory),
            (live, dispatcher.traces().clone()),
            event_bytes_max,
            trust_body_self,
        );
        Self {
            matcher,
            examiner: Arc::new(examiner),
            lane,
            parked: ParkedDeliveries::new(
                Arc::clone(&dispatcher),
                Arc::clone(&directory),
                Arc::clone(&fan_out),
                Arc::clone(&waiting),
            ),
            fan_out,
            waiting,
            dispatcher,
            directory,
            redeliveries: Redeliveries::new(
                crash_records,
                config.deliver_max,
                Arc::clone(&pause),
                stop.clone(),
            ),
            deadline: AckDeadline::new(ack_wait),
            pause,
            events_in_flight: InFlightLimit::new(messages, bytes),
            parked_in_flight: InFlightLimit::new(share(messages), share(bytes)),
            stop,
            tasks: TaskTracker::new(),
            dead_letter_log: LogBudget::default(),
        }
    }

    /// Returns what attempts the deliveries.
    #[must_use]
    pub fn dispatcher(&self) -> &Arc<Dispatcher> {
        &self.dispatcher
    }

    /// Processes `events`, one worker per source, and parked deliveries as they fire, until the
    /// router is stopped; then waits up to `DRAIN_MAX` for running tasks. The broker redelivers
    /// what is unfinished by then.
    pub async fn run<S, D>(self: Arc<Self>, events: Vec<S>, due: D)
    where
        S: MessageStream,
        D: MessageStream,
    {
        if let Err(error) = self.pause.start() {
            tracing::error!(%error, "stops of the process are not detected");
        }
        let mut workers = JoinSet::new();
        let loads = Arc::new(WorkerLoads::new(events.len()));
        for (number, source) in events.into_iter().enumerate() {
            workers.spawn(Arc::clone(&self).route(number, source, Arc::clone(&loads)));
        }
        workers.spawn(Arc::clone(&self).watch_load(loads));
        workers.spawn(Arc::clone(&self).resume_parked(due));
        workers.spawn(Arc::clone(&self).resume_from_gaps());
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
    async fn route<S: MessageStream>(
        self: Arc<Self>,
        number: usize,
        mut source: S,
        loads: Arc<WorkerLoads>,
    ) {
        let mut worker =
            Worker { number, state: self.examiner.new_worker(), work: self.pause.work() };
        let mut yielded_ms = clock::uptime_ms();
        loop {
            let Some(message) = loads.waiting(number, self.pull(&mut source)).await else { break };
            let now_ms = clock::uptime_ms();
            if !self.may_start(&worker.work, now_ms).await {
                drop(message);
                worker.work = self.pull_again(&mut source).await;
                continue;
            }
            let go_on = if message.delivery_count() > 1 {
                self.route_redelivered(&mut worker, Taken::with(message, &mut source)).await
            } else {
                self.route_one(&mut worker, message).await
            };
            if !go_on {
                break;
            }
            if now_ms - yielded_ms >= EXAMINE_MAX_MS {
                tokio::task::yield_now().await;
                yielded_ms = clock::uptime_ms();
            }
        }
    }

    /// Examines an event that is delivered for the first time; returns false once the router stops.
    async fn route_one<M: Message>(self: &Arc<Self>, worker: &mut Worker, message: M) -> bool {
        worker.state.metrics.count(&message);
        match self.examiner.examine(&mut worker.state, &message) {
            Some(examined) => self.settle(worker, message, examined).await,
            None => {
                self.redeliveries.record_panic(&message).await;
                true
            }
        }
    }

    /// Examines redelivered events, and then those that arrived between them; returns false once
    /// the router stops.
    async fn route_redelivered<M: Message>(
        self: &Arc<Self>,
        worker: &mut Worker,
        taken: Taken<M>,
    ) -> bool {
        let state = &mut worker.state;
        let examine = |message: &M| {
            state.metrics.count(message);
            self.examiner.examine(state, message)
        };
        let examined = self.redeliveries.examine(worker.number, taken.redelivered, examine).await;
        for (message, verdict) in examined {
            let examined = match verdict {
                Verdict::Examined(examined) => examined,
                Verdict::Panicked => continue,
                Verdict::Poison(crashes) => Examined::poison(crashes),
            };
            if !self.settle(worker, message, examined).await {
                return false;
            }
        }
        for message in taken.others {
            if !self.may_start(&worker.work, clock::uptime_ms()).await {
                return true;
            }
            if !self.route_one(worker, message).await {
                return false;
            }
        }
        true
    }

    /// Acknowledges an event without work, or starts the task of its work; returns false once the
    /// router stops.
    async fn settle<M: Message>(
        self: &Arc<Self>,
        worker: &mut Worker,
        message: M,
        examined: Examined,
    ) -> bool {
        let metrics = &worker.state.metrics;
        let mut unmatched = None;
        let (work, span, acked) = match examined {
            Examined::Unmatched => {
                message.ack().await;
                metrics.unmatched.increment(1);
                return true;
            }
            Examined::Work(work, span) => {
                let acked = match &work {
                    Work::Deliver { .. } | Work::Wait(_) => metrics.matched.clone(),
                    Work::DeadLetter { .. } => metrics.poison.clone(),
                    Work::Finish(_) => {
                        unmatched = Some(metrics.unmatched.clone());
                        metrics.matched.clone()
                    }
                };
                (work, span, acked)
            }
        };
        let permit = match self.acquire(&message, &self.events_in_flight, &worker.work).await {
            Acquired::Permit(permit) => permit,
            Acquired::Paused => return true,
            Acquired::Stopped => {
                message.release().await;
                return false;
            }
        };
        let (router, paused) = (Arc::clone(self), worker.work.clone());
        self.tasks.spawn(async move {
            let mut is_matched = true;
            let delivered = async { is_matched = router.deliver(&message, work).await };
            let settled = router.deadline.settle_then_ack(&message, &paused, delivered);
            let settled = AssertUnwindSafe(settled).catch_unwind().await;
            end_span(span, settled.as_ref().ok());
            match settled {
                Ok(true) if is_matched => acked.increment(1),
                Ok(true) => unmatched.unwrap_or(acked).increment(1),
                Ok(false) => {}
                // Unrecorded, it would be redelivered and panic again for ever, and no later event
                // could be deleted from the stream.
                Err(_) => {
                    tracing::error!(
                        sequence = message.sequence(),
                        "delivering panicked; event left for redelivery"
                    );
                    router.redeliveries.record_panic(&message).await;
                }
            }
            drop(permit);
        });
        true
    }

    /// Runs the worker that resumes parked deliveries as they fire.
    async fn resume_parked<S: MessageStream>(self: Arc<Self>, mut source: S) {
        let mut work = self.pause.work();
        while let Some(message) = self.pull(&mut source).await {
            if !self.may_start(&work, clock::uptime_ms()).await {
                drop(message);
                work = self.pull_again(&mut source).await;
                continue;
            }
            let permit = match self.acquire(&message, &self.parked_in_flight, &work).await {
                Acquired::Permit(permit) => permit,
                Acquired::Paused => continue,
                Acquired::Stopped => {
                    message.release().await;
                    break;
                }
            };
            let (router, paused) = (Arc::clone(&self), work.clone());
            self.tasks.spawn(async move {
                let settled = router.parked.resume(&message);
                router.deadline.settle_then_ack(&message, &paused, settled).await;
                drop(permit);
            });
        }
    }

    /// Lets the registry catch up after each gap in which the process was stopped, then lets work
    /// start again.
    async fn resume_from_gaps(self: Arc<Self>) {
        loop {
            let gaps = tokio::select! {
                gaps = self.pause.found() => gaps,
                () = self.stop.cancelled() => return,
            };
            tokio::select! {
                () = self.directory.catch_up() => {}
                () = self.stop.cancelled() => return,
            }
            self.pause.resume(gaps);
            tracing::info!("the registry is up to date after a stop of the process");
        }
    }

    /// Waits until the registry has caught up after a gap; returns false if a pause ends the work.
    async fn may_start(&self, work: &CancellationToken, now_ms: i64) -> bool {
        if !self.pause.is_open_at(now_ms) {
            tokio::select! {
                biased;
                () = work.cancelled() => {}
                () = self.stop.cancelled() => {}
                () = self.pause.opened() => {}
            }
        }
        !work.is_cancelled()
    }

    /// Drops what was pulled before a pause and waits until work may start again; returns the token
    /// of the new work.
    async fn pull_again<S: MessageStream>(&self, source: &mut S) -> CancellationToken {
        source.discard();
        tokio::select! {
            () = self.pause.opened() => {}
            () = self.stop.cancelled() => {}
        }
        self.pause.work()
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

    /// Waits for the in-flight limit until a pause ends the work or the router stops. The stream of
    /// the message extends its deadline.
    async fn acquire<M: Message>(
        &self,
        message: &M,
        limit: &InFlightLimit,
        work: &CancellationToken,
    ) -> Acquired {
        let bytes = message.payload().len();
        if let Some(permit) = limit.try_take(bytes) {
            return Acquired::Permit(permit);
        }
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Acquired::Stopped,
            () = work.cancelled() => Acquired::Paused,
            permit = limit.take(bytes) => permit.map_or(Acquired::Stopped, Acquired::Permit),
        }
    }

    /// Completes once the event is accounted for; returns whether there was anything to do.
    async fn deliver<M: Message>(&self, message: &M, work: Work) -> bool {
        let work = match work {
            // Boxed: most events are examined by their worker.
            Work::Finish(unfinished) => match Box::pin(self.finish(unfinished)).await {
                Examined::Work(work, _) => work,
                Examined::Unmatched => return false,
            },
            work => work,
        };
        match work {
            Work::Deliver { prepared, matches } => {
                self.fan_out.deliver_all(&prepared, matches, Origin::event(message)).await;
            }
            Work::Wait(wait) => {
                let Wait { event, waiting, postponed, matched } = *wait;
                let origin = Origin::event(message);
                let deliver = async {
                    if let Some((prepared, matches)) = matched {
                        self.fan_out.deliver_all(&prepared, matches, origin).await;
                    }
                };
                let parking = self.waiting.park(&event, origin.stored_ms, waiting, postponed);
                tokio::join!(parking, deliver);
            }
            Work::DeadLetter { reason, error } => {
                self.dead_letter_event(message, &reason, &error).await;
            }
            Work::Finish(_) => debug_assert!(false, "the rest is evaluated at once"),
        }
        true
    }

    /// Evaluates the rest of the filters of an event in the slow lane.
    async fn finish(&self, unfinished: Box<Unfinished>) -> Examined {
        if self.lane.is_contended() {
            self.matcher.shares().report_contention();
        }
        let (examiner, steps) = (Arc::clone(&self.examiner), unfinished.steps());
        let site = unfinished.site().clone();
        self.lane.run(site.as_str(), steps, move || examiner.finish(*unfinished)).await
    }

    async fn watch_load(self: Arc<Self>, loads: Arc<WorkerLoads>) {
        tokio::select! {
            () = loads.watch(self.matcher.shares(), &self.lane) => {}
            () = self.stop.cancelled() => {}
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
        let position = StreamPosition::of(message);
        let letter = DeadLetter::of_event(subject, headers, body, position, &cause);
        if let Some(suppressed) = self.dead_letter_log.take() {
            let sequence = message.sequence();
            tracing::warn!(sequence, reason = %reason.text(), error, suppressed, "event dead-lettered");
        }
        self.dispatcher.store_dead_letter(letter, reason).await;
    }

    async fn evict_idle_lanes(self: Arc<Self>) {
        while !self.stop.is_cancelled() {
            self.dispatcher.evict_idle_lanes();
            tokio::select! {
                () = tokio::time::sleep(EVICTION_INTERVAL) => {}
                () = self.stop.cancelled() => {}
            }
        }
    }
}

/// Ends the span of an event that is recorded: acknowledged, left for redelivery, or panicked.
fn end_span(span: Option<EventSpan>, is_acknowledged: Option<&bool>) {
    let Some(mut span) = span else { return };
    match is_acknowledged {
        Some(acknowledged) => span.set("switchyard.acknowledged", Value::Flag(*acknowledged)),
        None => span.fail("panic"),
    }
    span.end();
}
