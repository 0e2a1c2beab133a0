//! The stream of the delivery log, as the delivery stage writes it.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::message::PublishMessage;
use async_nats::{HeaderMap, HeaderName, HeaderValue};
use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::confirmed_publish::{self, NotStored, PublishRequest};
use super::connect::JetStreamClient;
use super::metrics;
use super::publish_gate::PublishGates;
use super::record_groups::RecordGroups;
use super::record_numbers::RecordSeries;
use super::subjects::Subjects;
use crate::clock;
use crate::delivery::{DeliveryLog, LogMessage};
use crate::event::codec::names;

/// Header of the number below which all records were stored before.
const LOG_FLOOR: HeaderName = HeaderName::from_static(names::LOG_FLOOR);
/// The stream, as metric label.
const STREAM: &str = "log";
/// Characters of the name of a replica.
const NAME_CHARS: usize = 12;
/// Interval at which the floor of the record numbers is stored, if it changed.
const FLOOR_INTERVAL: Duration = Duration::from_secs(10);
/// How much longer than a record a floor is kept after it changed last.
const FLOOR_MARGIN: Duration = Duration::from_secs(24 * 3600);
/// First part of the keys of floors.
pub(super) const FLOOR_PREFIX: &str = "log.";

/// Writes the delivery log.
#[derive(Debug)]
pub struct DeliveryLogStream {
    jetstream_client: JetStreamClient,
    subjects: Subjects,
    gates: Arc<PublishGates>,
    groups: RecordGroups,
    numbers: RecordSeries,
    /// How long a floor is kept after it changed last.
    floor_kept: Duration,
}

impl DeliveryLogStream {
    /// Stores records over `jetstream_client`, under a random name of this replica. The log keeps them for
    /// `kept`. Starts a task that publishes them.
    #[must_use]
    pub fn new(
        jetstream_client: JetStreamClient,
        subjects: Subjects,
        gates: Arc<PublishGates>,
        kept: Duration,
    ) -> Self {
        let mut router = Uuid::new_v4().simple().to_string();
        router.truncate(NAME_CHARS);
        let (numbers, floor_kept) = (RecordSeries::new(router), kept.saturating_add(FLOOR_MARGIN));
        let groups = RecordGroups::over(jetstream_client.client.clone());
        Self { jetstream_client, subjects, gates, groups, numbers, floor_kept }
    }

    /// Stores the floor of the record numbers until the future is dropped, so that the last records of a
    /// process that stores no more are found missing, too.
    pub async fn store_floors(self: Arc<Self>) {
        let mut interval = tokio::time::interval(FLOOR_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut stored = (String::new(), 0);
        loop {
            interval.tick().await;
            let floor = self.numbers.floor();
            if floor.1 == 0 || floor == stored {
                continue;
            }
            match self.store_floor(&floor).await {
                Ok(()) => stored = floor,
                Err(error) => tracing::debug!(%error, "floor of the delivery log not stored yet"),
            }
        }
    }

    async fn store_floor(&self, (series, floor): &(String, u64)) -> Result<(), async_nats::Error> {
        let subject = format!("$KV.{}.{FLOOR_PREFIX}{series}", self.subjects.state_bucket());
        let value = floor.to_string().into();
        let message = PublishMessage::build().payload(value).ttl(self.floor_kept);
        self.jetstream_client.context.send_publish(subject, message).await?.await?;
        Ok(())
    }

    async fn publish(&self, message: LogMessage) {
        let _pending = metrics::LogPending::new();
        let LogMessage { site, result, bucket, body } = message;
        // An id of its own for each record: a repeated publish is recognised, and the record of an event
        // that is redelivered never is one of the first time, whatever the broker's delivery count says.
        let number = self.numbers.take();
        let request = || {
            let mut headers = HeaderMap::new();
            headers.insert(LOG_FLOOR, HeaderValue::from(number.floor));
            PublishRequest {
                stream: STREAM,
                subject: self.subjects.log_record(result, &site, bucket),
                message_id: number.message_id(),
                headers,
                body: body.clone(),
            }
        };
        // Boxed: what is rare takes no memory of the others.
        if self.is_stored_in_group(&request).await || Box::pin(self.is_stored(request())).await {
            metrics::log_stored(result.token());
        }
        // The number of a record that can never be stored stays missing, as the record is.
        number.settle();
    }

    /// Publishes a record together with others; returns false if it is not confirmed so.
    async fn is_stored_in_group(&self, request: &impl Fn() -> PublishRequest) -> bool {
        // While the gate is closed, one record after the other tries.
        if !self.gates.log.is_open() {
            return false;
        }
        let started = clock::tick();
        let is_stored = self.groups.publish(request()).await;
        if is_stored {
            metrics::published(STREAM, clock::since(started));
        }
        is_stored
    }

    /// Publishes a record by itself until it is stored; returns false if it can never be.
    async fn is_stored(&self, request: PublishRequest) -> bool {
        let gate = &self.gates.log;
        loop {
            match confirmed_publish::until_stored(&self.jetstream_client, gate, &request).await {
                Ok(_) => return true,
                // The stream deletes its oldest records when it is full.
                Err(NotStored::StreamFull) => {}
                Err(NotStored::TooLarge) => {
                    metrics::log_lost();
                    let bytes = request.body.len();
                    tracing::error!(
                        subject = request.subject,
                        bytes,
                        "record of the delivery log not stored: larger than the broker's max_payload"
                    );
                    return false;
                }
            }
        }
    }
}

impl DeliveryLog for DeliveryLogStream {
    fn router(&self) -> &str {
        self.numbers.process()
    }

    fn store(&self, message: LogMessage) -> BoxFuture<'_, ()> {
        Box::pin(self.publish(message))
    }
}
