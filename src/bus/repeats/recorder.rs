//! The recorder: keeps the memory of this replica equal to the event stream.
//!
//! Each round it reads the blocks of other replicas, writes what this one published as a block, and
//! looks for sequences that no block covers: those of a replica that was killed, of an older release
//! and of publishers on the bus. Their ids are read from the headers of the event stream and written
//! as a block, too. Replicas wait differently long before they do that, so that mostly one does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::block::Block;
use super::block_stream::{BlockStream, ReadBlocks};
use super::coverage::Coverage;
use super::event_headers::{BLOCK_SEQUENCES, EventHeaders, EventStream, ReadHeaders};
use super::history::History;
use super::id::RepeatId;
use super::memory::{Memory, MemoryLimits};
use super::report::Reporter;
use super::{Repeats, metrics};
use crate::bus::connect::JetStreamClient;
use crate::bus::subjects::Subjects;
use crate::clock;
use crate::config::EventsConfig;

/// Interval of the rounds.
const INTERVAL: Duration = Duration::from_secs(2);
/// Longest time between a publish and its block.
const FLUSH_INTERVAL: Duration = Duration::from_secs(5);
/// Most blocks that one round writes, and reads of others' blocks.
const BLOCKS_PER_ROUND: usize = 32;
/// How long one round reads events: blocks of what this replica published must not wait for long.
const READ_TIME_MAX: Duration = Duration::from_secs(2);
/// Age of sequences that no block covers, from which on the first replica reads them: longer than
/// any replica needs to write its block.
const UNCOVERED_AGE: Duration = Duration::from_secs(12);
/// How much later the next replica reads them.
const UNCOVERED_STEP: Duration = Duration::from_secs(4);
/// Different ages.
const UNCOVERED_STEPS: u64 = 5;
/// Rounds in which the stream contradicts what was read of it, after which events count as lost.
const LOST_ROUNDS: u32 = 2;
/// How long the start waits for the memory.
const START_WAIT: Duration = Duration::from_secs(20);
/// Interval of the progress that the start reports, and its pause after an error.
const START_PROGRESS: Duration = Duration::from_secs(5);
const START_PAUSE: Duration = Duration::from_millis(250);

/// Keeps [`Repeats`] up to date.
#[derive(Debug)]
pub struct RepeatRecorder {
    repeats: Arc<Repeats>,
    limits: MemoryLimits,
    uncovered_age: Duration,
    memory: Memory,
    coverage: Coverage,
    blocks: BlockStream,
    events: EventHeaders,
    reporter: Reporter,
    history: History,
    /// Creation time of the event stream.
    created_ns: Option<i64>,
    /// The id with the highest sequence of all blocks. If another event has its sequence, the stream is
    /// not the one that was read: an older one was restored.
    newest: Option<(u64, RepeatId)>,
    /// Whether the coverage begins at the oldest event that is remembered.
    has_start: bool,
    flushed: Instant,
    lost_rounds: u32,
    completed: Instant,
}

impl RepeatRecorder {
    /// Creates a recorder of `repeats`; `None` if the settings switch the memory off.
    #[must_use]
    pub fn new(
        jetstream_client: JetStreamClient,
        subjects: Subjects,
        events: &EventsConfig,
        repeats: Arc<Repeats>,
    ) -> Option<Self> {
        if events.repeat_memory_h == 0 {
            return None;
        }
        let age_ms = i64::try_from(events.repeat_memory_h.saturating_mul(3_600_000));
        let limits =
            MemoryLimits { ids_max: events.repeat_ids_max, age_ms: age_ms.unwrap_or(i64::MAX) };
        let rank = jetstream_client.client.server_info().client_id % UNCOVERED_STEPS;
        let rank = u32::try_from(rank).unwrap_or(0);
        Some(Self {
            blocks: BlockStream::new(jetstream_client.clone(), &subjects),
            events: EventHeaders::new(jetstream_client, subjects),
            reporter: Reporter::new(limits, Duration::from_secs(events.dedup_window_s) / 2),
            repeats,
            limits,
            uncovered_age: UNCOVERED_AGE + UNCOVERED_STEP * rank,
            memory: Memory::new(limits),
            coverage: Coverage::default(),
            history: History::default(),
            created_ns: None,
            newest: None,
            has_start: false,
            flushed: clock::tick(),
            lost_rounds: 0,
            completed: clock::tick(),
        })
    }

