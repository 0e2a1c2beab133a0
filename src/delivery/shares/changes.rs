//! What one replica changed since its start, as it is stored for the other replicas. Pure.
//!
//! A replica may finish what another one parked, so the numbers of one replica may be negative; the
//! sum over all replicas is not. They are totals, not differences: a lost or repeated document
//! changes nothing that the next one does not correct.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::owner::{Amount, ShareOwner};

/// Format of the stored document.
const FORMAT: u32 = 1;
/// Maximum number of owners in a document; those with the smallest changes are left out. With the
/// longest names it is smaller than the message size that a broker allows by default, 1 MiB.
const OWNERS_MAX: usize = 3_000;

/// Messages and bytes added, or removed if negative.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Change {
    /// Number of messages.
    pub messages: i64,
    /// Their bytes.
    pub bytes: i64,
}

impl Change {
    /// Returns the change that adds `amount`.
    #[must_use]
    pub fn added(amount: Amount) -> Self {
        Self { messages: signed(amount.messages), bytes: signed(amount.bytes) }
    }

    /// Returns the change that removes `amount`.
    #[must_use]
    pub fn removed(amount: Amount) -> Self {
        Self::default().minus(Self::added(amount))
    }

    /// Returns both changes one after the other.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            messages: self.messages.saturating_add(other.messages),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    /// Returns what leads from `earlier` to this.
    #[must_use]
    pub fn minus(self, earlier: Self) -> Self {
        Self {
            messages: self.messages.saturating_sub(earlier.messages),
            bytes: self.bytes.saturating_sub(earlier.bytes),
        }
    }

    /// Returns what is added and what is removed.
    #[must_use]
    pub fn parts(self) -> (Amount, Amount) {
        let up = |number: i64| u64::try_from(number).unwrap_or(0);
        let down = |number: i64| up(number.saturating_neg());
        (
            Amount { messages: up(self.messages), bytes: up(self.bytes) },
            Amount { messages: down(self.messages), bytes: down(self.bytes) },
        )
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Changes by owner.
pub type Changes = HashMap<ShareOwner, Change>;

/// The stored document of one replica.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangesDocument {
    format: u32,
    /// When it was written, milliseconds since the epoch.
    pub at_ms: i64,
    /// Whether the replica publishes its presence, too; those of earlier releases do not.
    #[serde(default)]
    pub has_presence: bool,
    changes: Vec<(ShareOwner, Change)>,
}

impl ChangesDocument {
    /// Creates the document of `changes`.
    #[must_use]
    pub fn new(changes: &Changes, at_ms: i64) -> Self {
        let mut changes: Vec<_> = changes.iter().map(|(owner, c)| (owner.clone(), *c)).collect();
        if changes.len() > OWNERS_MAX {
            changes.sort_unstable_by_key(|(_, change)| {
                std::cmp::Reverse(change.messages.unsigned_abs())
            });
            changes.truncate(OWNERS_MAX);
        }
        Self { format: FORMAT, at_ms, has_presence: true, changes }
    }

    /// Returns the changes; none of a document of a later format.
    #[must_use]
    pub fn into_changes(self) -> Option<Changes> {
        (self.format == FORMAT).then(|| self.changes.into_iter().collect())
    }
}

/// The last known documents of the other replicas.
#[derive(Clone, Default, Debug)]
pub struct ReplicaChanges {
    by_replica: HashMap<String, Changes>,
}

impl ReplicaChanges {
    /// Replaces what is known of a replica; returns what changed since.
    pub fn update(&mut self, replica: &str, now: Changes) -> Changes {
        let before = self.by_replica.insert(replica.to_owned(), now.clone()).unwrap_or_default();
        let mut changed = now;
        for (owner, earlier) in before {
            let change = changed.entry(owner).or_default();
            *change = change.minus(earlier);
        }
        changed.retain(|_, change| *change != Change::default());
        changed
    }

    /// Forgets a replica whose document was deleted; what it changed stays counted.
    pub fn forget(&mut self, replica: &str) {
        self.by_replica.remove(replica);
    }
}

/// Decides when parked records are counted again because the sum of owners differs from the stream.
#[derive(Clone, Default, Debug)]
pub struct DriftDetector {
    /// Consecutive checks with a difference.
    differs: u32,
}

/// Checks in a row with a difference before a recount.
const DIFFERS_MIN: u32 = 3;
/// A difference of this many messages is expected while messages are in flight.
const DIFFERENCE_MIN: u64 = 100;
/// Divisor of the number of messages: a smaller difference is not worth a recount.
const DIFFERENCE_SHARE: u64 = 50;

impl DriftDetector {
    /// Records a check; returns whether to count again.
    pub fn step(&mut self, attributed: u64, stored: u64) -> bool {
        let allowed = DIFFERENCE_MIN.max(stored / DIFFERENCE_SHARE);
        let differs = attributed.abs_diff(stored) > allowed;
        self.differs = if differs { self.differs.saturating_add(1) } else { 0 };
        if self.differs < DIFFERS_MIN {
            return false;
        }
        self.differs = 0;
        true
    }
}
