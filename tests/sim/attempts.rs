//! What `delivery::dispatch` does with a delivery: breaker, permit, check of the registry, attempt, and
//! what follows from it.

use std::time::Duration;

use jiff::Timestamp;
use switchyard::delivery::state_machines::{
    Admission, BreakerState, Decision, Patience, RequestId, Response, RetrySchedule, after_attempt,
};
use switchyard::delivery::{
    AttemptClass, AttemptOutcome, DeadLetterReason, Delivery, NextStep, ParkReason,
};

use crate::broker::Pair;
use crate::dice::{Ms, Topic};
use crate::mutation::Mutation;
use crate::replica::{Stage, Task, duration, micros};
use crate::scenario::Behaviour;
use crate::world::{Local, World, epoch_ms, timestamp, virtual_ms};

/// How long a delivery waits for a permit before it is parked.
pub(crate) const QUEUE_TIMEOUT: Ms = 2_000;
/// Deadline of an attempt.
pub(crate) const ATTEMPT_TIMEOUT: Ms = 15_000;
/// Longest time from the publish of an event until its first attempt at a quick handler, while
/// nothing fails but other handlers. A handler that has not proven to be quick competes with those
/// that hang for the permits of slow ones; such a permit is free after one attempt at the latest.
const FIRST_ATTEMPT_MAX: Ms = QUEUE_TIMEOUT + ATTEMPT_TIMEOUT;

