//! Pulls messages of a durable consumer into a queue, in a task of its own.
//!
//! The broker starts the ack deadline of a message when it sends it, so every message counts from
//! then on: requested messages are received at once, whatever the worker does, and the deadlines of
//! all messages in the queue are extended. The queue is bounded by what is requested
//! ([`PullCredit`](super::pull_credit::PullCredit)), never by leaving messages in the client's
//! channel or by ending the subscription: both cost repeats without a fault (801 of 2,000 events
//! with 40 events in flight).
//!
//! **Source:** NATS ADR-13, pull subscribe internals; ADR-37, simplified client.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use async_nats::{Message, StatusCode, Subscriber};
use futures_util::{FutureExt, StreamExt};
use serde::Serialize;

use super::connect::JetStreamClient;
use super::durable::DurableConsumer;
use super::metrics;
use super::prefetch::{Arrivals, Prefetch};
use super::pull_credit::PullAmount;
use super::pulled_message::AckSender;
use crate::clock;

/// How long the broker keeps a pull request open that finds nothing.
const EXPIRES: Duration = Duration::from_secs(10);
/// Interval of the broker's heartbeats on an open pull request.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// Without a message or a heartbeat for this long, the subscription is opened again.
const SILENCE_MAX: Duration = Duration::from_secs(2 * HEARTBEAT.as_secs() + 1);
/// Interval of the checks for silence and for a new connection.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// Pause before a subscription is opened again, and after a rejected request.
const PAUSE: Duration = Duration::from_millis(100);
/// The status of a request whose messages were all sent.
const BATCH_COMPLETED: &str = "Batch Completed";
/// The status of a request whose next message is larger than what is left of its bytes.
const MESSAGE_TOO_LARGE: &str = "Message Size Exceeds MaxBytes";
/// Header with the unserved rest of a request that ended.
const PENDING_MESSAGES: &str = "Nats-Pending-Messages";

/// Pulls into a [`Prefetch`] until it is dropped.
#[derive(Debug)]
pub(super) struct Puller {
    pub(super) jetstream_client: JetStreamClient,
    pub(super) sender: AckSender,
    pub(super) consumer: DurableConsumer,
    /// How often deadlines are extended.
    pub(super) extend_interval: Duration,
    pub(super) prefetch: Arc<Prefetch>,
}

/// Why a subscription ended.
enum Ended {
    /// The worker ended it, or the connection is a new one.
    Replaced,
    /// It failed, for the reason that is counted.
    Stalled(&'static str),
}

/// The body of a pull request.
#[derive(Serialize)]
struct PullRequest {
    batch: usize,
    /// 0 for no limit.
    max_bytes: usize,
    /// Nanoseconds.
    expires: u128,
    /// Nanoseconds.
    idle_heartbeat: u128,
}

impl Puller {
    /// Pulls and extends deadlines until the future is dropped.
    pub(super) async fn run(self) {
        tokio::join!(self.pull(), self.extend_deadlines());
    }

    async fn extend_deadlines(&self) {
        loop {
            tokio::time::sleep(self.extend_interval).await;
            for reply in self.prefetch.unfinished() {
                self.sender.in_progress(reply).await;
            }
        }
    }

    async fn pull(&self) {
        loop {
            let ended = match self.open().await {
                Ok(subscription) => subscription.receive().await,
                Err(error) => {
                    tracing::debug!(stream = self.consumer.stream_name(), %error, "consumer not available yet");
                    Ended::Stalled("consumer_gone")
                }
            };
            if let Ended::Stalled(reason) = ended {
                metrics::stalled(reason);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Gets or creates the consumer and subscribes to its answers.
    async fn open(&self) -> Result<PullInbox<'_>, async_nats::Error> {
        self.consumer.open().await?;
        let name = self.consumer.name()?;
        let client = &self.jetstream_client.client;
        let inbox = client.new_inbox();
        Ok(PullInbox {
            puller: self,
            connects: self.connects(),
            requests_to: format!(
                "$JS.API.CONSUMER.MSG.NEXT.{}.{name}",
                self.consumer.stream_name()
            ),
            subscriber: client.subscribe(inbox.clone()).await?,
            inbox,
            generation: self.prefetch.start(),
            received_at: clock::tick(),
            arrivals: Arrivals::default(),
            is_served: false,
            is_blocked: false,
        })
    }

    /// Number of connections made so far.
    fn connects(&self) -> u64 {
        self.jetstream_client.client.statistics().connects.load(Relaxed)
    }
}

/// A subscription to the answers of pull requests.
struct PullInbox<'p> {
    puller: &'p Puller,
    /// Number of connections when it was opened; a new connection has no pull requests.
    connects: u64,
    requests_to: String,
    inbox: String,
    subscriber: Subscriber,
    generation: u64,
    /// When the broker last sent anything.
    received_at: Instant,
    arrivals: Arrivals,
    /// Whether a message arrived since a request ended.
    is_served: bool,
    /// Whether the next message is larger than a whole request was.
    is_blocked: bool,
}

impl PullInbox<'_> {
    /// Requests and receives messages until the subscription ends.
    async fn receive(mut self) -> Ended {
        let prefetch = &self.puller.prefetch;
        let mut check = tokio::time::interval(CHECK_INTERVAL);
        check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            if !prefetch.is_current(self.generation) {
                return Ended::Replaced;
            }
            // A message larger than a whole request is pulled alone: it would block all others.
            let messages_max = if self.is_blocked { 1 } else { usize::MAX };
            if let Some(size) = prefetch.request(messages_max, clock::uptime_ms()) {
                self.request(size).await;
            }
            tokio::select! {
                first = self.subscriber.next() => {
                    if let Some(ended) = self.receive_all(first).await {
                        return ended;
                    }
                }
                () = prefetch.taken() => {}
                _ = check.tick() => {
                    if self.puller.connects() != self.connects {
                        return Ended::Replaced;
                    }
                    let silence = clock::since(self.received_at);
                    if prefetch.is_waiting() && silence > SILENCE_MAX {
                        return Ended::Stalled("no_heartbeat");
                    }
                }
            }
        }
    }

