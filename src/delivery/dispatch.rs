//! Brings deliveries to their end: attempted now, parked for later, or given up.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;

use super::attempt::{self, FunctionCaller};
use super::breaker::Admission;
use super::dead_letter::{Cause, DeadLetter, DeadLetterBox};
use super::forge;
use super::http::Sender;
use super::lane::{Lane, Lanes, NoTurn};
use super::metrics::{self, DeliveryMetrics};
use super::outcome::{Asked, Class, DeadReason, Next, Outcome};
use super::parking::{ParkReason, ParkingLot, Record, TooLarge};
use super::plan::Delivery;
use super::retry::{Random, Schedule, Schedules};
use crate::domain::{Handler, SubscriptionId};
use crate::jwt::KeyRing;
use crate::telemetry::{Live, Notice};
use crate::{clock, config};

/// What became of a delivery; whichever it is, nothing of it is left to do for its event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Accounted {
    /// The handler took it.
    Delivered,
    /// It waits durably.
    Parked(ParkReason),
    /// It was given up and is kept as a dead letter.
    Dead(DeadReason),
    /// A policy dropped it, and counted it.
    Dropped,
}

/// What the handler of a subscription says of being gone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Presence {
    /// Whose handler it is.
    pub id: SubscriptionId,
    /// It says that it is; otherwise it said so before, and answered something else now.
    pub is_gone: bool,
}

/// Where deliveries go that do not end at their handler.
#[derive(Clone)]
pub struct Edges {
    /// Functions of apps.
    pub functions: Arc<dyn FunctionCaller>,
    /// What waits.
    pub parking: Arc<dyn ParkingLot>,
    /// What is given up.
    pub dead_letters: Arc<dyn DeadLetterBox>,
    /// Handlers that say that they are gone, or no longer do; not told if there is no room.
    pub presence: mpsc::Sender<Presence>,
    /// What tokens for remotes are signed with.
    pub keys: Arc<KeyRing>,
}

/// Carries out deliveries. Shared by all tasks; its memory is bounded by the lanes.
pub struct Dispatcher {
    lanes: Lanes,
    edges: Edges,
    schedules: Schedules,
    random: Random,
    metrics: DeliveryMetrics,
    timeout: Duration,
    park_after: Duration,
    payload_bytes_max: usize,
    live: Live,
}

impl Dispatcher {
    /// A dispatcher without any lane yet.
    #[must_use]
    pub fn new(
        config: &config::Delivery,
        sender: Sender,
        edges: Edges,
        random: Random,
        live: Live,
    ) -> Self {
        Self {
            timeout: sender.timeout(),
            lanes: Lanes::new(config, sender),
            edges,
            schedules: Schedules::new(Schedule::new(&config.retry_schedule_s, config.retry_jitter)),
            random,
            metrics: DeliveryMetrics::default(),
            park_after: Duration::from_millis(config.park_after_ms),
            payload_bytes_max: config.payload_max,
            live,
        }
    }

    /// Keeps an event or a record that nobody can work on; ends when it is stored.
    pub async fn bury_event(&self, letter: DeadLetter, reason: &DeadReason) {
        self.edges.dead_letters.put(letter).await;
        metrics::dead_letter(reason);
    }

    /// How long a delivery waits for its turn before it is parked.
    #[must_use]
    pub fn park_after(&self) -> Duration {
        self.park_after
    }

    /// Forgets idle lanes and tells the metrics how many deliveries wait; call it now and then.
    pub fn tidy(&self) {
        self.lanes.evict_idle();
        metrics::pending(self.lanes.waiting());
        metrics::breakers(self.lanes.phases());
    }

