//! Model of the broker: streams, durable pull consumers and schedules with JetStream's rules.

use std::collections::{BTreeMap, HashMap, VecDeque};

use switchyard::bus::floor::Checkpoint;
use switchyard::delivery::{Changes, ParkedRecord};
use switchyard::event::CrashRecord;

use crate::dice::Ms;

/// Answer of a stream to a publish.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PublishAnswer {
    /// Stored with this sequence.
    Stored(u64),
    /// The message id was stored within the deduplication window.
    Duplicate,
    /// The stream is full; it discards new messages.
    Full,
}

/// A stream with a deduplication window. It discards new messages when it is full.
#[derive(Debug)]
pub(crate) struct Stream<T> {
    pub(crate) messages: BTreeMap<u64, T>,
    pub(crate) last: u64,
    /// When it was created; distinguishes it from its successor of the same name.
    pub(crate) created: Ms,
    pub(crate) messages_max: usize,
    window: Ms,
    ids: HashMap<String, Ms>,
}

impl<T> Stream<T> {
    pub(crate) fn new(created: Ms, window: Ms, messages_max: usize) -> Self {
        let (messages, ids) = (BTreeMap::new(), HashMap::new());
        Self { messages, last: 0, created, messages_max, window, ids }
    }

    /// Stores a message; the deduplication comes before the limit, as in JetStream.
    pub(crate) fn publish(&mut self, id: &str, now: Ms, message: T) -> PublishAnswer {
        if self.ids.get(id).is_some_and(|at| now - at < self.window) {
            return PublishAnswer::Duplicate;
        }
        if self.messages.len() >= self.messages_max {
            return PublishAnswer::Full;
        }
        self.ids.insert(id.to_owned(), now);
        PublishAnswer::Stored(self.append(message))
    }

    /// Appends a message without a message id.
    pub(crate) fn append(&mut self, message: T) -> u64 {
        self.last += 1;
        self.messages.insert(self.last, message);
        self.last
    }
}

/// A message that a consumer delivered and that is not acknowledged.
#[derive(Clone, Copy, Debug)]
struct Pending {
    deadline: Ms,
    deliveries: u32,
}

/// A durable pull consumer with explicit acknowledgements.
#[derive(Debug)]
pub(crate) struct Consumer {
    /// Distinguishes a consumer from its successor of the same name.
    pub(crate) epoch: u64,
    pub(crate) next: u64,
    ack_wait: Ms,
    pending_max: usize,
    pending: BTreeMap<u64, Pending>,
    redeliver: VecDeque<u64>,
}

impl Consumer {
    /// Creates a consumer that starts with sequence `start`.
    pub(crate) fn new(epoch: u64, start: u64, ack_wait: Ms, pending_max: usize) -> Self {
        let (pending, redeliver) = (BTreeMap::new(), VecDeque::new());
        Self { epoch, next: start.max(1), ack_wait, pending_max, pending, redeliver }
    }

    /// Delivers the next message that `wanted` accepts: sequence and number of deliveries.
    pub(crate) fn deliver<T>(
        &mut self,
        stream: &Stream<T>,
        now: Ms,
        wanted: impl Fn(&T) -> bool,
    ) -> Option<(u64, u32)> {
        let deadline = now + self.ack_wait;
        while let Some(sequence) = self.redeliver.pop_front() {
            match self.pending.get_mut(&sequence) {
                Some(pending) if stream.messages.contains_key(&sequence) => {
                    *pending = Pending { deadline, deliveries: pending.deliveries + 1 };
                    return Some((sequence, pending.deliveries));
                }
                _ => _ = self.pending.remove(&sequence),
            }
        }
        if self.pending.len() >= self.pending_max {
            return None;
        }
        let found = stream.messages.range(self.next..).find(|(_, message)| wanted(message));
        let sequence = *found?.0;
        self.next = sequence + 1;
        self.pending.insert(sequence, Pending { deadline, deliveries: 1 });
        Some((sequence, 1))
    }

