//! What is known of one delivery, and what follows: pure.
//!
//! Facts are a set that only grows, so neither the order of records nor their repetition matters.

use std::ops::BitOr;

use serde::Deserialize;

/// What records say of a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Facts(u8);

impl Facts {
    /// Its handler accepted it.
    pub(super) const DELIVERED: Self = Self(1);
    /// It was dead-lettered.
    pub(super) const DEAD: Self = Self(2);
    /// A policy dropped it.
    pub(super) const DROPPED: Self = Self(4);
    /// It was parked.
    pub(super) const PARKED: Self = Self(8);
    /// Its event is in the window.
    pub(super) const IN_WINDOW: Self = Self(16);
    /// A record of its event has it, and not only one of a parked record or a dead letter.
    pub(super) const NEW: Self = Self(32);
    /// It was delivered after it was parked.
    pub(super) const RESUMED: Self = Self(64);
    /// It was removed on purpose while it was parked.
    pub(super) const REMOVED: Self = Self(128);

    /// Whether all of `other` are known.
    #[must_use]
    pub(super) fn has(self, other: Self) -> bool {
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
pub(super) enum RecordedOutcome {
    /// Delivered.
    Delivered,
    /// Parked.
    Parked,
    /// Dead-lettered.
    Dead,
    /// Dropped by a policy.
    Dropped,
    /// It is removed on purpose: its dead letter, or what was parked of it.
    Removed,
    /// One of a later release.
    #[serde(other)]
    Unknown,
}

impl RecordedOutcome {
    /// Returns the fact that a record with this outcome states of a delivery that is new or parked, if it
    /// states one. That a dead letter was removed is no fact of its delivery: it is a [`Letter`].
    #[must_use]
    pub(super) fn fact(self) -> Option<Facts> {
        match self {
            Self::Delivered => Some(Facts::DELIVERED),
            Self::Parked => Some(Facts::PARKED),
            Self::Dead => Some(Facts::DEAD),
            Self::Dropped => Some(Facts::DROPPED),
            Self::Removed => Some(Facts::REMOVED),
            Self::Unknown => None,
        }
    }

    /// Returns its name in records.
    #[must_use]
    pub(super) fn label(self) -> &'static str {
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
pub(super) enum Letter {
    /// In the dead-letter stream.
    Stored,
    /// Deleted on purpose, as a record says.
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
    /// Its dead letter or its parked record was deleted on purpose, or its letter is older than letters
    /// are kept.
    Removed,
    /// It is in the parking stream.
    Pending,
    /// Nothing says what became of it.
    Gap,
}

/// Decides what became of a delivery, from what records say and what the streams hold.
///
/// What is delivered stays delivered: a parked record of it is a repetition, which a crash left. Else
/// the streams decide before the records. A delivery that was dead-lettered has a letter until a record
/// says that the letter was removed: what was removed or dropped while it was parked explains no letter.
#[must_use]
pub(super) fn decide(facts: Facts, is_parked: bool, letter: Letter) -> State {
    let has_died = facts.has(Facts::DEAD);
    match letter {
        _ if facts.has(Facts::DELIVERED) => State::Delivered,
        _ if is_parked => State::Pending,
        Letter::Stored if has_died => State::Dead,
        Letter::Removed | Letter::Expired if has_died => State::Removed,
        _ if has_died => State::Gap,
        _ if facts.has(Facts::DROPPED) => State::Dropped,
        _ if facts.has(Facts::REMOVED) => State::Removed,
        _ => State::Gap,
    }
}

/// Returns what became of a delivery for one of its subscriptions, given what became of the delivery
/// and what records of that subscription say. A subscription that is missing in the record of the
/// outcome was removed before: the delivery was dropped for it.
#[must_use]
pub(super) fn for_subscription(state: State, own: Facts) -> State {
    let has_taken_part = match state {
        State::Pending | State::Gap => true,
        State::Delivered => own.has(Facts::DELIVERED),
        State::Dead => own.has(Facts::DEAD),
        State::Removed => own.has(Facts::DEAD) || own.has(Facts::REMOVED),
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
            (parked | Facts::REMOVED, false, Letter::Absent, State::Removed),
            (parked | Facts::REMOVED, true, Letter::Absent, State::Pending),
            (parked | Facts::REMOVED | Facts::DELIVERED, false, Letter::Absent, State::Delivered),
            (dead | Facts::REMOVED, false, Letter::Stored, State::Dead),
            (dead | Facts::REMOVED, false, Letter::Removed, State::Removed),
            (dead | Facts::REMOVED, false, Letter::Absent, State::Gap),
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
        assert_eq!(for_subscription(State::Removed, Facts::PARKED), State::Dropped);
        for taken_part in [Facts::DEAD, Facts::PARKED | Facts::REMOVED] {
            assert_eq!(for_subscription(State::Removed, taken_part), State::Removed);
        }
    }
}
