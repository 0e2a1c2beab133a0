//! The sentence: pull an event, decode it, match it, deliver it, acknowledge it.
//!
//! An event is acknowledged when each of its deliveries is accounted for, and not before. One that
//! matches nobody costs no task and no allocation of ours. One that matches becomes a task, which
//! holds a share of the bound on events in flight, moves the event's deadline while it works and
//! takes the matches through the dispatcher a bounded number at a time.

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
use crate::delivery::dead_letter::{Cause, DeadLetter};
use crate::delivery::outcome::DeadReason;
use crate::delivery::parking::{Fired, Malformed};
use crate::delivery::{self, Delivery, Directory, Dispatcher, Due, Occurrence};
use crate::event::metrics::{InputMetrics, decode_error};
use crate::event::{DecodeError, Decoder, Event, Message, MessageStream, RoutingKey};
use crate::matcher::metrics::{self as matching, MatchMetrics};
use crate::matcher::{FilterFailure, Match, Matcher, Matches, Scratch};
use crate::telemetry::{Live, LogBudget, Notice};

/// Deliveries of one event that are under way at once.
const FAN_OUT_MAX: usize = 256;
/// Deliveries of all events that are under way at once: waiting for a turn, attempted or parked.
const DELIVERIES_MAX: usize = 16_384;
/// After this, deliveries of an event that have no turn yet are parked without waiting for one.
const EVENT_WORK_MAX: Duration = Duration::from_secs(30);
/// How often the deadline of an event is moved while it is worked on; sooner if the deadline is.
const PROGRESS_INTERVAL_MAX: Duration = Duration::from_secs(5);
/// How long running attempts may go on once the router stops.
const DRAIN_MAX: Duration = Duration::from_secs(25);
/// How often idle lanes are looked for.
const TIDY_INTERVAL: Duration = Duration::from_secs(10);
/// Share of the bounds on events in flight that fired records have on top, for themselves: they
/// must go on when events wait for room in the parking stream.
const DUE_SHARE: usize = 4;

/// Routes events. Shared by its workers and tasks.
pub struct Router {
    matcher: Arc<Matcher>,
    dispatcher: Arc<Dispatcher>,
    directory: Arc<dyn Directory>,
    events: Budget,
    due: Budget,
    deliveries: Semaphore,
    deliver_max: i64,
    progress_interval: Duration,
    /// As long as a hold-up can make the broker hand out events again, in milliseconds.
    hold_up_ms: i64,
    /// When workers last waited for room, milliseconds since the epoch.
    held_up_at: AtomicI64,
    failure_log: LogBudget,
    live: Live,
    event_bytes_max: usize,
    trust_body_self: bool,
    stop: CancellationToken,
    /// Ends tasks that the drain did not wait for.
    abandon: CancellationToken,
    tasks: TaskTracker,
}

impl Router {
    /// A router that works until `stop` is cancelled.
    #[must_use]
    pub fn new(
        config: &Config,
        matcher: Arc<Matcher>,
        dispatcher: Arc<Dispatcher>,
        directory: Arc<dyn Directory>,
        live: Live,
        stop: CancellationToken,
    ) -> Self {
        let (event_bytes_max, config) = (config.limits.event, &config.events);
        let ack_wait_ms = i64::try_from(config.ack_wait_s.saturating_mul(1000)).unwrap_or(i64::MAX);
        Self {
            matcher,
            dispatcher,
            directory,
            events: Budget::new(config.in_flight_max, config.in_flight_bytes_max),
            due: Budget::new(
                config.in_flight_max.div_ceil(DUE_SHARE),
                config.in_flight_bytes_max.div_ceil(DUE_SHARE),
            ),
            deliveries: Semaphore::new(DELIVERIES_MAX),
            deliver_max: config.deliver_max,
            progress_interval: PROGRESS_INTERVAL_MAX
                .min(Duration::from_secs(config.ack_wait_s) / 3),
            hold_up_ms: ack_wait_ms.saturating_mul(config.deliver_max.max(1).saturating_add(1)),
            held_up_at: AtomicI64::new(i64::MIN),
            failure_log: LogBudget::default(),
            live,
            event_bytes_max,
            trust_body_self: config.trust_body_self,
            stop,
            abandon: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// Works on `events`, one worker each, and on the parked records that fire, until the router
    /// is stopped; then waits a bounded time for what is under way. What is not done by then is
    /// handed out again, to whoever is there.
    pub async fn run<S: MessageStream>(self: Arc<Self>, events: Vec<S>, due: S) {
        let mut workers = JoinSet::new();
        for source in events {
            workers.spawn(Arc::clone(&self).route(source));
        }
        workers.spawn(Arc::clone(&self).resume(due));
        workers.spawn(Arc::clone(&self).tidy());
        while let Some(ended) = workers.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a worker of the router crashed; stopping");
                self.stop.cancel();
            }
        }
        self.tasks.close();
        if tokio::time::timeout(DRAIN_MAX, self.tasks.wait()).await.is_err() {
            tracing::warn!(unfinished = self.tasks.len(), "handing back what is not finished");
            self.abandon.cancel();
            self.tasks.wait().await;
        }
    }

