//! Retention: deletes dead letters whose bodies may not be kept any longer.
//!
//! Every replica looks now and then. A letter is deleted once, so no replica has to lead.
//!
//! Design: `docs/design/erasure.md`.

use std::sync::Arc;
use std::time::Duration;

use super::jobs::{JobRate, Pacer};
use super::metrics;
use super::redrive::{
    DeadLetters, LetterRange, LetterScope, ReadError, StoredLetter, record_removed,
};
use crate::clock;
use crate::delivery::{DeliveryLog, RemovalReason};

/// Interval at which it is checked whether a look is due.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// Time between two looks, unless less may be kept than at the last one.
const INTERVAL: Duration = Duration::from_secs(600);
/// Letters of one read.
const BATCH: usize = 500;
/// Letters that are deleted in one look, at most; the rest is counted. They are deleted at the rate that a job
/// has if its request names none.
const REMOVED_MAX: u64 = 20_000;
/// Days for which the dead-letter stream keeps letters.
const STREAM_DAYS: u32 = 30;
/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 3_600_000;

/// For how long bodies are kept; implemented over the registry.
pub trait BodyRetention: Send + Sync {
    /// Returns the days of an installation, by its id or the token of it. Installations that do not exist,
    /// and letters without one, have those of the configuration.
    fn days_of(&self, installation: Option<&str>) -> u32;

    /// Returns the fewest days of any.
    fn fewest_days(&self) -> u32;
}

/// Deletes dead letters that are too old.
pub struct RetentionSweeper {
    letters: Arc<dyn DeadLetters>,
    retention: Arc<dyn BodyRetention>,
    /// None if the log is off.
    log: Option<Arc<dyn DeliveryLog>>,
}

/// What one look found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Swept {
    removed: u64,
    /// Too old, and still there.
    left: u64,
}

impl RetentionSweeper {
    /// Deletes from `letters` what `retention` permits no longer; `log` records it.
    #[must_use]
    pub fn new(
        letters: Arc<dyn DeadLetters>,
        retention: Arc<dyn BodyRetention>,
        log: Option<Arc<dyn DeliveryLog>>,
    ) -> Self {
        Self { letters, retention, log }
    }

    /// Looks until the future is dropped: now and then, and soon after less may be kept.
    pub async fn run(self) {
        let (mut looked, mut fewest) = (None, u32::MAX);
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            let fewest_now = self.retention.fewest_days();
            let is_due = looked.is_none_or(|at| clock::since(at) >= INTERVAL);
            if !is_due && fewest_now >= fewest {
                continue;
            }
            match self.sweep(clock::broker_now_ms()).await {
                Ok(swept) => {
                    (looked, fewest) = (Some(clock::tick()), fewest_now);
                    metrics::retention_run(clock::now_ms(), swept.left);
                    if swept.removed > 0 {
                        let Swept { removed, left } = swept;
                        tracing::info!(
                            removed,
                            left,
                            "dead letters deleted: their bodies are too old"
                        );
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "dead letters that are too old not deleted yet")
                }
            }
        }
    }

    /// Deletes the letters that are too old at `now_ms`, oldest first.
    async fn sweep(&self, now_ms: i64) -> Result<Swept, ReadError> {
        let (mut swept, fewest) = (Swept::default(), self.retention.fewest_days());
        if fewest >= STREAM_DAYS {
            return Ok(swept);
        }
        let (bounds, scope) = (self.letters.bounds().await?, LetterScope::default());
        let mut pacer = Pacer::new(JobRate::default(), clock::uptime_ms());
        let mut next = Some(bounds.first.max(1));
        while let Some(from) = next.filter(|from| *from <= bounds.last) {
            let range = LetterRange { from, to: bounds.last };
            let batch = self.letters.read(range, &scope, BATCH).await?;
            for letter in &batch.letters {
                if age_ms(letter, now_ms) <= i64::from(fewest).saturating_mul(DAY_MS) {
                    return Ok(swept);
                }
                if !self.is_too_old(letter, now_ms) {
                    continue;
                }
                if swept.removed >= REMOVED_MAX {
                    swept.left += 1;
                    continue;
                }
                while let Err(wait_ms) = pacer.admitted(clock::uptime_ms()) {
                    tokio::time::sleep(Duration::from_millis(wait_ms)).await;
                }
                pacer.spend(1);
                swept.removed += u64::from(self.remove(letter).await?);
            }
            next = batch.next;
        }
        Ok(swept)
    }

    /// Whether a letter has a body that may not be kept any longer.
    fn is_too_old(&self, letter: &StoredLetter, now_ms: i64) -> bool {
        let days = self.retention.days_of(letter.installation().as_deref());
        letter.body_bytes > 0 && age_ms(letter, now_ms) > i64::from(days).saturating_mul(DAY_MS)
    }

    async fn remove(&self, letter: &StoredLetter) -> Result<bool, ReadError> {
        if let Some(log) = &self.log {
            record_removed(&**log, letter, RemovalReason::Expired).await;
        }
        let is_removed = self.letters.delete(letter.id).await?;
        metrics::bodies_removed("retention", u64::from(is_removed));
        Ok(is_removed)
    }
}

fn age_ms(letter: &StoredLetter, now_ms: i64) -> i64 {
    now_ms.saturating_sub(letter.id.0.stored_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recovery::redrive::LetterKind;
    use crate::recovery::redrive::testing::{MemoryLetters, letter};

    /// Days of the installation `i0`; others have 30.
    struct Days(u32);

    impl BodyRetention for Days {
        fn days_of(&self, installation: Option<&str>) -> u32 {
            if installation == Some("i0") { self.0 } else { 30 }
        }

        fn fewest_days(&self) -> u32 {
            self.0
        }
    }

    /// Letters of `i0` and `i1` in turn, stored 1, 2, ... seconds after the epoch.
    fn letters(count: u64) -> Arc<MemoryLetters> {
        MemoryLetters::of((1..=count).map(|sequence| {
            let installation = if sequence % 2 == 0 { "i0".into() } else { "i1".into() };
            letter(sequence, LetterKind::Delivery { app: "a".into(), installation }, &[])
        }))
    }

    async fn left_after(days: u32, now_ms: i64, letters: &Arc<MemoryLetters>) -> Vec<u64> {
        let sweeper = RetentionSweeper::new(Arc::clone(letters) as _, Arc::new(Days(days)), None);
        sweeper.sweep(now_ms).await.unwrap();
        letters.letters.lock().unwrap().keys().copied().collect()
    }

    #[tokio::test]
    async fn letters_are_deleted_once_their_installation_may_not_keep_them() {
        let letters = letters(6);
        let day = DAY_MS;
        assert_eq!(left_after(1, day + 2_000, &letters).await, [1, 2, 3, 4, 5, 6], "to the day");
        assert_eq!(left_after(1, day + 4_001, &letters).await, [1, 3, 5, 6]);
        assert_eq!(left_after(30, 60 * day, &letters).await, [1, 3, 5, 6], "the stream's own age");
        assert_eq!(left_after(29, 29 * day + 6_001, &letters).await, [1, 3, 5]);
    }

    #[tokio::test]
    async fn installation_with_zero_days_keeps_only_letters_without_body() {
        let letters = letters(4);
        letters.letters.lock().unwrap().get_mut(&2).unwrap().body_bytes = 0;
        assert_eq!(left_after(0, 10_000, &letters).await, [1, 2, 3]);
    }
}
