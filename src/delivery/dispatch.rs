//! Brings each delivery to its outcome: attempts it, and parks or dead-letters it when that fails.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use attempt_span::AttemptSpan;
use failure_logs::FailureLogs;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;

use super::channel::{Attempt, ChannelPorts, channel_of};
use super::dead_letter::{DeadLetter, DeadLetterBox, DeadLetterCause, DeadLetterStored};
use super::decision::{Decision, after_attempt};
use super::http_client::{HttpClient, HttpSender, SocketBudget};
use super::job_outcomes::JobOutcomes;
use super::log::{AttemptReport, DeliveryLog, DeliveryReport};
use super::metrics::{self, DeliveryMetrics};
use super::model::{
    AttemptClass, AttemptOutcome, DeadLetterReason, Delivery, DeliveryOutcome, DropPolicy,
    JobOrigin, JobOutcome, ParkReason,
};
use super::parking::{ParkedRecord, ParkingLot};
use super::pause::PauseGate;
use super::queue::{
    Admission, AdmissionError, EventShare, FairLimits, Lane, Lanes, Random, RetrySchedule,
    RetrySchedules,
};
use super::shares::ShareOwner;
use crate::domain::SubscriptionId;
use crate::telemetry::traces::Traces;
use crate::telemetry::{LiveEvent, LiveFeed, LogBudget, names};
use crate::{clock, config};

/// Shortest delay of a delivery for whose attempt this machine had no means.
const LOCAL_DELAY_MIN: Duration = Duration::from_secs(1);
/// Longest such delay. It grows with the age of the delivery.
const LOCAL_DELAY_MAX: Duration = Duration::from_secs(60);

/// Reports that an endpoint answered HTTP 410, or no longer does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndpointGoneReport {
    /// The subscription of the endpoint.
    pub id: SubscriptionId,
    /// True for a 410; false for any other response after one.
    pub is_gone: bool,
}

/// The ports through which the dispatcher reaches the edges.
#[derive(Clone)]
pub struct Ports {
    /// What channels reach handlers with.
    pub channels: ChannelPorts,
    /// Stores parked deliveries.
    pub parking: Arc<dyn ParkingLot>,
    /// Stores dead letters.
    pub dead_letters: Arc<dyn DeadLetterBox>,
    /// Records what became of deliveries that jobs handed over.
    pub jobs: Arc<dyn JobOutcomes>,
    /// Receives reports of HTTP 410; a report is dropped when the channel is full.
    pub endpoint_reports: mpsc::Sender<EndpointGoneReport>,
    /// Stores what became of each delivery; none if the delivery log is off.
    pub log: Option<Arc<dyn DeliveryLog>>,
}

/// How a delivery is accounted for, and when it is attempted again if it is parked.
struct Settled {
    outcome: DeliveryOutcome,
    due: Option<Timestamp>,
}

impl From<DeliveryOutcome> for Settled {
    fn from(outcome: DeliveryOutcome) -> Self {
        Self { outcome, due: None }
    }
}

/// Attempts deliveries and accounts for them. Shared by all tasks; the lanes bound its memory.
pub struct Dispatcher {
    lanes: Lanes<HttpClient>,
    ports: Ports,
    schedules: RetrySchedules,
    random: Random,
    metrics: DeliveryMetrics,
    timeout: Duration,
    park_after: Duration,
    backlog_age_max: Duration,
    payload_bytes_max: usize,
    live: LiveFeed,
    pause: OnceLock<Arc<PauseGate>>,
    sockets: SocketBudget,
    local_failure_log: LogBudget,
    logs: FailureLogs,
    traces: Traces,
}

