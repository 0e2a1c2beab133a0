//! The floor of the event stream: the last sequence up to which every event is acknowledged.
//! Decisions without I/O.
//!
//! The broker keeps the acknowledgements of a consumer with the consumer, and forgets them when it
//! is deleted. The floor is therefore written to the bucket `SW_STATE` as well, before any event is
//! purged. A lost consumer starts after it, and a stream that begins after it has lost events.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::subjects::ROUTER_CONSUMER;

/// Maximum number of reported deletions that are remembered.
const REPORTED_MAX: usize = 10_000;

/// A stored floor: value of the key `floor.<consumer>`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Creation time of the stream in nanoseconds since the epoch; distinguishes it from another
    /// stream of the same name.
    pub stream: i64,
    /// Every event up to this sequence is acknowledged.
    pub sequence: u64,
}

/// Where a consumer that does not exist starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConsumerStart {
    /// After the floor.
    AtFloor(u64),
    /// At the first event, because there is no floor of this stream.
    First,
}

/// Returns where a consumer starts in the stream created at `created_ns`, which stores the
/// sequences `first` to `last`.
#[must_use]
pub fn consumer_start(
    checkpoint: Option<Checkpoint>,
    created_ns: i64,
    first: u64,
    last: u64,
) -> ConsumerStart {
    match checkpoint {
        Some(Checkpoint { stream, sequence }) if stream == created_ns => {
            // A stream that lost confirmed writes may end before the floor.
            let end = last.saturating_add(1);
            ConsumerStart::AtFloor(sequence.saturating_add(1).max(first).min(end).max(1))
        }
        _ => ConsumerStart::First,
    }
}

