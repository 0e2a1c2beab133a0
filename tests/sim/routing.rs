//! The router's glue: pulls, matches, attempts, settles and acknowledges. It calls the state
//! machines as the router does; a mutation changes a call.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use switchyard::delivery::state_machines::{
    Admission, BreakerState, Decision, RetrySchedule, after_attempt, handler_health,
};
use switchyard::delivery::{
    AttemptClass, AttemptOutcome, DeadLetterReason, Delivery, NextStep, ParkReason, ParkedDelivery,
};

use crate::broker::{Pair, ParkedMessage, Source};
use crate::dice::{Ms, Topic};
use crate::fixture;
use crate::mutation::Mutation;
use crate::replica::{Handle, Replica, Stage, Task, position};
use crate::scenario::Behaviour;
use crate::world::{ACK_WAIT, Local, Payload, Received, World, epoch_ms, timestamp, virtual_ms};

/// How long a delivery waits for a permit before it is parked.
const QUEUE_TIMEOUT: Ms = 2_000;
/// Deadline of an attempt.
const ATTEMPT_TIMEOUT: Ms = 15_000;
/// Longest time that a message is held while nothing fails but handlers: queue, attempt, publish.
const HELD_MAX: Ms = QUEUE_TIMEOUT + ATTEMPT_TIMEOUT + 2_000;
/// Number of deliveries that the mutation of the poison rule takes for a crash.
const DELIVERIES_MAX: u32 = 5;
/// How long a replica that crashed on an event is down.
const RESTART: Ms = 1_000;
/// Time between two extensions of an acknowledgement deadline.
const EXTENSION: Ms = ACK_WAIT / 3;

