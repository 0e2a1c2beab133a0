//! Looks at the streams until nothing is left that only time explains.

use std::time::Duration;

use super::{AccountError, AccountProgress, Computation, Pass};
use crate::clock;
use crate::event::codec::names;
use crate::recovery::account::fold::Fold;
use crate::recovery::account::limits::{STORED_MAX, TooLarge};
use crate::recovery::account::presence::{Presence, Suspects};
use crate::recovery::redrive::{LetterRange, LetterScope};

/// Letters of one read.
const LETTERS_BATCH: usize = 5_000;
/// Pauses before the looks at the streams. The broker moves a parked delivery in two steps when it is
/// due, and a record is stored after what it says.
const LOOKS_MS: [u64; 7] = [0, 50, 150, 400, 1_000, 2_000, 3_000];
/// Age at which dead letters are deleted, in milliseconds.
const LETTER_AGE_MS_MAX: i64 = 30 * 24 * 3_600_000;

impl Computation<'_> {
    /// Looks at the streams, and then reads the log on, until each delivery is accounted for or the looks
    /// are used up. A delivery leaves the parking stream only after its record is stored, so what is not
    /// there has a record by then.
    pub(super) async fn look(
        &mut self,
        fold: &mut Fold,
        mut last: u64,
    ) -> Result<(Presence, Suspects), AccountError> {
        let expired_before_ms = clock::broker_now_ms().saturating_sub(LETTER_AGE_MS_MAX);
        let mut presence = Presence { expired_before_ms, ..Presence::default() };
        let (mut suspects, mut next_letter) = (Suspects::default(), None);
        for (look, pause_ms) in LOOKS_MS.into_iter().enumerate() {
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            let unread = self.read_parked(fold, &mut presence).await?;
            if look == 0 && fold.has_dead() || suspects.has_dead {
                let next = self.read_letters(fold, &mut presence, next_letter).await?;
                next_letter = Some(next);
            }
            let end = self.streams.log_bounds().await?.last;
            if end > last {
                self.read(fold, last.saturating_add(1), end, Pass::First).await?;
                last = end;
            }
            suspects = fold.suspects(&presence, unread);
            (self.progress)(AccountProgress {
                records: self.records,
                left: 0,
                suspects: suspects.number,
            });
            if suspects.number == 0 {
                break;
            }
        }
        Ok((presence, suspects))
    }

    /// Notes the deliveries that are parked; returns how many due ones were not read. What was there at an
    /// earlier look stays pending: it had its place then.
    async fn read_parked(&self, fold: &Fold, presence: &mut Presence) -> Result<u64, AccountError> {
        let mut note = |id: &str| {
            presence.parked.insert(fold.id_hash(id));
            presence.parked.len() <= STORED_MAX
        };
        let unread = self.streams.parked(&mut note).await?;
        if presence.parked.len() > STORED_MAX {
            return Err(TooLarge::Stored.into());
        }
        Ok(unread)
    }

    /// Notes the deliveries with letters from the sequence `next` on, or from the first letter of the window;
    /// returns where the next read continues.
    async fn read_letters(
        &self,
        fold: &Fold,
        presence: &mut Presence,
        next: Option<u64>,
    ) -> Result<u64, AccountError> {
        let bounds = self.letters.bounds().await?;
        let mut from = match next {
            Some(next) => next,
            None => self.first_letter(bounds.first.max(1), bounds.last).await?,
        };
        while from <= bounds.last {
            let range = LetterRange { from, to: bounds.last };
            let batch = self.letters.read(range, &LetterScope::default(), LETTERS_BATCH).await?;
            let ids = batch.letters.iter().filter_map(|letter| letter.text(names::DELIVERY_ID));
            presence.letters.extend(ids.map(|id| fold.id_hash(&id)));
            let read =
                batch.letters.last().map_or(from, |last| last.id.0.sequence.saturating_add(1));
            from = match batch.next {
                Some(next) => next,
                // The server that answered may not have the last ones yet; the leader has.
                None => match self.streams.letter_from(read).await? {
                    Some(letter) if letter.sequence <= bounds.last => {
                        presence.letters.extend(letter.delivery.map(|id| fold.id_hash(&id)));
                        letter.sequence.saturating_add(1)
                    }
                    _ => bounds.last.saturating_add(1),
                },
            };
            if presence.letters.len() > STORED_MAX {
                return Err(TooLarge::Stored.into());
            }
        }
        Ok(from)
    }

    /// Returns the sequence of the first letter that was stored in the window, or after it.
    async fn first_letter(&self, mut low: u64, last: u64) -> Result<u64, AccountError> {
        let mut high = last.saturating_add(1);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.streams.letter_from(middle).await? {
                Some(letter) if letter.stored_ms < self.scope.from_ms => {
                    low = letter.sequence.saturating_add(1);
                }
                _ => high = middle,
            }
        }
        Ok(low)
    }
}
