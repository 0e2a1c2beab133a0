//! Lists dead letters, newest first.
//!
//! The stream can be read in its order only. So windows of sequences are read, the newest first; each
//! is twice as large as the one before, since a query may select few letters.

use std::collections::VecDeque;
use std::time::Duration;

use super::letter::StoredLetter;
use super::query::LetterQuery;
use super::store::{DeadLetters, LetterRange, ReadError};
use crate::clock;

/// Size of the first window.
const WINDOW_MIN: u64 = 256;
/// Size of the largest window.
const WINDOW_MAX: u64 = 16_384;
/// Letters of one read.
const BATCH: usize = 2_000;
/// Letters that one page reads at most; the page then ends early.
const SCANNED_MAX: u64 = 50_000;
/// How long one page reads at most.
const TIME_MAX: Duration = Duration::from_secs(5);

/// A page of letters, newest first, without their bodies.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LetterPage {
    /// The letters.
    pub letters: Vec<StoredLetter>,
    /// Sequence that the next page is before; none if there are no more letters. A page that read as
    /// much as it may has one although it has fewer letters than asked for.
    pub before: Option<u64>,
    /// How many letters were read.
    pub scanned: u64,
}

/// Returns at most `limit` letters that `query` selects, those before the sequence `before` if it is
/// given.
///
/// # Errors
/// The broker does not answer.
pub async fn newest_first(
    letters: &dyn DeadLetters,
    query: &LetterQuery,
    before: Option<u64>,
    limit: usize,
) -> Result<LetterPage, ReadError> {
    let (bounds, started) = (letters.bounds().await?, clock::tick());
    let newest = before.map_or(bounds.last, |before| before.saturating_sub(1).min(bounds.last));
    let (mut to, mut window) = (newest, WINDOW_MIN);
    let mut page = LetterPage::default();
    let is_too_old = |letter: &StoredLetter| {
        query.since_ms().is_some_and(|since_ms| letter.id.0.stored_ms < since_ms)
    };
    while to >= bounds.first && to > 0 {
        if page.scanned >= SCANNED_MAX || clock::since(started) >= TIME_MAX {
            page.before = Some(to.saturating_add(1));
            return Ok(page);
        }
        let from = to.saturating_sub(window - 1).max(bounds.first).max(1);
        let room = limit.saturating_sub(page.letters.len());
        let mut selected: VecDeque<StoredLetter> = VecDeque::new();
        let (mut reached_since, mut has_dropped) = (false, false);
        let mut next = Some(from);
        while let Some(from) = next {
            let batch = letters.read(LetterRange { from, to }, &query.scope(), BATCH).await?;
            page.scanned = page.scanned.saturating_add(batch.letters.len() as u64);
            reached_since |= batch.letters.iter().any(is_too_old);
            for letter in batch.letters.into_iter().filter(|letter| query.selects(letter)) {
                if selected.len() == room {
                    selected.pop_front();
                    has_dropped = true;
                }
                selected.push_back(letter);
            }
            next = batch.next;
        }
        page.letters.extend(selected.into_iter().rev());
        if page.letters.len() >= limit {
            let oldest = page.letters.last().map(|letter| letter.id.0.sequence);
            let has_older = from > bounds.first.max(1) && !reached_since;
            page.before = oldest.filter(|_| has_dropped || has_older);
            return Ok(page);
        }
        if reached_since {
            return Ok(page);
        }
        (to, window) = (from.saturating_sub(1), (window * 2).min(WINDOW_MAX));
    }
    Ok(page)
}
