//! Which documents are compared with their last revisions, and when.
//!
//! A replica notes each document that it applies with changed modules: all of them at its
//! start, then those of other replicas, and its own until their revisions are confirmed. So a revision that was not
//! written, because of a crash or because the broker did not confirm it, is found by every replica that runs.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::changes::{Change, changes_of_app, changes_of_installation};
use crate::clock;
use crate::registry::model::{AppRecord, Document, InstallationRecord};

/// Pause before a document is compared, in milliseconds: longer than the replica that changed it waits for the
/// confirmation of its revisions.
pub(crate) const CHECK_DELAY_MS: i64 = 3_000;
/// Longest pause, in milliseconds, of a document that changes all the time.
const CHECK_DELAY_MAX_MS: i64 = 30_000;

/// Documents to compare, by key; each waits once, so their number is the bound. Times are of the uptime clock: the
/// broker's clock may be corrected while a document waits.
#[derive(Debug, Default)]
pub(crate) struct RevisionChecks(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    /// Due times, each with its document; the same documents as in `of`.
    by_time: BTreeSet<(i64, Box<str>)>,
    of: HashMap<Box<str>, Check>,
}

#[derive(Clone, Copy, Debug)]
struct Check {
    noted_ms: i64,
    due_ms: i64,
    /// The revision that the check is about, if it is about one only.
    revision: Option<u64>,
}

impl Waiting {
    fn remove(&mut self, key: &str) {
        if let Some((key, check)) = self.of.remove_entry(key) {
            self.by_time.remove(&(check.due_ms, key));
        }
    }
}

impl RevisionChecks {
    /// Notes an installation that is applied, if its modules differ from those applied before.
    pub(crate) fn note_installation(
        &self,
        before: Option<&InstallationRecord>,
        after: &InstallationRecord,
        document: u64,
    ) {
        let change = Change { document, now_ms: clock::broker_now_ms() };
        let is_changed = match before {
            None => !after.modules.is_empty(),
            Some(_) => !changes_of_installation(before, Some(after), change).is_empty(),
        };
        if is_changed {
            let key = InstallationRecord::key(after.id.as_str());
            self.note(&key, Some(document), clock::uptime_ms());
        }
    }

    /// As [`RevisionChecks::note_installation`], for the static modules of an app.
    pub(crate) fn note_app(&self, before: Option<&AppRecord>, after: &AppRecord, document: u64) {
        let change = Change { document, now_ms: clock::broker_now_ms() };
        if !changes_of_app(before, Some(after), change).is_empty() {
            let key = AppRecord::key(after.id.as_str());
            self.note(&key, Some(document), clock::uptime_ms());
        }
    }

    /// Notes a document that was deleted, of which webhooks expired, or which is to be compared again.
    pub(crate) fn note_key(&self, key: &str) {
        self.note(key, None, clock::uptime_ms());
    }

    /// Notes a document, by its key, to be compared [`CHECK_DELAY_MS`] after `now_ms`. `revision` is that of the change,
    /// if it is known. A document that waits already waits longer, but at most [`CHECK_DELAY_MAX_MS`].
    fn note(&self, key: &str, revision: Option<u64>, now_ms: i64) {
        let mut waiting = self.locked();
        let before = waiting.of.get(key).copied();
        if revision.is_some() && before.is_some_and(|before| before.revision == revision) {
            return;
        }
        waiting.remove(key);
        let noted_ms = before.map_or(now_ms, |before| before.noted_ms);
        let latest_ms = noted_ms.saturating_add(CHECK_DELAY_MAX_MS);
        let due_ms = now_ms.saturating_add(CHECK_DELAY_MS).min(latest_ms);
        let revision = revision.filter(|_| before.is_none());
        waiting.of.insert(key.into(), Check { noted_ms, due_ms, revision });
        waiting.by_time.insert((due_ms, key.into()));
    }

    /// Removes a document whose only change is the one of `revision`: its revisions are stored.
    pub(crate) fn confirm(&self, key: &str, revision: u64) {
        let mut waiting = self.locked();
        if waiting.of.get(key).is_some_and(|check| check.revision == Some(revision)) {
            waiting.remove(key);
        }
    }

    /// Removes and returns a document that is due at this uptime.
    pub(crate) fn pop_due(&self, now_ms: i64) -> Option<Box<str>> {
        let mut waiting = self.locked();
        let (_, key) = waiting.by_time.first().filter(|(due_ms, _)| *due_ms <= now_ms)?.clone();
        waiting.remove(&key);
        Some(key)
    }

    /// Returns the number of documents that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.locked().of.len()
    }

    fn locked(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_waits_once_unless_its_only_change_is_confirmed() {
        let checks = RevisionChecks::default();
        checks.note("inst.own", Some(1), 0);
        checks.confirm("inst.own", 1);
        checks.note("inst.two", Some(2), 0);
        checks.note("inst.two", Some(3), 1);
        checks.confirm("inst.two", 2);
        checks.note("inst.other", Some(4), 2);
        checks.confirm("inst.other", 5);
        assert_eq!(checks.waiting(), 2);
        assert_eq!(checks.pop_due(CHECK_DELAY_MS - 1), None);
        let due: Vec<_> = std::iter::from_fn(|| checks.pop_due(CHECK_DELAY_MS + 2)).collect();
        assert_eq!(due.iter().map(|key| &**key).collect::<Vec<_>>(), ["inst.two", "inst.other"]);
        assert!(checks.locked().by_time.is_empty() && checks.waiting() == 0);
    }

    #[test]
    fn a_document_that_changes_all_the_time_is_compared() {
        let checks = RevisionChecks::default();
        for revision in 0..60 {
            checks.note("inst.a", Some(revision), i64::try_from(revision).unwrap() * 1_000);
        }
        assert_eq!(checks.pop_due(CHECK_DELAY_MAX_MS - 1), None);
        assert_eq!(checks.pop_due(CHECK_DELAY_MAX_MS).as_deref(), Some("inst.a"));
    }

    #[test]
    fn a_later_change_waits_its_whole_time_confirmed_or_not() {
        let checks = RevisionChecks::default();
        checks.note("inst.b", Some(1), 0);
        checks.note("inst.b", Some(2), 1_500);
        assert_eq!(checks.pop_due(CHECK_DELAY_MS), None);
        assert_eq!(checks.pop_due(CHECK_DELAY_MS + 1_500).as_deref(), Some("inst.b"));
        let checks = RevisionChecks::default();
        checks.note("inst.a", Some(1), 0);
        checks.confirm("inst.a", 1);
        checks.note("inst.a", Some(2), 1_000);
        assert_eq!(checks.pop_due(CHECK_DELAY_MS), None);
        assert_eq!(checks.pop_due(CHECK_DELAY_MS + 1_000).as_deref(), Some("inst.a"));
        assert_eq!(checks.pop_due(i64::MAX), None);
    }
}
