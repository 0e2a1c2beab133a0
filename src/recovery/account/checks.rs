//! The document of the account's keeper (a stored format): what the last checks found, and which check is
//! next. Pure.
//!
//! A *recent* check looks at the last events and is made often; an *earlier* one looks at those before,
//! whose deliveries may still wait for a retry. A recent check begins where the last earlier one ended, so
//! no event is left out. After an earlier check, a gap of the events that moved into its window counts
//! twice until the next recent check.

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
/// Most times that the window of a check is halved.
const HALVINGS_MAX: u32 = 4;
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
    /// When the first keeper began, in milliseconds of the broker's clock.
    #[serde(default)]
    pub began_ms: i64,
    /// The last recent check.
    #[serde(default)]
    pub recent: Check,
    /// The last earlier check.
    #[serde(default)]
    pub earlier: Check,
}

/// The last check of a kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Check {
    /// When it ended, in milliseconds of the broker's clock; 0 before the first one.
    pub at_ms: i64,
    /// When a later one failed; 0 if none did.
    #[serde(default)]
    pub failed_ms: i64,
    /// How long the last one took, in milliseconds.
    pub took_ms: i64,
    /// How often its window is halved, because accounts of larger windows take too much memory.
    #[serde(default)]
    pub halvings: u32,
    /// End of its window.
    pub until_ms: i64,
    /// Deliveries that are unaccounted for.
    pub gap: u64,
    /// Records that the log lost.
    pub missing: u64,
}

/// Which of the two checks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
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
    /// Start of its window, milliseconds since the epoch.
    pub from_ms: i64,
    /// End of its window.
    pub until_ms: i64,
    /// How often the window was halved.
    pub halvings: u32,
}

impl CheckKind {
    /// Returns its name.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Recent => "recent",
            Self::Earlier => "earlier",
        }
    }
}

impl DueCheck {
    /// Returns the parts of the window that its halvings make, the latest first.
    #[must_use]
    pub fn parts(&self) -> Vec<Self> {
        let mut parts = vec![Self { halvings: 0, ..*self }];
        for _ in 0..self.halvings.min(HALVINGS_MAX) {
            parts = parts.into_iter().flat_map(|part| part.halves().unwrap_or([part; 2])).collect();
            parts.dedup();
        }
        parts
    }

    /// Returns the halves of a part, the later one first; none if it is halved no more.
    #[must_use]
    pub fn halves(&self) -> Option<[Self; 2]> {
        let middle_ms = self.from_ms.midpoint(self.until_ms);
        if self.halvings >= HALVINGS_MAX || middle_ms <= self.from_ms {
            return None;
        }
        let halvings = self.halvings + 1;
        Some([
            Self { from_ms: middle_ms, halvings, ..*self },
            Self { until_ms: middle_ms, halvings, ..*self },
        ])
    }
}

impl Check {
    /// Adds what the account of a part found. All parts read the log up to its end, so the part that begins
    /// first finds the missing records of all.
    pub fn add(&mut self, account: &Account) {
        self.gap = self.gap.saturating_add(account.total().gap);
        self.missing = self.missing.max(account.missing_records());
    }

    fn is_due(&self, now_ms: i64, interval_ms: i64) -> bool {
        let last_ms = self.at_ms.max(self.failed_ms);
        let pause_ms = interval_ms.max(self.took_ms.saturating_mul(PAUSE_FACTOR));
        last_ms == 0 || now_ms >= last_ms.saturating_add(pause_ms)
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
        if self.began_ms == 0 {
            self.began_ms = now_ms;
        }
        replica.clone_into(&mut self.replica);
        self.lease_until_ms = now_ms.saturating_add(LEASE_MS);
    }

    /// Returns the check that is due; recent checks are `interval_ms` apart or more. An earlier one that
    /// failed is tried again as late as if it had been made, so recent ones are made in between.
    #[must_use]
    pub fn due(&self, now_ms: i64, interval_ms: i64) -> Option<DueCheck> {
        let border_ms = now_ms.saturating_sub(RECENT_MS);
        if self.earlier.is_due(now_ms, interval_ms.saturating_mul(EARLIER_FACTOR)) {
            return Some(DueCheck {
                kind: CheckKind::Earlier,
                from_ms: now_ms.saturating_sub(EARLIER_MS),
                until_ms: border_ms,
                halvings: self.earlier.halvings.saturating_sub(1),
            });
        }
        let from_ms = match self.earlier.at_ms {
            0 => border_ms,
            _ => self.earlier.until_ms.max(now_ms.saturating_sub(EARLIER_MS)).min(border_ms),
        };
        self.recent.is_due(now_ms, interval_ms).then_some(DueCheck {
            kind: CheckKind::Recent,
            from_ms,
            until_ms: now_ms,
            halvings: self.recent.halvings.saturating_sub(1),
        })
    }

    /// Returns the last check of a kind.
    #[must_use]
    pub fn last(&self, kind: CheckKind) -> &Check {
        match kind {
            CheckKind::Recent => &self.recent,
            CheckKind::Earlier => &self.earlier,
        }
    }

