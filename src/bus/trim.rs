//! Which acknowledged events are deleted from the event stream: a decision without I/O or clock.
//!
//! The broker never deletes an event on its own (`discard: new`, no maximum age). Routers purge the
//! oldest *acknowledged* events: those older than `events.max_age_h`, and those above 70 % of
//! `events.max_bytes`. [`TrimRound`] never returns a sequence above the floor plus one, whatever
//! the other inputs are.

use std::time::Duration;

/// Acknowledged events are purged while the stream stores more than this share of its size.
const STORED_PERCENT_MAX: u64 = 70;
/// Events that are probed in one search by age; a binary search needs 64.
const PROBES_MAX: u32 = 64;
/// Longest time until the next round.
pub const ROUND_INTERVAL_MAX: Duration = Duration::from_secs(5);
/// Shortest time until the next round, unless a publisher was refused.
const ROUND_INTERVAL_MIN: Duration = Duration::from_millis(250);
/// The next round comes before this share of the free space is used: a quarter.
const FREE_SHARE: u32 = 4;

/// What the stream stores.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamFill {
    /// Lowest stored sequence; the last one plus 1 if the stream is empty.
    pub first: u64,
    /// Last sequence that was assigned.
    pub last: u64,
    /// Number of stored events; fewer than sequences if some were deleted.
    pub messages: u64,
    /// Their total size.
    pub bytes: u64,
    /// Time of the oldest event, in milliseconds since the epoch by the broker's clock.
    pub oldest_ms: i64,
}

/// How much is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TrimLimits {
    /// Size of the stream in bytes.
    pub bytes_max: u64,
    /// Age above which acknowledged events are deleted; `None` keeps them until space is needed.
    pub age_max_ms: Option<i64>,
}

/// Space that refused publishers need.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NeededSpace {
    /// Bytes of the largest refused event, with its overhead; 0 if none was refused.
    pub bytes: u64,
    /// The broker's storage is full although the stream is not.
    pub storage_full: bool,
}

/// All inputs of a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TrimInput {
    /// What the stream stores.
    pub fill: StreamFill,
    /// All events up to this sequence are acknowledged; `None` if that is not known.
    pub floor: Option<u64>,
    /// How much is kept.
    pub limits: TrimLimits,
    /// Space that refused publishers need.
    pub needed: NeededSpace,
    /// The broker's time.
    pub now_ms: i64,
}

/// Why events are deleted; a metric label.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrimReason {
    /// They are older than the limit.
    Age,
    /// The stream stores more than its share.
    Bytes,
}

/// What the caller does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrimStep {
    /// Read the first event at or above this sequence and pass it to [`TrimRound::probed`].
    Probe(u64),
    /// Delete all events below this sequence.
    Purge {
        /// First sequence that is kept.
        below: u64,
        /// Which limit was exceeded.
        reason: TrimReason,
    },
    /// Delete nothing.
    Keep,
}

/// An event that was read to learn its age.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProbedEvent {
    /// Its sequence.
    pub sequence: u64,
    /// When it was stored, in milliseconds since the epoch by the broker's clock.
    pub stored_ms: i64,
}

/// One round: a binary search for the first event that is young enough, then the decision.
#[derive(Clone, Debug)]
pub struct TrimRound {
    /// First sequence of the stream.
    first: u64,
    /// First sequence that must be kept: the floor plus 1.
    end: u64,
    /// First sequence to keep by size.
    keep_from_by_bytes: u64,
    /// Events stored before this time are too old.
    cutoff_ms: i64,
    /// All events below are too old.
    low: u64,
    /// No event from here up to `end` is too old.
    high: u64,
    probes_left: u32,
}

impl TrimRound {
    /// Starts a round.
    #[must_use]
    pub fn new(input: &TrimInput) -> Self {
        let TrimInput { fill, floor, limits, needed, now_ms } = *input;
        // Without a floor nothing is known to be acknowledged. A floor beyond the stream belongs to
        // events that the broker lost, and says nothing of those that take their sequences.
        let floor = floor.filter(|floor| *floor <= fill.last);
        let end = floor.map_or(fill.first, |floor| floor.saturating_add(1));
        let cutoff_ms = limits.age_max_ms.map_or(i64::MIN, |age| now_ms.saturating_sub(age));
        let may_be_old = fill.messages > 0 && fill.oldest_ms < cutoff_ms;
        let high = if may_be_old { end.max(fill.first) } else { fill.first };
        Self {
            first: fill.first,
            end,
            keep_from_by_bytes: keep_from_by_bytes(&fill, bytes_to_keep(&fill, limits, needed)),
            cutoff_ms,
            low: fill.first,
            high,
            probes_left: PROBES_MAX,
        }
    }

    /// Returns the next step.
    #[must_use]
    pub fn step(&self) -> TrimStep {
        if self.low < self.high && self.probes_left > 0 {
            return TrimStep::Probe(self.middle());
        }
        let (below, reason) = if self.keep_from_by_bytes > self.low {
            (self.keep_from_by_bytes, TrimReason::Bytes)
        } else {
            (self.low, TrimReason::Age)
        };
        let below = below.min(self.end);
        if below > self.first { TrimStep::Purge { below, reason } } else { TrimStep::Keep }
    }

    /// Continues the search with the first event at or above the probed sequence; `None` if there
    /// is none.
    pub fn probed(&mut self, found: Option<ProbedEvent>) {
        let middle = self.middle();
        self.probes_left = self.probes_left.saturating_sub(1);
        match found {
            // Sequences between `middle` and this event were deleted before.
            Some(event) if event.sequence < self.high && event.stored_ms < self.cutoff_ms => {
                self.low = event.sequence.max(middle).saturating_add(1);
            }
            _ => self.high = middle,
        }
    }

    fn middle(&self) -> u64 {
        self.low + self.high.saturating_sub(self.low) / 2
    }
}

/// Returns how many bytes may stay stored.
fn bytes_to_keep(fill: &StreamFill, limits: TrimLimits, needed: NeededSpace) -> u64 {
    let share = limits.bytes_max / 100 * STORED_PERCENT_MAX;
    let required = needed.bytes.saturating_mul(2);
    let kept = share.min(limits.bytes_max.saturating_sub(required));
    if needed.storage_full {
        let tenth = fill.bytes / 10;
        kept.min(fill.bytes.saturating_sub(required.max(tenth)))
    } else {
        kept
    }
}

/// Returns the first sequence to keep so that about `bytes_kept` remain, by the mean size. Deleted
/// sequences make it too low, never too high; the next round corrects it.
fn keep_from_by_bytes(fill: &StreamFill, bytes_kept: u64) -> u64 {
    let excess = fill.bytes.saturating_sub(bytes_kept);
    if excess == 0 || fill.bytes == 0 {
        return fill.first;
    }
    let messages =
        (u128::from(excess) * u128::from(fill.messages)).div_ceil(u128::from(fill.bytes));
    fill.first.saturating_add(u64::try_from(messages).unwrap_or(u64::MAX))
}

/// Returns the time until the next round: before the stream can fill at the present intake.
#[must_use]
pub fn next_round(fill: &StreamFill, bytes_max: u64, intake_bytes_per_s: u64) -> Duration {
    let free = bytes_max.saturating_sub(fill.bytes);
    let fills_in_ms = u128::from(free) * 1000 / u128::from(intake_bytes_per_s.max(1));
    let fills_in = Duration::from_millis(u64::try_from(fills_in_ms).unwrap_or(u64::MAX));
    (fills_in / FREE_SHARE).clamp(ROUND_INTERVAL_MIN, ROUND_INTERVAL_MAX)
}

#[cfg(test)]
mod tests;
