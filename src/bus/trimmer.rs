//! The trimmer: purges acknowledged events, stores the floor, and detects lost events.
//!
//! Every replica runs one; rounds of several replicas do not disturb each other, because a purge up
//! to a sequence can be repeated and a stored floor never falls. Order of a round: stream state,
//! stored floors, consumers, new floors, purge. A purge is therefore always below a floor that is
//! stored, and a stream that begins above it lost events in another way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{DirectGetErrorKind, Info, Stream};
use futures_util::TryStreamExt;
use jiff::Timestamp;
use serde::Deserialize;

use super::connect::JetStreamClient;
use super::floor::{Checkpoint, DeletedEvents, FloorRound, is_router_consumer, least_floor};
use super::metrics;
use super::repeats::{LostEvents, Repeats};
use super::room::RoomRequests;
use super::state_bucket::{StateBucket, StoredFloor};
use super::streams::{self, ConfigVersion};
use super::subjects::Subjects;
use super::trim::{
    NeededSpace, ProbedEvent, ROUND_INTERVAL_MAX, StreamFill, TrimInput, TrimLimits, TrimReason,
    TrimRound, TrimStep, next_round,
};
use crate::clock;
use crate::config::{Config, DeliveryConfig, EventsConfig, NatsConfig};

/// Purges of one round; each is decided from the state that the one before left.
const PURGES_MAX: usize = 4;
/// Pause after a round that a publisher requested, so that refusals cause few requests.
const REQUESTED_PAUSE: Duration = Duration::from_millis(50);
/// Number of deleted sequences up to which they are listed.
const DELETED_LISTED_MAX: u64 = 100_000;

/// Trims the event stream.
#[derive(Debug)]
pub struct Trimmer {
    jetstream_client: JetStreamClient,
    subjects: Subjects,
    nats: NatsConfig,
    events: EventsConfig,
    delivery: DeliveryConfig,
    floors: StateBucket,
    room: Arc<RoomRequests>,
    lost_events: LostEvents,
}

/// What a trimmer remembers between rounds.
#[derive(Debug, Default)]
struct Memory {
    deleted: DeletedEvents,
    /// Last sequence and when it was read.
    last: Option<(u64, Instant)>,
}

/// The stream as one answer of the broker describes it.
#[derive(Deserialize)]
struct StreamReport {
    #[serde(flatten)]
    info: Info,
    /// Time of the answer by the broker's clock.
    #[serde(rename = "ts")]
    time: String,
}

/// What a round read.
struct Observed {
    fill: StreamFill,
    floor: Option<u64>,
    now_ms: i64,
}

impl Trimmer {
    /// Returns a trimmer that serves the requests of `room`, and makes `repeats` forget the ids of lost
    /// events.
    #[must_use]
    pub fn new(
        jetstream_client: JetStreamClient,
        subjects: Subjects,
        config: &Config,
        room: Arc<RoomRequests>,
        repeats: Arc<Repeats>,
    ) -> Self {
        let blocks = subjects.repeats_stream();
        let lost_events = LostEvents::new(jetstream_client.clone(), blocks, repeats);
        let floors = StateBucket::new(jetstream_client.clone(), subjects.state_bucket());
        Self {
            jetstream_client,
            subjects,
            nats: config.nats.clone(),
            events: config.events.clone(),
            delivery: config.delivery.clone(),
            floors,
            room,
            lost_events,
        }
    }

    /// Trims until the future is dropped: every few seconds, before the stream can fill at the
    /// present intake, and at once when a publisher was refused.
    pub async fn run(&self) {
        let mut memory = Memory::default();
        let mut pause = Duration::ZERO;
        loop {
            let is_requested = tokio::select! {
                () = tokio::time::sleep(pause) => false,
                () = self.room.requested() => true,
            };
            let needed = self.room.start_round();
            let is_requested = is_requested || needed.bytes > 0;
            let round = self.round(needed, &mut memory).await;
            let has_room = match round {
                Ok((next, has_room)) => {
                    pause = next;
                    has_room
                }
                Err(error) => {
                    tracing::debug!(%error, "event stream not trimmed");
                    pause = ROUND_INTERVAL_MAX;
                    false
                }
            };
            self.room.complete_round(is_requested.then_some(has_room));
            if is_requested {
                tokio::time::sleep(REQUESTED_PAUSE).await;
            }
        }
    }

