//! The document of a job (a stored format), and the rules of its changes. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;
use utoipa::ToSchema;

/// Version of the documents that this release writes. It executes no job of a higher one.
pub(super) const VERSION: u32 = 1;
/// First part of every id.
const ID_PREFIX: &str = "job_";
/// Longest id, in bytes.
const ID_BYTES_MAX: usize = 40;
/// Entries per second if the request names no rate.
const RATE_DEFAULT: u32 = 50;
/// Highest rate, in entries per second.
const RATE_MAX: u32 = 1_000;

/// Id of a job. Ids sort by the time at which their jobs were created.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct JobId(Box<str>);

impl JobId {
    /// Creates an id from a time in milliseconds since the epoch and some random bits.
    #[must_use]
    pub fn new(now_ms: i64, random: u32) -> Self {
        let ms = u64::try_from(now_ms).unwrap_or(0);
        Self(format!("{ID_PREFIX}{ms:011x}{:05x}", random & 0xf_ffff).into())
    }

    /// Parses an id; none if no job can have it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(ID_PREFIX)?;
        let is_legal = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase();
        let is_id = text.len() <= ID_BYTES_MAX && !rest.is_empty() && rest.bytes().all(is_legal);
        is_id.then(|| Self(text.into()))
    }

    /// Returns the id as text, which is one token of a subject.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a job does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// Delivers dead letters again.
    Redrive,
    /// Delivers stored events again.
    Replay,
    /// Removes what is stored of an account or a site.
    Erase,
}

impl JobKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Redrive, Self::Replay, Self::Erase];

    /// Returns its name: the one in documents, answers and metric labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Redrive => "redrive",
            Self::Replay => "replay",
            Self::Erase => "erase",
        }
    }
}

/// State of a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// A dry run: counted, not started. `resume` starts it.
    Planned,
    /// It is executed, or will be as soon as a replica takes it.
    Running,
    /// An operator stopped it; `resume` continues it.
    Paused,
    /// An operator ended it.
    Cancelled,
    /// It has handled its last entry.
    Done,
    /// It cannot continue; `reason` says why.
    Failed,
}

impl JobState {
    /// Returns its name: the one in documents, answers and metric labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Cancelled => "cancelled",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    /// Whether nothing changes it any more.
    #[must_use]
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Cancelled | Self::Done | Self::Failed)
    }

    /// Whether it counts to the number of jobs that may be active at once.
    #[must_use]
    pub fn is_active(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }

    /// Returns whether an operator may change this state to `next`. The same state again is no
    /// error, so that a repeated request is harmless.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        match next {
            Self::Paused => matches!(self, Self::Running | Self::Paused),
            Self::Running => matches!(self, Self::Planned | Self::Running | Self::Paused),
            Self::Cancelled => !matches!(self, Self::Done | Self::Failed),
            Self::Planned | Self::Done | Self::Failed => false,
        }
    }
}

/// Entries per second that a job hands over, from 1 to 1,000.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JobRate(u32);

/// A rate out of range.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("a rate is a whole number of entries per second, from 1 to {RATE_MAX}")]
pub struct BadRate;

impl JobRate {
    /// Checks a rate.
    ///
    /// # Errors
    /// See [`BadRate`].
    pub fn new(per_second: u64) -> Result<Self, BadRate> {
        let rate = u32::try_from(per_second).map_err(|_| BadRate)?;
        (1..=RATE_MAX).contains(&rate).then_some(Self(rate)).ok_or(BadRate)
    }

    /// Returns the rate in entries per second; that of a damaged document is brought into range.
    #[must_use]
    pub fn per_second(self) -> u32 {
        self.0.clamp(1, RATE_MAX)
    }
}

impl Default for JobRate {
    fn default() -> Self {
        Self(RATE_DEFAULT)
    }
}

/// Numbers of entries by what became of them. The names are a closed set of each kind of job.
pub type JobCounts = BTreeMap<String, u64>;

/// Which replica executes a job.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Lease {
    /// The replica.
    pub replica: String,
    /// Until when, in milliseconds of the broker's clock.
    pub until_ms: i64,
}

/// The document of a job.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Job {
    /// Version of the format.
    #[serde(rename = "v")]
    pub version: u32,
    /// Its id.
    pub id: JobId,
    /// What it does.
    pub kind: JobKind,
    /// Its state.
    pub state: JobState,
    /// Entries per second.
    pub rate: JobRate,
    /// What to do, as its kind defines it. It never changes.
    pub request: Value,
    /// What it needs and must not be kept once it ended, as its kind defines it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub private: Value,
    /// Where it is, as its kind defines it; null before the first step.
    #[serde(default)]
    pub cursor: Value,
    /// What became of the entries so far, as counted by its steps.
    #[serde(default)]
    pub counts: JobCounts,
    /// How much is done, from 0.0 to 1.0.
    #[serde(default)]
    pub progress: f64,
    /// When it was created, in milliseconds of the broker's clock.
    pub created_ms: i64,
    /// When it was started for the first time, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<i64>,
    /// When it was changed last, likewise.
    pub updated_ms: i64,
    /// When a step advanced it last, or it was started, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progressed_ms: Option<i64>,
    /// Why it failed, or what it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who executes it; none if no replica took it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// Members of a later release, which are kept.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Job {
    /// Adds `counts` to what is counted.
    pub fn count(&mut self, counts: &JobCounts) {
        for (name, number) in counts {
            let total = self.counts.entry(name.clone()).or_default();
            *total = total.saturating_add(*number);
        }
    }

    /// Whether a replica may take it: it runs, this release knows its format, and no lease is valid
    /// at `now_ms`.
    #[must_use]
    pub fn is_free(&self, now_ms: i64) -> bool {
        self.state == JobState::Running
            && self.version <= VERSION
            && self.lease.as_ref().is_none_or(|lease| lease.until_ms <= now_ms)
    }

    /// Whether `replica` holds the lease, even one that has expired.
    #[must_use]
    pub fn is_leased_to(&self, replica: &str) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.replica == replica)
    }

    /// Changes the state at `now_ms`. A job that does not run has no lease, one that ended nothing private.
    pub(super) fn set_state(&mut self, state: JobState, now_ms: i64) {
        self.state = state;
        self.updated_ms = now_ms;
        if state == JobState::Running {
            self.started_ms.get_or_insert(now_ms);
            self.progressed_ms = Some(now_ms);
        } else {
            self.lease = None;
        }
        if state.is_ended() {
            self.private = Value::Null;
        }
    }

    /// Returns how many seconds are left at the present pace; none if it does not run, or if nothing
    /// is known yet.
    #[must_use]
    pub fn eta_s(&self) -> Option<u64> {
        let started_ms = self.started_ms.filter(|_| self.state == JobState::Running)?;
        let (done, taken_ms) = (self.progress, self.updated_ms.saturating_sub(started_ms));
        if done <= 0.0 || done > 1.0 || taken_ms <= 0 {
            return None;
        }
        let taken = std::time::Duration::from_millis(taken_ms.unsigned_abs());
        // The bound keeps the product finite: a million times as long as it took so far.
        Some(taken.mul_f64(((1.0 - done) / done).min(1e6)).as_secs())
    }
}
