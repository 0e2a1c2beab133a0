//! What an erasure found, and what became of it (a stored format).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::store::ErasedStore;

/// Why something is kept; a closed set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeptReason {
    /// The routers did not finish the event in time.
    NotAcknowledged,
    /// The delivery was being attempted whenever the job came to it.
    InFlight,
    /// The stream forbids deletions.
    DenyDelete,
    /// The message does not say of which site it is.
    UnknownSite,
    /// Redrives published too many events again while the job ran.
    Republished,
    /// A document of the registry, which has commands of its own.
    Registry,
    /// A revision of a module, which is part of the history of its document.
    Revisions,
}

/// What was found in one store: `matched` is the sum of what follows it, except for what the job has not
/// come to yet.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreReport {
    /// Messages that were read.
    pub read: u64,
    /// Messages that belong to the erasure, or may belong to it.
    pub matched: u64,
    /// Removed.
    pub removed: u64,
    /// Kept without the parts that name the account.
    pub body_removed: u64,
    /// Not there any more when they were to be removed, or when the job looked for them again: acknowledged,
    /// expired, or removed by a step that was interrupted.
    pub left: u64,
    /// Kept, by reason. What the job waits for is here as well.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kept: BTreeMap<KeptReason, u64>,
}

/// The reports of all stores.
pub type EraseReport = BTreeMap<ErasedStore, StoreReport>;
