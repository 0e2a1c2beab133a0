//! What a replay job is asked to do (a stored format), and the window of events that it is about.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::decide::ReplayMode;
use super::streams::{EventBounds, LogBounds, ReplayStreams, StartAt};
use crate::domain::{CloudId, InstallationId, ModuleKey};
use crate::recovery::jobs::{Job, JobKind};
use crate::recovery::redrive::ReadError;

/// The request of a replay job.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayRequest {
    /// The installation whose deliveries are replayed.
    pub installation: InstallationId,
    /// Its site, the only one whose events are read.
    pub site: CloudId,
    /// The only module whose deliveries are replayed; none for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<ModuleKey>,
    /// The key that the ids of its deliveries are derived from, if that is another one: modules with the same
    /// one share deliveries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_key: Option<ModuleKey>,
    /// Which deliveries.
    pub mode: ReplayMode,
    /// The filters and events of this time count, in milliseconds since the epoch; none for those of now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of_ms: Option<i64>,
    /// A further filter that must hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// URL of the endpoint that deliveries are sent to in place of their handler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The events.
    #[serde(flatten)]
    pub window: Window,
    /// What was stored of the window when the job was created.
    #[serde(flatten)]
    pub coverage: Coverage,
    /// Whether a dry run counted all that the job would do; none without a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_complete: Option<bool>,
}

/// Whether two jobs are replays that may hand the same delivery over. Deliveries to a target of its own are
/// no other job's.
#[must_use]
pub fn do_overlap(one: &Job, other: &Job) -> bool {
    let request = |job: &Job| match job.kind {
        JobKind::Replay => serde_json::from_value::<ReplayRequest>(job.request.clone()).ok(),
        _ => None,
    };
    let (Some(one), Some(other)) = (request(one), request(other)) else { return false };
    let shared = |request: &ReplayRequest| request.delivery_key.clone();
    let is_same_key = match (&one.key, &other.key) {
        (Some(key), Some(other_key)) => {
            key == other_key || (shared(&one).is_some() && shared(&one) == shared(&other))
        }
        _ => true,
    };
    is_same_key
        && one.installation == other.installation
        && one.target.is_none()
        && other.target.is_none()
        && one.window.first_sequence <= other.window.last_sequence
        && other.window.first_sequence <= one.window.last_sequence
}

/// A range of sequences of the event stream, ends included; empty if the first is after the last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// The first one.
    pub first_sequence: u64,
    /// The last one. It was stored when the job was created, so that a job ends.
    pub last_sequence: u64,
}

/// What is stored of a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Coverage {
    /// When the oldest event of the event stream was stored, milliseconds since the epoch. Events
    /// before it are deleted and cannot be replayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events_from_ms: Option<i64>,
    /// Since when the delivery log knows everything. Of events before it nothing says whether they were
    /// delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_from_ms: Option<i64>,
    /// The time or sequence that was asked for is before the oldest event.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub begins_before_events: bool,
}

/// The window that is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WindowRequest {
    /// Events that were stored in a time, its end excluded.
    Times {
        /// From when on.
        from: Timestamp,
        /// Until when; none for now.
        to: Option<Timestamp>,
    },
    /// Events of a range of sequences.
    Sequences(Window),
}

/// A window that no event can be in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("the window ends before it begins")]
pub struct BadWindow;

impl WindowRequest {
    /// Checks that the window begins before it ends.
    ///
    /// # Errors
    /// It does not.
    pub fn check(self) -> Result<Self, BadWindow> {
        let is_ordered = match self {
            Self::Times { from, to } => to.is_none_or(|to| from < to),
            Self::Sequences(Window { first_sequence, last_sequence }) => {
                first_sequence >= 1 && first_sequence <= last_sequence
            }
        };
        is_ordered.then_some(self).ok_or(BadWindow)
    }

    /// Returns the sequences of the window among the events of `site` that are stored, and what is
    /// stored of it.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn find(
        self,
        streams: &dyn ReplayStreams,
        site: &CloudId,
    ) -> Result<(Window, Coverage), ReadError> {
        let (bounds, log) = (streams.event_bounds().await?, streams.log_bounds().await?);
        let coverage = coverage(&bounds, log.as_ref());
        let (window, begins_before_events) = match self {
            Self::Sequences(window) => (window, window.first_sequence < bounds.first),
            Self::Times { from, to } => {
                let from_ms = from.as_millisecond();
                let at = async |ms| {
                    let found = streams.read_events(site, StartAt::Time(ms), 1).await?;
                    Ok::<_, ReadError>(found.events.first().map(|event| event.sequence))
                };
                let after_last = bounds.last.saturating_add(1);
                let first_sequence = at(from_ms).await?.unwrap_or(after_last);
                let end = match to {
                    Some(to) => at(to.as_millisecond()).await?.unwrap_or(after_last),
                    None => after_last,
                };
                let is_before = bounds.first_ms.is_some_and(|first_ms| from_ms < first_ms);
                let last_sequence = end.saturating_sub(1);
                (Window { first_sequence, last_sequence }, is_before && bounds.first > 1)
            }
        };
        let window = Window {
            first_sequence: window.first_sequence.max(bounds.first).max(1),
            last_sequence: window.last_sequence.min(bounds.last),
        };
        Ok((window, Coverage { begins_before_events, ..coverage }))
    }
}

/// Returns what is stored now.
#[must_use]
pub fn coverage(bounds: &EventBounds, log: Option<&LogBounds>) -> Coverage {
    let log_from_ms = log.map(LogBounds::complete_from_ms);
    Coverage { events_from_ms: bounds.first_ms, log_from_ms, begins_before_events: false }
}
