//! Pure functions on the revisions of modules: their order, and what of a document they lack.

use std::collections::HashMap;

use super::changes::{Change, of_module, of_statics};
use super::content::has_same_content;
use super::log::StoredRevision;
use super::record::{ModuleRevision, RevisedState};
use crate::domain::token;
use crate::registry::model::{AppRecord, InstallationRecord, ModuleRecord};

/// Deleted modules of one owner whose revisions are kept; the first deleted go first.
pub(crate) const DELETED_MAX: usize = 256;
/// How long the revisions of a deleted module are kept, in milliseconds: as long as the body of an event can be.
const DELETED_KEPT_MS: i64 = 90 * 24 * 3600 * 1000;

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
            missing.at_ms = if self.updated_ms > last_ms {
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
    /// Tokens of modules that were deleted too long ago.
    pub(crate) obsolete: Vec<Box<str>>,
}

/// Compares the modules of a document with their last revisions. `live` is empty for a document that was deleted.
/// Modules whose last revision cannot be read are left alone.
pub(crate) fn compare(live: &[LiveModule], last: &[StoredRevision], change: Change) -> Comparison {
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
                deleted.push((revision.at_ms, &stored.module));
            }
            Ok(revision) => {
                let missing = revision.deleted(change.document, change.now_ms);
                found.missing.push((ModuleRevision { repaired: true, ..missing }, stored.sequence));
            }
            Err(_) => {}
        }
    }
    deleted.sort_by(|left, right| right.cmp(left));
    let oldest_ms = change.now_ms.saturating_sub(DELETED_KEPT_MS);
    let is_kept = |at: usize, at_ms: i64| at < DELETED_MAX && at_ms >= oldest_ms;
    let obsolete = deleted.into_iter().enumerate().filter(|(at, (at_ms, _))| !is_kept(*at, *at_ms));
    found.obsolete = obsolete.map(|(_, (_, module))| module.clone()).collect();
    found
}

/// Returns the readable revisions of a module in order, oldest first, each once: replicas may store them out of
/// order, and a repair twice.
pub(crate) fn sorted(stored: Vec<StoredRevision>) -> Vec<ModuleRevision> {
    let mut revisions: Vec<ModuleRevision> =
        stored.into_iter().filter_map(|stored| stored.revision.ok()).collect();
    revisions.sort_by_key(ModuleRevision::order);
    revisions.dedup_by(|later, earlier| later.order() == earlier.order());
    revisions
}
