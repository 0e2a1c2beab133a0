//! Decisions that are modelled here until the router has them as pure state machines: trimming, the
//! floor, poison, pauses, permits and shares. Each has the interface that its owner gave it or is
//! expected to give it, so that the real code replaces it without a change of the simulator.

use std::collections::BTreeMap;

use crate::broker::StoredFloor;
use crate::dice::Ms;

/// Share of the event stream above which acknowledged events are purged, in percent.
const STORED_PERCENT_MAX: usize = 70;
/// Crashes recorded while an event was decoded that make it poison.
pub(crate) const CRASHES_MAX: u32 = 3;

/// What the trimmer knows of the event stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TrimInput {
    pub(crate) first: u64,
    pub(crate) messages: usize,
    pub(crate) messages_max: usize,
    /// All events up to this sequence are acknowledged; none if that is not known.
    pub(crate) floor: Option<u64>,
    /// A publisher was refused since the last round.
    pub(crate) was_refused: bool,
}

/// Returns the first sequence to keep; none if nothing is purged.
pub(crate) fn trim(input: &TrimInput) -> Option<u64> {
    let kept_max = if input.was_refused {
        input.messages_max / 2
    } else {
        input.messages_max * STORED_PERCENT_MAX / 100
    };
    let excess = u64::try_from(input.messages.saturating_sub(kept_max)).unwrap_or(0);
    let below = (input.first + excess).min(input.floor? + 1);
    (below > input.first).then_some(below)
}

/// Returns where a consumer that does not exist starts.
pub(crate) fn consumer_start(floor: Option<StoredFloor>, created: Ms, first: u64) -> u64 {
    match floor {
        Some(StoredFloor { stream, sequence }) if stream == created => (sequence + 1).max(first),
        _ => first,
    }
}

/// Returns the floor to store; none if the stored one is as high.
pub(crate) fn next_floor(stored: Option<StoredFloor>, present: StoredFloor) -> Option<StoredFloor> {
    let is_known = |stored: StoredFloor| {
        stored.stream == present.stream && stored.sequence >= present.sequence
    };
    (!stored.is_some_and(is_known)).then_some(present)
}

/// Crash markers of redelivered events, as the KV keeps them.
#[derive(Debug, Default)]
pub(crate) struct CrashMarkers {
    /// Crashes recorded while the event was decoded, and the process that decodes it now.
    markers: BTreeMap<(Ms, u64), (u32, Option<Process>)>,
}

/// A process: replica and incarnation.
pub(crate) type Process = (usize, u64);

impl CrashMarkers {
    /// Records that a process starts to decode a redelivered event. Returns false if the event is
    /// poison. A mark that another process left is a crash.
    pub(crate) fn begin(&mut self, event: (Ms, u64), process: Process) -> bool {
        let (crashes, marked) = self.markers.entry(event).or_default();
        if marked.is_some_and(|marked| marked != process) {
            *crashes += 1;
        }
        *marked = Some(process);
        *crashes < CRASHES_MAX
    }

    /// Clears the mark: the event was decoded.
    pub(crate) fn end(&mut self, event: (Ms, u64)) {
        if let Some((_, marked)) = self.markers.get_mut(&event) {
            *marked = None;
        }
    }
}

/// Whether a gap between two steps of a process is a pause: its messages were redelivered.
pub(crate) fn is_pause(gap: Ms, ack_wait: Ms) -> bool {
    gap > ack_wait
}

/// Permits for attempts, with a limit per owner, so that one owner cannot take all.
#[derive(Debug)]
pub(crate) struct Permits {
    free: usize,
    per_owner_max: usize,
    held: BTreeMap<usize, usize>,
}

impl Permits {
    pub(crate) fn new(total: usize, per_owner_max: usize) -> Self {
        Self { free: total, per_owner_max, held: BTreeMap::new() }
    }

    pub(crate) fn can_take(&self, owner: usize) -> bool {
        self.free > 0 && self.held_by(owner) < self.per_owner_max
    }

    pub(crate) fn take(&mut self, owner: usize) {
        self.free = self.free.saturating_sub(1);
        *self.held.entry(owner).or_default() += 1;
    }

    pub(crate) fn release(&mut self, owner: usize) {
        self.free += 1;
        if let Some(held) = self.held.get_mut(&owner) {
            *held = held.saturating_sub(1);
        }
    }

    pub(crate) fn held_by(&self, owner: usize) -> usize {
        self.held.get(&owner).copied().unwrap_or(0)
    }

    pub(crate) fn held(&self) -> usize {
        self.held.values().sum()
    }
}

/// Where a delivery that cannot be done now goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Parking,
    DeadLetters,
    /// The counted policy `share_exceeded`.
    Dropped,
}

/// Returns where a delivery goes, given what its owner has stored and may store.
pub(crate) fn place(parked: (usize, usize), letters: (usize, usize)) -> Place {
    if parked.0 < parked.1 {
        Place::Parking
    } else if letters.0 < letters.1 {
        Place::DeadLetters
    } else {
        Place::Dropped
    }
}
