//! Durable pull consumers: pulls messages and recovers from broker failures.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::AckPolicy;
use async_nats::jetstream::consumer::pull::{self, MessagesErrorKind};
use async_nats::jetstream::{self, AckKind};
use async_nats::{Client, Subject};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};

use super::acks::AckQueue;
use super::connect::Connections;
use super::durable::DurableConsumer;
use super::headers::MessageHeaders;
use super::metrics;
use super::state_bucket::StateBucket;
use super::subjects::{DUE_CONSUMER, ROUTER_CONSUMER, Subjects, subject_attributes};
use crate::clock;
use crate::config;
use crate::event::{Attributes, DecodeError, Message, MessageStream};

/// Messages of one pull request.
const BATCH_MESSAGES: usize = 500;
/// Minimum byte limit of one pull request: two events of the maximum size.
const BATCH_BYTES_MIN: usize = 4 << 20;
/// Maximum number of buffered messages: those of four pull requests.
const BUFFERED_MAX: usize = 4 * BATCH_MESSAGES;
/// How long the broker keeps a pull request open that finds nothing.
const EXPIRES: Duration = Duration::from_secs(10);
/// Interval of the broker's heartbeats on an open pull request.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// Without any message or error for this long, the pull request is restarted.
const WATCHDOG: Duration = Duration::from_secs(2 * EXPIRES.as_secs());
/// Pause before a pull request is restarted.
const PAUSE: Duration = Duration::from_millis(100);
/// Maximum number of unacknowledged messages over all replicas.
const ACK_PENDING_MAX: i64 = 20_000;

/// The messages of one durable consumer. Several subscriptions can share a consumer.
pub struct PullSubscription {
    acks: AckQueue,
    outbound: Client,
    stream: String,
    consumer: DurableConsumer,
    batch_bytes: usize,
    pulling: Option<Box<pull::Stream>>,
    /// Prefetched messages; returned before any other.
    buffered: VecDeque<PulledMessage>,
    /// How many of them, counted from the back, still need their deadline extended.
    unextended: usize,
    /// How often the deadlines of buffered messages are extended.
    extend_interval: Duration,
    extended_at: Instant,
}

impl PullSubscription {
    /// Subscribes to the events, as one of `shares` subscriptions that share the limit on bytes in
    /// flight.
    #[must_use]
    pub fn events(
        connections: &Connections,
        subjects: &Subjects,
        config: &config::EventsConfig,
        shares: usize,
    ) -> Self {
        let consumer = consumer(ROUTER_CONSUMER, config, String::new());
        let floors = StateBucket::new(connections.intake.clone(), subjects.state_bucket());
        Self::new(connections, subjects.events_stream(), consumer, Some(floors), config, shares)
    }

    /// Subscribes to the due parked records.
    #[must_use]
    pub fn due(
        connections: &Connections,
        subjects: &Subjects,
        config: &config::EventsConfig,
    ) -> Self {
        let consumer = consumer(DUE_CONSUMER, config, subjects.due_pattern());
        Self::new(connections, subjects.parked_stream(), consumer, None, config, 1)
    }

    fn new(
        connections: &Connections,
        stream: String,
        consumer: pull::Config,
        floors: Option<StateBucket>,
        config: &config::EventsConfig,
        shares: usize,
    ) -> Self {
        let client = connections.intake.clone();
        let consumer = DurableConsumer::new(client, stream.clone(), consumer, floors);
        let share = config.in_flight_bytes_max / shares.max(1);
        Self {
            acks: connections.acks.clone(),
            outbound: connections.outbound.client.clone(),
            stream,
            consumer,
            batch_bytes: share.max(BATCH_BYTES_MIN),
            pulling: None,
            buffered: VecDeque::new(),
            unextended: 0,
            extend_interval: Duration::from_secs(config.ack_wait_s) / 3,
            extended_at: clock::tick(),
        }
    }

    /// Gets or creates the consumer and starts to pull.
    async fn open(&self) -> Result<pull::Stream, async_nats::Error> {
        let consumer = self.consumer.open().await?;
        let messages = consumer
            .stream()
            .max_messages_per_batch(BATCH_MESSAGES)
            .max_bytes_per_batch(self.batch_bytes)
            .expires(EXPIRES)
            .heartbeat(HEARTBEAT)
            .messages()
            .await?;
        Ok(messages)
    }

    /// Creates the consumer, so that events are retained for it from now on, or updates an existing
    /// one to the present settings.
    ///
    /// # Errors
    /// The broker refuses it.
    pub async fn ensure(&self) -> Result<(), async_nats::Error> {
        self.consumer.ensure().await
    }

    async fn restart(&mut self, reason: &'static str) {
        metrics::stalled(reason);
        self.pulling = None;
        tokio::time::sleep(PAUSE).await;
    }

    /// Buffers the messages that have arrived. The pull request stays open, because messages that
    /// the broker is sending would be lost with it until their deadline; it ends only when one pull
    /// request's worth of messages is buffered.
    fn buffer_arrived(&mut self) {
        let Some(mut pulling) = self.pulling.take() else { return };
        let mut buffered_bytes: usize =
            self.buffered.iter().map(|message| message.payload.len()).sum();
        loop {
            if buffered_bytes >= self.batch_bytes || self.buffered.len() >= BUFFERED_MAX {
                return;
            }
            match pulling.next().now_or_never() {
                None => break,
                Some(Some(Ok(message))) => {
                    buffered_bytes += message.payload.len();
                    self.buffered.extend(self.wrap(message));
                }
                // It ended or failed; the next pull request replaces it.
                Some(_) => return,
            }
        }
        self.pulling = Some(pulling);
    }