impl Dispatcher {
    /// Creates a dispatcher without lanes.
    #[must_use]
    pub fn new(
        config: &config::DeliveryConfig,
        sender: HttpSender,
        ports: Ports,
        random: Random,
        live: LiveFeed,
    ) -> Self {
        let (timeout, idle_max) = (sender.timeout(), config.endpoint_concurrency);
        let sockets = sender.sockets().clone();
        // An attempt has at most one socket, so none waits for the socket of another.
        let limits = FairLimits::new(config, sockets.max());
        Self {
            timeout,
            lanes: Lanes::new(limits, move || sender.client(idle_max)),
            ports,
            schedules: RetrySchedules::new(RetrySchedule::new(
                &config.retry_schedule_s,
                config.retry_jitter,
            )),
            random,
            metrics: DeliveryMetrics::default(),
            park_after: Duration::from_millis(config.park_after_ms),
            backlog_age_max: Duration::from_secs(config.backlog_max_h.saturating_mul(3600)),
            payload_bytes_max: config.payload_max,
            live,
            pause: OnceLock::new(),
            sockets,
            local_failure_log: LogBudget::one_a_minute(),
            logs: FailureLogs::default(),
            traces: Traces::default(),
        }
    }

    /// Records the spans of attempts with `traces`.
    #[must_use]
    pub fn with_traces(self, traces: Traces) -> Self {
        Self { traces, ..self }
    }

    /// Returns what records spans.
    #[must_use]
    pub fn traces(&self) -> &Traces {
        &self.traces
    }

    /// Sets the gate that holds attempts while the registry catches up after a stop of the process.
    pub fn set_pause_gate(&self, pause: Arc<PauseGate>) {
        let set = self.pause.set(pause);
        debug_assert!(set.is_ok(), "the gate is set once");
    }

    /// Stores the dead letter of an event or a parked record; completes once it is stored, or
    /// dropped because its owner has used its share.
    pub async fn store_dead_letter(
        &self,
        letter: DeadLetter,
        reason: &DeadLetterReason,
    ) -> DeliveryOutcome {
        match self.ports.dead_letters.put(letter).await {
            DeadLetterStored::Stored => {
                metrics::dead_letter(reason);
                DeliveryOutcome::DeadLettered(reason.clone())
            }
            DeadLetterStored::ShareExceeded => {
                let policy = DropPolicy::ShareExceeded;
                metrics::policy_drop(policy.label());
                DeliveryOutcome::Dropped(policy)
            }
        }
    }

    /// Gives back the place of a delivery of `owner` that is no longer parked.
    pub fn release_parked(&self, owner: &ShareOwner, body_bytes: usize) {
        self.ports.parking.release(owner, body_bytes);
    }

    /// Records what became of a delivery that a job handed over; completes once that is durable.
    pub async fn end_job_delivery(&self, origin: &JobOrigin, outcome: JobOutcome) {
        self.ports.jobs.record(origin, outcome).await;
    }

    /// Returns how long a delivery waits for a permit before it is parked.
    #[must_use]
    pub fn park_after(&self) -> Duration {
        self.park_after
    }

    /// Evicts idle lanes and publishes the gauges of lanes; called periodically.
    pub fn evict_idle_lanes(&self) {
        self.lanes.evict_idle();
        let permits = self.lanes.permit_use();
        metrics::pending(permits.waiting);
        metrics::permits(&permits);
        metrics::sockets(self.sockets.max(), self.sockets.open(), self.sockets.idle());
        metrics::breakers(self.lanes.breaker_states());
    }

    /// Renders the series of the endpoints with an open breaker in the Prometheus text format.
    #[must_use]
    pub fn render_open_endpoints(&self) -> String {
        metrics::render_open_endpoints(&self.lanes.open_endpoints(names::OPEN_BREAKERS_MAX))
    }

