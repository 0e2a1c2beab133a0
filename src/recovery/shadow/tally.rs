//! The count of one comparison, a stored format: pure.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::domain::UnknownMembers;
use crate::matcher::DecidedAgain;
use crate::recovery::replay::EventBounds;

/// Format version of the document.
const FORMAT: u32 = 1;
/// Events of each kind of difference that are listed: the last ones.
pub const DIFFERENCES_KEPT: usize = 50;

/// What was counted of a filter, or of its shadow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Side {
    /// Events that it delivers.
    pub matched: u64,
    /// Events on which its evaluation failed, whatever `onError` makes of them.
    pub errors: u64,
}

/// An event that one of both delivers. Its id may name an account, so it is not stored here: an erasure removes
/// the event itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// Its sequence.
    pub sequence: u64,
    /// Its type.
    pub event_type: String,
    /// When it was stored, milliseconds since the epoch.
    pub stored_ms: i64,
}

/// The count of one comparison up to a position in the event stream.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// Format version.
    #[serde(rename = "v")]
    pub format: u32,
    /// Name of the comparison.
    pub comparison: String,
    /// Revision of the registry that the counting replica had applied to the module.
    pub revision: u64,
    /// Every stored event up to this sequence is counted.
    pub counted: u64,
    /// When the stream with this sequence was created, milliseconds since the epoch.
    pub stream_ms: i64,
    /// When it was last stored, milliseconds since the epoch.
    pub at_ms: i64,
    /// Events that at least one of both subscribes to.
    pub events: u64,
    /// The filter.
    pub filter: Side,
    /// The shadow.
    pub shadow: Side,
    /// Events that both deliver.
    pub both: u64,
    /// Events that only the shadow delivers.
    pub gained: u64,
    /// Events that only the filter delivers.
    pub lost: u64,
    /// Steps of all evaluations.
    pub steps: u64,
    /// Events that cannot be decoded.
    pub unreadable: u64,
    /// Sequences, of all sites, that were deleted before they were counted.
    pub uncounted: u64,
    /// Whether the stream was deleted and created again, or lost its last events: what was not counted of
    /// what it had is unknown.
    #[serde(rename = "streamLost", default, skip_serializing_if = "std::ops::Not::not")]
    pub is_stream_lost: bool,
    /// The last events that only the shadow delivers, the oldest first.
    pub gained_events: VecDeque<Difference>,
    /// The last events that only the filter delivers, the oldest first.
    pub lost_events: VecDeque<Difference>,
    /// Members that this release does not know.
    #[serde(flatten)]
    pub unknown: UnknownMembers,
}

/// An event with both decisions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Compared {
    pub(super) sequence: u64,
    pub(super) stored_ms: i64,
    pub(super) event_type: String,
    pub(super) filter: DecidedAgain,
    pub(super) shadow: DecidedAgain,
}

impl Tally {
    /// Begins the count of a comparison with the event after `after` of the stream that was created at
    /// `stream_ms`.
    pub(super) fn new(comparison: &str, after: u64, stream_ms: i64) -> Self {
        let comparison = comparison.to_owned();
        Self { format: FORMAT, comparison, counted: after, stream_ms, ..Self::default() }
    }

    /// Parses a stored document.
    ///
    /// # Errors
    /// It is of a later format, or not a tally; one sentence.
    pub fn read(stored: &[u8]) -> Result<Self, String> {
        let read: Self = serde_json::from_slice(stored).map_err(|error| error.to_string())?;
        match read.format {
            FORMAT => Ok(read),
            other => Err(format!("its format is {other}, known is {FORMAT}")),
        }
    }

    /// Whether the tally of another comparison is of a later change than `revision`, and stored after
    /// `since_ms`, by a replica that still counts.
    pub(super) fn is_later(&self, revision: u64, since_ms: i64) -> bool {
        self.revision > revision && self.at_ms > since_ms
    }

    /// Whether `next`, which goes on from this tally, says more of what was lost.
    pub(super) fn has_less_losses_than(&self, next: &Self) -> bool {
        let losses = |tally: &Self| (tally.stream_ms, tally.uncounted, tally.is_stream_lost);
        next.counted < self.counted || losses(self) != losses(next)
    }

    /// Counts an event.
    pub(super) fn add(&mut self, one: Compared) {
        let Compared { filter, shadow, .. } = one;
        self.steps = self.steps.saturating_add(filter.steps).saturating_add(shadow.steps);
        if !filter.is_subscribed && !shadow.is_subscribed {
            return;
        }
        self.events += 1;
        for (side, decided) in [(&mut self.filter, filter), (&mut self.shadow, shadow)] {
            side.matched += u64::from(decided.is_delivered);
            side.errors += u64::from(decided.is_failed);
        }
        let (count, listed) = match (filter.is_delivered, shadow.is_delivered) {
            (true, true) => {
                self.both += 1;
                return;
            }
            (false, true) => (&mut self.gained, &mut self.gained_events),
            (true, false) => (&mut self.lost, &mut self.lost_events),
            (false, false) => return,
        };
        *count += 1;
        if listed.len() >= DIFFERENCES_KEPT {
            listed.pop_front();
        }
        listed.push_back(Difference {
            sequence: one.sequence,
            event_type: one.event_type,
            stored_ms: one.stored_ms,
        });
    }

    /// Notes that the stream begins with `first` and that the next event that was read is `next`: what
    /// lies between the position and both was deleted before it was counted.
    pub(super) fn note_deleted(&mut self, first: u64, next: u64) {
        let deleted_to = first.min(next).saturating_sub(1);
        self.uncounted += deleted_to.saturating_sub(self.counted);
        self.counted = self.counted.max(deleted_to);
    }

    /// Whether the stream that it counts ends before its position: a server of the broker is behind, or
    /// the broker lost the last events.
    pub(super) fn is_ahead_of(&self, bounds: &EventBounds) -> bool {
        bounds.created_ms == self.stream_ms && bounds.last < self.counted
    }

    /// Notes what the stream has. Of one that was created again, every event is counted; of one that lost its
    /// last events, those that are stored from now on.
    pub(super) fn note_stream(&mut self, bounds: &EventBounds) {
        if bounds.created_ms != self.stream_ms {
            self.is_stream_lost = true;
            self.stream_ms = bounds.created_ms;
            self.counted = bounds.first.saturating_sub(1);
        } else if bounds.last < self.counted {
            self.is_stream_lost = true;
            self.counted = bounds.last;
        }
    }
}
