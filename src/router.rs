//! Routes events: pulls an event, decodes it, matches it, delivers it and acknowledges it.
//!
//! An event is acknowledged once each of its deliveries is accounted for, and not earlier. An event
//! without a match costs no task and no allocation. An event with matches becomes a task: it holds
//! a share of the limit on events in flight, extends the event's ack deadline while it works and
//! sends the matches through the dispatcher with bounded concurrency.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use futures_util::{StreamExt, future, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock;
use crate::config::Config;
use crate::delivery::dead_letter::{DeadLetter, DeadLetterCause};
use crate::delivery::outcome::DeadLetterReason;
use crate::delivery::parking::{MalformedRecord, ParkedDelivery};
use crate::delivery::{
    self, Delivery, Dispatcher, PlannedDelivery, PreparedEvent, SubscriptionDirectory,
};
use crate::event::metrics::{InputMetrics, decode_error};
use crate::event::{DecodeError, Decoder, Event, Message, MessageStream, RoutingKey};
use crate::matcher::metrics::MatchMetrics;
use crate::matcher::{FilterFailure, Match, Matcher, Matches, Scratch};
use crate::telemetry::{LiveEvent, LiveFeed, LogBudget};

/// Concurrent deliveries of one event.
const FAN_OUT_MAX: usize = 256;
/// Concurrent deliveries of all events: waiting for a permit, attempted or being parked.
const DELIVERIES_MAX: usize = 16_384;
/// After this time, deliveries of an event that have no permit yet are parked without waiting.
const EVENT_WORK_MAX: Duration = Duration::from_secs(30);
/// Longest interval between extensions of the ack deadline of an event in work.
const PROGRESS_INTERVAL_MAX: Duration = Duration::from_secs(5);
/// How long running attempts may continue after the router was stopped.
const DRAIN_MAX: Duration = Duration::from_secs(25);
/// Interval between evictions of idle lanes.
const EVICTION_INTERVAL: Duration = Duration::from_secs(10);
/// Divisor of the limits on events in flight; the quotient is reserved for parked deliveries, which
/// must proceed while events wait for room in the parking stream.
const PARKED_SHARE: usize = 4;

/// Routes events. Shared by its workers and tasks.
pub struct Router {
    matcher: Arc<Matcher>,
    dispatcher: Arc<Dispatcher>,
    directory: Arc<dyn SubscriptionDirectory>,
    events: InFlightLimit,
    parked: InFlightLimit,
    deliveries: Semaphore,
    deliver_max: i64,
    progress_interval: Duration,
    /// How long after backpressure the broker may still redeliver events that waited, in
    /// milliseconds.
    backpressure_grace_ms: i64,
    /// When a worker last waited for the in-flight limit, milliseconds since the epoch.
    last_backpressure_at: AtomicI64,
    failure_log: LogBudget,
    live: LiveFeed,
    event_bytes_max: usize,
    trust_body_self: bool,
    stop: CancellationToken,
    /// Cancels tasks that outlast the drain.
    abandon: CancellationToken,
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
        let ack_wait_ms = i64::try_from(config.ack_wait_s.saturating_mul(1000)).unwrap_or(i64::MAX);
        Self {
            matcher,
            dispatcher,
            directory,
            events: InFlightLimit::new(config.in_flight_max, config.in_flight_bytes_max),
            parked: InFlightLimit::new(
                config.in_flight_max.div_ceil(PARKED_SHARE),
                config.in_flight_bytes_max.div_ceil(PARKED_SHARE),
            ),
            deliveries: Semaphore::new(DELIVERIES_MAX),
            deliver_max: config.deliver_max,
            progress_interval: PROGRESS_INTERVAL_MAX
                .min(Duration::from_secs(config.ack_wait_s) / 3),
            backpressure_grace_ms: ack_wait_ms
                .saturating_mul(config.deliver_max.max(1).saturating_add(1)),
            last_backpressure_at: AtomicI64::new(i64::MIN),
            failure_log: LogBudget::default(),
            live,
            event_bytes_max,
            trust_body_self: config.trust_body_self,
            stop,
            abandon: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// Processes `events`, one worker per source, and parked deliveries as they fire, until the
    /// router is stopped; then waits up to `DRAIN_MAX` for running tasks. The broker redelivers
    /// what is unfinished by then.
    pub async fn run<S: MessageStream>(self: Arc<Self>, events: Vec<S>, due: S) {
        let mut workers = JoinSet::new();
        for source in events {
            workers.spawn(Arc::clone(&self).route(source));
        }
        workers.spawn(Arc::clone(&self).resume(due));
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
            self.abandon.cancel();
            self.tasks.wait().await;
        }
    }