impl World<'_> {
    /// Carries out a step inside a replica that runs.
    pub(crate) fn local_step(&mut self, replica: usize, local: Local) {
        match local {
            Local::Apply { trigger, is_live } => {
                if let Some(live) = self.replica(replica).live.get_mut(trigger) {
                    *live = is_live;
                }
            }
            Local::Received(received) => self.received(replica, &received),
            Local::Decoded { handle, event, stream } => {
                self.decoded(replica, handle, event, stream);
            }
            Local::Extend(handle) => self.extend(replica, handle),
            Local::QueueTimeout(task) => self.queue_timeout(replica, task),
            Local::AttemptDone(task) => self.attempt_done(replica, task),
            Local::Reply(publish, answer) => self.replied(*publish, answer),
            Local::Resend(publish) => self.send(*publish),
            Local::Trim => self.trim(),
        }
    }

    pub(crate) fn replica(&mut self, replica: usize) -> &mut Replica {
        &mut self.replicas[replica]
    }

    fn received(&mut self, replica: usize, received: &Received) {
        let now = self.now;
        let Received { source, sequence, epoch, deliveries, stream, .. } = *received;
        let of = self.replica(replica);
        let (handle, process) = (of.next_id(), (replica, of.incarnation));
        let held = Handle { source, sequence, epoch, received: now, left: 1 };
        of.handles.insert(handle, held);
        if !self.is(Mutation::NoExtension) {
            self.local(now + EXTENSION, replica, Local::Extend(handle));
        }
        let event = match &received.payload {
            Payload::Event(event) => *event,
            Payload::Record(message) => return self.resume(replica, handle, message),
        };
        let is_poison = if self.is(Mutation::PoisonByDeliveryCount) {
            deliveries > DELIVERIES_MAX
        } else if deliveries > 1 && !self.is(Mutation::CrashesNotRecorded) {
            !self.markers.begin((stream, sequence), process)
        } else {
            false
        };
        if is_poison {
            return self.poison_letter(replica, handle, event, sequence);
        }
        self.local(now + 1, replica, Local::Decoded { handle, event, stream });
    }

    fn decoded(&mut self, replica: usize, handle: u64, event: usize, stream: Ms) {
        let Some(held) = self.replica(replica).handles.get(&handle) else { return };
        let sequence = held.sequence;
        if self.ledger.events.get(&event).is_some_and(|stored| stored.poison) {
            return self.crash(replica, RESTART);
        }
        self.markers.end((stream, sequence));
        let kind = self.ledger.events.get(&event).map_or(0, |stored| stored.kind);
        let triggers = self.scenario.triggers.iter().enumerate();
        let live = &self.replicas[replica].live;
        let matched = triggers.filter(|(at, of)| live[*at] && of.matches(kind));
        let matched: Vec<usize> = matched.map(|(at, _)| at).collect();
        if matched.is_empty() {
            return self.accounted(replica, handle);
        }
        let prepared = fixture::event(event, sequence);
        if let Some(held) = self.replica(replica).handles.get_mut(&handle) {
            held.left = matched.len();
        }
        for subscription in matched {
            let pair = Pair { event, subscription };
            let of = &self.subscriptions[subscription];
            let delivery = fixture::delivery(&prepared, of, self.now);
            self.begin(replica, handle, pair, delivery);
        }
    }

    /// Resumes a parked delivery.
    fn resume(&mut self, replica: usize, handle: u64, message: &ParkedMessage) {
        let record = &message.record;
        let headers = fixture::StoredHeaders(&record.headers);
        let parked = ParkedDelivery::read(&headers, record.body.clone()).expect("our own record");
        let pair = message.pair;
        if !self.replica(replica).live[pair.subscription] {
            self.dropped(pair);
            return self.accounted(replica, handle);
        }
        let subscription = Arc::clone(&self.subscriptions[pair.subscription]);
        let delivery = parked.resume(subscription, Vec::new()).expect("our own record");
        self.begin(replica, handle, pair, delivery);
    }

    /// Counts a delivery that a policy dropped.
    pub(crate) fn dropped(&mut self, pair: Pair) {
        self.ledger.account(pair).dropped += 1;
        self.ledger.counted_drops += 1;
    }

    fn extend(&mut self, replica: usize, handle: u64) {
        let (now, is_silent) = (self.now, self.broker.is_silent(self.now));
        let Some(held) = self.replica(replica).handles.get(&handle) else { return };
        let (source, sequence, epoch) = (held.source, held.sequence, held.epoch);
        let consumer = self.consumer(source).filter(|of| of.epoch == epoch && !is_silent);
        if let Some(consumer) = consumer {
            consumer.in_progress(sequence, now);
        }
        self.local(now + EXTENSION, replica, Local::Extend(handle));
    }

    fn begin(&mut self, replica: usize, handle: u64, pair: Pair, delivery: Delivery) {
        let owner = self.scenario.triggers[pair.subscription].installation;
        let of = self.replica(replica);
        let id = of.next_id();
        of.tasks.insert(id, Task { handle, pair, delivery, stage: Stage::Waiting });
        if of.permits.can_take(owner) {
            return self.attempt(replica, id);
        }
        of.waiting.push_back(id);
        self.local(self.now + QUEUE_TIMEOUT, replica, Local::QueueTimeout(id));
    }

    /// Starts an attempt, if the subscription lives and the breaker admits it.
    fn attempt(&mut self, replica: usize, id: u64) {
        let (now, never) = (self.now, self.is(Mutation::BreakerNeverHalfOpens));
        let unchecked = self.is(Mutation::NoCheckBeforeAttempt)
            || self.is(Mutation::ZombieDeliversAfterRemoval);
        let Some(task) = self.replica(replica).tasks.get(&id) else { return };
        let (pair, handle) = (task.pair, task.handle);
        let owner = self.scenario.triggers[pair.subscription].installation;
        let of = self.replica(replica);
        if !of.live[pair.subscription] && !unchecked {
            of.tasks.remove(&id);
            self.dropped(pair);
            return self.accounted(replica, handle);
        }
        let breaker = &of.lanes[owner].breaker;
        let admission = match never && breaker.state() == BreakerState::Open {
            true => Admission::RetryAfter(epoch_ms(now) + 30_000),
            false => breaker.admit(epoch_ms(now)),
        };
        match admission {
            Admission::Allow => self.call(replica, id, owner),
            Admission::RetryAfter(until) => {
                let from = Timestamp::from_millisecond(until).expect("a time");
                self.park_backlog(replica, id, from, ParkReason::Breaker);
            }
        }
    }

    /// Sends an attempt to the handler.
    fn call(&mut self, replica: usize, id: u64, owner: usize) {
        let (now, number) = (self.now, self.ledger.attempts);
        let (took, outcome) = self.handler(owner, u64::from(number));
        let of = self.replica(replica);
        of.permits.take(owner);
        of.attempting += 1;
        let live = of.live.clone();
        let stale = if now.saturating_sub(of.last_gap.0) <= 1_000 { of.last_gap.1 } else { 0 };
        let Some(task) = of.tasks.get_mut(&id) else { return };
        let (pair, attempt) = (task.pair, task.delivery.progress.attempt);
        let is_accepted = outcome.next == NextStep::Done;
        let note =
            format!("replica {replica} attempts {pair:?} number {attempt}: {:?}", outcome.class);
        task.stage = Stage::Attempting(outcome);
        let mut delivery_id = task.delivery.id.clone();
        if self.is(Mutation::IdPerAttempt) && attempt > 1 {
            let changed = format!("{delivery_id}{attempt}");
            delivery_id = switchyard::domain::DeliveryId::from_record(&changed);
        }
        if !live[pair.subscription] {
            let detail = format!("{pair:?}: replica {replica} knows that it was removed");
            self.ledger.violation("no phantom", detail);
        }
        self.ledger.attempted(self.scenario, pair, attempt, &delivery_id, now, stale);
        let account = self.ledger.account(pair);
        if is_accepted {
            account.accepted += 1;
            if account.accepted > 1 && self.scenario.is_calm() {
                let detail = format!("{pair:?} is accepted again");
                self.ledger.violation("no repeat without a fault", detail);
            }
        }
        self.note(|| note);
        self.local(now + took, replica, Local::AttemptDone(id));
    }

    /// Returns how long a handler takes and what follows from its answer.
    fn handler(&self, endpoint: usize, number: u64) -> (Ms, AttemptOutcome) {
        let draw = |low, high| match self.scenario.is_instant {
            true => 0,
            false => self.dice.between((Topic::Handler, number, 0), low, high),
        };
        match self.scenario.behaviour(endpoint, self.now) {
            Behaviour::Accept(longest) => (draw(2, longest), AttemptOutcome::of_reply(b"")),
            Behaviour::Status(status) => {
                (draw(2, 40), AttemptOutcome::of_http(status, None, b"", timestamp(self.now)))
            }
            Behaviour::Hang => (ATTEMPT_TIMEOUT, AttemptOutcome::failed(AttemptClass::Timeout, "")),
            Behaviour::Refuse => (draw(1, 5), AttemptOutcome::failed(AttemptClass::Connect, "")),
        }
    }

    fn queue_timeout(&mut self, replica: usize, id: u64) {
        let of = self.replica(replica);
        let before = of.waiting.len();
        of.waiting.retain(|waiting| *waiting != id);
        if of.waiting.len() == before {
            return;
        }
        let Some(task) = of.tasks.get(&id) else { return };
        let pair = task.pair;
        let endpoint = self.scenario.triggers[pair.subscription].installation;
        if self.scenario.is_calm() && self.scenario.is_healthy(endpoint) {
            let detail = format!("{pair:?} got no permit in time, its handler is quick");
            self.ledger.violation("fairness", detail);
        }
        let now = timestamp(self.now);
        self.park_backlog(replica, id, now, ParkReason::Late);
    }

    fn park_backlog(&mut self, replica: usize, id: u64, from: Timestamp, reason: ParkReason) {
        let (random, permits) = (self.jitter(), self.scenario.permits_per_owner);
        let Some(task) = self.replica(replica).tasks.get(&id) else { return };
        let (pair, first_seen) = (task.pair, task.delivery.progress.first_seen);
        let age = Duration::try_from(from.duration_since(first_seen)).unwrap_or(Duration::ZERO);
        let owner = self.scenario.triggers[pair.subscription].installation;
        let lane = &self.replica(replica).lanes[owner];
        let average = if lane.average_us == 0 { 100_000 } else { lane.average_us };
        let pace = average / u64::try_from(permits).unwrap_or(1);
        let due = lane.backlog.append(from, age, pace, random);
        self.park(replica, id, due, reason, self.now);
    }

    fn attempt_done(&mut self, replica: usize, id: u64) {
        let (now, random, is_leaky) = (self.now, self.jitter(), self.is(Mutation::PermitLeak));
        let of = self.replica(replica);
        let Some(task) = of.tasks.get_mut(&id) else { return };
        let Stage::Attempting(outcome) = std::mem::replace(&mut task.stage, Stage::Publishing)
        else {
            return;
        };
        let (pair, handle) = (task.pair, task.handle);
        let owner = self.scenario.triggers[pair.subscription].installation;
        let of = self.replica(replica);
        of.attempting -= 1;
        if !(is_leaky && outcome.class == AttemptClass::Timeout) {
            of.permits.release(owner);
        }
        let lane = &mut of.lanes[owner];
        lane.breaker.record(handler_health(outcome.class), true, epoch_ms(now), random);
        lane.average_us = if outcome.class == AttemptClass::Timeout { 15_000_000 } else { 20_000 };
        match self.decide(replica, id, &outcome, random) {
            Some(Decision::Delivered) => {
                self.replica(replica).tasks.remove(&id);
                self.accounted(replica, handle);
            }
            Some(Decision::Retry { delay, .. }) => self.retry(replica, id, delay),
            // The machine had no means for the attempt.
            Some(Decision::Wait) => self.retry(replica, id, Duration::from_secs(1)),
            Some(Decision::DeadLetter(reason)) => self.letter(replica, id, &reason),
            None => {}
        }
        self.admit_waiting(replica);
    }

    fn decide(
        &mut self,
        replica: usize,
        id: u64,
        outcome: &AttemptOutcome,
        random: f64,
    ) -> Option<Decision> {
        let planned = &self.scenario.schedule_s;
        let dropped = usize::from(self.is(Mutation::RetryDropsLastAttempt));
        let delays = &planned[..planned.len() - dropped];
        let schedule = RetrySchedule::new(delays, self.scenario.jitter);
        let task = self.replicas[replica].tasks.get_mut(&id)?;
        let decision = after_attempt(outcome, &mut task.delivery.progress, &schedule, random);
        let (pair, attempts) = (task.pair, task.delivery.progress.attempt);
        let exhausted = Decision::DeadLetter(DeadLetterReason::Exhausted);
        if decision == exhausted && usize::try_from(attempts).ok() != Some(planned.len() + 1) {
            let detail = format!("{pair:?} is exhausted after {attempts} attempts");
            self.ledger.violation("all attempts", detail);
        }
        Some(decision)
    }

    fn retry(&mut self, replica: usize, id: u64, delay: Duration) {
        let delay = Ms::try_from(delay.as_millis()).unwrap_or(Ms::MAX);
        let Some(task) = self.replica(replica).tasks.get(&id) else { return };
        let (pair, attempt) = (task.pair, task.delivery.progress.attempt);
        let planned = self.now + delay;
        self.ledger.planned(pair, attempt, planned);
        let clock = match self.is(Mutation::DueByWallClock) {
            true => self.now + self.scenario.skews[replica],
            false => self.now,
        };
        self.park(replica, id, timestamp(clock + delay), ParkReason::Backoff, planned);
    }

    /// Attempts what waited for the permit that was returned.
    fn admit_waiting(&mut self, replica: usize) {
        loop {
            let triggers = &self.scenario.triggers;
            let of = &mut self.replicas[replica];
            let is_admitted = |id: &u64| {
                of.tasks.get(id).is_some_and(|task| {
                    of.permits.can_take(triggers[task.pair.subscription].installation)
                })
            };
            let Some(at) = of.waiting.iter().position(is_admitted) else { return };
            let Some(id) = of.waiting.remove(at) else { return };
            self.attempt(replica, id);
        }
    }

    /// Records that one delivery of a message is accounted for; acknowledges after the last.
    pub(crate) fn accounted(&mut self, replica: usize, handle: u64) {
        let now = self.now;
        let of = self.replica(replica);
        let Some(held) = of.handles.get_mut(&handle) else { return };
        held.left = held.left.saturating_sub(1);
        if held.left > 0 {
            return;
        }
        let Some(held) = of.handles.remove(&handle) else { return };
        if let Some(count) = of.in_flight.get_mut(position(held.source)) {
            *count = count.saturating_sub(1);
        }
        if self.scenario.is_calm() && now - held.received > HELD_MAX {
            let detail = format!("{:?} {} since {}", held.source, held.sequence, held.received);
            self.ledger.violation("nothing is held", detail);
        }
        self.acknowledge(&held);
    }

    fn acknowledge(&mut self, held: &Handle) {
        if self.broker.is_silent(self.now) {
            return;
        }
        let (sequence, epoch) = (held.sequence, held.epoch);
        let consumer = self.consumer(held.source).filter(|of| of.epoch == epoch);
        if !consumer.is_some_and(|of| of.acknowledge(sequence)) {
            return;
        }
        match held.source {
            Source::Events => {
                if let Some(event) = self.broker.events.messages.get(&sequence).copied() {
                    self.note(|| format!("event {event} is acknowledged"));
                    self.ledger.released(self.scenario, event, self.now, "acknowledged");
                    self.plan_trim(5_000);
                }
            }
            Source::Due => {
                if let Some(message) = self.broker.parked.messages.remove(&sequence) {
                    self.unparked(message.pair, "its record is acknowledged");
                }
            }
        }
    }

    /// Records that the parking stream lost a record of a delivery.
    pub(crate) fn unparked(&mut self, pair: Pair, how: &str) {
        let account = self.ledger.account(pair);
        account.parked = account.parked.saturating_sub(1);
        if account.parked == 0 {
            let owner = self.scenario.triggers[pair.subscription].installation;
            self.parked[owner].remove(&pair);
        }
        self.ledger.check(self.scenario, pair, self.now, how);
    }

    /// Checks when a schedule fires.
    pub(crate) fn check_due(&mut self, pair: Pair, due: Timestamp, planned: Ms) {
        if (virtual_ms(due) - planned).abs() > 1 {
            let detail = format!("{pair:?} is due at {}, not {planned}", virtual_ms(due));
            self.ledger.violation("due by the broker's clock", detail);
        }
    }
}