    /// Reads what was remembered before the start, for at most 20 s; the rest follows while the
    /// router runs.
    pub async fn catch_up(&mut self) {
        let started = clock::tick();
        let mut reported = started;
        loop {
            match self.round(Duration::ZERO).await {
                Ok(true) => {
                    let (ids, took) = (self.memory.len(), clock::since(started));
                    tracing::info!(ids, ?took, "ids of stored events loaded");
                    return;
                }
                // The server of the reader may lag.
                Ok(false) if self.events.may_lag() => tokio::time::sleep(START_PAUSE).await,
                Ok(false) => {}
                Err(error) => {
                    tracing::debug!(%error, "ids of stored events not loaded yet");
                    tokio::time::sleep(START_PAUSE).await;
                }
            }
            let (ids, covered) = (self.memory.len(), self.coverage.last());
            if clock::since(started) >= START_WAIT {
                tracing::warn!(
                    ids,
                    covered,
                    "ids of stored events are still being loaded; until then, late repetitions are stored again"
                );
                return;
            }
            if clock::since(reported) >= START_PROGRESS {
                reported = clock::tick();
                tracing::info!(ids, covered, "loading the ids of stored events");
            }
        }
    }

    /// Records until the future is dropped.
    pub async fn run(mut self) {
        self.events.rest_between_reads();
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            if let Err(error) = self.round(self.uncovered_age).await {
                tracing::debug!(%error, "ids of stored events not recorded");
                self.report();
            }
        }
    }

    /// Brings the memory up to date once. Reads sequences that no block covers from the event stream
    /// if they are older than `uncovered_age`. Returns whether nothing is left to be read.
    async fn round(&mut self, uncovered_age: Duration) -> Result<bool, async_nats::Error> {
        let events = self.events.state().await?;
        self.check_events(events).await?;
        if !self.read_blocks(events).await? {
            self.publish();
            return Ok(false);
        }
        let events = self.check_blocks(events).await?;
        self.start_coverage(events).await?;
        self.coverage.add(0, events.first.saturating_sub(1));
        self.history.record(clock::tick(), events.last);
        self.write_notes(events).await?;
        let target = self.history.last_before(clock::tick(), uncovered_age).min(events.last);
        let is_complete = self.read_uncovered(events, target).await?;
        self.memory.expire(clock::broker_now_ms());
        if is_complete {
            self.completed = clock::tick();
        }
        self.publish();
        self.report();
        Ok(is_complete)
    }

    /// Forgets the ids of events that were lost: their sources may send them again.
    async fn check_events(&mut self, events: EventStream) -> Result<(), async_nats::Error> {
        let known = self.created_ns.replace(events.created_ns);
        if known.is_some_and(|known| known != events.created_ns) {
            self.clear("event_stream_created");
            tracing::warn!(
                "the event stream was created again; the ids of its events are forgotten"
            );
        }
        if !self.repeats.has_lost_events() {
            self.repeats.saw(events.last);
            if !self.ends_early(events) && !self.is_replaced().await? {
                self.lost_rounds = 0;
                self.repeats.suspend(false);
                return Ok(());
            }
            // A server of the broker that lags may say the same, once.
            self.repeats.suspend(true);
            self.lost_rounds += 1;
            if self.lost_rounds < LOST_ROUNDS {
                return Err("the event stream is not what was read of it".into());
            }
        }
        self.blocks.purge().await?;
        self.clear("events_lost");
        tracing::error!(
            last = events.last,
            "the event stream lost events; the ids of all its events are read again"
        );
        Ok(())
    }

    /// Checks the stream against the blocks that were just read, and returns its present state. Nothing
    /// is answered from blocks that it contradicts.
    async fn check_blocks(
        &mut self,
        mut events: EventStream,
    ) -> Result<EventStream, async_nats::Error> {
        if self.ends_early(events) {
            // Mostly a block of what was stored since the stream was asked.
            events = self.events.state().await?;
        }
        if self.ends_early(events) || (!self.has_start && self.is_replaced().await?) {
            self.repeats.suspend(true);
            return Err("the event stream is not what its blocks say".into());
        }
        Ok(events)
    }

    /// Whether the stream ends before what blocks cover.
    fn ends_early(&self, events: EventStream) -> bool {
        self.coverage.last().is_some_and(|covered| covered > events.last)
    }

    /// Whether another event has the sequence of the newest id.
    async fn is_replaced(&self) -> Result<bool, async_nats::Error> {
        let Some((sequence, id)) = self.newest else { return Ok(false) };
        let stored = self.events.id_at(sequence).await?;
        Ok(stored.is_some_and(|stored| stored != Some(id)))
    }

    fn clear(&mut self, reason: &'static str) {
        metrics::cleared(reason);
        self.memory.clear();
        self.repeats.clear();
        self.coverage = Coverage::default();
        self.history.clear();
        self.events.restart();
        self.newest = None;
        self.has_start = false;
        self.lost_rounds = 0;
    }

    /// Reads the blocks of the other replicas; returns whether there are no more.
    async fn read_blocks(&mut self, events: EventStream) -> Result<bool, async_nats::Error> {
        for _ in 0..BLOCKS_PER_ROUND {
            match self.blocks.read().await? {
                ReadBlocks::Emptied => {
                    self.clear("blocks_purged");
                    tracing::warn!("the stream of ids was emptied; they are read from the events");
                }
                ReadBlocks::Next { mut blocks, is_last } => {
                    blocks.retain(|block| block.created_ns == events.created_ns);
                    self.add(blocks).await?;
                    if is_last {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }

    /// Adds blocks to coverage and memory, outside the async runtime: merging takes milliseconds.
    async fn add(&mut self, blocks: Vec<Block>) -> Result<(), async_nats::Error> {
        if blocks.is_empty() {
            return Ok(());
        }
        for (from, to) in blocks.iter().flat_map(|block| &block.covered) {
            self.coverage.add(*from, *to);
        }
        let ids = blocks.iter().flat_map(|block| &block.ids);
        let newest = ids.map(|stored| (stored.sequence, stored.id)).max();
        self.newest = self.newest.max(newest);
        let mut memory = std::mem::replace(&mut self.memory, Memory::new(self.limits));
        let adding = tokio::task::spawn_blocking(move || {
            memory.add(&blocks);
            memory
        });
        match adding.await {
            Ok(memory) => self.memory = memory,
            Err(error) => {
                self.clear("failed");
                self.blocks.restart();
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Begins the coverage: at the first block, or without blocks at the first event that is young
    /// enough.
    async fn start_coverage(&mut self, events: EventStream) -> Result<(), async_nats::Error> {
        if self.has_start {
            return Ok(());
        }
        let start = match self.coverage.first() {
            Some(first) => first,
            None => self.events.first_younger(events, self.limits.age_ms).await?,
        };
        self.coverage.add(0, start.saturating_sub(1));
        self.has_start = true;
        Ok(())
    }

    /// Writes what this replica published as blocks, if enough or long enough ago.
    async fn write_notes(&mut self, events: EventStream) -> Result<(), async_nats::Error> {
        for _ in 0..BLOCKS_PER_ROUND {
            let is_due = clock::since(self.flushed) >= FLUSH_INTERVAL
                || self.repeats.notes().len() >= BLOCK_SEQUENCES;
            if !is_due {
                return Ok(());
            }
            let now_ms = clock::broker_now_ms();
            let block = self.repeats.notes().block(BLOCK_SEQUENCES, events.created_ns, now_ms);
            let Some(block) = block else {
                self.flushed = clock::tick();
                return Ok(());
            };
            self.blocks.write(&block).await?;
            self.add(vec![block.clone()]).await?;
            self.publish();
            self.repeats.notes().remove(&block);
        }
        Ok(())
    }

    /// Reads the headers of events up to `target` that no block covers; returns whether none is left.
    async fn read_uncovered(
        &mut self,
        events: EventStream,
        target: u64,
    ) -> Result<bool, async_nats::Error> {
        let started = clock::tick();
        for _ in 0..BLOCKS_PER_ROUND {
            let Some(hole) = self.coverage.first_hole(target) else { return Ok(true) };
            if clock::since(started) >= READ_TIME_MAX {
                break;
            }
            match self.events.read(events, hole).await? {
                ReadHeaders::Block(block) => {
                    self.blocks.write(&block).await?;
                    self.add(vec![block]).await?;
                }
                ReadHeaders::Deleted => self.coverage.add(hole.0, hole.1),
                ReadHeaders::Nothing => return Ok(false),
            }
        }
        Ok(self.coverage.first_hole(target).is_none())
    }

    /// Makes the ids known to publishers.
    fn publish(&self) {
        self.repeats.publish_runs(self.memory.runs());
    }

    /// Updates metrics, status and log.
    fn report(&mut self) {
        let now = clock::tick();
        let hole = self.coverage.first_hole(u64::MAX).map_or(u64::MAX, |(from, _)| from);
        let unread = self.history.known_for(now, hole);
        let silent = now.saturating_duration_since(self.completed);
        let covered_to = hole.checked_sub(1).filter(|_| self.has_start);
        let status = self.reporter.report(&self.memory, (unread, silent), covered_to);
        self.repeats.status.store(Arc::new(status));
    }
}
