//! What the streams hold of deliveries, and which deliveries are without a trace. Pure.

use std::collections::HashSet;

use super::facts::{Facts, Letter, State, decide};

/// Hash of a delivery id. Two are equal by chance once in 10^25 accounts of the largest size.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct IdHash(pub(super) u64, pub(super) u64);

/// What the streams hold.
#[derive(Debug, Default)]
pub struct Presence {
    /// Deliveries in the parking stream.
    pub parked: HashSet<IdHash>,
    /// Deliveries with a dead letter.
    pub letters: HashSet<IdHash>,
    /// Whether letters of the window may have been deleted by age.
    pub may_have_expired: bool,
}

impl Presence {
    /// Returns what became of a delivery of which `facts` are known, and whose letter an operator deleted
    /// or not.
    pub(super) fn state(&self, id: IdHash, facts: Facts, is_removed: bool) -> State {
        let letter = match self.letters.contains(&id) {
            true => Letter::Stored,
            false if is_removed => Letter::Removed,
            false if self.may_have_expired => Letter::Expired,
            false => Letter::Absent,
        };
        decide(facts, self.parked.contains(&id), letter)
    }
}

/// Number of deliveries without a trace, and the records that name some of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Suspects {
    /// How many there are.
    pub number: u64,
    /// Those of them that may be due: they were parked, and have no later record.
    pub parked: u64,
    /// Whether some of them were dead-lettered.
    pub has_dead: bool,
    /// The hashes of some, with the sequence of a record each.
    pub some: Vec<(IdHash, u64)>,
}
