//! The revisions of a subscription over time, from when on they are known, and which one was in force: pure.

use std::cmp::Reverse;

use jiff::Timestamp;
use thiserror::Error;

use super::changes::Change;
use super::history::{LiveModule, REVISIONS_KEPT, sorted};
use super::log::{RevisionLogError, StoredRevision};
use super::record::{ModuleRevision, RevisedState, RevisionId};
use crate::domain::ModuleKey;

/// A moment in the past of a subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RevisionMoment {
    /// Milliseconds since the epoch.
    Time(i64),
    /// A revision of the registry, such as the one of a delivery.
    Document(u64),
}

/// Why no revision is returned.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum RevisionError {
    /// The broker does not answer, or no revisions are kept.
    #[error(transparent)]
    Unavailable(#[from] RevisionLogError),
    /// The revision in force at the moment is not kept (any more).
    #[error("{}", not_kept(*since_ms))]
    NotKept {
        /// From when on revisions are known, milliseconds since the epoch; none if this release cannot read them.
        since_ms: Option<i64>,
    },
}

fn not_kept(since_ms: Option<i64>) -> String {
    match since_ms.and_then(|at_ms| Timestamp::from_millisecond(at_ms).ok()) {
        Some(since) => format!("no revision of before {since} is kept"),
        None => "the revision is stored in a format that this release does not read".to_owned(),
    }
}

/// The revisions of the module of one owner.
#[derive(Debug, Default)]
pub(crate) struct OwnerTimeline {
    /// Oldest first.
    revisions: Vec<ModuleRevision>,
    /// Index of the first one from which on none is missing.
    known_from: usize,
    /// Whether earlier ones were deleted because there were too many.
    is_cut: bool,
    unreadable: usize,
    /// Whether the last one cannot be read, so that the present cannot be compared with it.
    is_last_unreadable: bool,
}

impl OwnerTimeline {
    /// Returns the timeline of the module with this key; the token in the subject of a long key is a digest.
    pub(crate) fn of(stored: Vec<StoredRevision>, key: &ModuleKey) -> Self {
        let is_cut = stored.len() > REVISIONS_KEPT;
        let unreadable = stored.iter().filter(|stored| stored.revision.is_err());
        let unreadable: Vec<u64> = unreadable.map(|stored| stored.sequence).collect();
        let last = stored.iter().map(|stored| stored.sequence).max();
        let last_unreadable = unreadable.iter().copied().max();
        let mut revisions = sorted(stored);
        revisions.retain(|(_, revision)| revision.key == *key);
        if is_cut && !revisions.is_empty() {
            revisions.remove(0);
        }
        let is_before = |(sequence, _): &(u64, _)| last_unreadable > Some(*sequence);
        let known_from = revisions.iter().rposition(is_before).map_or(0, |at| at + 1);
        Self {
            revisions: revisions.into_iter().map(|(_, revision)| revision).collect(),
            known_from,
            is_cut,
            unreadable: unreadable.len(),
            is_last_unreadable: last_unreadable.is_some() && last_unreadable == last,
        }
    }

    /// Adds the present revision of the module if it is not stored yet; `live` are the modules of the owner as of `change`
    /// or newer.
    pub(crate) fn add_present(&mut self, live: &[LiveModule], key: &ModuleKey, change: Change) {
        let last = self.revisions.last();
        // A revision of a change that is not applied here yet is newer than what is applied.
        if self.is_last_unreadable || last.is_some_and(|last| last.document > change.document) {
            return;
        }
        let missing = match (live.iter().find(|live| live.revision.key == *key), last) {
            (Some(live), last) => live.missing_after(last),
            (None, Some(last)) if last.state != RevisedState::Deleted => {
                let deleted = last.deleted(change.document, change.now_ms);
                Some(ModuleRevision { repaired: true, ..deleted })
            }
            (None, _) => None,
        };
        let Some(missing) = missing else { return };
        if last.is_some_and(|last| last.order() == missing.order()) {
            self.revisions.pop();
        }
        self.revisions.push(missing);
    }

    fn known(&self) -> Known {
        let first = self.revisions.first();
        let is_complete =
            !self.is_cut && self.unreadable == 0 && first.is_none_or(|first| first.is_registration);
        let since = self.revisions.get(self.known_from);
        Known { is_complete, since: since.map(|since| (since.order(), since.at_ms)) }
    }
}

/// From when on the revisions of the module of one owner are known.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// Whether the first one is the registration of the module, and none after it is missing.
    is_complete: bool,
    /// Position and time of the first one from which on none is missing.
    since: Option<((u64, i64), i64)>,
}

impl Default for Known {
    fn default() -> Self {
        Self { is_complete: true, since: None }
    }
}

/// What the module of one owner was at a moment.
enum Then<'h> {
    Revision(&'h ModuleRevision),
    Deleted,
    /// It was registered later, at a time in milliseconds since the epoch. It may have been registered and deleted before:
    /// the revisions of deleted modules are not kept for ever.
    BeforeRegistration(i64),
    /// No revision of it is known.
    Unknown,
    NotKept,
}

/// The revisions of a subscription.
#[derive(Clone, Debug, Default)]
pub struct RevisionHistory {
    /// Its revisions, newest first. The first one is the present one, even if it is not stored yet.
    pub revisions: Vec<ModuleRevision>,
    /// Stored revisions that this release cannot read.
    pub unreadable: usize,
    registered: Known,
    statics: Known,
}

