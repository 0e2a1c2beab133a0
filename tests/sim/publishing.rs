//! What a router stores before it acknowledges: parked records and dead letters, each published
//! under one message id until the broker confirms it.

use bytes::Bytes;
use switchyard::delivery::{
    DeadLetter, DeadLetterCause, DeadLetterReason, ParkReason, ParkedRecord,
};

use jiff::Timestamp;

use crate::broker::{Letter, LetterSubject, Pair, ParkedMessage, PublishAnswer};
use crate::dice::{Ms, Topic};
use crate::fixture::StoredHeaders;
use crate::mutation::Mutation;
use crate::policy::{self, Place};
use crate::replica::{Content, Publish, Stage};
use crate::world::{Action, Local, WINDOW, World, virtual_ms};

/// How long a publish waits for its answer.
const PUBLISH_TIMEOUT: Ms = 2_000;
/// First pause after an unconfirmed publish; doubles up to `PAUSE_MAX`.
const PAUSE_MIN: Ms = 100;
const PAUSE_MAX: Ms = 10_000;

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
        let Some(task) = self.replica(replica).tasks.get_mut(&id) else { return };
        task.stage = Stage::Publishing;
        task.delivery.progress.parks += 1;
        let (pair, handle) = (task.pair, task.handle);
        let record = ParkedRecord::of(&task.delivery, due, reason);
        let attempt = task.delivery.progress.attempt;
        if !record.is_repark && !self.has_place(replica, id, pair) {
            return self.exceeds_share(replica, id);
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

    /// Whether the owner may park a further delivery. Counts what is on its way too.
    fn has_place(&self, replica: usize, id: u64, pair: Pair) -> bool {
        if self.is(Mutation::ParkingShareIgnored) {
            return true;
        }
        let owner = self.owner(pair);
        let stored = &self.parked[owner];
        let on_the_way = self.replicas.iter().enumerate().flat_map(|(at, of)| {
            of.tasks.iter().filter(move |(task, of)| {
                let is_parking =
                    matches!(of.stage, Stage::Publishing) && of.delivery.progress.parks > 0;
                is_parking && (at, **task) != (replica, id)
            })
        });
        let on_the_way = on_the_way
            .filter(|(_, task)| self.owner(task.pair) == owner && !stored.contains(&task.pair))
            .count();
        let share = self.scenario.parking_share;
        stored.contains(&pair)
            || policy::place((stored.len() + on_the_way, share), (0, 1)) == Place::Parking
    }

    fn owner(&self, pair: Pair) -> usize {
        self.scenario.triggers[pair.subscription].installation
    }

    /// Dead-letters a delivery for which its owner has no place in the parking stream.
    fn exceeds_share(&mut self, replica: usize, id: u64) {
        // The reason is modelled: the router has none for shares yet.
        self.letter(replica, id, &DeadLetterReason::TooLarge);
    }

    /// Dead-letters a delivery, or drops it if its owner has no place for dead letters either.
    pub(crate) fn letter(&mut self, replica: usize, id: u64, reason: &DeadLetterReason) {
        let Some(task) = self.replica(replica).tasks.get_mut(&id) else { return };
        task.stage = Stage::Publishing;
        let (pair, handle) = (task.pair, task.handle);
        let cause = DeadLetterCause { reason, stage: "delivery", error: "" };
        let letter = DeadLetter::of_delivery(&task.delivery, &cause);
        let owner = self.owner(pair);
        let share = (self.letters[owner], self.scenario.letter_share);
        if policy::place((1, 1), share) == Place::Dropped {
            self.replica(replica).tasks.remove(&id);
            self.dropped(pair);
            if self.is(Mutation::DropNotCounted) {
                self.ledger.counted_drops -= 1;
            }
            return self.accounted(replica, handle);
        }
        self.letters[owner] += 1;
        let message_id = letter.message_id.clone();
        let content = Content::Letter(Letter { subject: LetterSubject::Pair(pair) });
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
        let letter = DeadLetter::of_event("sw.ev", &headers, Bytes::new(), sequence, &cause);
        // The sequence is used again after a stream was deleted.
        let message_id = format!("{}/{}", letter.message_id, self.broker.events.created);
        let content = Content::Letter(Letter { subject: LetterSubject::Event(event) });
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
        let incarnation = self.replica(replica).incarnation;
        self.send(Publish { replica, incarnation, handle, task, message_id, content, tries: 0 });
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
        let answer = (!is_silent).then(|| self.store(&publish, is_current));
        self.note(|| format!("{} published: {answer:?}", publish.message_id));
        if !is_current {
            return;
        }
        let (delay, answer) =
            if is_lost || is_silent { (PUBLISH_TIMEOUT, None) } else { (self.latency(), answer) };
        self.local(now + delay, replica, Local::Reply(publish, answer));
    }

    fn store(&mut self, publish: &Publish, is_current: bool) -> PublishAnswer {
        match &publish.content {
            Content::Parked(message, planned) => {
                self.store_record(&publish.message_id, message, *planned, is_current)
            }
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
                answer
            }
        }
    }

    fn store_record(
        &mut self,
        message_id: &str,
        message: &ParkedMessage,
        planned: Ms,
        is_current: bool,
    ) -> PublishAnswer {
        let (now, pair) = (self.now, message.pair);
        let answer = self.broker.parked.publish(message_id, now, message.clone());
        let PublishAnswer::Stored(sequence) = answer else { return answer };
        let record = &message.record;
        let before = self.record_ids.insert(record.message_id.clone(), now);
        if before.is_some_and(|at| now - at < WINDOW) && !self.is(Mutation::DedupIdWithoutParks) {
            let detail = format!("record {} is stored again", record.message_id);
            self.ledger.violation("stored once", detail);
        }
        self.ledger.account(pair).parked += 1;
        let owner = self.owner(pair);
        self.orphans += usize::from(!is_current && !self.parked[owner].contains(&pair));
        self.parked[owner].insert(pair);
        let count = self.parked[owner].len();
        if count > self.scenario.parking_share + self.orphans {
            let detail = format!("installation {owner} has {count} parked deliveries");
            self.ledger.violation("bounds", detail);
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
            if let Some(task) = publish.task {
                self.replica(replica).tasks.remove(&task);
            }
            return self.accounted(replica, publish.handle);
        }
        let pause = (PAUSE_MIN << publish.tries.min(10)).min(PAUSE_MAX);
        publish.tries += 1;
        if self.is(Mutation::RepeatGetsNewId) {
            publish.message_id = format!("{}/r{}", publish.message_id, publish.tries);
        }
        self.local(self.now + pause, replica, Local::Resend(Box::new(publish)));
    }
}
