//! Durable pull consumers: pulls messages and recovers from broker failures.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use tokio::task::JoinSet;

use super::connect::{Connections, JetStreamClient};
use super::durable::DurableConsumer;
use super::prefetch::{OwnerOf, Prefetch};
use super::pull_credit::{PullAmount, PullCredit};
use super::pulled_message::{AckSender, PulledMessage};
use super::puller::Puller;
use super::state_bucket::StateBucket;
use super::subjects::{DUE_CONSUMER, ROUTER_CONSUMER, Subjects, app_of_due, subject_attributes};
use crate::config;
use crate::event::MessageStream;

/// Maximum number of messages that are requested or wait in one subscription.
const PREFETCH_MAX: usize = 500;
/// Minimum of their bytes, whatever `events.in_flight_bytes_max` is: an event of the maximum size
/// fits into half of it.
const PREFETCH_BYTES_MIN: usize = 4 << 20;
/// Deadlines of waiting messages are extended this many times within the ack deadline.
const EXTENSIONS: u32 = 3;
/// Maximum number of unacknowledged messages over all replicas.
///
/// At the bound the broker sends no more to any replica until one acknowledges. A replica uses at
/// most `events.in_flight_max` and what its subscriptions prefetch, about 5,100 by default, so three
/// replicas whose handlers all hang leave a quarter to the others.
const ACK_PENDING_MAX: i64 = 20_000;

/// The messages of one durable consumer. Several subscriptions can share a consumer.
pub struct PullSubscription {
    jetstream_client: JetStreamClient,
    sender: AckSender,
    consumer: DurableConsumer,
    extend_interval: Duration,
    prefetch: Arc<Prefetch>,
    /// The task that pulls, once a message was asked for; ends with the subscription.
    pulling: JoinSet<()>,
}

impl PullSubscription {
    /// Subscribes to the events, as one of `shares` subscriptions that share the limits on
    /// messages and bytes in flight.
    #[must_use]
    pub fn events(
        connections: &Connections,
        subjects: &Subjects,
        config: &config::EventsConfig,
        shares: usize,
    ) -> Self {
        let consumer = consumer(ROUTER_CONSUMER, config, String::new());
        let floors = StateBucket::new(connections.intake.clone(), subjects.state_bucket());
        let stream = (subjects.events_stream(), site_of as OwnerOf);
        Self::new(connections, stream, consumer, Some(floors), config, shares)
    }

    /// Subscribes to the due parked records.
    #[must_use]
    pub fn due(
        connections: &Connections,
        subjects: &Subjects,
        config: &config::EventsConfig,
    ) -> Self {
        let consumer = consumer(DUE_CONSUMER, config, subjects.due_pattern());
        let stream = (subjects.parked_stream(), app_of_due as OwnerOf);
        Self::new(connections, stream, consumer, None, config, 1)
    }

    fn new(
        connections: &Connections,
        (stream, owner_of): (String, OwnerOf),
        consumer: pull::Config,
        floors: Option<StateBucket>,
        config: &config::EventsConfig,
        shares: usize,
    ) -> Self {
        let client = connections.intake.clone();
        let consumer = DurableConsumer::new(client.clone(), stream, consumer, floors);
        let shares = shares.max(1);
        let capacity = PullAmount {
            messages: (config.in_flight_max / shares).clamp(1, PREFETCH_MAX),
            bytes: (config.in_flight_bytes_max / shares).max(PREFETCH_BYTES_MIN),
        };
        let credit = PullCredit::new(capacity);
        let sender = AckSender {
            acks: connections.acks.clone(),
            outbound: connections.outbound.client.clone(),
            context: connections.intake.context.clone(),
        };
        Self {
            jetstream_client: client,
            sender,
            consumer,
            extend_interval: Duration::from_secs(config.ack_wait_s) / EXTENSIONS,
            prefetch: Arc::new(Prefetch::new(credit, owner_of)),
            pulling: JoinSet::new(),
        }
    }

    /// Creates the consumer, so that events are retained for it from now on, or updates an existing
    /// one to the present settings.
    ///
    /// # Errors
    /// The broker refuses it.
    pub async fn ensure(&self) -> Result<(), async_nats::Error> {
        self.consumer.ensure().await
    }

    /// Starts the task that pulls.
    fn start(&mut self) {
        let puller = Puller {
            jetstream_client: self.jetstream_client.clone(),
            sender: self.sender.clone(),
            consumer: self.consumer.clone(),
            extend_interval: self.extend_interval,
            prefetch: Arc::clone(&self.prefetch),
        };
        self.pulling.spawn(puller.run());
    }
}

impl MessageStream for PullSubscription {
    type Item = PulledMessage;

    async fn next(&mut self) -> PulledMessage {
        if self.pulling.is_empty() {
            self.start();
        }
        self.prefetch.next().await
    }

    fn take_ready(&mut self) -> Option<PulledMessage> {
        self.prefetch.take()
    }

    fn discard(&mut self) {
        self.prefetch.discard();
    }
}

/// Returns the site of an event, by its subject.
fn site_of(subject: &str) -> &str {
    subject_attributes(subject).cloud_id.unwrap_or_default()
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