impl RevisionHistory {
    /// Returns the history of a subscription from the revisions of its registered module, and of the static module of
    /// its app with the same key.
    pub(crate) fn of(registered: OwnerTimeline, statics: OwnerTimeline) -> Self {
        let known = [registered.known(), statics.known()];
        let unreadable = registered.unreadable + statics.unreadable;
        let mut revisions = registered.revisions;
        revisions.extend(statics.revisions);
        revisions.sort_by_key(|revision| Reverse(revision.order()));
        let [registered, statics] = known;
        Self { revisions, unreadable, registered, statics }
    }

    /// Whether nothing is known to be stored of this subscription.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.revisions.is_empty() && self.unreadable == 0
    }

    /// Whether the first revision is the registration of the module, and none after it is missing.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.registered.is_complete && self.statics.is_complete
    }

    /// Returns from when on revisions are known, if earlier ones may be missing; milliseconds since the epoch.
    #[must_use]
    pub fn kept_since_ms(&self) -> Option<i64> {
        let incomplete = [self.registered, self.statics].into_iter().filter(|one| !one.is_complete);
        let mut since = incomplete.map(|one| one.since.map(|(_, at_ms)| at_ms)).peekable();
        since.peek()?;
        // None if one of both is not known at all.
        since.try_fold(i64::MIN, |latest_ms, at_ms| Some(latest_ms.max(at_ms?)))
    }

    /// Returns the revision in force at a moment; none if the module was deleted then. A module that is registered with
    /// the key of one whose revisions are not kept hides that one's registration, so nothing is known of the time before.
    ///
    /// # Errors
    /// [`RevisionError::NotKept`].
    pub fn as_of(&self, moment: RevisionMoment) -> Result<Option<&ModuleRevision>, RevisionError> {
        use Then::{BeforeRegistration, Deleted, NotKept, Revision, Unknown};
        // A static module shadows a registered one.
        match (self.then(true, moment), self.then(false, moment)) {
            (Revision(found), _) => Ok(Some(found)),
            (NotKept, _) | (_, NotKept) => Err(self.not_kept()),
            (_, Revision(found)) => Ok(Some(found)),
            (BeforeRegistration(since_ms), _) | (_, BeforeRegistration(since_ms)) => {
                Err(RevisionError::NotKept { since_ms: Some(since_ms) })
            }
            (Deleted | Unknown, Deleted | Unknown) => Ok(None),
        }
    }

    fn not_kept(&self) -> RevisionError {
        RevisionError::NotKept { since_ms: self.kept_since_ms() }
    }

    fn then(&self, is_static: bool, moment: RevisionMoment) -> Then<'_> {
        let known = if is_static { self.statics } else { self.registered };
        let is_before = |revision: &&ModuleRevision| match moment {
            RevisionMoment::Time(at_ms) => revision.at_ms <= at_ms,
            // No delivery has the revision of an expiry: it is that of the change before.
            RevisionMoment::Document(document) => {
                revision.document <= document && revision.state != RevisedState::Expired
            }
        };
        let mut of_owner =
            self.revisions.iter().filter(|one| one.installation.is_none() == is_static);
        match of_owner.clone().find(is_before) {
            Some(found) if known.since.is_none_or(|(order, _)| found.order() < order) => {
                Then::NotKept
            }
            Some(found) if found.state == RevisedState::Deleted => Then::Deleted,
            Some(found) => Then::Revision(found),
            None if known.is_complete => of_owner
                .next_back()
                .map_or(Then::Unknown, |first| Then::BeforeRegistration(first.at_ms)),
            None => Then::NotKept,
        }
    }

    /// Returns the revision with an id.
    #[must_use]
    pub fn with_id(&self, id: RevisionId) -> Option<&ModuleRevision> {
        self.revisions.iter().find(|revision| revision.id() == id)
    }

    /// Returns the revision before `revision`; none if the module was not registered before.
    ///
    /// # Errors
    /// [`RevisionError::NotKept`].
    pub fn before(
        &self,
        revision: &ModuleRevision,
    ) -> Result<Option<&ModuleRevision>, RevisionError> {
        let earlier =
            |one: &&ModuleRevision| is_same_owner(one, revision) && one.order() < revision.order();
        let known = if revision.installation.is_none() { self.statics } else { self.registered };
        // One that this release cannot read may be between both.
        let is_certain =
            |one: &&ModuleRevision| known.since.is_some_and(|(order, _)| one.order() >= order);
        match self.revisions.iter().find(earlier) {
            Some(before) if is_certain(&before) => Ok(Some(before)),
            _ if revision.is_registration => Ok(None),
            Some(_) => Err(self.not_kept()),
            None => Err(RevisionError::NotKept { since_ms: Some(revision.at_ms) }),
        }
    }

    /// Whether the revision after `revision` was found missing and stored later: it may have been in force earlier than
    /// it says.
    #[must_use]
    pub fn is_end_uncertain(&self, revision: &ModuleRevision) -> bool {
        let later =
            |one: &&ModuleRevision| is_same_owner(one, revision) && one.order() > revision.order();
        self.revisions.iter().rfind(later).is_some_and(|after| after.repaired)
    }
}

fn is_same_owner(one: &ModuleRevision, other: &ModuleRevision) -> bool {
    one.installation.is_none() == other.installation.is_none()
}

#[cfg(test)]
mod tests;
