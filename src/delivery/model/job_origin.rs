//! The job that handed a delivery over, and positions of stored messages.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use url::Url;

use crate::event::Message;

/// Where and when the broker stored a message. A sequence alone is not unique: a stream that is
/// deleted and created again starts with 1, and the broker would discard a letter with the id of one
/// of the deleted stream as a duplicate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StreamPosition {
    /// Sequence in the stream.
    pub sequence: u64,
    /// Milliseconds since the epoch.
    pub stored_ms: i64,
}

impl StreamPosition {
    /// Returns the position of a message.
    pub fn of(message: &impl Message) -> Self {
        Self { sequence: message.sequence(), stored_ms: message.stored_ms() }
    }
}

impl fmt::Display for StreamPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.sequence, self.stored_ms)
    }
}

/// A text that is not a position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoPosition;

impl FromStr for StreamPosition {
    type Err = NoPosition;

    fn from_str(text: &str) -> Result<Self, NoPosition> {
        let (sequence, stored_ms) = text.split_once('/').ok_or(NoPosition)?;
        Ok(Self {
            sequence: sequence.parse().map_err(|_| NoPosition)?,
            stored_ms: stored_ms.parse().map_err(|_| NoPosition)?,
        })
    }
}

/// The job that handed a delivery over, with the dead letters that the delivery redrives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobOrigin {
    /// Id of the job.
    pub job: Arc<str>,
    /// Positions in the dead-letter stream; none if the job redrives no dead letter.
    pub dead_letters: Vec<StreamPosition>,
    /// Whether the job replays events; otherwise it redrives dead letters.
    pub is_replay: bool,
    /// The replay that made the delivery once more, this one or an earlier one; none if its event made
    /// it. A job that hands over what was dead-lettered continues that delivery.
    pub repeated_by: Option<Arc<str>>,
    /// Endpoint that a replay sends to in place of the handler; none for the handler.
    pub target: Option<Url>,
}

impl JobOrigin {
    /// Returns the origin of deliveries that the redrive `job` hands over.
    #[must_use]
    pub fn redrive(job: &str, dead_letters: Vec<StreamPosition>) -> Self {
        Self { job: job.into(), dead_letters, is_replay: false, repeated_by: None, target: None }
    }

    /// Returns the origin of deliveries that the replay `job` makes once more.
    #[must_use]
    pub fn replay(job: &str, target: Option<Url>) -> Self {
        let job: Arc<str> = job.into();
        let repeated_by = Some(Arc::clone(&job));
        Self { job, dead_letters: Vec::new(), is_replay: true, repeated_by, target }
    }

    /// Returns the job if it is a replay.
    #[must_use]
    pub fn replay_job(&self) -> Option<&Arc<str>> {
        self.is_replay.then_some(&self.job)
    }
}

/// What became of a delivery that a job handed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JobOutcome {
    /// The handler accepted it.
    Delivered,
    /// It is stored in the dead-letter stream again.
    Dead,
    /// A policy dropped it, or it could not be resumed: its dead letters stay.
    Dropped,
}

impl JobOutcome {
    /// Returns the metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Dropped => "dropped",
        }
    }
}