    /// Returns the time until the next round, and whether the stream has space for what is needed.
    async fn round(
        &self,
        mut needed: NeededSpace,
        memory: &mut Memory,
    ) -> Result<(Duration, bool), async_nats::Error> {
        let storage_full = needed.storage_full;
        let mut has_purged = false;
        let mut observed = self.observe(memory).await?;
        for _ in 0..PURGES_MAX {
            if !self.trim(&observed, needed).await? {
                break;
            }
            has_purged = true;
            needed.storage_full = false;
            observed = self.observe(memory).await?;
        }
        let (fill, bytes_max) = (&observed.fill, self.bytes_max());
        let fits = fill.bytes.saturating_add(needed.bytes) <= bytes_max && !storage_full;
        let intake_bytes_per_s = memory.intake_bytes_per_s(fill);
        Ok((next_round(fill, bytes_max, intake_bytes_per_s), has_purged || fits))
    }

    /// Reads the stream and its consumers, stores their floors, and reports lost events.
    async fn observe(&self, memory: &mut Memory) -> Result<Observed, async_nats::Error> {
        self.lost_events.retry().await;
        let report = self.report().await?;
        self.restore_config(&report.info).await;
        let state = &report.info.state;
        metrics::stored(state.bytes, self.bytes_max());
        let created_ns = i64::try_from(report.info.created.unix_timestamp_nanos())?;
        let fill = StreamFill {
            first: state.first_sequence,
            last: state.last_sequence,
            messages: state.messages,
            bytes: state.bytes,
            oldest_ms: i64::try_from(state.first_timestamp.unix_timestamp_nanos() / 1_000_000)?,
        };
        let floor = self.store_floors(created_ns, &fill).await?;
        if let Some(floor) = floor {
            self.report_deleted(memory, floor, state.deleted_count.unwrap_or(0)).await?;
        }
        let now_ms = report.time.parse::<Timestamp>()?.as_millisecond();
        Ok(Observed { fill, floor, now_ms })
    }

    /// Stores the floor of each router consumer; returns the least stored one.
    async fn store_floors(
        &self,
        created_ns: i64,
        fill: &StreamFill,
    ) -> Result<Option<u64>, async_nats::Error> {
        let stream = self.stream().await?;
        let mut consumers = stream.consumers();
        let mut floors = Vec::new();
        while let Some(consumer) = consumers.try_next().await? {
            if !is_router_consumer(&consumer.name) {
                continue;
            }
            let stored = self.floors.floor(&consumer.name).await?;
            let acknowledged = consumer.ack_floor.stream_sequence;
            let round = FloorRound::new(stored.checkpoint, created_ns, fill.first, acknowledged);
            let mut is_written = false;
            if let Some(next) = round.write {
                match self.store_floor(&consumer.name, &stored, next, round.lost.is_some()).await {
                    Ok(()) => {
                        is_written = true;
                        if let Some(lost) = &round.lost {
                            report_lost(&consumer.name, *lost.start(), *lost.end());
                        }
                    }
                    Err(error) => {
                        tracing::debug!(%error, consumer = consumer.name, "floor not stored");
                    }
                }
            }
            floors.push((consumer.name, round.usable(is_written)));
        }
        Ok(least_floor(floors.iter().map(|(name, floor)| (name.as_str(), *floor))))
    }

    /// Stores a floor. After a loss, only once the ids of lost events are forgotten: with the floor, the
    /// loss is not seen again, by no replica.
    async fn store_floor(
        &self,
        consumer: &str,
        stored: &StoredFloor,
        next: Checkpoint,
        is_loss: bool,
    ) -> Result<(), async_nats::Error> {
        if is_loss && !self.lost_events.record().await {
            return Err("ids of lost events are not forgotten yet".into());
        }
        self.floors.replace_floor(consumer, stored, next).await
    }

    /// Reports events that were deleted between others before they were acknowledged.
    async fn report_deleted(
        &self,
        memory: &mut Memory,
        floor: u64,
        deleted: u64,
    ) -> Result<(), async_nats::Error> {
        if !memory.deleted.needs_list(deleted) {
            return Ok(());
        }
        if deleted > DELETED_LISTED_MAX {
            tracing::warn!(deleted, "too many deleted events to check if they were acknowledged");
            return Ok(());
        }
        let listed = self.stream().await?.info_builder().with_deleted(true).fetch().await?;
        let sequences = listed.info.state.deleted.unwrap_or_default();
        // Erasures delete events that were acknowledged after the floor was read.
        let floor = floor.max(acknowledged(&self.stream().await?).await?.unwrap_or(0));
        let lost = memory.deleted.record(floor, &sequences);
        if let (Some(first), Some(last)) = (lost.first(), lost.last()) {
            let events = u64::try_from(lost.len()).unwrap_or(u64::MAX);
            metrics::gap_events(events);
            tracing::error!(
                first,
                last,
                events,
                ?lost,
                "events deleted before they were acknowledged"
            );
            self.lost_events.record().await;
        }
        Ok(())
    }