    /// Reserves a share of the permits for an event with many deliveries.
    #[must_use]
    pub fn event_share(&self) -> EventShare<'_> {
        self.lanes.event_share()
    }

    /// Returns the share of the permits that all deliveries of replays have together.
    #[must_use]
    pub fn replay_share(&self) -> EventShare<'_> {
        self.lanes.replay_share()
    }

    /// Returns the delivery log; none if it is off.
    #[must_use]
    pub fn log(&self) -> Option<&dyn DeliveryLog> {
        self.ports.log.as_deref()
    }

    /// Attempts a delivery, waiting at most `queue_timeout` for a permit within the share of its
    /// event, and accounts for it.
    ///
    /// Completes only when the outcome is durable. Dropping the future leaves the delivery to be
    /// repeated from its event or parked record.
    pub async fn deliver(
        &self,
        mut delivery: Delivery,
        queue_timeout: Duration,
        event: Option<&EventShare<'_>>,
    ) -> DeliveryReport {
        let watched = self.live.has_subscribers().then(|| delivery.clone());
        let mut attempt = None;
        let number = delivery.progress.attempt;
        let settled = self.try_once(&mut delivery, queue_timeout, event, &mut attempt).await;
        if let Some(watched) = watched {
            let took = attempt.as_deref().map(|attempt: &AttemptReport| attempt.took);
            self.live.publish(|| live_event(&watched, &settled.outcome, took));
        }
        let Settled { outcome, due } = settled;
        DeliveryReport::of_delivery(&delivery, number, outcome, due, attempt)
    }

    /// As [`Dispatcher::deliver`]; sets `attempt` if one is made.
    async fn try_once(
        &self,
        delivery: &mut Delivery,
        queue_timeout: Duration,
        event: Option<&EventShare<'_>>,
        attempt: &mut Option<Box<AttemptReport>>,
    ) -> Settled {
        let lane = self.lane_of(delivery);
        if delivery.subscription.owner.settings.is_paused {
            return self.park_backlog(delivery, &lane, ParkReason::Paused).await;
        }
        // A delivery that no breaker admits takes no permit from others.
        if let Admission::RetryAfter(moment_ms) = lane.breakers().peek(clock::uptime_ms()) {
            return self.park_until(delivery, &lane, moment_ms).await;
        }
        let queued = clock::tick();
        match self.lanes.acquire(&lane, event, queue_timeout).await {
            Ok(_permit) if !self.recheck(delivery).await => self.drop_removed(delivery).into(),
            // Decided with the permit held, so that an admitted probe is made.
            Ok(permit) => match lane.breakers().admit(clock::uptime_ms()) {
                Admission::Allow => {
                    let waited = clock::since(queued);
                    self.metrics.queued(waited);
                    let started = clock::tick();
                    // Boxed: most deliveries wait, and a waiting one must not reserve the memory of
                    // an attempt.
                    let attempted = Box::pin(self.attempt(delivery, &lane)).await;
                    let took = clock::since(started);
                    if attempted.class.is_attempt() {
                        permit.measured();
                    }
                    drop(permit);
                    let settled = self.settle(delivery, &attempted).await;
                    *attempt = Some(Box::new(AttemptReport::of(attempted, waited, took)));
                    settled
                }
                Admission::RetryAfter(moment_ms) => {
                    drop(permit);
                    self.park_until(delivery, &lane, moment_ms).await
                }
            },
            Err(AdmissionError::Full(share)) => {
                metrics::share_exceeded(share.label());
                for subscription in delivery.subscriptions() {
                    subscription.stats.over_share.fetch_add(1, Relaxed);
                    subscription.stats.last_over_share_ms.store(clock::now_ms(), Relaxed);
                }
                self.park_backlog(delivery, &lane, ParkReason::Full).await
            }
            Err(AdmissionError::Late) => self.park_backlog(delivery, &lane, ParkReason::Late).await,
        }
    }

    fn lane_of(&self, delivery: &Delivery) -> Arc<Lane<HttpClient>> {
        let (owner, channel) = (&delivery.subscription.owner, channel_of(delivery.handler()));
        self.lanes.lane((&owner.app, &owner.id), channel.endpoint(), || channel.host())
    }

    /// Returns whether the delivery still has a subscription, by the registry as it is after a stop
    /// of the process.
    async fn recheck(&self, delivery: &mut Delivery) -> bool {
        if let Some(pause) = self.pause.get().filter(|pause| !pause.is_open()) {
            Box::pin(pause.opened()).await;
        }
        delivery.retain_live()
    }

    /// Counts a delivery that the target of a replay did not accept. It has no dead letter: a redrive
    /// would send that to the handler of the module, and the event can be replayed again.
    fn drop_of_target(
        &self,
        delivery: &Delivery,
        reason: &DeadLetterReason,
        error: &str,
    ) -> DeliveryOutcome {
        let policy = DropPolicy::TargetFailed;
        metrics::dropped(delivery.lane_label(), policy.label());
        let reason = reason.text();
        tracing::info!(delivery_id = %delivery.id, %reason, error, "target of a replay failed");
        DeliveryOutcome::Dropped(policy)
    }

    fn drop_removed(&self, delivery: &Delivery) -> DeliveryOutcome {
        let policy = DropPolicy::SubscriptionRemoved;
        metrics::dropped(delivery.lane_label(), policy.label());
        DeliveryOutcome::Dropped(policy)
    }

    /// Counts a parked delivery whose body was erased.
    pub fn record_erased(&self) {
        metrics::removed("retry");
    }

    /// Counts a parked delivery whose subscription no longer exists.
    pub fn drop_by_policy(&self) -> DeliveryOutcome {
        let policy = DropPolicy::SubscriptionRemoved;
        metrics::dropped("retry", policy.label());
        DeliveryOutcome::Dropped(policy)
    }

    async fn attempt(&self, delivery: &Delivery, lane: &Lane<HttpClient>) -> AttemptOutcome {
        let channel = channel_of(delivery.handler());
        let body = channel.body(delivery);
        if body.len() > self.payload_bytes_max {
            let detail = format!("{} bytes, the limit is {}", body.len(), self.payload_bytes_max);
            let outcome = AttemptOutcome::failed(AttemptClass::TooLarge, detail);
            if !channel.is_ephemeral() {
                self.record_health(delivery, lane, &outcome);
            }
            return outcome;
        }
        let (started, now) = (clock::tick(), clock::now());
        let metrics = self.metrics.transport(channel.transport());
        let running = metrics.running();
        let (http, ports, timeout) = (lane.connection(), &self.ports.channels, self.timeout);
        let span = AttemptSpan::begin(&self.traces, delivery);
        let trace = span.as_ref().map(AttemptSpan::context);
        let attempt = Attempt { delivery, body, now, timeout, trace, http, ports };
        let outcome = channel.attempt(attempt).await;
        drop(running);
        let outcome = outcome.for_profile(delivery.subscription.owner.settings.profile);
        let took = clock::since(started);
        if outcome.class.is_attempt() {
            lane.record_attempt(took);
        }
        if !channel.is_ephemeral() {
            self.record_health(delivery, lane, &outcome);
            let failure = (!outcome.is_done()).then(|| (outcome.class.label(), &*outcome.detail));
            lane.record_result(failure, clock::now_ms());
        }
        metrics.attempted(&outcome, took);
        if let Some(span) = span {
            span.end(delivery, &outcome);
        }
        outcome
    }

    /// Reports to the breakers of a lane how an attempt ended, and logs its failure and what it changed.
    fn record_health(
        &self,
        delivery: &Delivery,
        lane: &Lane<HttpClient>,
        outcome: &AttemptOutcome,
    ) {
        if outcome.class != AttemptClass::Local && !outcome.is_done() {
            self.logs.attempt_failed(delivery, outcome, lane.failure_log());
        }
        let random = self.random.unit();
        for (scope, change) in lane.breakers().record(outcome.class, clock::uptime_ms(), random) {
            self.logs.breaker_changed(delivery, (scope, change), &outcome.detail);
        }
    }

    async fn settle(&self, delivery: &mut Delivery, attempted: &AttemptOutcome) -> Settled {
        if attempted.class == AttemptClass::Local {
            self.log_local_failure(delivery, &attempted.detail);
        } else if !attempted.is_done() {
            record_failure(delivery, attempted);
            if is_ephemeral(delivery) {
                return drop_of_listener(delivery, &attempted.detail).into();
            }
            self.report_410(delivery, attempted.class == AttemptClass::Gone);
        }
        let schedule = self.schedules.of(delivery.subscription.owner.settings.profile);
        let random = self.random.unit();
        // Rare paths are boxed: otherwise each waiting delivery reserves memory for them.
        match after_attempt(attempted, &mut delivery.progress, schedule, random) {
            Decision::Delivered => self.record_delivered(delivery).into(),
            Decision::Wait => {
                let delay = age_of(delivery).clamp(LOCAL_DELAY_MIN, LOCAL_DELAY_MAX);
                Box::pin(self.park_for(delivery, delay, ParkReason::Router)).await
            }
            Decision::Retry { delay, is_requested } => {
                metrics::retry(attempted.class, is_requested);
                Box::pin(self.park_for(delivery, delay, ParkReason::Backoff)).await
            }
            Decision::DeadLetter(reason) => {
                Box::pin(self.dead_letter(delivery, reason, &attempted.detail)).await.into()
            }
        }
    }

    fn log_local_failure(&self, delivery: &Delivery, detail: &str) {
        let Some(suppressed) = self.local_failure_log.take() else { return };
        tracing::warn!(
            delivery_id = %delivery.id,
            detail,
            suppressed,
            "no attempt: this machine lacks a descriptor, port, buffer or key; the delivery waits"
        );
    }

    fn report_410(&self, delivery: &Delivery, is_gone: bool) {
        // The target of a replay says nothing about the endpoint of the module.
        if delivery.target.is_some() {
            return;
        }
        for subscription in delivery.subscriptions() {
            if subscription.stats.record_endpoint_gone(is_gone) {
                let report = EndpointGoneReport { id: subscription.id(), is_gone };
                let _ = self.ports.endpoint_reports.try_send(report);
            }
        }
    }

    fn record_delivered(&self, delivery: &Delivery) -> DeliveryOutcome {
        let progress = &delivery.progress;
        if delivery.target.is_none() {
            for subscription in delivery.subscriptions() {
                subscription.stats.count_delivered(clock::now_ms());
            }
        }
        self.report_410(delivery, false);
        let seconds = clock::broker_now().duration_since(progress.first_seen).as_secs_f64();
        self.metrics.delivered(delivery.lane_label(), progress.attempt, seconds);
        DeliveryOutcome::Delivered
    }

    /// Parks a delivery until its next attempt.
    async fn park_for(
        &self,
        delivery: &mut Delivery,
        delay: Duration,
        reason: ParkReason,
    ) -> Settled {
        let now = clock::broker_now();
        let due = SignedDuration::try_from(delay).ok().and_then(|d| now.checked_add(d).ok());
        self.park(delivery, due.unwrap_or(now), reason).await
    }

    /// Parks a delivery at the end of its lane's backlog: the longer the backlog, the later.
    async fn park_backlog(
        &self,
        delivery: &mut Delivery,
        lane: &Lane<HttpClient>,
        reason: ParkReason,
    ) -> Settled {
        let due = self.backlog_due(delivery, lane, clock::broker_now());
        self.park(delivery, due, reason).await
    }

    /// Parks a delivery that an open breaker rejects: the backlog resumes in order once probes are
    /// admitted.
    async fn park_until(
        &self,
        delivery: &mut Delivery,
        lane: &Lane<HttpClient>,
        moment_ms: i64,
    ) -> Settled {
        let wait = SignedDuration::from_millis(moment_ms.saturating_sub(clock::uptime_ms()));
        let now = clock::broker_now();
        let opens = now.checked_add(wait).unwrap_or(now);
        let due = self.backlog_due(delivery, lane, opens);
        self.park(delivery, due, ParkReason::Breaker).await
    }

    fn backlog_due(
        &self,
        delivery: &Delivery,
        lane: &Lane<HttpClient>,
        from: Timestamp,
    ) -> Timestamp {
        let is_replay = delivery.progress.replay_job().is_some();
        lane.backlog_due(from, age_of(delivery), self.random.unit(), is_replay)
    }

    async fn park(&self, delivery: &mut Delivery, due: Timestamp, reason: ParkReason) -> Settled {
        if is_ephemeral(delivery) {
            return drop_of_listener(delivery, reason.label()).into();
        }
        let schedule = self.schedules.of(delivery.subscription.owner.settings.profile);
        let now = clock::broker_now();
        if schedule.is_expired(&delivery.progress, reason, now, self.backlog_age_max) {
            let error = "waited for longer than delivery.backlog_max_h";
            return self.dead_letter(delivery, DeadLetterReason::Expired, error).await.into();
        }
        delivery.progress.parks += 1;
        match self.ports.parking.park(ParkedRecord::of(delivery, due, reason)).await {
            Ok(()) => {
                metrics::parked(reason);
                if delivery.progress.job.is_none() {
                    for subscription in delivery.subscriptions() {
                        subscription.stats.parked.fetch_add(1, Relaxed);
                    }
                }
                Settled { outcome: DeliveryOutcome::Parked(reason), due: Some(due) }
            }
            Err(error) => {
                self.dead_letter(delivery, error.reason(), &error.to_string()).await.into()
            }
        }
    }

    async fn dead_letter(
        &self,
        delivery: &Delivery,
        reason: DeadLetterReason,
        error: &str,
    ) -> DeliveryOutcome {
        if is_ephemeral(delivery) {
            return drop_of_listener(delivery, error);
        }
        if delivery.target.is_some() {
            return self.drop_of_target(delivery, &reason, error);
        }
        let cause = DeadLetterCause { reason: &reason, stage: "delivery", error };
        let letter = DeadLetter::of_delivery(delivery, &cause);
        if self.ports.dead_letters.put(letter).await == DeadLetterStored::ShareExceeded {
            let policy = DropPolicy::ShareExceeded;
            metrics::dropped(delivery.lane_label(), policy.label());
            return DeliveryOutcome::Dropped(policy);
        }
        for subscription in delivery.subscriptions() {
            subscription.stats.count_dead_letter();
        }
        self.logs.dead_lettered(delivery, &reason, error);
        metrics::dead(delivery.lane_label(), &reason);
        DeliveryOutcome::DeadLettered(reason)
    }
}