impl World<'_> {
    pub(crate) fn begin(&mut self, replica: usize, handle: u64, pair: Pair, delivery: Delivery) {
        let (now, owner) = (self.now, self.owner(pair));
        let of = self.replica(replica);
        let id = of.next_id();
        of.tasks.insert(id, Task { handle, pair, delivery, stage: Stage::New });
        let lane = &of.lanes[owner];
        if let Admission::RetryAfter(until) = lane.breakers().peek(epoch_ms(now)) {
            return self.park_until(replica, id, until);
        }
        let patience =
            Patience { timeout_us: micros(QUEUE_TIMEOUT), attempt_us: lane.shortest_attempt_us() };
        let event = of.handles.get(&handle).and_then(|held| held.share);
        let response = of.queue.request(lane.endpoint(), event, patience, micros(now));
        let (request, is_granted) = match response {
            Response::Granted(request) => (request, true),
            Response::Waiting(request) => (request, false),
            Response::Refused(_) => {
                self.check_fairness(replica, pair, "may not wait");
                return self.park_backlog(replica, id, ParkReason::Full);
            }
        };
        let of = self.replica(replica);
        of.requests.insert(request, id);
        if let Some(task) = of.tasks.get_mut(&id) {
            task.stage = Stage::Waiting(request);
        }
        match is_granted {
            true => self.granted(replica, request),
            false => self.local(now + QUEUE_TIMEOUT, replica, Local::QueueTimeout(id)),
        }
    }

    /// A delivery got its permit.
    fn granted(&mut self, replica: usize, request: RequestId) {
        let of = self.replica(replica);
        let Some(id) = of.requests.get(&request).copied() else { return };
        if let Some(task) = of.tasks.get_mut(&id) {
            task.stage = Stage::Permitted(request, None);
        }
        self.attempt(replica, id);
    }

    /// Returns a permit, or ends the wait for one; attempts what waited for it.
    fn finish(&mut self, replica: usize, request: RequestId, is_measured: bool) {
        let now_us = micros(self.now);
        let mut granted = Vec::new();
        let of = self.replica(replica);
        of.requests.remove(&request);
        of.queue.finish(request, is_measured, now_us, &mut granted);
        for request in granted {
            self.granted(replica, request);
        }
    }

    /// Starts an attempt with its permit, if the subscription lives and the breakers admit it.
    pub(crate) fn attempt(&mut self, replica: usize, id: u64) {
        if self.is_held(replica) {
            return self.replica(replica).held.push(Local::Attempt(id));
        }
        let (now, never) = (self.now, self.is(Mutation::BreakerNeverHalfOpens));
        let unchecked = self.is(Mutation::NoCheckBeforeAttempt)
            || self.is(Mutation::ZombieDeliversAfterRemoval);
        let Some(task) = self.replica(replica).tasks.get(&id) else { return };
        let Stage::Permitted(request, _) = task.stage else { return };
        let (pair, handle) = (task.pair, task.handle);
        let owner = self.owner(pair);
        let of = self.replica(replica);
        if !of.live[pair.subscription] && !unchecked {
            of.tasks.remove(&id);
            self.finish(replica, request, false);
            self.dropped(pair);
            return self.accounted(replica, handle);
        }
        let breakers = of.lanes[owner].breakers();
        let admission = match never && breakers.state() == BreakerState::Open {
            true => Admission::RetryAfter(epoch_ms(now) + 30_000),
            false => breakers.admit(epoch_ms(now)),
        };
        match admission {
            Admission::Allow => self.call(replica, id, owner),
            Admission::RetryAfter(until) => {
                if let Some(task) = of.tasks.get_mut(&id) {
                    task.stage = Stage::New;
                }
                self.finish(replica, request, false);
                self.park_until(replica, id, until);
            }
        }
    }

    /// Sends an attempt to the handler.
    fn call(&mut self, replica: usize, id: u64, owner: usize) {
        let (now, number) = (self.now, self.ledger.attempts);
        let (took, outcome) = self.handler(owner, u64::from(number));
        let is_local = outcome.class == AttemptClass::Local;
        let of = self.replica(replica);
        let live = of.live.clone();
        let Some(task) = of.tasks.get_mut(&id) else { return };
        let (pair, attempt) = (task.pair, task.delivery.progress.attempt);
        let is_accepted = outcome.next == NextStep::Done;
        let note =
            format!("replica {replica} attempts {pair:?} number {attempt}: {:?}", outcome.class);
        if let Stage::Permitted(_, result) = &mut task.stage {
            *result = Some(outcome);
        }
        let mut delivery_id = task.delivery.id.clone();
        if self.is(Mutation::IdPerAttempt) && attempt > 1 {
            let changed = format!("{delivery_id}{attempt}");
            delivery_id = switchyard::domain::DeliveryId::from_record(&changed);
        }
        self.local(now + took, replica, Local::AttemptDone(id));
        self.note(|| note);
        if is_local {
            return;
        }
        if !live[pair.subscription] {
            let detail = format!("{pair:?}: replica {replica} knows that it was removed");
            self.ledger.violation("no phantom", detail);
        }
        if attempt == 1 && self.is_fair_to(pair) {
            let waited = now - self.stored_at(pair.event);
            self.longest_wait = self.longest_wait.max(waited);
            if waited > FIRST_ATTEMPT_MAX {
                let detail = format!("{pair:?} is attempted after {waited} ms");
                self.ledger.violation("fairness", detail);
            }
        }
        self.ledger.attempted(self.scenario, pair, attempt, &delivery_id, now);
        let account = self.ledger.account(pair);
        if is_accepted {
            account.accepted += 1;
            if account.accepted > 1 && self.scenario.is_calm() {
                let detail = format!("{pair:?} is accepted again");
                self.ledger.violation("no repeat without a fault", detail);
            }
        }
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
            Behaviour::NoDescriptor => (0, AttemptOutcome::failed(AttemptClass::Local, "")),
        }
    }

    pub(crate) fn queue_timeout(&mut self, replica: usize, id: u64) {
        let Some(task) = self.replica(replica).tasks.get_mut(&id) else { return };
        let Stage::Waiting(request) = task.stage else { return };
        let pair = task.pair;
        task.stage = Stage::New;
        self.finish(replica, request, false);
        self.check_fairness(replica, pair, "got no permit in time");
        self.park_backlog(replica, id, ParkReason::Late);
    }

    /// Whether the handler is quick on a day when nothing fails but other handlers.
    fn is_fair_to(&self, pair: Pair) -> bool {
        self.scenario.is_calm() && self.scenario.is_healthy(self.owner(pair))
    }

    /// Checks that a delivery gets its permit in time if its handler has proven to be quick.
    fn check_fairness(&mut self, replica: usize, pair: Pair, what: &str) {
        let owner = self.owner(pair);
        let is_proven = self.replicas[replica].lanes[owner].shortest_attempt_us() > 0;
        if is_proven && self.is_fair_to(pair) {
            self.ledger.violation("fairness", format!("{pair:?} {what}, its handler is quick"));
        }
    }

    /// Parks a delivery that an open breaker rejects.
    fn park_until(&mut self, replica: usize, id: u64, until: i64) {
        let from = Timestamp::from_millisecond(until).expect("a time");
        self.park_after(replica, id, from, ParkReason::Breaker);
    }

    /// Parks a delivery at the end of the backlog of its lane.
    fn park_backlog(&mut self, replica: usize, id: u64, reason: ParkReason) {
        self.park_after(replica, id, timestamp(self.now), reason);
    }

    fn park_after(&mut self, replica: usize, id: u64, from: Timestamp, reason: ParkReason) {
        let (random, now) = (self.jitter(), self.now);
        let Some(age) = self.age(replica, id) else { return };
        let of = self.replica(replica);
        let Some(pair) = of.tasks.get(&id).map(|task| task.pair) else { return };
        let owner = self.owner(pair);
        let due = self.replica(replica).lanes[owner].backlog_due(from, age, random, false);
        self.park(replica, id, due, reason, now);
    }

    fn age(&mut self, replica: usize, id: u64) -> Option<Duration> {
        let now = timestamp(self.now);
        let task = self.replica(replica).tasks.get(&id)?;
        let age = now.duration_since(task.delivery.progress.first_seen);
        Some(Duration::try_from(age).unwrap_or(Duration::ZERO))
    }

    pub(crate) fn attempt_done(&mut self, replica: usize, id: u64) {
        let (now, random, is_leaky) = (self.now, self.jitter(), self.is(Mutation::PermitLeak));
        let Some(task) = self.replica(replica).tasks.get_mut(&id) else { return };
        let Stage::Permitted(request, Some(_)) = task.stage else { return };
        let Stage::Permitted(_, Some(outcome)) = std::mem::replace(&mut task.stage, Stage::New)
        else {
            return;
        };
        let (pair, handle) = (task.pair, task.handle);
        let owner = self.owner(pair);
        let took = self.took(owner, &outcome);
        let lane = &self.replica(replica).lanes[owner];
        if outcome.class.is_attempt() {
            lane.record_attempt(took);
        }
        let _changes = lane.breakers().record(outcome.class, epoch_ms(now), random);
        if !(is_leaky && outcome.class == AttemptClass::Timeout) {
            self.finish(replica, request, outcome.class.is_attempt());
        }
        match self.decide(replica, id, &outcome, random) {
            Some(Decision::Delivered) => {
                self.replica(replica).tasks.remove(&id);
                self.accounted(replica, handle);
            }
            Some(Decision::Retry { delay, .. }) => {
                self.retry(replica, id, delay, ParkReason::Backoff);
            }
            // The machine had no means for the attempt.
            Some(Decision::Wait) => {
                let age = self.age(replica, id).unwrap_or_default();
                let delay = age.clamp(Duration::from_secs(1), Duration::from_secs(60));
                self.retry(replica, id, delay, ParkReason::Router);
            }
            Some(Decision::DeadLetter(reason)) => self.letter(replica, id, &reason),
            None => {}
        }
    }

    /// Returns how long an attempt counts to have taken.
    fn took(&self, endpoint: usize, outcome: &AttemptOutcome) -> Duration {
        match (outcome.class, self.scenario.behaviour(endpoint, self.now)) {
            (AttemptClass::Timeout, _) => duration(ATTEMPT_TIMEOUT),
            (AttemptClass::Success, Behaviour::Accept(longest)) => duration(longest / 2),
            _ => duration(20),
        }
    }

    pub(crate) fn schedule(&self) -> RetrySchedule {
        let planned = &self.scenario.schedule_s;
        let dropped = usize::from(self.is(Mutation::RetryDropsLastAttempt));
        RetrySchedule::new(&planned[..planned.len() - dropped], self.scenario.jitter)
    }

    fn decide(
        &mut self,
        replica: usize,
        id: u64,
        outcome: &AttemptOutcome,
        random: f64,
    ) -> Option<Decision> {
        let schedule = self.schedule();
        let planned = self.scenario.schedule_s.len();
        let task = self.replicas[replica].tasks.get_mut(&id)?;
        let decision = after_attempt(outcome, &mut task.delivery.progress, &schedule, random);
        let (pair, attempts) = (task.pair, task.delivery.progress.attempt);
        let exhausted = Decision::DeadLetter(DeadLetterReason::Exhausted);
        if decision == exhausted && usize::try_from(attempts).ok() != Some(planned + 1) {
            let detail = format!("{pair:?} is exhausted after {attempts} attempts");
            self.ledger.violation("all attempts", detail);
        }
        Some(decision)
    }

    fn retry(&mut self, replica: usize, id: u64, delay: Duration, reason: ParkReason) {
        let delay = Ms::try_from(delay.as_millis()).unwrap_or(Ms::MAX);
        let Some(task) = self.replica(replica).tasks.get(&id) else { return };
        let (pair, attempt) = (task.pair, task.delivery.progress.attempt);
        let planned = self.now + delay;
        self.ledger.planned(pair, attempt, planned);
        let clock = match self.is(Mutation::DueByWallClock) {
            true => self.now + self.scenario.skews[replica],
            false => self.now,
        };
        self.park(replica, id, timestamp(clock + delay), reason, planned);
    }

    /// Checks when a schedule fires.
    pub(crate) fn check_due(&mut self, pair: Pair, due: Timestamp, planned: Ms) {
        if (virtual_ms(due) - planned).abs() > 1 {
            let detail = format!("{pair:?} is due at {}, not {planned}", virtual_ms(due));
            self.ledger.violation("due by the broker's clock", detail);
        }
    }
}
