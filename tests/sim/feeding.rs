//! What happens at the broker: publishers, schedules, which replica gets which message, and the
//! trimmer.

use crate::broker::{Consumer, PublishAnswer, Source, StoredFloor, Stream};
use crate::dice::{Ms, Topic};
use crate::mutation::Mutation;
use crate::policy::{self, TrimInput};
use crate::replica::position;
use crate::world::{ACK_WAIT, Action, Local, Payload, Received, WINDOW, World};

/// A stopped process still gets messages for this long: its pull request is open.
const PULL_EXPIRES: Ms = 10_000;

/// How often a publisher repeats a publish without an answer.
const PUBLISHER_TRIES: u64 = 60;
/// Interval of the trimmer.
const TRIM_INTERVAL: Ms = 5_000;

impl World<'_> {
    pub(crate) fn delete_stream(&mut self) {
        let events: Vec<usize> = self.broker.events.messages.values().copied().collect();
        for event in events {
            if let Some(stored) = self.ledger.events.get_mut(&event) {
                stored.is_forgotten = true;
                stored.is_held = false;
            }
        }
        let max = self.scenario.event_messages_max;
        self.broker.events = Stream::new(self.now, WINDOW, max);
        self.broker.event_consumer = None;
    }

    pub(crate) fn publish_event(&mut self, event: usize, kind: u8, poison: bool, tries: u64) {
        let number = u64::try_from(event).unwrap_or(0);
        let again = Action::PublishEvent { event, kind, poison, tries: tries + 1 };
        if self.broker.is_silent(self.now) {
            if tries < PUBLISHER_TRIES {
                self.at(self.now + 2_000, again);
            }
            return;
        }
        let id = format!("site-1/e{event}");
        let mut answer = self.broker.events.publish(&id, self.now, event);
        if answer == PublishAnswer::Full && self.is(Mutation::FullStreamEvicts) {
            if let Some((_, oldest)) = self.broker.events.messages.pop_first() {
                self.ledger.released(self.scenario, oldest, self.now, "evicted");
            }
            answer = self.broker.events.publish(&id, self.now, event);
        }
        self.note(|| format!("event {event} published: {answer:?}"));
        match answer {
            PublishAnswer::Stored(_) => self.ledger.stored(event, kind, poison, self.now),
            PublishAnswer::Duplicate => {}
            PublishAnswer::Full => {
                self.ledger.refused.insert(event);
                self.was_refused = true;
                self.plan_trim(100);
                return;
            }
        }
        self.plan_trim(TRIM_INTERVAL);
        let at = (Topic::Unknown, number, tries + 1_000_000);
        let is_lost = self.now < self.broker.answers_lost_until
            || self.dice.chance(at, self.scenario.unknown_percent);
        if is_lost && tries < PUBLISHER_TRIES {
            self.at(self.now + 2_000, again);
        }
    }

    pub(crate) fn fire(&mut self, sequence: u64) {
        if self.broker.is_silent(self.now) {
            let at = self.broker.silent_until + self.lateness(sequence);
            return self.at(at, Action::Fire(sequence));
        }
        let Some(mut message) = self.broker.parked.messages.remove(&sequence) else { return };
        let key = message.record.id.as_str();
        if self.broker.schedules.get(key) == Some(&sequence) {
            self.broker.schedules.remove(key);
        }
        message.is_due = true;
        let pair = message.pair;
        self.broker.parked.append(message);
        self.note(|| format!("{pair:?} is due"));
    }

    pub(crate) fn lateness(&self, sequence: u64) -> Ms {
        let at = (Topic::Lateness, sequence, 0);
        if self.scenario.is_instant { 0 } else { self.dice.between(at, 0, 300) }
    }

    pub(crate) fn expire(&mut self, source: Source, sequence: u64, epoch: u64) {
        let now = self.now;
        let Some(consumer) = self.consumer(source).filter(|of| of.epoch == epoch) else { return };
        if let Some(again) = consumer.expire(sequence, now) {
            self.at(again, Action::Expire { source, sequence, epoch });
        }
    }

    pub(crate) fn consumer(&mut self, source: Source) -> Option<&mut Consumer> {
        match source {
            Source::Events => self.broker.event_consumer.as_mut(),
            Source::Due => Some(&mut self.broker.due_consumer),
        }
    }

    /// Delivers messages to replicas with room.
    pub(crate) fn pump(&mut self) {
        if self.broker.is_silent(self.now) {
            return;
        }
        for source in [Source::Events, Source::Due] {
            while let Some(replica) = self.receiver(source) {
                if source == Source::Events && self.broker.event_consumer.is_none() {
                    self.create_consumer();
                }
                if !self.deliver(source, replica) {
                    break;
                }
            }
        }
    }

    fn receiver(&self, source: Source) -> Option<usize> {
        let (now, count) = (self.now, self.replicas.len());
        let max = match source {
            Source::Events => self.scenario.in_flight_max,
            Source::Due => self.scenario.in_flight_max.div_ceil(4),
        };
        let max = if self.is(Mutation::InFlightIgnored) { usize::MAX } else { max };
        let first = usize::try_from(self.dice.draw(Topic::Replica, self.order, 0)).unwrap_or(0);
        (0..count).map(|at| (first % count + at) % count).find(|at| {
            self.replicas.get(*at).is_some_and(|of| {
                let listens = of.stalled.is_none_or(|since| now - since < PULL_EXPIRES);
                of.is_up && listens && of.in_flight.get(position(source)).is_some_and(|n| *n < max)
            })
        })
    }

    fn create_consumer(&mut self) {
        let events = &self.broker.events;
        let first = events.messages.keys().next().copied().unwrap_or(events.last + 1);
        let mut floor = self.broker.floor;
        if self.is(Mutation::FloorIgnored) {
            floor = None;
        }
        if let Some(floor) = floor.as_mut().filter(|_| self.is(Mutation::FloorOfOldStream)) {
            floor.stream = events.created;
        }
        let start = policy::consumer_start(floor, events.created, first);
        self.broker.epochs += 1;
        let pending_max = self.scenario.pending_max;
        let consumer = Consumer::new(self.broker.epochs, start, ACK_WAIT, pending_max);
        self.broker.event_consumer = Some(consumer);
        self.note(|| format!("consumer created at {start}"));
        for (sequence, event) in self.broker.events.messages.clone() {
            if sequence >= start {
                if let Some(stored) = self.ledger.events.get_mut(&event) {
                    stored.is_held = true;
                }
            } else {
                self.ledger.released(self.scenario, event, self.now, "before the new consumer");
            }
        }
    }

    fn deliver(&mut self, source: Source, replica: usize) -> bool {
        let now = self.now;
        let found = match source {
            Source::Events => {
                let consumer = self.broker.event_consumer.as_mut();
                consumer.and_then(|of| {
                    let found = of.deliver(&self.broker.events, now, |_| true);
                    found.map(|found| (found, of.epoch))
                })
            }
            Source::Due => {
                let found =
                    self.broker.due_consumer.deliver(&self.broker.parked, now, |of| of.is_due);
                found.map(|found| (found, 0))
            }
        };
        let Some(((sequence, deliveries), epoch)) = found else { return false };
        if source == Source::Events {
            self.check_above_floor(sequence);
        }
        if deliveries > 1 && self.scenario.is_calm() {
            self.ledger.violation("no repeat without a fault", format!("{source:?} {sequence}"));
        }
        if let Some(count) =
            self.replicas.get_mut(replica).and_then(|of| of.in_flight.get_mut(position(source)))
        {
            *count += 1;
        }
        self.at(now + ACK_WAIT, Action::Expire { source, sequence, epoch });
        let payload = match source {
            Source::Events => {
                self.broker.events.messages.get(&sequence).copied().map(Payload::Event)
            }
            Source::Due => self.broker.parked.messages.get(&sequence).cloned().map(Payload::Record),
        };
        let Some(payload) = payload else { return true };
        let stream = self.broker.events.created;
        let received = Received { source, sequence, epoch, deliveries, stream, payload };
        self.local(now + self.latency(), replica, Local::Received(Box::new(received)));
        true
    }

    fn check_above_floor(&mut self, sequence: u64) {
        let created = self.broker.events.created;
        let floor = self.broker.floor.filter(|floor| floor.stream == created);
        if let Some(floor) = floor.filter(|floor| sequence <= floor.sequence) {
            let detail = format!("event {sequence} is at or below the floor {}", floor.sequence);
            self.ledger.violation("nothing below the floor again", detail);
        }
    }

    /// Plans a round of the trimmer, on any replica that runs.
    pub(crate) fn plan_trim(&mut self, delay: Ms) {
        if self.is_trim_planned {
            return;
        }
        let Some(replica) = self.replicas.iter().position(|of| of.is_up && of.stalled.is_none())
        else {
            return;
        };
        self.is_trim_planned = true;
        self.local(self.now + delay, replica, Local::Trim);
    }

    /// One round of the trimmer: stores the floor, then purges.
    pub(crate) fn trim(&mut self) {
        self.is_trim_planned = false;
        if self.broker.is_silent(self.now) {
            return self.plan_trim(TRIM_INTERVAL);
        }
        let created = self.broker.events.created;
        let floor = self.broker.event_consumer.as_ref().map(Consumer::ack_floor);
        let Some(floor) = floor else { return };
        let present = StoredFloor { stream: created, sequence: floor };
        if let Some(next) = policy::next_floor(self.broker.floor, present) {
            self.broker.floor = Some(next);
        }
        let events = &self.broker.events;
        let beyond = if self.is(Mutation::TrimBeyondFloor) { 2 } else { 0 };
        let below = policy::trim(&TrimInput {
            first: events.messages.keys().next().copied().unwrap_or(events.last + 1),
            messages: events.messages.len(),
            messages_max: events.messages_max,
            floor: Some(floor + beyond),
            was_refused: std::mem::take(&mut self.was_refused),
        });
        let Some(below) = below else { return };
        self.note(|| format!("events below {below} are purged, floor {floor}"));
        let kept = self.broker.events.messages.split_off(&below);
        let purged = std::mem::replace(&mut self.broker.events.messages, kept);
        if let Some(consumer) = &mut self.broker.event_consumer {
            consumer.purged(below - 1);
        }
        for event in purged.into_values() {
            self.ledger.released(self.scenario, event, self.now, "purged");
        }
    }
}
