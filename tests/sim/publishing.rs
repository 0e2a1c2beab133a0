//! What a router stores before it acknowledges: parked records and dead letters, each published
//! under one message id until the broker confirms it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use switchyard::delivery::{
    DeadLetter, DeadLetterCause, DeadLetterReason, ParkReason, ParkedRecord, ShareOwner,
    StreamPosition,
};

use crate::broker::{Letter, LetterSubject, Pair, ParkedMessage, PublishAnswer};
use crate::counting::{GUARANTEED, one};
use crate::dice::{Ms, Topic};
use crate::fixture::StoredHeaders;
use crate::mutation::Mutation;
use crate::replica::{Content, Place, Publish, Stage};
use crate::world::{Action, Local, WINDOW, World, timestamp, virtual_ms};

/// How long a publish waits for its answer.
const PUBLISH_TIMEOUT: Ms = 2_000;
/// First pause after an unconfirmed publish; doubles up to `PAUSE_MAX`.
const PAUSE_MIN: Ms = 100;
const PAUSE_MAX: Ms = 10_000;
/// The default of `delivery.backlog_max_h`.
const BACKLOG_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

impl World<'_> {
    /// Parks a delivery until `due`; `planned` is when it should be due by the broker's clock.
    pub(crate) fn park(
        &mut self,
        replica: usize,
        id: u64,
        due: Timestamp,
        reason: ParkReason,
        planned: Ms,
    ) {
        let (now, schedule) = (timestamp(self.now), self.schedule());
        let Some(task) = self.replica(replica).tasks.get_mut(&id) else { return };
        if schedule.is_expired(&task.delivery.progress, reason, now, BACKLOG_AGE_MAX) {
            return self.letter(replica, id, &DeadLetterReason::Expired);
        }
        task.delivery.progress.parks += 1;
        let (pair, handle) = (task.pair, task.handle);
        let record = ParkedRecord::of(&task.delivery, due, reason);
        let attempt = task.delivery.progress.attempt;
        let mut place = None;
        if !record.is_repark {
            if !self.may_park(replica, &record.owner, pair) {
                return self.letter(replica, id, &DeadLetterReason::BacklogFull);
            }
            place = Some(Place::Parking(record.owner.clone()));
        }
        let of = self.replica(replica);
        if let Some(task) = of.tasks.get_mut(&id) {
            task.stage = Stage::Publishing(place);
        }
        if let Some(held) = of.handles.get_mut(&handle) {
            // The delivery keeps its place.
            held.place = None;
        }
        let mut message_id = record.message_id.clone();
        if self.is(Mutation::DedupIdWithoutParks) {
            message_id = format!("{}/{attempt}", record.id);
        }
        if self.is(Mutation::DedupIdWithoutDue) {
            message_id = message_id.rsplit_once('/').map_or_else(String::new, |(id, _)| id.into());
        }
        let planned = if reason == ParkReason::Backoff { planned } else { virtual_ms(due) };
        let content = Content::Parked(ParkedMessage { record, pair, is_due: false }, planned);
        self.publish(replica, handle, Some(id), message_id, content);
        if self.is(Mutation::AckBeforeParked) {
            self.accounted(replica, handle);
        }
    }

    /// Takes a place in the parking stream; returns whether there is one.
    fn may_park(&mut self, replica: usize, owner: &ShareOwner, pair: Pair) -> bool {
        let is_ignored = self.is(Mutation::ParkingShareIgnored);
        let installation = self.owner(pair);
        let of = self.replica(replica);
        let used = of.shares.parking().used_by(owner).messages;
        let is_admitted = of.shares.park(owner, one()).is_ok() || is_ignored;
        let place = if is_admitted { "a place" } else { "no place" };
        self.note(|| format!("replica {replica} has {place} for {pair:?}, {used} are used"));
        if !is_admitted && used < GUARANTEED {
            let detail = format!("installation {installation} uses {used}");
            self.ledger.violation("guaranteed places", detail);
        }
        is_admitted
    }

    pub(crate) fn owner(&self, pair: Pair) -> usize {
        self.scenario.triggers[pair.subscription].installation
    }

    /// Dead-letters a delivery, or drops it if its owner has no place for dead letters either.
    pub(crate) fn letter(&mut self, replica: usize, id: u64, reason: &DeadLetterReason) {
        let Some(task) = self.replica(replica).tasks.get_mut(&id) else { return };
        let (pair, handle) = (task.pair, task.handle);
        let cause = DeadLetterCause { reason, stage: "delivery", error: "" };
        let letter = DeadLetter::of_delivery(&task.delivery, &cause);
        let installation = self.owner(pair);
        let owner = self.letter_owner(installation);
        let is_ignored = self.is(Mutation::LetterShareIgnored);
        let of = self.replica(replica);
        if of.shares.dead_letter(&owner, one()).is_err() && !is_ignored {
            of.tasks.remove(&id);
            self.dropped(pair);
            if self.is(Mutation::DropNotCounted) {
                self.ledger.counted_drops -= 1;
            }
            return self.accounted(replica, handle);
        }
        if let Some(task) = of.tasks.get_mut(&id) {
            task.stage = Stage::Publishing(Some(Place::DeadLetters(owner)));
        }
        let message_id = letter.message_id.clone();
        let subject = LetterSubject::Pair(pair);
        let content = Content::Letter(Letter { subject, owner: Some(installation) });
        self.publish(replica, handle, Some(id), message_id, content);
    }

    /// Dead-letters an event that crashes routers.
    pub(crate) fn poison_letter(
        &mut self,
        replica: usize,
        handle: u64,
        event: usize,
        sequence: u64,
    ) {
        let (reason, none) = (DeadLetterReason::Poison("crash"), Vec::new());
        let cause = DeadLetterCause { reason: &reason, stage: "decode", error: "" };
        let headers = StoredHeaders(&none);
        let stored_ms = self.ledger.events.get(&event).map_or(0, |stored| stored.published);
        let position = StreamPosition { sequence, stored_ms };
        let message_id =
            DeadLetter::of_event("sw.ev", &headers, Bytes::new(), position, &cause).message_id;
        let content = Content::Letter(Letter { subject: LetterSubject::Event(event), owner: None });
        self.publish(replica, handle, None, message_id, content);
    }

    fn publish(
        &mut self,
        replica: usize,
        handle: u64,
        task: Option<u64>,
        message_id: String,
        content: Content,
    ) {
        let of = self.replica(replica);
        let (incarnation, known) = (of.incarnation, Arc::clone(&of.known));
        let tries = 0;
        let publish =
            Publish { replica, incarnation, handle, task, message_id, content, known, tries };
        self.send(publish);
    }

    /// Sends a publish to the broker.
    pub(crate) fn send(&mut self, publish: Publish) {
        self.at(self.now + self.latency(), Action::Arrive(Box::new(publish)));
    }

    /// A publish reaches the broker.
    pub(crate) fn arrive(&mut self, publish: Box<Publish>) {
        let now = self.now;
        let replica = publish.replica;
        let is_current = self.replica(replica).incarnation == publish.incarnation;
        let at = (Topic::Unknown, self.steps, 0);
        let is_lost = now < self.broker.answers_lost_until
            || self.dice.chance(at, self.scenario.unknown_percent);
        let is_silent = self.broker.is_silent(now);
        let answer = (!is_silent).then(|| self.store(&publish));
        self.note(|| format!("{} published: {answer:?}", publish.message_id));
        if !is_current {
            return;
        }
        let (delay, answer) =
            if is_lost || is_silent { (PUBLISH_TIMEOUT, None) } else { (self.latency(), answer) };
        self.local(now + delay, replica, Local::Reply(publish, answer));
    }

    fn store(&mut self, publish: &Publish) -> PublishAnswer {
        let process = (publish.replica, publish.incarnation);
        match &publish.content {
            Content::Parked(message, planned) => self.store_record(publish, message, *planned),
            Content::Letter(letter) => {
                let answer = self.broker.dead.publish(&publish.message_id, self.now, *letter);
                match letter.subject {
                    LetterSubject::Pair(pair) => self.ledger.account(pair).letters += 1,
                    LetterSubject::Event(event) => {
                        if let Some(stored) = self.ledger.events.get_mut(&event) {
                            stored.is_letter = true;
                        }
                    }
                }
                if let (PublishAnswer::Stored(_), Some(owner)) = (answer, letter.owner) {
                    self.added_letter(owner, process, &publish.known);
                }
                answer
            }
        }
    }

    fn store_record(
        &mut self,
        publish: &Publish,
        message: &ParkedMessage,
        planned: Ms,
    ) -> PublishAnswer {
        let (now, pair) = (self.now, message.pair);
        let answer = self.broker.parked.publish(&publish.message_id, now, message.clone());
        let PublishAnswer::Stored(sequence) = answer else { return answer };
        let record = &message.record;
        let before = self.record_ids.insert(record.message_id.clone(), now);
        if before.is_some_and(|at| now - at < WINDOW) && !self.is(Mutation::DedupIdWithoutParks) {
            let detail = format!("record {} is stored again", record.message_id);
            self.ledger.violation("stored once", detail);
        }
        self.ledger.account(pair).parked += 1;
        let owner = self.owner(pair);
        self.parked[owner].insert(pair);
        if !record.is_repark {
            let process = (publish.replica, publish.incarnation);
            self.added_parked(pair, process, &publish.known);
        }
        let replaced = self.broker.schedules.insert(record.id.to_string(), sequence);
        if replaced.is_some_and(|at| self.broker.parked.messages.remove(&at).is_some()) {
            self.unparked(pair, "its schedule is replaced");
        }
        self.check_due(pair, record.due, planned);
        let due = virtual_ms(record.due);
        if due > now || !self.is(Mutation::PastScheduleLost) {
            self.at(due.max(now) + self.lateness(sequence), Action::Fire(sequence));
        }
        answer
    }

    /// The answer to a publish reaches its router, or does not come in time.
    pub(crate) fn replied(&mut self, mut publish: Publish, answer: Option<PublishAnswer>) {
        let replica = publish.replica;
        let is_held = self.replica(replica).handles.contains_key(&publish.handle);
        let counts_as_stored = answer.is_some_and(|answer| answer != PublishAnswer::Full)
            || self.is(Mutation::UnknownCountsAsStored);
        if counts_as_stored || !is_held {
            self.confirmed(&publish);
            return self.accounted(replica, publish.handle);
        }
        let pause = (PAUSE_MIN << publish.tries.min(10)).min(PAUSE_MAX);
        publish.tries += 1;
        if self.is(Mutation::RepeatGetsNewId) {
            publish.message_id = format!("{}/r{}", publish.message_id, publish.tries);
        }
        self.local(self.now + pause, replica, Local::Resend(Box::new(publish)));
    }

    /// Ends the task of a confirmed publish; its place is kept.
    fn confirmed(&mut self, publish: &Publish) {
        let of = self.replica(publish.replica);
        let Some(task) = publish.task.and_then(|task| of.tasks.remove(&task)) else { return };
        if let Stage::Publishing(Some(Place::DeadLetters(owner))) = task.stage {
            of.shares.end_publishing(&owner, one(), true);
        }
    }
}