    /// Notes a check that was made.
    pub fn note(&mut self, kind: CheckKind, check: Check) {
        *self.last_mut(kind) = check;
    }

    /// Notes a check that failed at `now_ms`. What the last one found stays.
    pub fn note_failure(&mut self, kind: CheckKind, started_ms: i64, now_ms: i64) {
        let check = self.last_mut(kind);
        check.failed_ms = now_ms;
        check.took_ms = now_ms.saturating_sub(started_ms).max(0);
    }

    fn last_mut(&mut self, kind: CheckKind) -> &mut Check {
        match kind {
            CheckKind::Recent => &mut self.recent,
            CheckKind::Earlier => &mut self.earlier,
        }
    }

    /// Returns the gap, as far as it was checked; none before the first check. A lost record may be seen by
    /// both checks, so the larger number counts.
    #[must_use]
    pub fn gap(&self) -> Option<u64> {
        let Self { recent, earlier, .. } = self;
        let gap = recent.gap.saturating_add(earlier.gap);
        let is_checked = recent.at_ms > 0 || earlier.at_ms > 0;
        is_checked.then(|| gap.saturating_add(recent.missing.max(earlier.missing)))
    }

    /// Returns when the older of the two checks was made, or when the first keeper began if one was never
    /// made; 0 before that.
    #[must_use]
    pub fn checked_ms(&self) -> i64 {
        let made = |check: &Check| if check.at_ms > 0 { check.at_ms } else { self.began_ms };
        made(&self.recent).min(made(&self.earlier))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;
    const NOW: i64 = 1_800_000_000_000;

    fn check(due: DueCheck, at_ms: i64, gap: u64) -> Check {
        Check { at_ms, took_ms: 10, until_ms: due.until_ms, gap, ..Check::default() }
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
    fn recent_checks_are_made_while_earlier_ones_fail() {
        let mut document = KeeperDocument::default();
        document.lease_to("a", NOW);
        let (mut earlier, mut recent) = (0, 0);
        for minute in 0..3 * 24 * 60 {
            let now_ms = NOW + minute * MINUTE;
            while let Some(due) = document.due(now_ms, MINUTE) {
                assert!(due.from_ms >= now_ms - EARLIER_MS, "the window stays bounded");
                match due.kind {
                    CheckKind::Earlier => {
                        document.note_failure(due.kind, now_ms - MINUTE, now_ms);
                        earlier += 1;
                    }
                    CheckKind::Recent => {
                        document.note(due.kind, check(due, now_ms, 1));
                        recent += 1;
                    }
                }
            }
        }
        assert_eq!((earlier, recent), (3 * 24 * 3, 3 * 24 * 60));
        assert_eq!((document.gap(), document.checked_ms()), (Some(1), NOW), "what is known counts");
    }

    #[test]
    fn halves_cover_the_window() {
        let due =
            DueCheck { kind: CheckKind::Earlier, from_ms: NOW, until_ms: NOW + 100, halvings: 0 };
        for halvings in [0, 1, HALVINGS_MAX, 9] {
            let mut parts = DueCheck { halvings, ..due }.parts();
            assert_eq!(parts.len(), 1 << halvings.min(HALVINGS_MAX));
            assert!(parts.iter().all(|part| part.halvings == halvings.min(HALVINGS_MAX)));
            parts.reverse();
            let ends: Vec<_> = parts.iter().map(|part| part.until_ms).collect();
            let starts: Vec<_> = parts.iter().map(|part| part.from_ms).collect();
            assert_eq!((starts.first(), ends.last()), (Some(&NOW), Some(&(NOW + 100))));
            assert_eq!(starts.get(1..), ends.get(..ends.len() - 1));
        }
        assert_eq!(DueCheck { halvings: HALVINGS_MAX, ..due }.halves(), None);
        assert_eq!(DueCheck { until_ms: NOW + 1, ..due }.halves(), None);
    }

    #[test]
    fn gap_is_known_after_the_first_check_and_survives_a_failover() {
        let mut document = KeeperDocument::default();
        document.lease_to("a", NOW);
        assert!(document.is_free_for("a", NOW) && !document.is_free_for("b", NOW));
        for (gap, before) in [(2, None), (1, Some(3))] {
            assert_eq!(document.gap(), before);
            let due = document.due(NOW, MINUTE).unwrap();
            document.note(due.kind, Check { missing: 1, ..check(due, NOW, gap) });
        }
        let text = serde_json::to_string(&document).unwrap();
        let mut read: KeeperDocument = serde_json::from_str(&text).unwrap();
        assert!(read.is_free_for("b", NOW + LEASE_MS));
        read.lease_to("b", NOW + LEASE_MS);
        assert_eq!(read.gap(), Some(4));
        let of_an_earlier_release =
            r#"{"recent":{"at_ms":1,"took_ms":2,"until_ms":3,"gap":4,"missing":5}}"#;
        let read: KeeperDocument = serde_json::from_str(of_an_earlier_release).unwrap();
        assert_eq!(read.gap(), Some(9));
        assert_eq!(
            serde_json::from_str::<KeeperDocument>("{}").unwrap(),
            KeeperDocument::default()
        );
    }
}
