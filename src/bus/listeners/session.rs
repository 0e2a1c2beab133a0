//! One listening client: its deliveries in, the answers out, until it disconnects.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use async_nats::{Message, Subject, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::mpsc;

use super::announcements::{Announcer, News};
use crate::clock;
use crate::delivery::ListenerAnswer;
use crate::event::codec::decoded_text;
use crate::registry::{ListenerDelivery, ListenerRecord};

/// Header with the number of the delivery that a message answers.
pub(super) const DELIVERY_NUMBER: &str = "switchyard-delivery-number";
/// Most unanswered deliveries of a client.
pub(super) const DELIVERIES_MAX: usize = 64;
/// Most bytes of their bodies.
const BODY_BYTES_MAX: usize = 8 << 20;
/// Interval at which the lease of the listener is renewed at all replicas.
const RENEW_INTERVAL: Duration = Duration::from_secs(3);
/// Time for the deliveries that are on their way when a client disconnects.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// A listening client.
pub(super) struct Session {
    announcer: Announcer,
    record: ListenerRecord,
    deliveries: Subscriber,
    answers: Subscriber,
    sender: mpsc::Sender<ListenerDelivery>,
    unanswered: HashMap<String, Unanswered>,
    unanswered_bytes: usize,
    /// Number of the next delivery.
    number: u64,
}

/// A delivery that waits for its answer.
struct Unanswered {
    reply: Subject,
    bytes: usize,
    since: Instant,
}

impl Session {
    pub(super) fn new(
        announcer: Announcer,
        record: ListenerRecord,
        (deliveries, answers): (Subscriber, Subscriber),
        sender: mpsc::Sender<ListenerDelivery>,
    ) -> Self {
        Self {
            announcer,
            record,
            deliveries,
            answers,
            sender,
            unanswered: HashMap::new(),
            unanswered_bytes: 0,
            number: 0,
        }
    }

    /// Relays until the client disconnects or the router stops; then the listener has ended.
    pub(super) async fn run(mut self) {
        let mut renewals = tokio::time::interval(RENEW_INTERVAL);
        renewals.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (sender, stop) = (self.sender.clone(), self.announcer.stop.clone());
        loop {
            tokio::select! {
                // The client disconnected.
                () = sender.closed() => break,
                () = stop.cancelled() => break,
                message = self.deliveries.next() => match message {
                    Some(message) => self.deliver(message).await,
                    None => break,
                },
                message = self.answers.next() => match message {
                    Some(message) => self.answer(message).await,
                    None => break,
                },
                _ = renewals.tick() => {
                    self.forget_overdue();
                    if !self.renew().await {
                        break;
                    }
                }
            }
        }
        self.end().await;
    }

    /// Passes a delivery on. Never waits for the client: a slow one is answered for at once.
    async fn deliver(&mut self, message: Message) {
        let Some(reply) = message.reply.clone() else { return };
        let bytes = message.payload.len();
        let has_place = self.unanswered.len() < DELIVERIES_MAX
            && self.unanswered_bytes.saturating_add(bytes) <= BODY_BYTES_MAX;
        self.number += 1;
        let number = self.number.to_string();
        let delivery = listener_delivery(number.clone(), message);
        if !has_place || self.sender.try_send(delivery).is_err() {
            self.reply(reply, ListenerAnswer::Busy.write()).await;
            return;
        }
        self.unanswered_bytes += bytes;
        self.unanswered.insert(number, Unanswered { reply, bytes, since: clock::tick() });
    }

    /// Passes an answer on, and confirms it to the replica that received it.
    async fn answer(&mut self, message: Message) {
        let number = message.headers.as_ref().and_then(|headers| headers.get(DELIVERY_NUMBER));
        let found = number.and_then(|number| self.remove(number.as_str()));
        if let Some(confirm) = message.reply {
            // Empty: nothing waits for this answer.
            let body = if found.is_some() { "ok" } else { "" };
            let _ = self.announcer.client.publish(confirm, Bytes::from(body)).await;
        }
        if let Some(found) = found {
            self.reply(found.reply, message.payload).await;
        }
    }

    fn remove(&mut self, delivery: &str) -> Option<Unanswered> {
        let found = self.unanswered.remove(delivery)?;
        self.unanswered_bytes = self.unanswered_bytes.saturating_sub(found.bytes);
        Some(found)
    }

    /// Forgets deliveries whose attempts have ended without an answer.
    fn forget_overdue(&mut self) {
        let timeout = self.announcer.timeout;
        self.unanswered.retain(|_, one| clock::since(one.since) <= timeout);
        self.unanswered_bytes = self.unanswered.values().map(|one| one.bytes).sum();
    }

    /// Renews the lease at all replicas; false if the listener is permitted no longer.
    async fn renew(&self) -> bool {
        if !self.announcer.listeners.is_permitted(&self.record) {
            return false;
        }
        let is_matched = self.announcer.renew(self.record.clone()).await;
        self.announcer.announce(News::Begun { record: self.record.clone() }).await;
        is_matched
    }

    /// Ends the listener at all replicas, and the attempts that wait for it.
    async fn end(mut self) {
        self.announcer.end(self.record.id.clone()).await;
        self.announcer.announce(News::Ended { id: self.record.id.clone() }).await;
        let waiting: Vec<Unanswered> = self.unanswered.drain().map(|(_, one)| one).collect();
        for one in waiting {
            self.reply(one.reply, ListenerAnswer::Disconnected.write()).await;
        }
        // What is on its way. The broker itself answers for those after it.
        if self.deliveries.drain().await.is_ok() {
            let rest = async {
                while let Some(message) = self.deliveries.next().await {
                    if let Some(reply) = message.reply {
                        let answer = ListenerAnswer::Disconnected.write();
                        let _ = self.announcer.client.publish(reply, answer).await;
                    }
                }
            };
            let _ = tokio::time::timeout(DRAIN_MAX, rest).await;
        }
        tracing::debug!(listener = %self.record.id, "listener ended");
    }

    async fn reply(&self, reply: Subject, answer: Bytes) {
        if let Err(error) = self.announcer.client.publish(reply, answer).await {
            // The attempt ends by its timeout.
            tracing::debug!(%error, "answer of a listener is not returned");
        }
    }
}

/// Returns a delivery as the client gets it.
fn listener_delivery(number: String, message: Message) -> ListenerDelivery {
    let headers = message.headers.iter().flat_map(|headers| headers.iter());
    let headers = headers.flat_map(|(name, values)| {
        values.iter().map(|value| (name.to_string(), decoded_text(value.as_str())))
    });
    ListenerDelivery { number, headers: headers.collect(), body: message.payload.clone() }
}