    /// Attempts a delivery, waiting at most `patience` for its turn, and accounts for it.
    ///
    /// Ends only when the outcome is durable. Dropping the future leaves the delivery to be made
    /// again from its event or parked record.
    pub async fn deliver(&self, delivery: Delivery, patience: Duration) -> Accounted {
        let watched = self.live.is_watched().then(|| delivery.clone());
        let lane = self.lanes.lane_of(&delivery);
        if delivery.subscription.owner.settings.is_paused {
            return self.park_backlog(delivery, &lane, ParkReason::Paused).await;
        }
        let queued = clock::tick();
        let (accounted, took) = match self.lanes.turn(&lane, patience).await {
            // Asked with the turn in hand, so that a probe that is let through is made.
            Ok(turn) => match lane.breaker().admit(clock::now_ms()) {
                Admission::Go => {
                    self.metrics.queued(clock::since(queued));
                    let started = clock::tick();
                    // Boxed, so that the many that wait take little room, not that of the few
                    // that are attempted.
                    let outcome = Box::pin(self.attempt(&delivery, &lane)).await;
                    let took = clock::since(started);
                    drop(turn);
                    (self.settle(delivery, outcome).await, Some(took))
                }
                Admission::NotBefore(moment_ms) => {
                    drop(turn);
                    (self.park_until(delivery, &lane, moment_ms).await, None)
                }
            },
            Err(NoTurn::Full) => (self.park_backlog(delivery, &lane, ParkReason::Full).await, None),
            Err(NoTurn::Late) => (self.park_backlog(delivery, &lane, ParkReason::Late).await, None),
        };
        if let Some(delivery) = watched {
            self.live.tell(|| notice(&delivery, &accounted, took));
        }
        accounted
    }

    /// Counts a delivery that a policy dropped.
    pub fn drop_by_policy(&self) -> Accounted {
        metrics::dropped("retry");
        Accounted::Dropped
    }

    async fn attempt(&self, delivery: &Delivery, lane: &Lane) -> Outcome {
        let body = delivery.body();
        if body.len() > self.payload_bytes_max {
            let detail = format!("{} bytes, the limit is {}", body.len(), self.payload_bytes_max);
            return Outcome::failed(Class::TooLarge, detail);
        }
        let (started, now) = (clock::tick(), clock::now());
        let (metrics, outcome) = match &*delivery.subscription.owner.settings.handler {
            Handler::Http { url, secret } => {
                let _running = self.metrics.http.running();
                (&self.metrics.http, attempt::post(delivery, url, secret, lane, body, now).await)
            }
            Handler::Function { subject } => {
                let _running = self.metrics.nats.running();
                let functions = &*self.edges.functions;
                let call = attempt::call(delivery, subject, functions, self.timeout, body, now);
                (&self.metrics.nats, call.await)
            }
            Handler::Webhook(webhook) => {
                let _running = self.metrics.http.running();
                (
                    &self.metrics.http,
                    attempt::post_webhook(delivery, webhook, lane, body, now).await,
                )
            }
            Handler::Remote(remote) => {
                let _running = self.metrics.http.running();
                let keys = &self.edges.keys;
                (&self.metrics.http, forge::post(delivery, remote, keys, lane, body, now).await)
            }
        };
        let outcome = outcome.under(delivery.subscription.owner.settings.profile);
        let took = clock::since(started);
        lane.record_attempt(took);
        lane.breaker().record(outcome.class, clock::now_ms(), self.random.unit());
        metrics.attempted(&outcome, took);
        outcome
    }

    async fn settle(&self, mut delivery: Delivery, outcome: Outcome) -> Accounted {
        if !outcome.is_done() {
            note_failure(&delivery, &outcome);
            self.note_presence(&delivery, outcome.class == Class::Gone);
            delivery.progress.last_class = outcome.class.label().into();
        }
        // What is rare is boxed: every delivery that waits would have to keep room for it.
        let Outcome { class, detail, next } = outcome;
        match next {
            Next::Done => self.note_delivered(&delivery),
            Next::Dead(reason) => Box::pin(self.bury(&delivery, reason, &detail)).await,
            Next::Retry { asked, reason, data } => {
                delivery.progress.retry_reason = reason;
                delivery.progress.retry_data = data;
                Box::pin(self.retry(delivery, class, asked, &detail)).await
            }
        }
    }

    fn note_presence(&self, delivery: &Delivery, is_gone: bool) {
        for subscription in delivery.subscriptions() {
            if subscription.stats.note_gone(is_gone) {
                let presence = Presence { id: subscription.id(), is_gone };
                let _ = self.edges.presence.try_send(presence);
            }
        }
    }