    /// One worker: event after event.
    async fn route<S: MessageStream>(self: Arc<Self>, mut source: S) {
        let mut desk = self.new_desk();
        while let Some(message) = self.next(&mut source).await {
            desk.metrics.count(&message);
            let work = match self.examine(&mut desk, &message) {
                Examined::Work(work) => work,
                Examined::Unmatched => {
                    message.ack().await;
                    desk.metrics.unmatched.increment(1);
                    continue;
                }
                Examined::Crashed => continue,
            };
            let Some(permit) = self.permit(&mut source, &message, &self.events).await else {
                message.release().await;
                break;
            };
            let acked = match &work {
                Work::Deliver { .. } => desk.metrics.matched.clone(),
                Work::PutAside { .. } => desk.metrics.poison.clone(),
            };
            let router = Arc::clone(&self);
            self.tasks.spawn(async move {
                if router.keep(&message, router.carry_out(&message, work)).await {
                    acked.increment(1);
                }
                drop(permit);
            });
        }
    }

    async fn carry_out<M: Message>(&self, message: &M, work: Work) {
        match work {
            Work::Deliver { occurrence, matches } => self.deliver_all(&occurrence, matches).await,
            Work::PutAside { reason, error } => self.put_aside(message, &reason, &error).await,
        }
    }

    fn new_desk(&self) -> Desk {
        Desk {
            decoder: Decoder::new(self.event_bytes_max, self.trust_body_self),
            scratch: Scratch::default(),
            metrics: InputMetrics::default(),
            matching: MatchMetrics::default(),
        }
    }

    /// The next message; none once the router stops.
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

    /// Waits for room in `budget`; none once the router stops.
    async fn permit<S: MessageStream>(
        &self,
        source: &mut S,
        message: &S::Item,
        budget: &Budget,
    ) -> Option<Permit> {
        let bytes = message.payload().len();
        if let Some(permit) = budget.try_take(bytes) {
            return Some(permit);
        }
        let permit = tokio::select! {
            permit = budget.take(bytes) => permit,
            () = self.keep_open(message) => None,
            () = source.extend_deadlines() => None,
            () = self.stop.cancelled() => None,
        };
        self.held_up_at.store(clock::now_ms(), Relaxed);
        permit
    }

    /// Decodes and matches. A panic in there costs the event one of its redeliveries, nothing else.
    fn examine<M: Message>(&self, desk: &mut Desk, message: &M) -> Examined {
        if self.is_poison(message.delivery_count()) {
            return Examined::Work(Work::PutAside {
                reason: DeadReason::Poison("crash"),
                error: format!("handed out {} times without an end", message.delivery_count()),
            });
        }
        let examined = catch_unwind(AssertUnwindSafe(|| self.decode_and_match(desk, message)));
        examined.unwrap_or_else(|_| {
            tracing::error!(sequence = message.sequence(), "crashed on an event; left for later");
            *desk = self.new_desk();
            Examined::Crashed
        })
    }