/// Whether nothing of the delivery may wait, see [`Channel::is_ephemeral`](super::channel::Channel).
fn is_ephemeral(delivery: &Delivery) -> bool {
    channel_of(delivery.handler()).is_ephemeral()
}

/// Counts a delivery that a listening client did not accept: it is neither parked nor dead-lettered,
/// because the client would be disconnected by then.
fn drop_of_listener(delivery: &Delivery, error: &str) -> DeliveryOutcome {
    let policy = DropPolicy::ListenerFailed;
    metrics::dropped(delivery.lane_label(), policy.label());
    tracing::debug!(delivery_id = %delivery.id, error, "delivery to a listener dropped");
    DeliveryOutcome::Dropped(policy)
}

/// Returns for how long a delivery exists.
fn age_of(delivery: &Delivery) -> Duration {
    let age = clock::broker_now().duration_since(delivery.progress.first_seen);
    age.max(SignedDuration::ZERO).unsigned_abs()
}

fn live_event(delivery: &Delivery, outcome: &DeliveryOutcome, took: Option<Duration>) -> LiveEvent {
    LiveEvent::Delivery {
        delivery_id: delivery.id.to_string(),
        subscription: delivery.subscription.id().to_string(),
        site: delivery.prepared.event.envelope.cloud_id.to_string(),
        event_type: delivery.prepared.event.envelope.event_type.to_string(),
        entity: delivery.prepared.event.envelope.entity.as_deref().map(str::to_owned),
        attempt: delivery.progress.attempt,
        outcome: match outcome {
            DeliveryOutcome::Delivered => "delivered".into(),
            DeliveryOutcome::Parked(reason) => format!("parked: {}", reason.label()),
            DeliveryOutcome::DeadLettered(reason) => format!("dead: {}", reason.text()),
            DeliveryOutcome::Dropped(_) => "dropped".into(),
            DeliveryOutcome::Removed(_) => "removed".into(),
        },
        ms: took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
    }
}

fn record_failure(delivery: &Delivery, outcome: &AttemptOutcome) {
    if delivery.target.is_some() {
        return;
    }
    let reason = format!("{}: {}", outcome.class.label(), outcome.detail);
    let now_ms = clock::now_ms();
    for subscription in delivery.subscriptions() {
        subscription.stats.count_failed_attempt(&reason, now_ms);
    }
}

mod attempt_span;
mod endpoints;
mod failure_logs;
mod waiting;

pub use endpoints::{EndpointKey, PingReport};

#[cfg(test)]
mod tests;