    /// Runs one worker: processes one event after the other.
    async fn route<S: MessageStream>(self: Arc<Self>, mut source: S) {
        let mut worker = self.new_worker_state();
        while let Some(message) = self.next(&mut source).await {
            worker.metrics.count(&message);
            let work = match self.examine(&mut worker, &message) {
                Examined::Work(work) => work,
                Examined::Unmatched => {
                    message.ack().await;
                    worker.metrics.unmatched.increment(1);
                    continue;
                }
                Examined::Crashed => continue,
            };
            let Some(permit) = self.acquire(&mut source, &message, &self.events).await else {
                message.release().await;
                break;
            };
            let acked = match &work {
                Work::Deliver { .. } => worker.metrics.matched.clone(),
                Work::DeadLetter { .. } => worker.metrics.poison.clone(),
            };
            let router = Arc::clone(&self);
            self.tasks.spawn(async move {
                if router.settle_then_ack(&message, router.execute(&message, work)).await {
                    acked.increment(1);
                }
                drop(permit);
            });
        }
    }

    async fn execute<M: Message>(&self, message: &M, work: Work) {
        match work {
            Work::Deliver { prepared, matches } => self.deliver_all(&prepared, matches).await,
            Work::DeadLetter { reason, error } => {
                self.dead_letter_event(message, &reason, &error).await
            }
        }
    }

    fn new_worker_state(&self) -> WorkerState {
        WorkerState {
            decoder: Decoder::new(self.event_bytes_max, self.trust_body_self),
            scratch: Scratch::default(),
            metrics: InputMetrics::default(),
            matching: MatchMetrics::default(),
        }
    }

