//! What the streams hold of deliveries, and which deliveries are unaccounted for. Pure.

use std::collections::HashSet;

use super::facts::{Facts, Letter, State, decide};
use super::limits::NAMED_MAX;

/// Hash of a delivery id. Two are equal by chance once in 10^25 accounts of the largest size.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct IdHash(pub(super) u64, pub(super) u64);

/// What the streams hold.
#[derive(Debug, Default)]
pub(super) struct Presence {
    /// Deliveries in the parking stream.
    pub parked: HashSet<IdHash>,
    /// Deliveries with a dead letter.
    pub letters: HashSet<IdHash>,
    /// Letters of deliveries that were dead-lettered before this time may have been deleted by age,
    /// milliseconds since the epoch.
    pub expired_before_ms: i64,
}

impl Presence {
    /// Returns what became of a delivery of which `facts` are known, that was last dead-lettered at
    /// `dead_ms`, and whose letter was removed on purpose or not.
    pub(super) fn state(&self, id: IdHash, facts: Facts, dead_ms: i64, is_removed: bool) -> State {
        let letter = match self.letters.contains(&id) {
            true => Letter::Stored,
            false if is_removed => Letter::Removed,
            false if dead_ms < self.expired_before_ms => Letter::Expired,
            false => Letter::Absent,
        };
        decide(facts, self.parked.contains(&id), letter)
    }
}

/// Deliveries that neither the streams nor the records account for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Suspects {
    /// How many there are, those that are undetermined included.
    pub number: u64,
    /// Whether some of them were dead-lettered.
    pub has_dead: bool,
    /// Those of them that may be due: they were parked, have no later record, and there are due records
    /// that were not read. At most as many ids as there are such records.
    pub undetermined: HashSet<IdHash>,
    /// How many deliveries these are: one that a replay repeats has the same id.
    pub undetermined_number: u64,
    /// The hashes of the oldest others, with the sequence of a record each.
    pub named: Vec<(IdHash, u64)>,
}

impl Suspects {
    /// Whether some of them are neither named nor undetermined.
    pub(super) fn has_unnamed(&self) -> bool {
        let others = self.number.saturating_sub(self.undetermined_number);
        self.named.len() >= NAMED_MAX && others > self.named.len() as u64
    }
}
