//! Messages that a puller has received and its worker has not taken.
//!
//! The puller extends the ack deadlines of all of them, and of those that the worker took last and
//! is examining, however long that takes.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_nats::Subject;
use tokio::sync::Notify;

use super::pull_credit::{PullAmount, PullCredit};
use super::pulled_message::PulledMessage;
use crate::event::Message;

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
    messages: VecDeque<PulledMessage>,
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

impl Prefetch {
    /// Creates a queue with this credit.
    pub(super) fn new(credit: PullCredit) -> Self {
        let queue = Queue {
            messages: VecDeque::new(),
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
        let message = queue.messages.pop_front()?;
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
        queue.messages.extend(arrivals.messages.drain(..));
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