    /// Decides and purges once; returns whether it purged.
    async fn trim(
        &self,
        observed: &Observed,
        needed: NeededSpace,
    ) -> Result<bool, async_nats::Error> {
        let age_max_ms = i64::try_from(self.events.max_age_h.saturating_mul(3_600_000)).ok();
        let mut round = TrimRound::new(&TrimInput {
            fill: observed.fill,
            floor: observed.floor,
            limits: TrimLimits {
                bytes_max: self.bytes_max(),
                age_max_ms: age_max_ms.filter(|age| *age > 0),
            },
            needed,
            now_ms: observed.now_ms,
        });
        let stream = self.stream().await?;
        loop {
            match round.step() {
                TrimStep::Keep => return Ok(false),
                TrimStep::Probe(sequence) => round.probed(probe(&stream, sequence).await?),
                TrimStep::Purge { below, reason } => {
                    let purged = stream.purge().sequence(below).await?.purged;
                    metrics::trimmed(reason_label(reason), purged);
                    tracing::debug!(below, purged, ?reason, "acknowledged events purged");
                    return Ok(purged > 0);
                }
            }
        }
    }

    /// Restores the configuration of the streams if an older release replaced it.
    async fn restore_config(&self, info: &Info) {
        if streams::events_version(&info.config) != ConfigVersion::Older {
            return;
        }
        metrics::config_restored();
        tracing::error!(
            stream = info.config.name,
            "an older release replaced the configuration of the event stream; restored"
        );
        let (client, subjects) = (&self.jetstream_client, &self.subjects);
        let ensured =
            streams::ensure(client, subjects, &self.nats, &self.events, &self.delivery).await;
        if let Err(error) = ensured {
            tracing::error!(%error, "configuration of the event stream not restored");
        }
    }

    async fn report(&self) -> Result<StreamReport, async_nats::Error> {
        let subject = format!("STREAM.INFO.{}", self.subjects.events_stream());
        let no_options = serde_json::json!({});
        match self.jetstream_client.context.request(subject, &no_options).await? {
            Response::Ok(report) => Ok(report),
            Response::Err { error } => Err(error.into()),
        }
    }

    async fn stream(&self) -> Result<Stream<()>, async_nats::Error> {
        let name = self.subjects.events_stream();
        Ok(self.jetstream_client.context.get_stream_no_info(name).await?)
    }

    fn bytes_max(&self) -> u64 {
        u64::try_from(self.events.max_bytes).unwrap_or(u64::MAX)
    }
}

impl Memory {
    /// Returns the intake since the last call, by the mean size of an event.
    fn intake_bytes_per_s(&mut self, fill: &StreamFill) -> u64 {
        let now = clock::tick();
        let Some((last, at)) = self.last.replace((fill.last, now)) else { return 0 };
        let mean = fill.bytes.checked_div(fill.messages).unwrap_or(0);
        let bytes = u128::from(fill.last.saturating_sub(last)) * u128::from(mean);
        let elapsed_ms = now.saturating_duration_since(at).as_millis().max(1);
        u64::try_from(bytes * 1000 / elapsed_ms).unwrap_or(u64::MAX)
    }
}

/// Returns the sequence up to which the routers' consumers acknowledged every event; `None` if one is
/// missing.
async fn acknowledged(stream: &Stream<()>) -> Result<Option<u64>, async_nats::Error> {
    let (mut consumers, mut floors) = (stream.consumers(), Vec::new());
    while let Some(consumer) = consumers.try_next().await? {
        floors.push((consumer.name, consumer.ack_floor.stream_sequence));
    }
    Ok(least_floor(floors.iter().map(|(name, floor)| (name.as_str(), *floor))))
}

/// Reads the first event at or above `sequence`.
pub(super) async fn probe<I>(
    stream: &Stream<I>,
    sequence: u64,
) -> Result<Option<ProbedEvent>, async_nats::Error> {
    match stream.direct_get_next_for_subject(">", Some(sequence)).await {
        Ok(event) => {
            let stored_ms = i64::try_from(event.time.unix_timestamp_nanos() / 1_000_000)?;
            Ok(Some(ProbedEvent { sequence: event.sequence, stored_ms }))
        }
        Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn report_lost(consumer: &str, first: u64, last: u64) {
    let events = last.saturating_sub(first).saturating_add(1);
    metrics::gap_events(events);
    tracing::error!(
        consumer,
        first,
        last,
        events,
        "the event stream begins after its floor: events were removed that no router had acknowledged"
    );
}

fn reason_label(reason: TrimReason) -> &'static str {
    match reason {
        TrimReason::Age => "age",
        TrimReason::Bytes => "bytes",
    }
}
