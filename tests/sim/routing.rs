//! The router's glue: pulls, matches, settles and acknowledges. It calls the state machines as the
//! router does; a mutation changes a call.

use std::sync::Arc;

use switchyard::delivery::{ParkedDelivery, parked_owner};
use switchyard::event::EventPosition;

use crate::broker::{Pair, ParkedMessage, Source};
use crate::dice::Ms;
use crate::fixture::{self, Directory};
use crate::mutation::Mutation;
use crate::replica::{Handle, Place, Replica, position};
use crate::world::{ACK_WAIT, Local, Payload, Received, World};

/// Longest time that a message is held while nothing fails but handlers: queue, attempt, publish.
const HELD_MAX: Ms = crate::attempts::QUEUE_TIMEOUT + crate::attempts::ATTEMPT_TIMEOUT + 2_000;
/// Number of deliveries that the mutation of the poison rule takes for a crash.
const DELIVERIES_MAX: u32 = 5;
/// How long a replica that crashed on an event is down.
const RESTART: Ms = 1_000;
/// Time between two extensions of an acknowledgement deadline.
const EXTENSION: Ms = ACK_WAIT / 3;
/// Deliveries of an event that need no share of the permits; the router's number is 8.
const NARROW_MAX: usize = 3;

impl World<'_> {
    /// Carries out a step inside a replica that runs.
    pub(crate) fn local_step(&mut self, replica: usize, local: Local) {
        match local {
            Local::Apply => self.apply(replica),
            Local::AskRevision => self.ask_revision(replica),
            Local::Revision(gaps, revision) => self.revision_known(replica, gaps, revision),
            Local::Received(received) => self.received(replica, &received),
            Local::Decoded { handle, event } => self.decoded(replica, handle, event),
            Local::Examine => self.start_examination(replica),
            Local::CrashesRead(records) => self.crashes_read(replica, &records),
            Local::Marked(batch) => self.marked(replica, batch),
            Local::Resume { handle, message } => self.resume(replica, handle, message),
            Local::Extend(handle) => self.extend(replica, handle),
            Local::Attempt(task) => self.attempt(replica, task),
            Local::QueueTimeout(task) => self.queue_timeout(replica, task),
            Local::AttemptDone(task) => self.attempt_done(replica, task),
            Local::Reply(publish, answer) => self.replied(*publish, answer),
            Local::Resend(publish) => self.send(*publish),
            Local::Trim => self.trim(replica),
            Local::Count => self.count(replica),
        }
    }

    pub(crate) fn replica(&mut self, replica: usize) -> &mut Replica {
        &mut self.replicas[replica]
    }

    fn received(&mut self, replica: usize, received: &Received) {
        let now = self.now;
        let Received { source, sequence, epoch, deliveries, .. } = *received;
        let handle = self.replica(replica).next_id();
        let held =
            Handle { source, sequence, epoch, received: now, left: 1, share: None, place: None };
        self.replica(replica).handles.insert(handle, held);
        if !self.is(Mutation::NoExtension) {
            self.local(now + EXTENSION, replica, Local::Extend(handle));
        }
        let event = match &received.payload {
            Payload::Event(event) => *event,
            Payload::Record(message) => {
                let message = Box::new(message.clone());
                return self.resume(replica, handle, message);
            }
        };
        if self.is(Mutation::PoisonByDeliveryCount) {
            if deliveries > DELIVERIES_MAX {
                return self.poison_letter(replica, handle, event, sequence);
            }
        } else if deliveries > 1 {
            let position = EventPosition { sequence, stored_ms: self.stored_at(event) };
            return self.examine(replica, position, handle, event);
        }
        self.local(now + 1, replica, Local::Decoded { handle, event });
    }

    /// Examines an event that is delivered for the first time.
    fn decoded(&mut self, replica: usize, handle: u64, event: usize) {
        if self.is_held(replica) {
            return self.replica(replica).held.push(Local::Decoded { handle, event });
        }
        if self.ledger.events.get(&event).is_some_and(|stored| stored.poison) {
            return self.crash_on_event(replica);
        }
        self.matched(replica, handle, event);
    }

    pub(crate) fn crash_on_event(&mut self, replica: usize) {
        self.crash(replica, RESTART);
    }

    /// Matches an event and starts its deliveries.
    pub(crate) fn matched(&mut self, replica: usize, handle: u64, event: usize) {
        let Some(held) = self.replica(replica).handles.get(&handle) else { return };
        let sequence = held.sequence;
        let kind = self.ledger.events.get(&event).map_or(0, |stored| stored.kind);
        let triggers = self.scenario.triggers.iter().enumerate();
        let of = &mut self.replicas[replica];
        let matched = triggers.filter(|(at, trigger)| of.live[*at] && trigger.matches(kind));
        let matched: Vec<usize> = matched.map(|(at, _)| at).collect();
        if matched.is_empty() {
            return self.accounted(replica, handle);
        }
        let prepared = fixture::event(event, sequence);
        let share = (matched.len() > NARROW_MAX).then(|| of.queue.add_event());
        if let Some(held) = of.handles.get_mut(&handle) {
            held.left = matched.len();
            held.share = share;
        }
        for subscription in matched {
            let pair = Pair { event, subscription };
            let of = &self.subscriptions[subscription];
            let delivery = fixture::delivery(&prepared, of, self.now);
            self.begin(replica, handle, pair, delivery);
        }
    }

    /// Resumes a parked delivery.
    fn resume(&mut self, replica: usize, handle: u64, message: Box<ParkedMessage>) {
        if self.is_held(replica) {
            return self.replica(replica).held.push(Local::Resume { handle, message });
        }
        let ParkedMessage { record, pair, .. } = *message;
        let headers = fixture::StoredHeaders(&record.headers);
        let of = &mut self.replicas[replica];
        let directory = Directory { subscriptions: &self.subscriptions, live: &of.live };
        let place = parked_owner(&headers, &directory, record.owner.app.as_ref());
        if let Some(held) = of.handles.get_mut(&handle) {
            held.place = place;
        }
        let parked = ParkedDelivery::read(&headers, record.body.clone()).expect("our own record");
        if !of.live[pair.subscription] {
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
        if let Some(share) = held.share {
            of.queue.remove_event(share);
        }
        if let Some(place) = &held.place {
            of.give_back(&Place::Parking(place.clone()));
            if let Some(owner) = self.installation_of(place) {
                self.replica(replica).given_back[owner] += 1;
            }
            self.note(|| format!("replica {replica} gives back a place of {}", place.installation));
        }
        let of = self.replica(replica);
        if let Some(count) = of.in_flight.get_mut(position(held.source)) {
            *count = count.saturating_sub(1);
        }
        if self.scenario.is_calm() && now - held.received > HELD_MAX {
            let detail = format!("{:?} {} since {}", held.source, held.sequence, held.received);
            self.ledger.violation("nothing is held", detail);
        }
        if !self.acknowledge(&held) {
            // Its record fires again, and its place may be given back again.
            if let Some(place) = held.place {
                self.uncounted(&Place::Parking(place));
            }
        }
    }

    /// Acknowledges a message; returns whether the broker waited for it.
    fn acknowledge(&mut self, held: &Handle) -> bool {
        if self.broker.is_silent(self.now) {
            return false;
        }
        let (sequence, epoch) = (held.sequence, held.epoch);
        let consumer = self.consumer(held.source).filter(|of| of.epoch == epoch);
        if !consumer.is_some_and(|of| of.acknowledge(sequence)) {
            return false;
        }
        match held.source {
            Source::Events => {
                if let Some(event) = self.broker.events.messages.get(&sequence).copied() {
                    self.note(|| format!("event {event} is acknowledged"));
                    self.ledger.released(self.scenario, event, self.now, "acknowledged");
                    self.plan_trim(crate::feeding::TRIM_INTERVAL);
                }
            }
            Source::Due => {
                if let Some(message) = self.broker.parked.messages.remove(&sequence) {
                    let pair = message.pair;
                    self.unparked(pair, "its record is acknowledged");
                    if held.place.is_some() && self.ledger.account(pair).parked > 0 {
                        // The record that this one replaced waits for its acknowledgement.
                        let owner = self.owner(pair);
                        self.additions.uncounted[owner] += 1;
                    }
                }
                self.plan_count(5_000);
            }
        }
        true
    }

    /// Records that the parking stream lost a record of a delivery.
    pub(crate) fn unparked(&mut self, pair: Pair, how: &str) {
        let account = self.ledger.account(pair);
        account.parked = account.parked.saturating_sub(1);
        if account.parked == 0 {
            let owner = self.owner(pair);
            self.parked[owner].remove(&pair);
        }
        self.ledger.check(self.scenario, pair, self.now, how);
    }
}