    /// Returns the next message, or none once the router stops.
    async fn next<S: MessageStream>(&self, source: &mut S) -> Option<S::Item> {
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
            () = self.extend_deadline(message) => None,
            () = source.extend_deadlines() => None,
            () = self.stop.cancelled() => None,
        };
        self.last_backpressure_at.store(clock::now_ms(), Relaxed);
        permit
    }

    /// Decodes and matches a message. A panic costs the event one of its redeliveries and is
    /// contained.
    fn examine<M: Message>(&self, worker: &mut WorkerState, message: &M) -> Examined {
        if self.is_poison(message.delivery_count()) {
            return Examined::Work(Work::DeadLetter {
                reason: DeadLetterReason::Poison("crash"),
                error: format!(
                    "delivered {} times without an acknowledgement",
                    message.delivery_count()
                ),
            });
        }
        let examined = catch_unwind(AssertUnwindSafe(|| self.decode_and_match(worker, message)));
        examined.unwrap_or_else(|_| {
            tracing::error!(
                sequence = message.sequence(),
                "decoding or matching panicked; event left for redelivery"
            );
            *worker = self.new_worker_state();
            Examined::Crashed
        })
    }

    fn decode_and_match<M: Message>(&self, worker: &mut WorkerState, message: &M) -> Examined {
        let (subject, headers) = (message.subject(), message.headers());
        let has_subscribers =
            |routing_key: RoutingKey<'_>| self.matcher.has_subscriptions(routing_key);
        let (body, sequence) = (message.payload(), message.sequence());
        let decoded = match worker.decoder.decode_if_subscribed(
            subject,
            headers,
            body,
            sequence,
            has_subscribers,
        ) {
            Ok(decoded) => decoded,
            Err(error) => return Examined::unreadable(&error),
        };
        let routing_key = decoded.routing_key();
        worker.metrics.count_type(routing_key.event_type);
        let started = clock::tick();
        let mut nothing = Matches::default();
        let outcome = match decoded.is_body_decoded() {
            true => self.matcher.matches(routing_key, &worker.decoder, &mut worker.scratch),
            false => &mut nothing,
        };
        worker.matching.count(routing_key.event_type, outcome, clock::since(started));
        if outcome.is_empty() && outcome.failures.is_empty() && !self.live.has_subscribers() {
            return Examined::Unmatched;
        }
        let matches = outcome.take_matches(routing_key, &worker.decoder);
        let event = decoded.into_event();
        self.live.publish(|| routed(&event, &matches, outcome));
        for failure in &outcome.failures {
            self.note_failure(&event, failure);
        }
        if matches.is_empty() {
            return Examined::Unmatched;
        }
        match PreparedEvent::decoded(event, &worker.decoder) {
            Ok(prepared) => Examined::Work(Work::Deliver { prepared: Arc::new(prepared), matches }),
            Err(error) => Examined::unreadable(&DecodeError::Schema { reason: error.to_string() }),
        }
    }

    /// Returns whether an event was redelivered so often that it must be what crashes routers.
    /// Redeliveries also follow backpressure, when pulled events wait in memory past their ack
    /// deadline: for a grace period after it, no event counts as poison.
    fn is_poison(&self, delivered: i64) -> bool {
        let since_backpressure =
            clock::now_ms().saturating_sub(self.last_backpressure_at.load(Relaxed));
        delivered > self.deliver_max && since_backpressure > self.backpressure_grace_ms
    }

    /// Completes once every delivery of the event is accounted for.
    async fn deliver_all(&self, prepared: &Arc<PreparedEvent>, matches: Vec<Match>) {
        let (started, now) = (clock::tick(), clock::now());
        let deliver = async |due: PlannedDelivery| {
            // The semaphore is never closed; an error would only mean that the limit is not
            // applied.
            let _slot = self.deliveries.acquire().await;
            let late = clock::since(started) >= EVENT_WORK_MAX;
            let queue_timeout = if late { Duration::ZERO } else { self.dispatcher.park_after() };
            let delivery = Delivery::plan(due, prepared, now);
            // Boxed: a delivery that waits for its slot takes almost no memory.
            Box::pin(self.dispatcher.deliver(delivery, queue_timeout)).await
        };
        let mut due = delivery::coalesce(matches);
        // A single delivery needs no set of futures.
        if due.len() <= 1 {
            if let Some(only) = due.pop() {
                deliver(only).await;
            }
            return;
        }
        stream::iter(due)
            .map(deliver)
            .buffer_unordered(FAN_OUT_MAX)
            .for_each(|_accounted| future::ready(()))
            .await;
    }

    /// Dead-letters an event that cannot be processed, with its original bytes.
    async fn dead_letter_event<M: Message>(
        &self,
        message: &M,
        reason: &DeadLetterReason,
        error: &str,
    ) {
        let cause = DeadLetterCause { reason, stage: "decode", error };
        let (subject, headers) = (message.subject(), message.headers());
        let body = message.payload();
        let letter = DeadLetter::of_event(subject, headers, body, message.sequence(), &cause);
        tracing::warn!(sequence = message.sequence(), reason = %reason.text(), error, "event dead-lettered");
        self.dispatcher.store_dead_letter(letter, reason).await;
    }

    /// Extends the deadline of a message while `work` runs, then acknowledges it. Returns false if
    /// the work was abandoned; the message is then released to the broker.
    async fn settle_then_ack<M: Message>(
        &self,
        message: &M,
        work: impl Future<Output = ()>,
    ) -> bool {
        tokio::select! {
            biased;
            () = work => {}
            () = self.abandon.cancelled() => {
                message.release().await;
                return false;
            }
            () = self.extend_deadline(message) => {}
        }
        message.ack().await;
        true
    }

    /// Extends the ack deadline of a message periodically; never completes.
    async fn extend_deadline<M: Message>(&self, message: &M) {
        loop {
            tokio::time::sleep(self.progress_interval).await;
            message.in_progress().await;
        }
    }

    /// Runs the worker that resumes parked deliveries as they fire.
    async fn resume<S: MessageStream>(self: Arc<Self>, mut source: S) {
        while let Some(message) = self.next(&mut source).await {
            let Some(permit) = self.acquire(&mut source, &message, &self.parked).await else {
                message.release().await;
                break;
            };
            let router = Arc::clone(&self);
            self.tasks.spawn(async move {
                router.settle_then_ack(&message, router.resume_one(&message)).await;
                drop(permit);
            });
        }
    }

    async fn resume_one<M: Message>(&self, message: &M) {
        match self.read_back(message) {
            Ok(Some(delivery)) => {
                self.dispatcher.deliver(delivery, self.dispatcher.park_after()).await;
            }
            Ok(None) => {
                self.dispatcher.drop_by_policy();
            }
            Err(malformed) => {
                let (reason, error) = (DeadLetterReason::Poison("schema"), malformed.to_string());
                let cause = DeadLetterCause { reason: &reason, stage: "parking", error: &error };
                let letter = DeadLetter::of_record(message.payload(), message.sequence(), &cause);
                self.dispatcher.store_dead_letter(letter, &reason).await;
            }
        }
    }

    /// Reads the delivery of a parked record; none if all of its subscriptions were removed.
    fn read_back<M: Message>(&self, message: &M) -> Result<Option<Delivery>, MalformedRecord> {
        let parked = ParkedDelivery::read(message.headers(), message.payload())?;
        let mut live = parked.subscriptions.iter().filter_map(|id| self.directory.find(id));
        match live.next() {
            Some(subscription) => {
                let coalesced_with = live.collect();
                parked.resume(subscription, coalesced_with).map(Some)
            }
            None => Ok(None),
        }
    }

    async fn evict_idle_lanes(self: Arc<Self>) {
        while !self.stop.is_cancelled() {
            tokio::select! {
                () = tokio::time::sleep(EVICTION_INTERVAL) => self.dispatcher.evict_idle_lanes(),
                () = self.stop.cancelled() => {}
            }
        }
    }

    fn note_failure(&self, event: &Event, failure: &FilterFailure) {
        let (subscription, error) = (&failure.subscription, &failure.error);
        let logs = failure.on_error.logs();
        if let Some(suppressed) = logs.then(|| self.failure_log.take()).flatten() {
            tracing::warn!(
                installation = %subscription.owner.id,
                key = %subscription.key,
                event_id = %event.envelope.event_id,
                kind = error.kind,
                error = error.message,
                delivered = failure.on_error.delivers(),
                suppressed,
                "filter evaluation failed"
            );
        }
    }
}

