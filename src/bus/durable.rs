//! Durable consumers: created, updated without a change of their position, and created again after
//! the floor of the stream if they were deleted.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::{DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::{ConsumerCreateStrictErrorKind, ConsumerErrorKind, Stream};
use uuid::Uuid;

use super::connect::JetStreamClient;
use super::floor::{ConsumerStart, consumer_start};
use super::metrics;
use super::state_bucket::StateBucket;

/// Metadata key of the request that created a consumer.
const CREATION_ID: &str = "switchyard-creation";

/// One durable consumer with its settings.
#[derive(Clone, Debug)]
pub(super) struct DurableConsumer {
    jetstream_client: JetStreamClient,
    stream: String,
    config: pull::Config,
    /// Where its floor is stored; `None` if the stream deletes what is acknowledged, so that a new
    /// consumer repeats nothing.
    floors: Option<StateBucket>,
}

impl DurableConsumer {
    pub(super) fn new(
        jetstream_client: JetStreamClient,
        stream: String,
        config: pull::Config,
        floors: Option<StateBucket>,
    ) -> Self {
        Self { jetstream_client, stream, config, floors }
    }

    /// Gets the consumer; creates it if it does not exist.
    pub(super) async fn open(&self) -> Result<PullConsumer, async_nats::Error> {
        match self.find().await? {
            Some(consumer) => Ok(consumer),
            None => self.create().await,
        }
    }

    /// Updates the consumer to the present settings, or creates it.
    pub(super) async fn ensure(&self) -> Result<(), async_nats::Error> {
        let Some(found) = self.find().await? else {
            self.create().await?;
            return Ok(());
        };
        // The broker refuses to change where a consumer started.
        let deliver_policy = found.cached_info().config.deliver_policy;
        let config = pull::Config { deliver_policy, ..self.config.clone() };
        self.stream().await?.create_consumer(config).await?;
        Ok(())
    }

    async fn find(&self) -> Result<Option<PullConsumer>, async_nats::Error> {
        let context = &self.jetstream_client.context;
        match context.get_consumer_from_stream(self.name()?, &self.stream).await {
            Ok(consumer) => Ok(Some(consumer)),
            Err(error) => match error.kind() {
                ConsumerErrorKind::JetStream(answer)
                    if answer.error_code() == ErrorCode::CONSUMER_NOT_FOUND =>
                {
                    Ok(None)
                }
                _ => Err(error.into()),
            },
        }
    }

    async fn create(&self) -> Result<PullConsumer, async_nats::Error> {
        let Some(floors) = &self.floors else {
            return Ok(self.stream().await?.create_consumer(self.config.clone()).await?);
        };
        let name = self.name()?;
        let stream = self.jetstream_client.context.get_stream(&self.stream).await?;
        let checkpoint = floors.floor(name).await?.checkpoint;
        let (created_ns, state) = (created_ns(&stream)?, &stream.cached_info().state);
        let (first, last) = (state.first_sequence, state.last_sequence);
        let start = consumer_start(checkpoint, created_ns, first, last);
        let deliver_policy = match start {
            ConsumerStart::AtFloor(start_sequence) => {
                DeliverPolicy::ByStartSequence { start_sequence }
            }
            ConsumerStart::First => DeliverPolicy::All,
        };
        // Several workers and replicas notice a lost consumer at once. The id makes their requests
        // differ, so that the broker accepts one and a loss is counted once.
        let metadata = [(CREATION_ID.to_owned(), Uuid::new_v4().to_string())].into();
        let config = pull::Config { deliver_policy, metadata, ..self.config.clone() };
        match stream.create_consumer_strict(config).await {
            Ok(consumer) => {
                report(name, start, first, last);
                Ok(consumer)
            }
            Err(error) if error.kind() == ConsumerCreateStrictErrorKind::AlreadyExists => {
                Ok(self.find().await?.ok_or("the consumer was deleted again")?)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn stream(&self) -> Result<Stream<()>, async_nats::Error> {
        Ok(self.jetstream_client.context.get_stream_no_info(&self.stream).await?)
    }

    /// Name of the stream.
    pub(super) fn stream_name(&self) -> &str {
        &self.stream
    }

    /// Name of the consumer.
    pub(super) fn name(&self) -> Result<&str, async_nats::Error> {
        Ok(self.config.durable_name.as_deref().ok_or("the consumer has no name")?)
    }
}

/// Creation time of a stream, as a floor names it.
fn created_ns(stream: &Stream) -> Result<i64, async_nats::Error> {
    Ok(i64::try_from(stream.cached_info().created.unix_timestamp_nanos())?)
}

/// Logs and counts a consumer that was lost; a new stream has lost none.
fn report(consumer: &str, start: ConsumerStart, first: u64, last: u64) {
    match start {
        ConsumerStart::AtFloor(sequence) => {
            metrics::consumer_recreated("floor");
            tracing::error!(
                consumer,
                sequence,
                first,
                last,
                "consumer of the event stream was deleted; created again after the last acknowledged event"
            );
        }
        ConsumerStart::First if last > 0 => {
            metrics::consumer_recreated("first");
            tracing::error!(
                consumer,
                first,
                last,
                "consumer of the event stream was deleted and no floor is stored; all stored events are handled again"
            );
        }
        ConsumerStart::First => tracing::info!(consumer, "consumer of the event stream created"),
    }
}