    async fn request(&mut self, size: PullAmount) {
        let is_alone = std::mem::take(&mut self.is_blocked);
        let request = PullRequest {
            batch: size.messages,
            max_bytes: if is_alone { 0 } else { size.bytes },
            expires: EXPIRES.as_nanos(),
            idle_heartbeat: HEARTBEAT.as_nanos(),
        };
        let Ok(body) = serde_json::to_vec(&request) else { return };
        let client = &self.puller.jetstream_client.client;
        let (subject, inbox) = (self.requests_to.clone(), self.inbox.clone());
        self.received_at = clock::tick();
        // An unsent request is noticed as silence.
        if let Err(error) = client.publish_with_reply(subject, inbox, body.into()).await {
            tracing::debug!(%error, "pull request not sent");
        }
    }

    /// Receives `first` and what arrived with it.
    async fn receive_all(&mut self, first: Option<Message>) -> Option<Ended> {
        self.received_at = clock::tick();
        let mut next = Some(first);
        let mut ended = None;
        // Ends early when the budget of the task is used up; the rest is received by the next call.
        while let Some(arrived) = next {
            let Some(message) = arrived else {
                ended = Some(Ended::Stalled("consumer_gone"));
                break;
            };
            if let Some(end) = self.receive_one(message).await {
                ended = Some(end);
                break;
            }
            next = self.subscriber.next().now_or_never();
        }
        if !self.puller.prefetch.push(self.generation, &mut self.arrivals) {
            return Some(Ended::Replaced);
        }
        ended
    }

    async fn receive_one(&mut self, message: Message) -> Option<Ended> {
        match message.status {
            None | Some(StatusCode::OK) => {
                self.arrivals.count += 1;
                self.is_served = true;
                match self.puller.sender.wrap(message) {
                    Some(pulled) => self.arrivals.messages.push(pulled),
                    None => tracing::warn!("message without a reply subject of a consumer"),
                }
                None
            }
            Some(StatusCode::IDLE_HEARTBEAT) => None,
            Some(StatusCode::TIMEOUT) => {
                self.puller.prefetch.expire(unserved(&message));
                None
            }
            Some(StatusCode::REQUEST_TERMINATED) if !is_consumer_deleted(&message) => {
                let description = message.description.as_deref();
                let is_complete = description == Some(BATCH_COMPLETED);
                self.is_blocked = !self.is_served && description == Some(MESSAGE_TOO_LARGE);
                self.puller.prefetch.expire(unserved(&message).or(is_complete.then_some(0)));
                // A request that is rejected at once is not repeated at once.
                if !std::mem::take(&mut self.is_served) {
                    tokio::time::sleep(PAUSE).await;
                }
                None
            }
            Some(StatusCode::NO_RESPONDERS) => Some(Ended::Stalled("no_responders")),
            Some(_) => Some(Ended::Stalled("consumer_gone")),
        }
    }
}

/// Whether the consumer was deleted or cannot be pulled from.
fn is_consumer_deleted(message: &Message) -> bool {
    let description = message.description.as_deref().unwrap_or_default();
    description == "Consumer Deleted" || description == "Consumer is push based"
}

fn unserved(message: &Message) -> Option<usize> {
    message.headers.as_ref()?.get(PENDING_MESSAGES)?.as_str().parse().ok()
}
