//! Queue of the notices of an installation: added by the change that causes them, claimed by the
//! replica that sends them, and repeated until the app has them.

use serde_json::Value;
use uuid::Uuid;

use super::installation::InstallationRecord;
use super::notice::PendingNotice;
use crate::clock;
use crate::domain::UnknownMembers;

/// Most notices of an installation that wait; a further one replaces the oldest that is no callback.
pub(crate) const NOTICES_MAX: usize = 16;
/// Time within which the replica that claimed a notice sends it, in milliseconds.
const CLAIM_MS: i64 = 60_000;
/// Pauses before the next attempt, in milliseconds; after the last attempt a notice is dropped.
const PAUSES_MS: [i64; 4] = [2_000, 10_000, 60_000, 600_000];

/// Pause of a notice that was claimed and not attempted, in milliseconds.
const NOT_TRIED_PAUSE_MS: i64 = 2_000;
/// Prefix of the types of notices that are lifecycle callbacks.
pub(crate) const CALLBACK: &str = "lifecycle.";

/// What follows from an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoticeOutcome {
    /// The app has it.
    Sent,
    /// The attempt failed.
    Failed,
    /// There was no attempt: another notice failed, or the others took too long.
    NotTried,
}

impl InstallationRecord {
    /// Adds a notice; returns the type of the one that it replaces, if too many wait.
    pub(crate) fn add_notice(&mut self, kind: &str, data: Value) -> Option<String> {
        let at_ms = clock::broker_now_ms();
        self.notices.push(PendingNotice {
            id: Uuid::new_v4().to_string(),
            kind: kind.to_owned(),
            data,
            at_ms,
            due_ms: at_ms,
            attempts: 0,
            unknown: UnknownMembers::default(),
        });
        (self.notices.len() > NOTICES_MAX).then(|| {
            let is_plain = |notice: &PendingNotice| !notice.kind.starts_with(CALLBACK);
            let oldest = self.notices.iter().position(is_plain).unwrap_or(0);
            self.notices.remove(oldest).kind
        })
    }

    /// Adds a notice in place of the waiting ones of its kind for whose data `is_merged`. It keeps the time
    /// of their next attempt, and has its own id: if one of them is being sent, the app gets both.
    /// Returns as [`InstallationRecord::add_notice`].
    pub(crate) fn merge_notice(
        &mut self,
        kind: &str,
        data: Value,
        is_merged: impl Fn(&Value) -> bool,
    ) -> Option<String> {
        let mut due_ms = i64::MIN;
        self.notices.retain(|notice| {
            let is_merged = notice.kind == kind && is_merged(&notice.data);
            if is_merged {
                due_ms = due_ms.max(notice.due_ms);
            }
            !is_merged
        });
        let replaced = self.add_notice(kind, data);
        if let Some(added) = self.notices.last_mut() {
            added.due_ms = added.due_ms.max(due_ms);
        }
        replaced
    }

    /// Returns when the next notice is to be sent, milliseconds since the epoch.
    pub(crate) fn notice_due_ms(&self) -> Option<i64> {
        self.notices.iter().map(|notice| notice.due_ms).min()
    }

    /// Claims the notices that are due, in the order in which they were caused.
    pub(crate) fn claim_notices(&mut self, now_ms: i64) -> Vec<PendingNotice> {
        let due = self.notices.iter_mut().filter(|notice| notice.due_ms <= now_ms);
        due.map(|notice| {
            notice.attempts = notice.attempts.saturating_add(1);
            notice.due_ms = now_ms.saturating_add(CLAIM_MS);
            notice.clone()
        })
        .collect()
    }

