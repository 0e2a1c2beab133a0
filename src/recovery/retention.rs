//! Retention: deletes dead letters whose bodies may not be kept any longer.
//!
//! Every replica looks now and then. A letter is deleted once, so no replica has to lead.
//!
//! Design: `docs/design/erasure.md`.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::jobs::{JobRate, Pacer};
use super::metrics;
use super::redrive::{
    self, DeadLetters, LetterKind, LetterRange, LetterScope, RemoveError, StoredLetter,
};
use crate::clock;
use crate::delivery::{DeliveryLog, RemovalReason};
use crate::event::codec::HeaderLookup;
use crate::event::codec::names::dead_letter;

/// Interval at which it is checked whether a look is due.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// Time between two looks: the retention is in days.
const INTERVAL: Duration = Duration::from_secs(3_600);
/// Time until the next look if one did not delete everything.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);
/// Letters of one read.
const BATCH: usize = 500;
/// Letters that are deleted in one look, at most; the rest is counted. They are deleted at the rate that a job
/// has if its request names none.
const REMOVED_MAX: u64 = 20_000;
/// Days for which the dead-letter stream keeps letters.
pub const STREAM_DAYS: u32 = 30;
/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 3_600_000;

/// For how long bodies are kept; implemented over the registry.
pub trait BodyRetention: Send + Sync {
    /// Completes once the retention of every installation is known.
    fn wait_until_known(&self) -> BoxFuture<'_, ()>;

    /// Returns how often the retention of an installation was changed.
    fn changes(&self) -> u64;

    /// Whether some letters are kept for less than [`STREAM_DAYS`].
    fn is_limited(&self) -> bool;

    /// Returns for how many days the body of the letter of a delivery is kept; none if that is not known. One whose
    /// installation does not exist has the days of the configuration.
    fn days_of(&self, letter: &StoredLetter) -> Option<u32>;
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

