//! What is known of one delivery, and what follows: pure.
//!
//! Facts are a set that only grows, so neither the order of records nor their repetition matters.

use std::ops::BitOr;

use serde::Deserialize;

/// What records say of a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Facts(u8);

impl Facts {
    /// Its handler accepted it.
    pub const DELIVERED: Self = Self(1);
    /// It was dead-lettered.
    pub const DEAD: Self = Self(2);
    /// A policy dropped it.
    pub const DROPPED: Self = Self(4);
    /// It was parked.
    pub const PARKED: Self = Self(8);
    /// Its event is in the window.
    pub(super) const IN_WINDOW: Self = Self(16);
    /// A record of its event has it, and not only one of a parked record or a dead letter.
    pub(super) const NEW: Self = Self(32);
    /// It was delivered after it was parked.
    pub(super) const RESUMED: Self = Self(64);

    /// Whether all of `other` are known.
    #[must_use]
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Facts {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Outcome of a delivery in a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordedOutcome {
    /// Delivered.
    Delivered,
    /// Parked.
    Parked,
    /// Dead-lettered.
    Dead,
    /// Dropped by a policy.
    Dropped,
    /// Its dead letter is deleted.
    Removed,
    /// One of a later release.
    #[serde(other)]
    Unknown,
}

impl RecordedOutcome {
    /// Returns the fact that a record with this outcome states, if it states one.
    #[must_use]
    pub fn fact(self) -> Option<Facts> {
        match self {
            Self::Delivered => Some(Facts::DELIVERED),
            Self::Parked => Some(Facts::PARKED),
            Self::Dead => Some(Facts::DEAD),
            Self::Dropped => Some(Facts::DROPPED),
            // It says something of a letter, not of the delivery.
            Self::Removed | Self::Unknown => None,
        }
    }

    /// Returns its name in records.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Parked => "parked",
            Self::Dead => "dead",
            Self::Dropped => "dropped",
            Self::Removed => "removed",
            Self::Unknown => "unknown",
        }
    }
}

/// Where a dead letter of a delivery is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Letter {
    /// In the dead-letter stream.
    Stored,
    /// An operator deleted it.
    Removed,
    /// Not there, although letters of its time are kept.
    Absent,
    /// Not there; letters of its time are not kept any more.
    Expired,
}

/// What became of a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum State {
    /// Its handler accepted it.
    Delivered,
    /// It is in the dead-letter stream.
    Dead,
    /// A policy dropped it.
    Dropped,
    /// Its dead letter was deleted, or is older than letters are kept.
    Removed,
    /// It is in the parking stream.
    Pending,
    /// Nothing says what became of it.
    Gap,
}

/// Decides what became of a delivery, from what records say and what the streams hold.
///
/// What is delivered stays delivered: a parked record of it is a repetition, which a crash left. Else
/// the streams decide before the records.
#[must_use]
pub fn decide(facts: Facts, is_parked: bool, letter: Letter) -> State {
    let has_died = facts.has(Facts::DEAD);
    match letter {
        _ if facts.has(Facts::DELIVERED) => State::Delivered,
        _ if is_parked => State::Pending,
        Letter::Stored if has_died => State::Dead,
        Letter::Removed | Letter::Expired if has_died => State::Removed,
        _ if facts.has(Facts::DROPPED) && !has_died => State::Dropped,
        _ => State::Gap,
    }
}

/// Returns what became of a delivery for one of its subscriptions, given what became of the delivery
/// and what records of that subscription say. A subscription that is missing in the record of the
/// outcome was removed before: the delivery was dropped for it.
#[must_use]
pub fn for_subscription(state: State, own: Facts) -> State {
    let has_taken_part = match state {
        State::Pending | State::Gap => true,
        State::Delivered => own.has(Facts::DELIVERED),
        State::Dead | State::Removed => own.has(Facts::DEAD),
        State::Dropped => own.has(Facts::DROPPED),
    };
    if has_taken_part { state } else { State::Dropped }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_decide_what_records_leave_open() {
        let parked = Facts::PARKED;
        let dead = Facts::PARKED | Facts::DEAD;
        for (facts, is_parked, letter, expected) in [
            (parked, true, Letter::Absent, State::Pending),
            (parked, false, Letter::Absent, State::Gap),
            (parked | Facts::DELIVERED, true, Letter::Absent, State::Delivered),
            (parked | Facts::DROPPED, false, Letter::Absent, State::Dropped),
            (dead, false, Letter::Stored, State::Dead),
            (dead, false, Letter::Absent, State::Gap),
            (dead, false, Letter::Expired, State::Removed),
            (dead, true, Letter::Stored, State::Pending),
            (dead, false, Letter::Removed, State::Removed),
            (parked, false, Letter::Removed, State::Gap),
            (dead | Facts::DELIVERED, false, Letter::Absent, State::Delivered),
            (dead | Facts::DROPPED, false, Letter::Stored, State::Dead),
            (dead | Facts::DROPPED, false, Letter::Absent, State::Gap),
            (Facts::default(), false, Letter::Absent, State::Gap),
        ] {
            assert_eq!(decide(facts, is_parked, letter), expected, "{facts:?} {letter:?}");
        }
    }

    #[test]
    fn subscription_that_was_removed_before_the_outcome_is_dropped() {
        assert_eq!(for_subscription(State::Delivered, Facts::PARKED), State::Dropped);
        assert_eq!(for_subscription(State::Delivered, Facts::DELIVERED), State::Delivered);
        assert_eq!(for_subscription(State::Pending, Facts::PARKED), State::Pending);
        assert_eq!(for_subscription(State::Gap, Facts::PARKED), State::Gap);
    }
}