    fn decode_and_match<M: Message>(&self, desk: &mut Desk, message: &M) -> Examined {
        let (subject, headers) = (message.subject(), message.headers());
        let has_subscribers =
            |routing_key: RoutingKey<'_>| self.matcher.has_subscriptions(routing_key);
        let (body, sequence) = (message.payload(), message.sequence());
        let decoded = match desk.decoder.decode_if_subscribed(
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
        desk.metrics.count_type(routing_key.event_type);
        let started = clock::tick();
        let mut nothing = Matches::default();
        let outcome = match decoded.is_body_decoded() {
            true => self.matcher.matches(routing_key, &desk.decoder, &mut desk.scratch),
            false => &mut nothing,
        };
        desk.matching.count(routing_key.event_type, outcome, clock::since(started));
        if outcome.is_empty() && outcome.failures.is_empty() && !self.live.is_watched() {
            return Examined::Unmatched;
        }
        let matches = outcome.take_matches(routing_key, &desk.decoder);
        let event = decoded.into_event();
        self.live.tell(|| routed(&event, &matches, outcome));
        for failure in &outcome.failures {
            self.note_failure(&event, failure);
        }
        if matches.is_empty() {
            return Examined::Unmatched;
        }
        match Occurrence::decoded(event, &desk.decoder) {
            Ok(occurrence) => {
                Examined::Work(Work::Deliver { occurrence: Arc::new(occurrence), matches })
            }
            Err(error) => Examined::unreadable(&DecodeError::Schema { reason: error.to_string() }),
        }
    }

    /// Whether an event was handed out so often that it must be what crashes routers. Redeliveries
    /// also come from hold-ups, when pulled events wait in memory past their deadline: after one,
    /// no event is blamed until its redeliveries have had time to pass.
    fn is_poison(&self, delivered: i64) -> bool {
        let since_hold_up = clock::now_ms().saturating_sub(self.held_up_at.load(Relaxed));
        delivered > self.deliver_max && since_hold_up > self.hold_up_ms
    }

    /// Ends when every delivery of the event is accounted for.
    async fn deliver_all(&self, occurrence: &Arc<Occurrence>, matches: Vec<Match>) {
        let (started, now) = (clock::tick(), clock::now());
        let deliver = async |due: Due| {
            // Closed never, so that a failure only means that the bound is not kept.
            let _slot = self.deliveries.acquire().await;
            let late = clock::since(started) >= EVENT_WORK_MAX;
            let patience = if late { Duration::ZERO } else { self.dispatcher.park_after() };
            let delivery = Delivery::plan(due, occurrence, now);
            // Boxed, so that one that waits for its slot takes next to nothing.
            Box::pin(self.dispatcher.deliver(delivery, patience)).await
        };
        let mut due = delivery::due(matches);
        // A single delivery takes no set of futures.
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

    /// Keeps the bytes of an event that cannot be worked on.
    async fn put_aside<M: Message>(&self, message: &M, reason: &DeadReason, error: &str) {
        let cause = Cause { reason, stage: "decode", error };
        let (subject, headers) = (message.subject(), message.headers());
        let body = message.payload();
        let letter = DeadLetter::of_event(subject, headers, body, message.sequence(), &cause);
        tracing::warn!(sequence = message.sequence(), reason = %reason.text(), error, "event put aside");
        self.dispatcher.bury_event(letter, reason).await;
    }

    /// Holds on to a message while `work` goes on, and acknowledges it at the end. False if the
    /// work was abandoned; then the message is given back.
    async fn keep<M: Message>(&self, message: &M, work: impl Future<Output = ()>) -> bool {
        tokio::select! {
            biased;
            () = work => {}
            () = self.abandon.cancelled() => {
                message.release().await;
                return false;
            }
            () = self.keep_open(message) => {}
        }
        message.ack().await;
        true
    }

    /// Moves the deadline of a message, again and again. Never ends.
    async fn keep_open<M: Message>(&self, message: &M) {
        loop {
            tokio::time::sleep(self.progress_interval).await;
            message.in_progress().await;
        }
    }

    /// Goes on with parked records as they fire.
    async fn resume<S: MessageStream>(self: Arc<Self>, mut source: S) {
        while let Some(message) = self.next(&mut source).await {
            let Some(permit) = self.permit(&mut source, &message, &self.due).await else {
                message.release().await;
                break;
            };
            let router = Arc::clone(&self);
            self.tasks.spawn(async move {
                router.keep(&message, router.resume_one(&message)).await;
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
                let (reason, error) = (DeadReason::Poison("schema"), malformed.to_string());
                let cause = Cause { reason: &reason, stage: "parking", error: &error };
                let letter = DeadLetter::of_record(message.payload(), message.sequence(), &cause);
                self.dispatcher.bury_event(letter, &reason).await;
            }
        }
    }

    /// The delivery of a fired record; none if its subscription is gone.
    fn read_back<M: Message>(&self, message: &M) -> Result<Option<Delivery>, Malformed> {
        let fired = Fired::read(message.headers(), message.payload())?;
        let mut live = fired.subscriptions.iter().filter_map(|id| self.directory.find(id));
        match live.next() {
            Some(subscription) => {
                let also = live.collect();
                fired.resume(subscription, also).map(Some)
            }
            None => Ok(None),
        }
    }

    async fn tidy(self: Arc<Self>) {
        while !self.stop.is_cancelled() {
            tokio::select! {
                () = tokio::time::sleep(TIDY_INTERVAL) => self.dispatcher.tidy(),
                () = self.stop.cancelled() => {}
            }
        }
    }

    fn note_failure(&self, event: &Event, failure: &FilterFailure) {
        let (subscription, error) = (&failure.subscription, &failure.error);
        matching::filter_error(&error.kind, failure.on_error.delivers());
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
                "a filter failed"
            );
        }
    }
}

fn routed(event: &Event, matches: &[Match], outcome: &Matches) -> Notice {
    Notice::Routed {
        event_id: event.envelope.event_id.to_string(),
        event_type: event.envelope.event_type.to_string(),
        entity: event.envelope.entity.as_deref().map(str::to_owned),
        matches: matches.iter().map(|found| found.subscription.id().to_string()).collect(),
        errors: outcome.failures.iter().map(|fail| fail.subscription.id().to_string()).collect(),
        ignored: outcome.ignored,
    }
}

/// What one worker reuses from event to event.
struct Desk {
    decoder: Decoder,
    scratch: Scratch,
    metrics: InputMetrics,
    matching: MatchMetrics,
}

/// What examining an event came to.
enum Examined {
    /// Nobody wants it.
    Unmatched,
    /// There is something to do.
    Work(Work),
    /// It broke the examination.
    Crashed,
}

/// What is to be done for an event before it is acknowledged.
enum Work {
    Deliver { occurrence: Arc<Occurrence>, matches: Vec<Match> },
    PutAside { reason: DeadReason, error: String },
}

impl Examined {
    fn unreadable(error: &DecodeError) -> Self {
        decode_error(error.label());
        let reason = DeadReason::Poison(error.label());
        Self::Work(Work::PutAside { reason, error: error.to_string() })
    }
}

/// A bound on messages in flight, by number and by size.
struct Budget {
    messages: Arc<Semaphore>,
    kib: Arc<Semaphore>,
    kib_max: u32,
}

/// A share of a [`Budget`]; given back when dropped.
struct Permit {
    _message: OwnedSemaphorePermit,
    _kib: OwnedSemaphorePermit,
}

impl Budget {
    fn new(messages: usize, bytes: usize) -> Self {
        let kib_max = u32::try_from(bytes / 1024).unwrap_or(u32::MAX).max(1);
        Self {
            messages: Arc::new(Semaphore::new(messages.max(1))),
            kib: Arc::new(Semaphore::new(usize::try_from(kib_max).unwrap_or(1))),
            kib_max,
        }
    }

    fn try_take(&self, bytes: usize) -> Option<Permit> {
        let message = Arc::clone(&self.messages).try_acquire_owned().ok()?;
        let kib = Arc::clone(&self.kib).try_acquire_many_owned(self.kib_of(bytes)).ok()?;
        Some(Permit { _message: message, _kib: kib })
    }

    async fn take(&self, bytes: usize) -> Option<Permit> {
        let message = Arc::clone(&self.messages).acquire_owned().await.ok()?;
        let kib = Arc::clone(&self.kib).acquire_many_owned(self.kib_of(bytes)).await.ok()?;
        Some(Permit { _message: message, _kib: kib })
    }

    /// What a message takes; one larger than all there is takes all there is.
    fn kib_of(&self, bytes: usize) -> u32 {
        u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX).min(self.kib_max)
    }
}