fn routed(event: &Event, matches: &[Match], outcome: &Matches) -> LiveEvent {
    LiveEvent::Routed {
        event_id: event.envelope.event_id.to_string(),
        event_type: event.envelope.event_type.to_string(),
        entity: event.envelope.entity.as_deref().map(str::to_owned),
        matches: matches.iter().map(|found| found.subscription.id().to_string()).collect(),
        errors: outcome.failures.iter().map(|fail| fail.subscription.id().to_string()).collect(),
        ignored: outcome.ignored,
    }
}

/// Buffers and counters that one worker reuses for every event.
struct WorkerState {
    decoder: Decoder,
    scratch: Scratch,
    metrics: InputMetrics,
    matching: MatchMetrics,
}

/// Result of decoding and matching one event.
enum Examined {
    /// No subscription matches.
    Unmatched,
    /// There is work to do before the acknowledgement.
    Work(Work),
    /// Decoding or matching panicked.
    Crashed,
}

/// What is done for an event before it is acknowledged.
enum Work {
    Deliver { prepared: Arc<PreparedEvent>, matches: Vec<Match> },
    DeadLetter { reason: DeadLetterReason, error: String },
}

impl Examined {
    fn unreadable(error: &DecodeError) -> Self {
        decode_error(error.label());
        let reason = DeadLetterReason::Poison(error.label());
        Self::Work(Work::DeadLetter { reason, error: error.to_string() })
    }
}

/// Limit on messages in flight, by number and by size.
struct InFlightLimit {
    messages: Arc<Semaphore>,
    kib: Arc<Semaphore>,
    kib_max: u32,
}

/// A share of an [`InFlightLimit`]; returned on drop.
struct InFlightPermit {
    _message: OwnedSemaphorePermit,
    _kib: OwnedSemaphorePermit,
}

impl InFlightLimit {
    fn new(messages: usize, bytes: usize) -> Self {
        let kib_max = u32::try_from(bytes / 1024).unwrap_or(u32::MAX).max(1);
        Self {
            messages: Arc::new(Semaphore::new(messages.max(1))),
            kib: Arc::new(Semaphore::new(usize::try_from(kib_max).unwrap_or(1))),
            kib_max,
        }
    }

    fn try_take(&self, bytes: usize) -> Option<InFlightPermit> {
        let message = Arc::clone(&self.messages).try_acquire_owned().ok()?;
        let kib = Arc::clone(&self.kib).try_acquire_many_owned(self.kib_for(bytes)).ok()?;
        Some(InFlightPermit { _message: message, _kib: kib })
    }

    async fn take(&self, bytes: usize) -> Option<InFlightPermit> {
        let message = Arc::clone(&self.messages).acquire_owned().await.ok()?;
        let kib = Arc::clone(&self.kib).acquire_many_owned(self.kib_for(bytes)).await.ok()?;
        Some(InFlightPermit { _message: message, _kib: kib })
    }

    /// Returns the share of a message; a message larger than the limit takes all of it.
    fn kib_for(&self, bytes: usize) -> u32 {
        u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX).min(self.kib_max)
    }
}
