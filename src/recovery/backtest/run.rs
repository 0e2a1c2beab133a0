//! Reads the events of a backtest, while a thread of its own decides on them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

use super::counts::BacktestCounts;
use super::progress::{BacktestProgress, BacktestStatus};
use super::query::BacktestQuery;
use super::turns::BacktestTurn;
use super::worker::{Finished, Worker};
use crate::clock;
use crate::recovery::explain::Deadline;
use crate::recovery::redrive::ReadError;
use crate::recovery::replay::{
    EventBatch, EventBounds, EventMessage, EventReader, EventScan, ReplayStreams, StartAt,
};

/// Batches that wait for the thread, in addition to the one that it has and the one that is read.
const BATCHES_WAITING: usize = 3;
/// Pause between two looks at how far it is.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What a backtest found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BacktestReport {
    /// The counts.
    pub counts: BacktestCounts,
    /// What the event stream had when it began.
    pub bounds: EventBounds,
    /// Events that there were to read; none if that is not known.
    pub of: Option<u64>,
    /// Sequence of the last event that was decided on, and when it was stored, milliseconds since the
    /// epoch; none if there is none.
    pub last: Option<(u64, i64)>,
    /// Sequence at which to go on; none if all events were decided on.
    pub next: Option<u64>,
    /// Sequences, of all sites, that were deleted before they were read, from the one to begin at on.
    pub deleted: u64,
    /// The broker's time when it ended, milliseconds since the epoch.
    pub now_ms: i64,
    /// How long it took.
    pub took: Duration,
}

/// How far the reader is.
#[derive(Clone, Copy, Debug, Default)]
struct ReadState {
    /// Sequence of the first event; none until it is read.
    first: Option<u64>,
    /// Events that there are to read; none until that is known.
    of: Option<u64>,
    /// Sequence from which on nothing was handed over, because there are more events than are read.
    next: Option<u64>,
    /// Sequences that were deleted before they were read.
    deleted: u64,
}

/// Tries a filter on stored events, oldest first, and calls `progress` several times a second. Ends with
/// the last event that was stored when it began, after as many events as the query allows, or at the
/// deadline. Ends soon after its future is dropped; `turn` is held until its thread has ended.
///
/// # Errors
/// The broker does not answer, or the thread cannot be started.
pub async fn backtest(
    (streams, reader): (&dyn ReplayStreams, &EventReader),
    query: BacktestQuery,
    (deadline, turn): (Deadline, BacktestTurn),
    progress: &(dyn Fn(&BacktestProgress) + Send + Sync),
) -> Result<BacktestReport, ReadError> {
    let started = clock::tick();
    let bounds = streams.event_bounds().await?;
    let query = Arc::new(query);
    let (sender, batches) = mpsc::channel(BATCHES_WAITING);
    let (status, seen) = watch::channel(BacktestStatus::default());
    let finished =
        start(Worker::new(reader.clone(), Arc::clone(&query), deadline, status), batches, turn)?;
    let (state, read) = watch::channel(ReadState::default());
    let all_read = read_all((streams, reader), &query, &bounds, (sender, state));
    let shown = show(started, (&seen, &read), progress);
    let found = tokio::select! {
        found = async {
            all_read.await?;
            finished.await.map_err(|_| ReadError("the thread of the backtest ended".to_owned()))
        } => found?,
        () = shown => return Err(ReadError("no progress is shown any more".to_owned())),
    };
    let ReadState { first, of, next, deleted } = *read.borrow();
    // What was handed over and not decided on is to be read again.
    let after_last = found.last.map(|(last, _)| last.saturating_add(1));
    let undecided = after_last.or(first).filter(|_| found.is_late);
    Ok(BacktestReport {
        counts: found.counts,
        bounds,
        of,
        last: found.last,
        next: undecided.or(next),
        deleted,
        now_ms: clock::broker_now_ms(),
        took: clock::since(started),
    })
}