    /// Records the outcome of a claimed notice; returns whether it is dropped after its last attempt.
    pub(crate) fn settle_notice(&mut self, id: &str, outcome: NoticeOutcome, now_ms: i64) -> bool {
        let Some(at) = self.notices.iter().position(|notice| notice.id == id) else { return false };
        let attempts = self.notices.get(at).map_or(0, |notice| notice.attempts);
        let pause_ms = PAUSES_MS.get(attempts.saturating_sub(1));
        match (outcome, pause_ms, self.notices.get_mut(at)) {
            (NoticeOutcome::Failed, Some(pause_ms), Some(notice)) => {
                notice.due_ms = now_ms.saturating_add(*pause_ms);
                false
            }
            (NoticeOutcome::NotTried, _, Some(notice)) => {
                notice.attempts = attempts.saturating_sub(1);
                notice.due_ms = now_ms.saturating_add(NOT_TRIED_PAUSE_MS);
                false
            }
            (outcome, _, _) => {
                self.notices.remove(at);
                outcome == NoticeOutcome::Failed
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::testing::connect_installation;

    #[test]
    fn claimed_notice_is_sent_once_and_repeated_until_its_last_attempt() {
        let mut record = connect_installation();
        assert_eq!((record.notice_due_ms(), record.claim_notices(i64::MAX).len()), (None, 0));
        record.add_notice("one", Value::Null);
        let mut now_ms = record.notice_due_ms().unwrap();
        let id = record.notices[0].id.clone();
        for attempt in 1..=PAUSES_MS.len() + 1 {
            let claimed = record.claim_notices(now_ms);
            assert_eq!((claimed.len(), claimed[0].attempts), (1, attempt));
            assert!(record.claim_notices(now_ms).is_empty(), "it is claimed");
            assert!(record.notice_due_ms().unwrap() > now_ms, "until the claim ends");
            let dropped = record.settle_notice(&id, NoticeOutcome::Failed, now_ms);
            assert_eq!(dropped, attempt > PAUSES_MS.len());
            now_ms = record.notice_due_ms().unwrap_or(now_ms);
        }
        assert!(record.notices.is_empty());
        record.add_notice("two", Value::Null);
        let claimed = record.claim_notices(i64::MAX - 1_000_000);
        record.settle_notice(&claimed[0].id, NoticeOutcome::NotTried, now_ms);
        assert_eq!((record.notices[0].attempts, record.notices[0].due_ms > now_ms), (0, true));
        let id = record.claim_notices(i64::MAX)[0].id.clone();
        assert!(!record.settle_notice(&id, NoticeOutcome::Sent, now_ms));
        assert!(record.notices.is_empty());
        assert!(!record.settle_notice(&id, NoticeOutcome::Failed, now_ms), "it was removed");
    }

    #[test]
    fn waiting_notices_of_a_kind_are_merged_and_keep_the_time_of_their_attempt() {
        let mut record = connect_installation();
        record.add_notice("other", Value::Null);
        for used in 0..3 {
            record.add_notice("limit", used.into());
        }
        let now_ms = record.notice_due_ms().unwrap();
        let claimed = record.claim_notices(i64::MAX - 1_000_000);
        record.settle_notice(&claimed[3].id, NoticeOutcome::Failed, now_ms + 5_000);
        let due_ms = record.notices.iter().map(|notice| notice.due_ms).max().unwrap();
        assert_eq!(record.merge_notice("limit", 7.into(), |_| true), None);
        let kinds: Vec<_> = record.notices.iter().map(|n| (&*n.kind, n.data.clone())).collect();
        assert_eq!(kinds, [("other", Value::Null), ("limit", 7.into())]);
        assert_eq!((record.notices[1].attempts, record.notices[1].due_ms), (0, due_ms));
        assert!(!record.settle_notice(&claimed[1].id, NoticeOutcome::Sent, now_ms));
        assert_eq!(record.notices.len(), 2, "an earlier one was sent, this one was not");
        record.merge_notice("limit", 8.into(), |data| *data == 6);
        assert_eq!(record.notices.len(), 3);
    }

    #[test]
    fn oldest_notice_makes_room() {
        let mut record = connect_installation();
        for number in 0..NOTICES_MAX {
            assert_eq!(record.add_notice(&format!("{number}"), Value::Null), None);
        }
        assert_eq!(record.add_notice("more", Value::Null).as_deref(), Some("0"));
        assert_eq!(record.notices.len(), NOTICES_MAX);
        record.notices[0].kind = format!("{CALLBACK}uninstalled");
        assert_eq!(record.add_notice("more", Value::Null).as_deref(), Some("2"), "no callback");
    }
}