    /// Looks until the future is dropped: now and then, and soon after a retention changed.
    pub async fn run(self) {
        self.retention.wait_until_known().await;
        let (mut last, mut pause, mut changes) = (None, INTERVAL, 0);
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            let changes_now = self.retention.changes();
            let is_due = last.is_none_or(|at| clock::since(at) >= pause);
            if !is_due && changes_now == changes {
                continue;
            }
            (last, changes) = (Some(clock::tick()), changes_now);
            pause = self.sweep_and_report().await;
        }
    }

    /// Makes one look; returns the time until the next one.
    async fn sweep_and_report(&self) -> Duration {
        match self.sweep(clock::broker_now_ms()).await {
            Ok(Swept { removed, left }) => {
                metrics::retention_run(clock::now_ms(), left);
                if removed > 0 {
                    tracing::info!(removed, left, "dead letters deleted: their bodies are too old");
                }
                if left > 0 { RETRY_INTERVAL } else { INTERVAL }
            }
            Err(error) => {
                tracing::warn!(%error, "dead letters that are too old not deleted yet");
                RETRY_INTERVAL
            }
        }
    }

    /// Deletes the letters that are too old at `now_ms`, oldest first.
    async fn sweep(&self, now_ms: i64) -> Result<Swept, RemoveError> {
        let mut swept = Swept::default();
        if !self.retention.is_limited() {
            return Ok(swept);
        }
        let (bounds, scope) = (self.letters.bounds().await?, LetterScope::default());
        let mut pacer = Pacer::new(JobRate::default(), clock::uptime_ms());
        let mut next = Some(bounds.first.max(1));
        while let Some(from) = next.filter(|from| *from <= bounds.last) {
            let range = LetterRange { from, to: bounds.last };
            let batch = self.letters.read(range, &scope, BATCH).await?;
            for letter in batch.letters.iter().filter(|letter| self.is_too_old(letter, now_ms)) {
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
        let age_ms = now_ms.saturating_sub(letter.id.0.stored_ms);
        let is_over = |days: u32| age_ms > i64::from(days).saturating_mul(DAY_MS);
        letter.body_bytes > 0
            && was_offered(letter)
            && self.retention.days_of(letter).is_some_and(is_over)
    }

    async fn remove(&self, letter: &StoredLetter) -> Result<bool, RemoveError> {
        let (letters, log) = (&*self.letters, self.log.as_deref());
        let is_removed = redrive::remove(letters, log, letter.id, RemovalReason::Expired).await?;
        metrics::bodies_removed("retention", u64::from(is_removed));
        Ok(is_removed)
    }
}

/// Whether a letter is of a delivery that was made to a handler, whose revision it then names. Others are the only copy
/// of an event that nothing was delivered of: the stream keeps them, as it keeps events and parked deliveries.
fn was_offered(letter: &StoredLetter) -> bool {
    matches!(letter.kind, LetterKind::Delivery { .. })
        && letter.get(dead_letter::REVISION).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recovery::redrive::testing::{MemoryLetters, MemoryLog, delivery_letter, letter};

    /// Days of the installation `i0`; others have 30, and `unreadable` is not known.
    struct Days(u32);

    impl BodyRetention for Days {
        fn wait_until_known(&self) -> BoxFuture<'_, ()> {
            Box::pin(async {})
        }

        fn changes(&self) -> u64 {
            0
        }

        fn is_limited(&self) -> bool {
            self.0 < STREAM_DAYS
        }

        fn days_of(&self, letter: &StoredLetter) -> Option<u32> {
            match letter.installation().as_deref() {
                Some("i0") => Some(self.0),
                Some("unreadable") => None,
                _ => Some(STREAM_DAYS),
            }
        }
    }

    /// No letter may have a body, of whatever kind it is.
    struct NoBodies;

    impl BodyRetention for NoBodies {
        fn wait_until_known(&self) -> BoxFuture<'_, ()> {
            Box::pin(async {})
        }

        fn changes(&self) -> u64 {
            0
        }

        fn is_limited(&self) -> bool {
            true
        }

        fn days_of(&self, _: &StoredLetter) -> Option<u32> {
            Some(0)
        }
    }

    /// The header of a letter whose delivery was made to a handler.
    const OFFERED: [(&str, &str); 1] = [("switchyard-dlq-revision", "5")];

    /// Letters of `i0` and `i1` in turn, stored 1, 2, ... seconds after the epoch.
    fn letters(count: u64) -> Arc<MemoryLetters> {
        MemoryLetters::of((1..=count).map(|sequence| {
            let installation = if sequence % 2 == 0 { "i0".into() } else { "i1".into() };
            letter(sequence, LetterKind::Delivery { app: "a".into(), installation }, &OFFERED)
        }))
    }

    #[tokio::test]
    async fn what_no_handler_was_offered_is_never_deleted() {
        let waiting = LetterKind::Delivery { app: "a".into(), installation: "i0".into() };
        let event = LetterKind::Event { site: "s".into() };
        let kinds = [event, LetterKind::Record, waiting.clone()];
        let stored = (1..).zip(kinds).map(|(sequence, kind)| letter(sequence, kind, &[]));
        let letters = MemoryLetters::of(stored.chain([letter(4, waiting, &OFFERED)]));
        let sweeper = RetentionSweeper::new(Arc::clone(&letters) as _, Arc::new(NoBodies), None);
        sweeper.sweep(60 * DAY_MS).await.unwrap();
        assert_eq!(letters.letters.lock().unwrap().keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
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

    #[tokio::test]
    async fn letter_whose_retention_is_not_known_stays() {
        let kind = LetterKind::Delivery { app: "a".into(), installation: "unreadable".into() };
        let letters = MemoryLetters::of([letter(1, kind, &OFFERED)]);
        assert_eq!(left_after(0, 60 * DAY_MS, &letters).await, [1]);
    }

    #[tokio::test]
    async fn removal_is_recorded_as_expired_and_only_if_the_letter_is_there() {
        let letters = MemoryLetters::of([1, 2].map(|sequence| {
            let mut letter = delivery_letter(sequence, "i0");
            letter.headers.extend(OFFERED.map(|(name, value)| (name.into(), value.into())));
            letter
        }));
        // Another replica deletes it between the list and the removal.
        letters.hidden.lock().unwrap().insert(2);
        let log = Arc::<MemoryLog>::default();
        let (port, record) = (Arc::clone(&letters) as _, Some(Arc::clone(&log) as _));
        let sweeper = RetentionSweeper::new(port, Arc::new(Days(0)), record);
        let swept = sweeper.sweep(10_000).await.unwrap();
        assert_eq!(swept, Swept { removed: 1, left: 0 });
        let whys: Vec<_> = log.deliveries().iter().map(|one| one["why"].clone()).collect();
        assert_eq!(whys, ["expired"]);
    }
}