    fn note_delivered(&self, delivery: &Delivery) -> Accounted {
        let (now, progress) = (clock::now(), &delivery.progress);
        for subscription in delivery.subscriptions() {
            subscription.stats.count_delivered(now.as_millisecond());
        }
        self.note_presence(delivery, false);
        let seconds = now.duration_since(progress.first_seen).as_secs_f64();
        self.metrics.delivered(delivery.lane_label(), progress.attempt, seconds);
        Accounted::Delivered
    }

    /// Parks a delivery until its next attempt, unless that was the last.
    async fn retry(
        &self,
        mut delivery: Delivery,
        class: Class,
        asked: Option<Asked>,
        error: &str,
    ) -> Accounted {
        let (now, random) = (clock::now(), self.random.unit());
        let schedule = self.schedules.of(delivery.subscription.owner.settings.profile);
        let Some(delay) = schedule.delay_after(delivery.progress.attempt, class, asked, random)
        else {
            return self.bury(&delivery, DeadReason::Exhausted, error).await;
        };
        metrics::retry(class, asked.is_some());
        delivery.progress.attempt += 1;
        let due = SignedDuration::try_from(delay).ok().and_then(|d| now.checked_add(d).ok());
        self.park(delivery, due.unwrap_or(now), ParkReason::Backoff).await
    }

    /// The longer the backlog of a lane, the later each of it is looked at again.
    async fn park_backlog(&self, delivery: Delivery, lane: &Lane, reason: ParkReason) -> Accounted {
        let due = lane.backlog_due(clock::now(), self.random.unit());
        self.park(delivery, due, reason).await
    }

    /// Parks what an open breaker holds back: those first in line come first once it may be tried.
    async fn park_until(&self, delivery: Delivery, lane: &Lane, moment_ms: i64) -> Accounted {
        let opens = Timestamp::from_millisecond(moment_ms).unwrap_or_else(|_| clock::now());
        let due = lane.backlog_due(opens, self.random.unit());
        self.park(delivery, due, ParkReason::Breaker).await
    }

    async fn park(&self, mut delivery: Delivery, due: Timestamp, reason: ParkReason) -> Accounted {
        delivery.progress.parks += 1;
        match self.edges.parking.park(Record::of(&delivery, due, reason)).await {
            Ok(()) => {
                metrics::parked(reason);
                Accounted::Parked(reason)
            }
            Err(TooLarge) => {
                self.bury(&delivery, DeadReason::TooLarge, "too large to be parked").await
            }
        }
    }

    async fn bury(&self, delivery: &Delivery, reason: DeadReason, error: &str) -> Accounted {
        let cause = Cause { reason: &reason, stage: "delivery", error };
        self.edges.dead_letters.put(DeadLetter::of_delivery(delivery, &cause)).await;
        for subscription in delivery.subscriptions() {
            subscription.stats.count_dead();
        }
        metrics::dead(delivery.lane_label(), &reason);
        Accounted::Dead(reason)
    }
}

fn notice(delivery: &Delivery, accounted: &Accounted, took: Option<Duration>) -> Notice {
    Notice::Delivery {
        delivery_id: delivery.id.to_string(),
        subscription: delivery.subscription.id().to_string(),
        entity: delivery.occurrence.event.envelope.entity.as_deref().map(str::to_owned),
        attempt: delivery.progress.attempt,
        outcome: match accounted {
            Accounted::Delivered => "delivered".into(),
            Accounted::Parked(reason) => format!("parked: {}", reason.label()),
            Accounted::Dead(reason) => format!("dead: {}", reason.text()),
            Accounted::Dropped => "dropped".into(),
        },
        ms: took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
    }
}

fn note_failure(delivery: &Delivery, outcome: &Outcome) {
    let reason = format!("{}: {}", outcome.class.label(), outcome.detail);
    for subscription in delivery.subscriptions() {
        subscription.stats.count_failed_attempt(&reason);
    }
    tracing::debug!(
        delivery_id = %delivery.id,
        installation = %delivery.subscription.owner.id,
        key = %delivery.subscription.key,
        attempt = delivery.progress.attempt,
        class = outcome.class.label(),
        blame = outcome.class.blame(),
        detail = %outcome.detail,
        "attempt failed"
    );
}

#[cfg(test)]
mod tests;