    /// Acknowledges a message; false if the consumer does not wait for it.
    pub(crate) fn acknowledge(&mut self, sequence: u64) -> bool {
        self.pending.remove(&sequence).is_some()
    }

    /// Moves the deadline of a message in work.
    pub(crate) fn in_progress(&mut self, sequence: u64, now: Ms) {
        if let Some(pending) = self.pending.get_mut(&sequence) {
            pending.deadline = now + self.ack_wait;
        }
    }

    /// Schedules a message for redelivery if its deadline passed. Returns when to look again.
    pub(crate) fn expire(&mut self, sequence: u64, now: Ms) -> Option<Ms> {
        let pending = self.pending.get(&sequence)?;
        if pending.deadline > now {
            return Some(pending.deadline);
        }
        if !self.redeliver.contains(&sequence) {
            self.redeliver.push_back(sequence);
        }
        None
    }

    /// Schedules a message for redelivery at once.
    pub(crate) fn nak(&mut self, sequence: u64) {
        if self.pending.contains_key(&sequence) && !self.redeliver.contains(&sequence) {
            self.redeliver.push_back(sequence);
        }
    }

    /// Forgets the messages up to `sequence`: they were purged.
    pub(crate) fn purged(&mut self, sequence: u64) {
        self.pending.retain(|pending, _| *pending > sequence);
        self.next = self.next.max(sequence + 1);
    }

    /// Every message up to this sequence is acknowledged.
    pub(crate) fn ack_floor(&self) -> u64 {
        let first = self.pending.keys().next();
        first.map_or(self.next - 1, |first| first - 1)
    }
}

/// A message of the parking stream.
#[derive(Clone, Debug)]
pub(crate) struct ParkedMessage {
    pub(crate) record: ParkedRecord,
    pub(crate) pair: Pair,
    /// False while it is a schedule, true once the broker fired it.
    pub(crate) is_due: bool,
}

/// Event and subscription of a delivery, by their numbers in the scenario.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Pair {
    pub(crate) event: usize,
    pub(crate) subscription: usize,
}

/// What a dead letter is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LetterSubject {
    Pair(Pair),
    Event(usize),
}

/// A message of the dead-letter stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Letter {
    pub(crate) subject: LetterSubject,
    /// Installation that pays for it; none for the letter of an event.
    pub(crate) owner: Option<usize>,
}

/// A process: replica and incarnation.
pub(crate) type Process = (usize, u64);

/// Which consumer delivered a message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Source {
    Events,
    Due,
}

/// The broker: three streams, two consumers, the KV buckets.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) events: Stream<usize>,
    pub(crate) parked: Stream<ParkedMessage>,
    pub(crate) dead: Stream<Letter>,
    /// None while it is deleted.
    pub(crate) event_consumer: Option<Consumer>,
    pub(crate) due_consumer: Consumer,
    /// Sequence of the schedule of each delivery: a later one replaces it.
    pub(crate) schedules: HashMap<String, u64>,
    /// KV: the floor of the consumer of events.
    pub(crate) floor: Option<Checkpoint>,
    /// KV: the redelivered events that each process examines.
    pub(crate) crash_marks: BTreeMap<Process, Vec<CrashRecord>>,
    /// KV: what each process changed in the parking stream, and when it wrote that.
    pub(crate) share_documents: BTreeMap<Process, (Changes, Ms)>,
    /// Number of changes of the registry.
    pub(crate) registry_revision: u64,
    /// No answer and nothing stored until this time: the stream elects a leader.
    pub(crate) silent_until: Ms,
    /// Publishes are stored and the answers are lost until this time.
    pub(crate) answers_lost_until: Ms,
    pub(crate) epochs: u64,
}

impl Broker {
    pub(crate) fn is_silent(&self, now: Ms) -> bool {
        now < self.silent_until
    }
}