/// Whether this consumer of the event stream belongs to the routers: the shared one, or one of the
/// partitions `router-p<n>`.
#[must_use]
pub fn is_router_consumer(name: &str) -> bool {
    name.strip_prefix(ROUTER_CONSUMER).is_some_and(|rest| {
        let partition = rest.strip_prefix("-p").unwrap_or_default();
        rest.is_empty()
            || (!partition.is_empty() && partition.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

/// Returns the least floor of the routers' consumers, given as (name, floor); `None` without the
/// shared one, because a missing consumer may have unacknowledged events.
#[must_use]
pub fn least_floor<'n>(consumers: impl IntoIterator<Item = (&'n str, u64)>) -> Option<u64> {
    let mut least = None;
    let mut has_shared = false;
    for (name, floor) in consumers {
        if is_router_consumer(name) {
            has_shared |= name == ROUTER_CONSUMER;
            least = Some(least.map_or(floor, |least: u64| least.min(floor)));
        }
    }
    least.filter(|_| has_shared)
}

/// Returns the floor to store, or `None` if the stored one is as high.
#[must_use]
pub fn next_checkpoint(stored: Option<Checkpoint>, present: Checkpoint) -> Option<Checkpoint> {
    let is_known =
        stored.is_some_and(|s| s.stream == present.stream && s.sequence >= present.sequence);
    (!is_known).then_some(present)
}

/// Returns the sequences that the stream lost at its start although no router acknowledged them:
/// routers purge only what is below a stored floor. `checkpoint` must be read after `first`.
#[must_use]
pub fn lost_at_start(
    checkpoint: Option<Checkpoint>,
    created_ns: i64,
    first: u64,
) -> Option<RangeInclusive<u64>> {
    let floor = checkpoint.filter(|checkpoint| checkpoint.stream == created_ns)?.sequence;
    let lost = floor.saturating_add(1)..=first.saturating_sub(1);
    (!lost.is_empty()).then_some(lost)
}

/// What a round does with the floor of one consumer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FloorRound {
    /// The floor to store; none if the stored one is as high.
    pub write: Option<Checkpoint>,
    /// Events that the stream lost at its start; reported once the new floor is stored.
    pub lost: Option<RangeInclusive<u64>>,
    /// Floor that is stored for this stream.
    known: u64,
    present: u64,
}

impl FloorRound {
    /// Decides on the floor of a consumer that has acknowledged every event up to `acknowledged`, in
    /// the stream created at `created_ns` whose first sequence is `first`. `stored` must be read
    /// after `first`.
    #[must_use]
    pub fn new(stored: Option<Checkpoint>, created_ns: i64, first: u64, acknowledged: u64) -> Self {
        // What the stream no longer has needs no acknowledgement.
        let present = acknowledged.max(first.saturating_sub(1));
        let known = stored.filter(|known| known.stream == created_ns);
        Self {
            write: next_checkpoint(stored, Checkpoint { stream: created_ns, sequence: present }),
            lost: lost_at_start(stored, created_ns, first),
            known: known.map_or(0, |known| known.sequence),
            present,
        }
    }

    /// Returns the floor up to which events may be purged: one that is stored. `is_written` is
    /// whether the new floor, if any, was stored.
    #[must_use]
    pub fn usable(&self, is_written: bool) -> u64 {
        match (&self.write, is_written) {
            (Some(_), true) => self.present,
            (Some(_), false) => self.known,
            (None, _) => self.present.min(self.known),
        }
    }
}

/// Finds events that were deleted between stored ones before they were acknowledged.
#[derive(Debug, Default)]
pub struct DeletedEvents {
    /// Sequences above the floor that were reported.
    reported: BTreeSet<u64>,
    /// Number of deleted sequences at the last check.
    deleted: u64,
}

impl DeletedEvents {
    /// Whether the list of deleted sequences must be read, given their number.
    #[must_use]
    pub fn needs_list(&self, deleted: u64) -> bool {
        deleted > 0 && deleted != self.deleted
    }

    /// Returns the deleted sequences above the floor that were not returned before.
    pub fn record(&mut self, floor: u64, deleted: &[u64]) -> Vec<u64> {
        self.deleted = deleted.len() as u64;
        self.reported = self.reported.split_off(&floor.saturating_add(1));
        let mut found = Vec::new();
        for sequence in deleted.iter().copied().filter(|sequence| *sequence > floor) {
            if self.reported.len() < REPORTED_MAX && self.reported.insert(sequence) {
                found.push(sequence);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Option<Checkpoint> = Some(Checkpoint { stream: 7, sequence: 100 });

    #[test]
    fn lost_consumer_starts_after_the_floor_of_its_stream() {
        assert_eq!(consumer_start(AT, 7, 1, 500), ConsumerStart::AtFloor(101));
        assert_eq!(consumer_start(AT, 7, 200, 500), ConsumerStart::AtFloor(200), "purged");
        assert_eq!(consumer_start(AT, 7, 1, 50), ConsumerStart::AtFloor(51), "writes lost");
        assert_eq!(consumer_start(AT, 7, 0, 0), ConsumerStart::AtFloor(1), "never 0");
        assert_eq!(consumer_start(AT, 8, 1, 500), ConsumerStart::First, "another stream");
        assert_eq!(consumer_start(None, 7, 1, 500), ConsumerStart::First);
    }

    #[test]
    fn least_floor_counts_the_consumers_of_routers_only() {
        let shared = ("router", 9);
        assert_eq!(least_floor([shared, ("debug", 1), ("router-x", 2), ("routers", 3)]), Some(9));
        assert_eq!(least_floor([shared, ("router-p0", 4), ("router-p11", 12)]), Some(4));
        assert_eq!(least_floor([("router-p0", 4)]), None, "the shared consumer is missing");
        assert_eq!(least_floor([]), None);
    }

    #[test]
    fn checkpoint_never_falls_within_one_stream() {
        let lower = Checkpoint { stream: 7, sequence: 99 };
        let other = Checkpoint { stream: 8, sequence: 0 };
        assert_eq!(next_checkpoint(AT, lower), None);
        assert_eq!(next_checkpoint(AT, other), Some(other));
        assert_eq!(next_checkpoint(None, other), Some(other));
    }

    #[test]
    fn stream_that_begins_after_the_floor_lost_events() {
        assert_eq!(lost_at_start(AT, 7, 101), None);
        assert_eq!(lost_at_start(AT, 7, 104), Some(101..=103));
        assert_eq!(lost_at_start(AT, 8, 104), None);
        assert_eq!(lost_at_start(None, 7, 104), None);
    }

    #[test]
    fn events_are_purged_up_to_a_stored_floor_only() {
        let round = FloorRound::new(AT, 7, 50, 120);
        assert_eq!(round.write, Some(Checkpoint { stream: 7, sequence: 120 }));
        assert_eq!((round.usable(true), round.usable(false)), (120, 100));
        let behind = FloorRound::new(AT, 7, 50, 90);
        assert_eq!((behind.write, behind.usable(true)), (None, 90));
        let other = FloorRound::new(AT, 8, 1, 5);
        assert_eq!(
            (other.usable(true), other.usable(false)),
            (5, 0),
            "the floor of another stream"
        );
        let lost = FloorRound::new(AT, 7, 104, 100);
        assert_eq!((lost.lost.clone(), lost.usable(true)), (Some(101..=103), 103));
    }

    #[test]
    fn deletion_among_unacknowledged_events_is_reported_once() {
        let mut events = DeletedEvents::default();
        assert!(!events.needs_list(0) && events.needs_list(2));
        assert_eq!(events.record(5, &[3, 8]), [8]);
        assert!(!events.needs_list(2));
        assert_eq!(events.record(5, &[3, 8, 9]), [9]);
        assert_eq!(events.record(20, &[3, 8, 9]), [0_u64; 0]);
    }

    #[test]
    fn checkpoint_is_read_with_members_of_a_later_release() {
        let text = r#"{"stream":7,"sequence":100,"later":true}"#;
        assert_eq!(serde_json::from_str::<Checkpoint>(text).ok(), AT);
    }
}
