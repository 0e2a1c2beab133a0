//! Pure functions on the revisions of modules: their order, and what of a document they lack.

use std::collections::{BTreeMap, HashMap};

use super::changes::{Change, of_module, of_statics};
use super::content::has_same_content;
use super::log::StoredRevision;
use super::record::{ModuleRevision, RevisedState};
use crate::domain::token;
use crate::registry::model::{AppRecord, InstallationRecord, ModuleRecord};

/// Revisions of a module that are shown.
pub(crate) const REVISIONS_KEPT: usize = 16;
/// Revisions of a module in the stream. One more than are shown: if it is there, earlier ones were deleted. It is not
/// shown, because one that was deleted may be the later one of the two: replicas may store two in reverse order.
pub const REVISIONS_OF_MODULE_MAX: usize = REVISIONS_KEPT + 1;
/// Deleted modules of one owner whose revisions are kept; the first deleted go first.
pub(crate) const DELETED_MAX: usize = 256;
/// How long the revisions of a deleted module are kept, in milliseconds: as long as the body of an event can be.
pub(crate) const DELETED_KEPT_MS: i64 = 90 * DAY_MS;
/// As [`DELETED_KEPT_MS`], while the stream is nearly full.
pub(crate) const DELETED_KEPT_SHORT_MS: i64 = DAY_MS;
const DAY_MS: i64 = 24 * 3600 * 1000;

/// A module as its document has it, as a revision, with the time of its last change in milliseconds since the epoch.
#[derive(Clone, Debug)]
pub(crate) struct LiveModule {
    /// What a revision of it would say.
    pub(crate) revision: ModuleRevision,
    /// Last change of the module.
    updated_ms: i64,
    /// Last write of its document.
    written_ms: i64,
}

impl LiveModule {
    /// Returns a registered module.
    pub(crate) fn registered(
        record: &InstallationRecord,
        module: &ModuleRecord,
        change: Change,
    ) -> Self {
        let revision = of_module(record, module, change);
        Self { revision, updated_ms: module.updated_ms, written_ms: record.updated_ms }
    }

    /// Returns the static modules of an app.
    pub(crate) fn statics(app: &AppRecord, change: Change) -> Vec<Self> {
        let modules = of_statics(app, change).into_iter();
        let live =
            |revision| Self { revision, updated_ms: app.updated_ms, written_ms: app.updated_ms };
        modules.map(live).collect()
    }

    /// Returns its revision, to be stored after `last`; none if `last` says the same.
    pub(crate) fn missing_after(&self, last: Option<&ModuleRevision>) -> Option<ModuleRevision> {
        if last.is_some_and(|last| has_same_content(last, &self.revision)) {
            return None;
        }
        let mut missing = ModuleRevision { repaired: true, ..self.revision.clone() };
        let is_new = last.is_none_or(|last| last.state == RevisedState::Deleted);
        missing.is_registration = is_new && missing.revision == Some(1);
        let last_ms = last.map_or(i64::MIN, |last| last.at_ms);
        if missing.state == RevisedState::Expired {
            // Nothing was written, so it has the revision of what expired.
            let on = |last: &&ModuleRevision| {
                let still_on = ModuleRevision { state: last.state, ..missing.clone() };
                last.state != RevisedState::Deleted && has_same_content(last, &still_on)
            };
            missing.document = last.filter(on).map_or(missing.document, |last| last.document);
        } else {
            // The module changed after its last revision, or else its installation did.
            let is_of_module =
                !matches!(missing.state, RevisedState::Disabled | RevisedState::Uninstalled);
            missing.at_ms = if is_of_module && self.updated_ms > last_ms {
                self.updated_ms
            } else {
                self.written_ms.max(last_ms)
            };
        }
        Some(missing)
    }
}

/// What the revisions of the modules of one owner lack, by its document.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    /// Revisions that may be missing, each with the last stored one's sequence, 0 if there is none.
    pub(crate) missing: Vec<(ModuleRevision, u64)>,
    /// Tokens of modules that were deleted too long ago, each with the sequence of its last revision.
    pub(crate) obsolete: Vec<(Box<str>, u64)>,
}

/// Compares the modules of a document with their last revisions. `live` is empty for a document that was deleted.
/// Revisions of deleted modules are obsolete after `deleted_kept_ms`. Modules whose last revision cannot be read are left
/// alone.
pub(crate) fn compare(
    live: &[LiveModule],
    last: &[StoredRevision],
    change: Change,
    deleted_kept_ms: i64,
) -> Comparison {
    let mut known: HashMap<&str, &StoredRevision> =
        last.iter().map(|stored| (&*stored.module, stored)).collect();
    let mut found = Comparison::default();
    for module in live {
        let stored = known.remove(&*token(module.revision.key.as_str()));
        let revision = match stored.map(|stored| &stored.revision) {
            Some(Err(_)) => continue,
            Some(Ok(revision)) => Some(revision),
            None => None,
        };
        let sequence = stored.map_or(0, |stored| stored.sequence);
        found.missing.extend(module.missing_after(revision).map(|missing| (missing, sequence)));
    }
    let mut deleted = Vec::new();
    for stored in known.into_values() {
        match &stored.revision {
            Ok(revision) if revision.state == RevisedState::Deleted => {
                deleted.push((revision.at_ms, stored));
            }
            Ok(revision) => {
                let missing = revision.deleted(change.document, change.now_ms);
                found.missing.push((ModuleRevision { repaired: true, ..missing }, stored.sequence));
            }
            Err(_) => {}
        }
    }
    deleted.sort_by_key(|(at_ms, stored)| std::cmp::Reverse((*at_ms, stored.sequence)));
    let oldest_ms = change.now_ms.saturating_sub(deleted_kept_ms);
    let is_kept = |at: usize, at_ms: i64| at < DELETED_MAX && at_ms >= oldest_ms;
    let obsolete = deleted.into_iter().enumerate().filter(|(at, (at_ms, _))| !is_kept(*at, *at_ms));
    found.obsolete =
        obsolete.map(|(_, (_, stored))| (stored.module.clone(), stored.sequence)).collect();
    found
}

/// Returns the readable revisions of a module with their sequences in order, oldest first, each once: replicas may store
/// them out of order, and a repair twice. Of several of one change it returns the one that was stored last, so that a
/// repair replaces what was stored before.
pub(crate) fn sorted(mut stored: Vec<StoredRevision>) -> Vec<(u64, ModuleRevision)> {
    stored.sort_by_key(|stored| stored.sequence);
    let mut by_order = BTreeMap::new();
    for StoredRevision { sequence, revision, .. } in stored {
        if let Ok(revision) = revision {
            by_order.insert(revision.order(), (sequence, revision));
        }
    }
    by_order.into_values().collect()
}
