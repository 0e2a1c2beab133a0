//! Messages that a puller has received and its worker has not taken.
//!
//! The worker takes them in fair turns of their owners, the sites of events and the apps of parked
//! deliveries: however many one owner has, the messages of others wait for one turn of it. That holds
//! for what was pulled; the broker sends events in the order of their stream.
//!
//! The puller extends the ack deadlines of all of them, and of those that the worker took last and
//! is examining, however long that takes.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_nats::Subject;
use tokio::sync::Notify;

use super::pull_credit::{PullAmount, PullCredit};
use super::pulled_message::PulledMessage;
use crate::domain::FairTurns;
use crate::event::Message;

/// Cost of a turn: two or three events of usual size.
const QUANTUM: u64 = 8 << 10;
/// Cost of a message in addition to its bytes.
const MESSAGE_COST: u64 = 4 << 10;

/// Returns the owner of a message by its subject.
pub(super) type OwnerOf = fn(&str) -> &str;

/// The queue between a puller and its worker.
#[derive(Debug)]
pub(super) struct Prefetch {
    queue: Mutex<Queue>,
    /// Wakes the worker: messages arrived.
    arrived: Notify,
    /// Wakes the puller: a request is due, or the subscription must be opened again.
    taken: Notify,
}

#[derive(Debug)]
struct Queue {
    messages: FairTurns<PulledMessage>,
    owner_of: OwnerOf,
    waiting: PullAmount,
    /// Reply subjects of the messages taken since the worker last waited.
    examined: Vec<Subject>,
    credit: PullCredit,
    /// Whether the puller was woken to send a request.
    is_request_signalled: bool,
    /// Rises with each subscription; messages of an earlier one are dropped.
    generation: u64,
}

/// Messages, as the broker sent them.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    pub(super) messages: Vec<PulledMessage>,
    /// Number of messages, including unreadable ones.
    pub(super) count: usize,
}

impl Queue {
    fn push(&mut self, message: PulledMessage) {
        let bytes = u64::try_from(message.payload().len()).unwrap_or(u64::MAX);
        let cost = bytes.saturating_add(MESSAGE_COST);
        let owner = self.messages.owner((self.owner_of)(message.address()));
        self.messages.push(owner, cost, message);
    }
}

impl Prefetch {
    /// Creates a queue with this credit, whose messages belong to the owners that `owner_of` returns.
    pub(super) fn new(credit: PullCredit, owner_of: OwnerOf) -> Self {
        let queue = Queue {
            messages: FairTurns::new(QUANTUM),
            owner_of,
            waiting: PullAmount::default(),
            examined: Vec::new(),
            credit,
            is_request_signalled: false,
            generation: 0,
        };
        Self { queue: Mutex::new(queue), arrived: Notify::new(), taken: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next message. Earlier messages count as examined.
    pub(super) async fn next(&self) -> PulledMessage {
        self.lock().examined.clear();
        loop {
            if let Some(message) = self.take() {
                return message;
            }
            self.arrived.notified().await;
        }
    }

    /// Returns the next message if one waits.
    pub(super) fn take(&self) -> Option<PulledMessage> {
        let mut queue = self.lock();
        let message = queue.messages.pop()?;
        queue.waiting = queue.waiting.minus(amount_of(&message));
        queue.examined.push(message.reply().clone());
        if !queue.is_request_signalled && queue.credit.is_due(queue.waiting) {
            queue.is_request_signalled = true;
            self.taken.notify_one();
        }
        Some(message)
    }

    /// Drops all messages and ends the subscription; the puller opens another one.
    pub(super) fn discard(&self) {
        let mut queue = self.lock();
        queue.messages.clear();
        queue.waiting = PullAmount::default();
        queue.examined.clear();
        queue.generation += 1;
        self.taken.notify_one();
    }

    /// Starts the accounting of a new subscription; returns its generation.
    pub(super) fn start(&self) -> u64 {
        let mut queue = self.lock();
        queue.credit.restart();
        queue.generation += 1;
        queue.generation
    }

    /// Returns the size of the request that is due at `now_ms`, if any, of at most `messages_max`
    /// messages, and counts it.
    pub(super) fn request(&self, messages_max: usize, now_ms: i64) -> Option<PullAmount> {
        let mut queue = self.lock();
        queue.is_request_signalled = false;
        let waiting = queue.waiting;
        queue.credit.request(waiting, messages_max, now_ms)
    }

    /// Adds messages of a subscription; returns false if it was ended.
    pub(super) fn push(&self, generation: u64, arrivals: &mut Arrivals) -> bool {
        let mut queue = self.lock();
        if queue.generation != generation {
            return false;
        }
        queue.credit.receive(std::mem::take(&mut arrivals.count));
        let amounts = arrivals.messages.iter().map(amount_of);
        queue.waiting = amounts.fold(queue.waiting, PullAmount::plus);
        for message in arrivals.messages.drain(..) {
            queue.push(message);
        }
        self.arrived.notify_one();
        true
    }

    /// Counts the end of a request with `unserved` messages left, if that is known.
    pub(super) fn expire(&self, unserved: Option<usize>) {
        self.lock().credit.expire(unserved);
    }

    /// Whether the subscription of this generation was not ended.
    pub(super) fn is_current(&self, generation: u64) -> bool {
        self.lock().generation == generation
    }

    /// Whether messages are requested that did not arrive.
    pub(super) fn is_waiting(&self) -> bool {
        self.lock().credit.is_waiting()
    }

    /// Waits until the worker took messages or ended the subscription.
    pub(super) async fn taken(&self) {
        self.taken.notified().await;
    }

    /// Returns the reply subjects of all messages whose deadline must be extended.
    pub(super) fn unfinished(&self) -> Vec<Subject> {
        let queue = self.lock();
        let waiting = queue.messages.iter().map(PulledMessage::reply);
        queue.examined.iter().chain(waiting).cloned().collect()
    }
}

fn amount_of(message: &PulledMessage) -> PullAmount {
    PullAmount::one(message.payload().len())
}
