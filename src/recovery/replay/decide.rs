//! Which deliveries a replay hands over, by its mode and by what the delivery log knows. Pure.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Count of the deliveries of which the delivery log says nothing, and need not know anything.
pub const BEFORE_LOG: &str = "skipped_before_log";
/// Count of the deliveries of events that were dead-lettered before they were matched for the installation.
pub const UNMATCHED: &str = "skipped_unmatched_letter";

/// Which deliveries of the events of a window a replay hands over, among those that match again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReplayMode {
    /// Those that were dead-lettered or dropped last, and never delivered.
    Failed,
    /// Those that were never delivered and do not wait: failed ones, and those that the log does not
    /// know.
    Missing,
    /// Those that do not wait, delivered ones among them.
    All,
}

/// What the delivery log knows of a delivery.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fate {
    /// Nothing.
    Unknown,
    /// It was dropped by a policy or removed last.
    Dropped,
    /// It was dead-lettered last.
    Dead,
    /// It is parked: it will be attempted again.
    Pending,
    /// It was delivered, at some time.
    Delivered,
}

/// Why a delivery that matches again is not handed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Skipped {
    /// It was delivered.
    Delivered,
    /// It waits already: a second record of it would replace the first one.
    Pending,
    /// The log does not know that it failed.
    NotFailed,
    /// The log is not complete for the time of its event, so nothing says whether it was delivered.
    BeforeLog,
    /// Its event was dead-lettered before it was matched for the installation. A redrive of that letter makes
    /// all of its deliveries; one that is handed over alone would be made twice.
    Unmatched,
    /// Its event is stored twice, and this job decided on the delivery before.
    Repeated,
    /// The broker stores no message as large.
    TooLarge,
}

impl Skipped {
    /// Returns the name of its count.
    pub(super) fn count_name(self) -> &'static str {
        match self {
            Self::Delivered => "skipped_delivered",
            Self::Pending => "skipped_pending",
            Self::NotFailed => "skipped_not_failed",
            Self::BeforeLog => BEFORE_LOG,
            Self::Unmatched => UNMATCHED,
            Self::Repeated => "skipped_repeated_event",
            Self::TooLarge => "skipped_too_large",
        }
    }
}

/// What is known of a delivery when it is decided on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Known {
    pub(super) fate: Fate,
    /// Whether the log has every record of the event.
    pub(super) is_logged: bool,
    /// Whether a dead letter holds the event, not matched yet for the installation.
    pub(super) is_unmatched: bool,
    /// Whether the replay sends to a target of its own: then nothing that waits is replaced.
    pub(super) has_target: bool,
}

/// Returns why a delivery is not handed over; none if it is.
pub(super) fn skip(mode: ReplayMode, known: Known) -> Option<Skipped> {
    match (mode, known.fate) {
        (ReplayMode::All, Fate::Pending) if known.has_target => None,
        (_, Fate::Pending) => Some(Skipped::Pending),
        (_, Fate::Unknown) if known.is_unmatched && !known.has_target => Some(Skipped::Unmatched),
        (ReplayMode::All, _) => None,
        (_, Fate::Delivered) => Some(Skipped::Delivered),
        (_, Fate::Dead | Fate::Dropped) => None,
        (ReplayMode::Failed, Fate::Unknown) => Some(Skipped::NotFailed),
        (ReplayMode::Missing, Fate::Unknown) if !known.is_logged => Some(Skipped::BeforeLog),
        (ReplayMode::Missing, Fate::Unknown) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FATES: [Fate; 5] =
        [Fate::Unknown, Fate::Dropped, Fate::Dead, Fate::Pending, Fate::Delivered];

    fn handed_over(mode: ReplayMode, is_logged: bool, has_target: bool) -> Vec<Fate> {
        let known = |fate| Known { fate, is_logged, is_unmatched: false, has_target };
        FATES.into_iter().filter(|fate| skip(mode, known(*fate)).is_none()).collect()
    }

    #[test]
    fn each_mode_hands_over_what_it_names() {
        use Fate::{Dead, Delivered, Dropped, Pending, Unknown};
        assert_eq!(handed_over(ReplayMode::Failed, true, false), [Dropped, Dead]);
        assert_eq!(handed_over(ReplayMode::Missing, true, false), [Unknown, Dropped, Dead]);
        assert_eq!(handed_over(ReplayMode::All, true, false), [Unknown, Dropped, Dead, Delivered]);
        assert_eq!(handed_over(ReplayMode::All, true, true), FATES);
        assert!(!handed_over(ReplayMode::Missing, true, true).contains(&Pending));
    }

    #[test]
    fn events_before_the_log_are_missing_only_if_the_log_says_that_they_failed() {
        assert_eq!(handed_over(ReplayMode::Missing, false, false), [Fate::Dropped, Fate::Dead]);
        let unknown =
            Known { fate: Fate::Unknown, is_logged: false, is_unmatched: false, has_target: false };
        assert_eq!(skip(ReplayMode::Missing, unknown), Some(Skipped::BeforeLog));
        assert_eq!(skip(ReplayMode::Failed, unknown), Some(Skipped::NotFailed));
        assert_eq!(skip(ReplayMode::All, unknown), None);
    }

    #[test]
    fn event_that_was_dead_lettered_before_it_was_matched_is_left_to_a_redrive() {
        let known =
            Known { fate: Fate::Unknown, is_logged: true, is_unmatched: true, has_target: false };
        for mode in [ReplayMode::Failed, ReplayMode::Missing, ReplayMode::All] {
            assert_eq!(skip(mode, known), Some(Skipped::Unmatched), "{mode:?}");
        }
        assert_eq!(skip(ReplayMode::All, Known { has_target: true, ..known }), None);
        assert_eq!(skip(ReplayMode::Failed, Known { fate: Fate::Dead, ..known }), None);
    }
}