    fn wrap(&self, message: jetstream::Message) -> Option<PulledMessage> {
        let info = message.info().ok()?;
        let stored_ms = i64::try_from(info.published.unix_timestamp_nanos() / 1_000_000).ok()?;
        let (sequence, delivered) = (info.stream_sequence, info.delivered);
        let message = message.message;
        Some(PulledMessage {
            acks: self.acks.clone(),
            outbound: self.outbound.clone(),
            reply: message.reply?,
            headers: MessageHeaders::new(message.headers),
            subject: message.subject,
            payload: message.payload,
            sequence,
            delivered,
            stored_ms,
        })
    }
}

impl MessageStream for PullSubscription {
    type Item = PulledMessage;

    async fn next(&mut self) -> PulledMessage {
        if let Some(buffered) = self.buffered.pop_front() {
            return buffered;
        }
        loop {
            let Some(pulling) = self.pulling.as_mut() else {
                match self.open().await {
                    Ok(stream) => self.pulling = Some(Box::new(stream)),
                    Err(error) => {
                        tracing::debug!(stream = self.stream, %error, "consumer not available yet");
                        self.restart("consumer_gone").await;
                    }
                }
                continue;
            };
            match next_of(pulling).await {
                Ok(Some(Ok(message))) => match self.wrap(message) {
                    Some(pulled) => return pulled,
                    None => tracing::warn!(stream = self.stream, "message without a reply subject"),
                },
                Ok(Some(Err(error))) => self.restart(stall_reason(error.kind())).await,
                Ok(None) | Err(_) => self.restart("no_heartbeat").await,
            }
        }
    }

    async fn extend_deadlines(&mut self) {
        loop {
            if self.unextended == 0 {
                let wait = self.extend_interval.saturating_sub(clock::since(self.extended_at));
                tokio::time::sleep(wait).await;
                self.extended_at = clock::tick();
                self.buffer_arrived();
                self.unextended = self.buffered.len();
            }
            // Resumes where it was cancelled: capacity may become free before all deadlines are
            // extended.
            self.unextended = self.unextended.min(self.buffered.len());
            while let Some(message) = self.buffered.get(self.buffered.len() - self.unextended) {
                message.in_progress().await;
                self.unextended -= 1;
            }
        }
    }
}

/// Returns the next item; starts no timer if one is ready.
async fn next_of(
    stream: &mut pull::Stream,
) -> Result<Option<Result<jetstream::Message, pull::MessagesError>>, tokio::time::error::Elapsed> {
    let mut next = pin!(stream.next());
    if let Some(ready) = next.as_mut().now_or_never() {
        return Ok(ready);
    }
    tokio::time::timeout(WATCHDOG, next).await
}

fn consumer(name: &str, config: &config::EventsConfig, filter_subject: String) -> pull::Config {
    pull::Config {
        durable_name: Some(name.to_owned()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: Duration::from_secs(config.ack_wait_s),
        max_ack_pending: ACK_PENDING_MAX,
        max_deliver: -1,
        filter_subject,
        ..pull::Config::default()
    }
}

fn stall_reason(kind: MessagesErrorKind) -> &'static str {
    match kind {
        MessagesErrorKind::MissingHeartbeat => "no_heartbeat",
        MessagesErrorKind::NoResponders => "no_responders",
        _ => "consumer_gone",
    }
}

/// A pulled message; acknowledged over the outbound connection.
#[derive(Debug)]
pub struct PulledMessage {
    acks: AckQueue,
    outbound: Client,
    reply: Subject,
    headers: MessageHeaders,
    subject: Subject,
    payload: Bytes,
    sequence: u64,
    delivered: i64,
    stored_ms: i64,
}

impl PulledMessage {
    async fn send_ack(&self, kind: AckKind) {
        if let Err(error) = self.outbound.publish(self.reply.clone(), kind.into()).await {
            tracing::debug!(%error, sequence = self.sequence, "acknowledgement not sent");
        }
    }
}

impl Message for PulledMessage {
    type Headers = MessageHeaders;

    fn attributes(&self) -> Result<Attributes<'_>, DecodeError> {
        Attributes::read(&self.headers, subject_attributes(&self.subject))
    }

    fn address(&self) -> &str {
        &self.subject
    }

    fn headers(&self) -> &MessageHeaders {
        &self.headers
    }

    fn payload(&self) -> Bytes {
        self.payload.clone()
    }

    fn sequence(&self) -> u64 {
        self.sequence
    }

    fn delivery_count(&self) -> i64 {
        self.delivered
    }

    fn stored_ms(&self) -> i64 {
        self.stored_ms
    }

    fn ack(&self) -> impl Future<Output = ()> + Send {
        self.acks.ack(self.reply.clone())
    }

    fn in_progress(&self) -> impl Future<Output = ()> + Send {
        self.send_ack(AckKind::Progress)
    }

    fn release(&self) -> impl Future<Output = ()> + Send {
        self.send_ack(AckKind::Nak(None))
    }
}
