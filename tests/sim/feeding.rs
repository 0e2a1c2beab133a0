//! What happens at the broker: publishers, schedules, which replica gets which message, and the
//! trimmer.

use switchyard::bus::floor::{
    ConsumerStart, FloorRound, consumer_start, least_floor, lost_at_start,
};
use switchyard::bus::subjects::ROUTER_CONSUMER;
use switchyard::bus::trim::{
    NeededSpace, ProbedEvent, StreamFill, TrimInput, TrimLimits, TrimRound, TrimStep,
};

use crate::broker::{Consumer, PublishAnswer, Source, Stream};
use crate::dice::{Ms, Topic};
use crate::mutation::Mutation;
use crate::replica::position;
use crate::world::{ACK_WAIT, Action, Local, Payload, Received, WINDOW, World, epoch_ms};

/// A stopped process still gets messages for this long: its pull request is open.
const PULL_EXPIRES: Ms = 10_000;

/// How often a publisher repeats a publish without an answer.
const PUBLISHER_TRIES: u64 = 60;
/// Interval of the trimmer.
pub(crate) const TRIM_INTERVAL: Ms = 5_000;
/// Purges of one round of the trimmer.
const PURGES_MAX: usize = 4;
/// Size of an event.
const EVENT_BYTES: u64 = 1_000;

impl World<'_> {
    pub(crate) fn delete_stream(&mut self) {
        let events: Vec<usize> = self.broker.events.messages.values().copied().collect();
        for event in events {
            if let Some(stored) = self.ledger.events.get_mut(&event) {
                stored.is_forgotten = true;
                stored.is_held = false;
            }
        }
        self.ledger.events.values_mut().for_each(|stored| stored.is_id_forgotten = true);
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
        let start = match consumer_start(floor, events.created, first, events.last) {
            ConsumerStart::AtFloor(start) => start,
            ConsumerStart::First => first,
        };
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
        let received = Received { source, sequence, epoch, deliveries, payload };
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

    /// Plans a round of every replica's trimmer.
    pub(crate) fn plan_trim(&mut self, delay: Ms) {
        let at = self.now + delay;
        for replica in 0..self.replicas.len() {
            let of = self.replica(replica);
            if of.is_up && !std::mem::replace(&mut of.is_trim_planned, true) {
                self.local(at, replica, Local::Trim);
            }
        }
    }

    /// One round of a trimmer, as `bus::trimmer` does it: stores the floor, then purges.
    pub(crate) fn trim(&mut self, replica: usize) {
        self.replica(replica).is_trim_planned = false;
        if self.broker.is_silent(self.now) {
            return self.plan_trim(TRIM_INTERVAL);
        }
        let bytes = if std::mem::take(&mut self.was_refused) { EVENT_BYTES } else { 0 };
        let needed = NeededSpace { bytes, storage_full: false };
        for _ in 0..PURGES_MAX {
            if !self.trim_once(needed) {
                break;
            }
        }
    }

    fn fill(&self) -> StreamFill {
        let events = &self.broker.events;
        let count = u64::try_from(events.messages.len()).unwrap_or(u64::MAX);
        let oldest = events.messages.values().next().map_or(0, |event| self.stored_at(*event));
        StreamFill {
            first: events.messages.keys().next().copied().unwrap_or(events.last + 1),
            last: events.last,
            messages: count,
            bytes: count * EVENT_BYTES,
            oldest_ms: epoch_ms(oldest),
        }
    }

    /// Returns when the broker stored an event.
    pub(crate) fn stored_at(&self, event: usize) -> Ms {
        self.ledger.events.get(&event).map_or(0, |stored| stored.published)
    }

    /// Stores the floor; returns up to where events may be purged.
    fn store_floor(&mut self, fill: &StreamFill) -> Option<u64> {
        let created = self.broker.events.created;
        let acknowledged = self.broker.event_consumer.as_ref().map(Consumer::ack_floor)?;
        let round = FloorRound::new(self.broker.floor, created, fill.first, acknowledged);
        if let Some(lost) = round.lost.as_ref() {
            self.ledger.violation("no gap without a loss", format!("{lost:?} counts as lost"));
        }
        let mut is_written = false;
        if let Some(next) = round.write {
            // The bucket may have stored it and not answered.
            is_written = self.now >= self.broker.answers_lost_until;
            if !self.is(Mutation::FloorNotStored) {
                self.broker.floor = Some(next);
            }
        }
        let usable = round.usable(is_written);
        let beyond = if self.is(Mutation::TrimBeyondFloor) { 2 } else { 0 };
        least_floor([(ROUTER_CONSUMER, usable + beyond)])
    }

    /// Decides and purges once; returns whether it purged.
    fn trim_once(&mut self, needed: NeededSpace) -> bool {
        let fill = self.fill();
        let floor = self.store_floor(&fill);
        let max = u64::try_from(self.broker.events.messages_max).unwrap_or(u64::MAX);
        let limits = TrimLimits {
            bytes_max: max.saturating_mul(EVENT_BYTES),
            age_max_ms: self.scenario.event_age_max,
        };
        let now_ms = epoch_ms(self.now);
        let mut round = TrimRound::new(&TrimInput { fill, floor, limits, needed, now_ms });
        let below = loop {
            match round.step() {
                TrimStep::Keep => return false,
                TrimStep::Probe(at) => {
                    let found = self.broker.events.messages.range(at..).next();
                    let probed = |(sequence, event): (&u64, &usize)| ProbedEvent {
                        sequence: *sequence,
                        stored_ms: epoch_ms(self.stored_at(*event)),
                    };
                    round.probed(found.map(probed));
                }
                TrimStep::Purge { below, .. } => break below,
            }
        };
        self.note(|| format!("events below {below} are purged, floor {floor:?}"));
        let kept = self.broker.events.messages.split_off(&below);
        let purged = std::mem::replace(&mut self.broker.events.messages, kept);
        if let Some(consumer) = &mut self.broker.event_consumer {
            consumer.purged(below - 1);
        }
        let (floor, created) = (self.broker.floor, self.broker.events.created);
        let is_stored = floor.is_some_and(|at| at.stream == created && at.sequence + 1 >= below);
        if !is_stored || lost_at_start(floor, created, below).is_some() {
            let detail = format!("events below {below} are purged, stored is {floor:?}");
            self.ledger.violation("purged below a stored floor", detail);
        }
        let is_empty = purged.is_empty();
        for event in purged.into_values() {
            self.ledger.released(self.scenario, event, self.now, "purged");
        }
        !is_empty
    }
}