/// Starts the thread.
fn start(
    worker: Worker,
    batches: mpsc::Receiver<Vec<EventMessage>>,
    turn: BacktestTurn,
) -> Result<oneshot::Receiver<Finished>, ReadError> {
    let (sender, finished) = oneshot::channel();
    let work = move || {
        let found = worker.run(batches);
        // The next one may run before its caller knows that this one ended.
        drop(turn);
        // A caller that left does not wait for the result.
        let _ = sender.send(found);
    };
    let thread = std::thread::Builder::new().name("backtest".into()).spawn(work);
    thread
        .map(|_| finished)
        .map_err(|error| ReadError(format!("no thread for a backtest: {error}")))
}

/// Calls `progress` until it is dropped.
async fn show(
    started: Instant,
    (seen, read): (&watch::Receiver<BacktestStatus>, &watch::Receiver<ReadState>),
    progress: &(dyn Fn(&BacktestProgress) + Send + Sync),
) {
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        let (status, of) = (*seen.borrow(), read.borrow().of);
        progress(&BacktestProgress { status, of, elapsed: clock::since(started) });
    }
}

/// Reads all events and hands them over, in small parts while live events are routed.
async fn read_all(
    (streams, reader): (&dyn ReplayStreams, &EventReader),
    query: &BacktestQuery,
    bounds: &EventBounds,
    (batches, state): (mpsc::Sender<Vec<EventMessage>>, watch::Sender<ReadState>),
) -> Result<(), ReadError> {
    let end = End::find(streams, query, bounds).await?;
    let mut scan = EventScan::new(streams, query.site.as_ref(), query.from);
    let (mut left, mut there) = (query.events_max, None);
    while left > 0 {
        let (started, max) = (clock::tick(), reader.scan_batch());
        let max = usize::try_from(left).map_or(max, |left| left.min(max));
        let from = scan.from();
        let EventBatch { mut events, after_first, has_more } = scan.next(max).await?;
        if let StartAt::Sequence(from) = from {
            // What the stream deleted since then, or while this batch was read.
            let kept_from = if events.first().is_some_and(|one| one.sequence == from) {
                from
            } else {
                streams.event_bounds().await?.first
            };
            let next = events.first().map_or(end.last.saturating_add(1), |one| one.sequence);
            let deleted = kept_from.min(next).saturating_sub(from);
            state.send_modify(|state| state.deleted += deleted);
        }
        let sequence = |one: &EventMessage| one.sequence;
        let (first, last) = (events.first().map(sequence), events.last().map(sequence));
        let Some(last) = last else { break };
        events.retain(|one| one.sequence <= end.last);
        let there = *there.get_or_insert_with(|| {
            let there = after_first.saturating_add(1).saturating_sub(end.after);
            let of = Some(there.min(query.events_max));
            state.send_modify(|state| (state.first, state.of) = (first, of));
            there
        });
        left = left.saturating_sub(u64::try_from(events.len()).unwrap_or(u64::MAX));
        if batches.send(events).await.is_err() {
            // The time is used up.
            return Ok(());
        }
        if !has_more || last >= end.last {
            break;
        }
        reader.rest_for_live_events(started).await;
        let next = last.saturating_add(1);
        if left == 0 && there > query.events_max {
            state.send_modify(|state| state.next = Some(next));
        }
    }
    Ok(())
}

/// The last event that is read.
struct End {
    last: u64,
    /// Events of the query that are stored after it, as far as they are known.
    after: u64,
}

impl End {
    async fn find(
        streams: &dyn ReplayStreams,
        query: &BacktestQuery,
        bounds: &EventBounds,
    ) -> Result<Self, ReadError> {
        let none_after = Self { last: bounds.last, after: 0 };
        let Some(until_ms) = query.until_ms else { return Ok(none_after) };
        let after =
            EventScan::new(streams, query.site.as_ref(), StartAt::Time(until_ms)).next(1).await?;
        Ok(match after.events.first() {
            Some(first) => Self {
                last: first.sequence.saturating_sub(1).min(bounds.last),
                after: after.after_first.saturating_add(1),
            },
            None => none_after,
        })
    }
}
