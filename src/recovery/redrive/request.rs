//! What a redrive job is asked to do (a stored format), and where it is.

use serde::{Deserialize, Serialize};

use super::letter::LetterId;
use super::query::LetterQuery;

/// Letters that a request may name one by one.
pub const IDS_MAX: usize = 1_000;

/// Which letters a job redrives.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Selection {
    /// These.
    Ids(Vec<LetterId>),
    /// Those that a query selects.
    Query(LetterQuery),
}

/// The request of a redrive job.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RedriveRequest {
    /// Which letters.
    #[serde(flatten)]
    pub selection: Selection,
    /// First sequence of the stream when the job was created.
    pub first: u64,
    /// Last sequence of the stream when the job was created. Later letters are not redriven, among
    /// them those of deliveries that are dead-lettered again.
    pub last: u64,
    /// Whether a dry run counted all that the job would redrive; none without a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "planComplete")]
    pub plan_complete: Option<bool>,
}
