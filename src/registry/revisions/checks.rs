//! Which documents are compared with their last revisions, and when.
//!
//! A replica notes each document that it applies with changed modules: all of them at its
//! start, then those of other replicas, and its own until their revisions are confirmed. So a revision that was not
//! written, because of a crash or because the broker did not confirm it, is found by every replica that runs.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::changes::{Change, changes_of_app, changes_of_installation};
use crate::clock;
use crate::registry::model::{AppRecord, Document, InstallationRecord};

/// Pause before a document is compared, in milliseconds: longer than the replica that changed it waits for the
/// confirmation of its revisions.
pub(crate) const CHECK_DELAY_MS: i64 = 3_000;

/// Documents to compare, by key; each waits once, so their number is the bound.
#[derive(Debug, Default)]
pub(crate) struct RevisionChecks(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    /// In the order of time, which is that of notes, since every check waits as long.
    queue: VecDeque<(i64, Box<str>)>,
    /// By key: the revision that the check is about, if it is about one only.
    of: HashMap<Box<str>, Option<u64>>,
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
            self.note(&key, Some(document), change.now_ms);
        }
    }

    /// As [`RevisionChecks::note_installation`], for the static modules of an app.
    pub(crate) fn note_app(&self, before: Option<&AppRecord>, after: &AppRecord, document: u64) {
        let change = Change { document, now_ms: clock::broker_now_ms() };
        if !changes_of_app(before, Some(after), change).is_empty() {
            self.note(&AppRecord::key(after.id.as_str()), Some(document), change.now_ms);
        }
    }

    /// Notes a document that was deleted, of which webhooks expired, or which is to be compared again.
    pub(crate) fn note_key(&self, key: &str) {
        self.note(key, None, clock::broker_now_ms());
    }

    /// Notes a document, by its key, to be compared some seconds after `now_ms`. `revision` is that of the change, if
    /// it is known.
    fn note(&self, key: &str, revision: Option<u64>, now_ms: i64) {
        let mut waiting = self.locked();
        let Waiting { queue, of } = &mut *waiting;
        match of.get_mut(key) {
            Some(known) if *known == revision => {}
            Some(known) => *known = None,
            None => {
                of.insert(key.into(), revision);
                queue.push_back((now_ms.saturating_add(CHECK_DELAY_MS), key.into()));
            }
        }
    }

    /// Removes a document whose only change is the one of `revision`: its revisions are stored.
    pub(crate) fn confirm(&self, key: &str, revision: u64) {
        let mut waiting = self.locked();
        if waiting.of.get(key) == Some(&Some(revision)) {
            waiting.of.remove(key);
        }
    }

    /// Removes and returns a document that is to be compared now.
    pub(crate) fn pop_due(&self, now_ms: i64) -> Option<Box<str>> {
        let mut waiting = self.locked();
        loop {
            let (due_ms, _) = waiting.queue.front()?;
            if *due_ms > now_ms {
                return None;
            }
            let (_, key) = waiting.queue.pop_front()?;
            // Confirmed ones are left in the queue until their time.
            if waiting.of.remove(&key).is_some() {
                return Some(key);
            }
        }
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
        assert!(checks.locked().queue.is_empty() && checks.waiting() == 0);
    }
}
