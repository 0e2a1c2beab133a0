//! The document of the account's keeper (a stored format): what the last checks found, and which check is
//! next. Pure.
//!
//! A *recent* check looks at the last events and is made often; an *earlier* one looks at those before,
//! whose deliveries may still wait for a retry. A recent check begins where the last earlier one ended, so
//! no event is left out, and none counts twice.

use serde::{Deserialize, Serialize};

use super::sheet::Account;

/// How far back an earlier check looks, in milliseconds: longer than any delivery waits.
const EARLIER_MS: i64 = 48 * 3_600_000;
/// Age from which on events are those of an earlier check, in milliseconds.
const RECENT_MS: i64 = 3_600_000;
/// Earlier checks are this many times as far apart as recent ones.
const EARLIER_FACTOR: i64 = 10;
/// A check is made again at the earliest after this many times its own duration.
const PAUSE_FACTOR: i64 = 20;
/// How long a replica is the keeper after it wrote the document, in milliseconds.
pub(super) const LEASE_MS: i64 = 30_000;

/// The document.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct KeeperDocument {
    /// The replica that keeps the account.
    #[serde(default)]
    pub replica: String,
    /// Until when, in milliseconds of the broker's clock.
    #[serde(default)]
    pub lease_until_ms: i64,
    /// The last recent check.
    #[serde(default)]
    pub recent: Check,
    /// The last earlier check.
    #[serde(default)]
    pub earlier: Check,
}

/// A check that was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Check {
    /// When it ended, in milliseconds of the broker's clock; 0 before the first one.
    pub at_ms: i64,
    /// How long it took, in milliseconds.
    pub took_ms: i64,
    /// End of its window.
    pub until_ms: i64,
    /// Deliveries without a trace.
    pub gap: u64,
    /// Records that the log lost.
    pub missing: u64,
}

/// Which of the two checks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CheckKind {
    /// Of the last events.
    Recent,
    /// Of those before.
    Earlier,
}

/// A check to be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DueCheck {
    /// Which one.
    pub kind: CheckKind,
    /// Begin of its window, milliseconds since the epoch.
    pub from_ms: i64,
    /// End of its window.
    pub until_ms: i64,
}

impl Check {
    /// Returns what an account found that took from `started_ms` to `now_ms`.
    #[must_use]
    pub fn of(account: &Account, started_ms: i64, now_ms: i64) -> Self {
        Self {
            at_ms: now_ms,
            took_ms: now_ms.saturating_sub(started_ms).max(0),
            until_ms: account.until_ms,
            gap: account.total().gap,
            missing: account.missing_records(),
        }
    }

    fn is_due(&self, now_ms: i64, interval_ms: i64) -> bool {
        let pause_ms = interval_ms.max(self.took_ms.saturating_mul(PAUSE_FACTOR));
        self.at_ms == 0 || now_ms >= self.at_ms.saturating_add(pause_ms)
    }
}

impl KeeperDocument {
    /// Whether `replica` may be the keeper at `now_ms`.
    #[must_use]
    pub fn is_free_for(&self, replica: &str, now_ms: i64) -> bool {
        self.replica == replica || self.lease_until_ms <= now_ms
    }

    /// Makes `replica` the keeper.
    pub fn lease_to(&mut self, replica: &str, now_ms: i64) {
        replica.clone_into(&mut self.replica);
        self.lease_until_ms = now_ms.saturating_add(LEASE_MS);
    }

    /// Returns the check that is due; recent checks are `interval_ms` apart or more.
    #[must_use]
    pub fn due(&self, now_ms: i64, interval_ms: i64) -> Option<DueCheck> {
        let border_ms = now_ms.saturating_sub(RECENT_MS);
        if self.earlier.is_due(now_ms, interval_ms.saturating_mul(EARLIER_FACTOR)) {
            return Some(DueCheck {
                kind: CheckKind::Earlier,
                from_ms: now_ms.saturating_sub(EARLIER_MS),
                until_ms: border_ms,
            });
        }
        self.recent.is_due(now_ms, interval_ms).then_some(DueCheck {
            kind: CheckKind::Recent,
            from_ms: self.earlier.until_ms.min(border_ms),
            until_ms: now_ms,
        })
    }

    /// Notes a check that was made.
    pub fn note(&mut self, kind: CheckKind, check: Check) {
        match kind {
            CheckKind::Recent => self.recent = check,
            CheckKind::Earlier => self.earlier = check,
        }
    }

    /// Returns the gap; none before the first checks. A lost record may be seen by both checks, so the
    /// larger number counts.
    #[must_use]
    pub fn gap(&self) -> Option<u64> {
        let Self { recent, earlier, .. } = self;
        let gap = recent.gap.saturating_add(earlier.gap);
        let is_checked = recent.at_ms > 0 && earlier.at_ms > 0;
        is_checked.then(|| gap.saturating_add(recent.missing.max(earlier.missing)))
    }

    /// Returns when the older of the two checks was made; 0 before the first ones.
    #[must_use]
    pub fn checked_ms(&self) -> i64 {
        self.recent.at_ms.min(self.earlier.at_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;
    const NOW: i64 = 1_800_000_000_000;

    fn check(due: DueCheck, at_ms: i64, gap: u64) -> Check {
        Check { at_ms, took_ms: 10, until_ms: due.until_ms, gap, missing: 0 }
    }

    #[test]
    fn windows_of_both_checks_meet_whenever_they_are_made() {
        let mut document = KeeperDocument::default();
        let mut border = None;
        for minute in 0..300 {
            let now_ms = NOW + minute * MINUTE;
            while let Some(due) = document.due(now_ms, MINUTE) {
                match due.kind {
                    CheckKind::Earlier => border = Some(due.until_ms),
                    CheckKind::Recent => assert_eq!(Some(due.from_ms), border, "minute {minute}"),
                }
                document.note(due.kind, check(due, now_ms, 0));
            }
        }
    }

    #[test]
    fn long_check_is_made_seldom() {
        let mut document = KeeperDocument::default();
        let earlier = document.due(NOW, MINUTE).unwrap();
        document.note(earlier.kind, Check { took_ms: 60 * MINUTE, ..check(earlier, NOW, 0) });
        let recent = document.due(NOW, MINUTE).unwrap();
        assert_eq!(recent.kind, CheckKind::Recent);
        document.note(recent.kind, Check { took_ms: 6 * MINUTE, ..check(recent, NOW, 0) });
        assert_eq!(document.due(NOW + 119 * MINUTE, MINUTE), None);
        let due = document.due(NOW + 120 * MINUTE, MINUTE).unwrap();
        assert_eq!(due.kind, CheckKind::Recent);
    }

    #[test]
    fn gap_is_known_after_both_checks_and_survives_a_failover() {
        let mut document = KeeperDocument::default();
        document.lease_to("a", NOW);
        assert!(document.is_free_for("a", NOW) && !document.is_free_for("b", NOW));
        for gap in [2, 1] {
            assert_eq!(document.gap(), None);
            let due = document.due(NOW, MINUTE).unwrap();
            document.note(due.kind, Check { missing: 1, ..check(due, NOW, gap) });
        }
        let text = serde_json::to_string(&document).unwrap();
        let mut read: KeeperDocument = serde_json::from_str(&text).unwrap();
        assert!(read.is_free_for("b", NOW + LEASE_MS));
        read.lease_to("b", NOW + LEASE_MS);
        assert_eq!(read.gap(), Some(4));
        assert_eq!(
            serde_json::from_str::<KeeperDocument>("{}").unwrap(),
            KeeperDocument::default()
        );
    }
}
