//! Test double of the dead-letter stream.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::letter::{LetterId, LetterKind, StoredLetter};
use super::query::LetterScope;
use super::store::{DeadLetters, LetterBatch, LetterRange, ReadError, Republished, StreamBounds};
use crate::delivery::StreamPosition;

/// A stream in memory.
#[derive(Default)]
pub(crate) struct MemoryLetters {
    pub(crate) letters: Mutex<BTreeMap<u64, StoredLetter>>,
    pub(crate) published: Mutex<Vec<(LetterId, String)>>,
    /// How many events the event stream has room for; none for all.
    pub(crate) room: Mutex<Option<usize>>,
}

/// Creates a letter with these headers; it is stored `sequence` seconds after the epoch.
pub(crate) fn letter(sequence: u64, kind: LetterKind, headers: &[(&str, &str)]) -> StoredLetter {
    let stored_ms = i64::try_from(sequence).unwrap() * 1_000;
    StoredLetter {
        id: LetterId(StreamPosition { sequence, stored_ms }),
        kind,
        headers: headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        body: Bytes::from_static(b"{}"),
        body_bytes: 2,
    }
}

impl MemoryLetters {
    pub(crate) fn of(letters: impl IntoIterator<Item = StoredLetter>) -> Arc<Self> {
        let letters = letters.into_iter().map(|letter| (letter.id.0.sequence, letter)).collect();
        Arc::new(Self { letters: Mutex::new(letters), ..Self::default() })
    }
}

impl DeadLetters for MemoryLetters {
    fn bounds(&self) -> BoxFuture<'_, Result<StreamBounds, ReadError>> {
        let letters = self.letters.lock().unwrap();
        let last = letters.keys().next_back().copied().unwrap_or(0);
        let first = letters.keys().next().copied().unwrap_or(last + 1);
        Box::pin(async move { Ok(StreamBounds { first, last }) })
    }

    fn get(&self, id: LetterId) -> BoxFuture<'_, Result<Option<StoredLetter>, ReadError>> {
        let found = self.letters.lock().unwrap().get(&id.0.sequence).cloned();
        Box::pin(async move { Ok(found.filter(|letter| letter.id == id)) })
    }

    fn read<'a>(
        &'a self,
        range: LetterRange,
        scope: &'a LetterScope,
        max: usize,
    ) -> BoxFuture<'a, Result<LetterBatch, ReadError>> {
        let letters = self.letters.lock().unwrap();
        let within = |letter: &StoredLetter| match (&letter.kind, &scope.installation) {
            (_, None) => true,
            (LetterKind::Delivery { installation, .. }, Some(wanted)) => **installation == **wanted,
            _ => false,
        };
        let found = letters.range(range.from..=range.to).map(|(_, letter)| letter);
        let letters: Vec<_> = found.filter(|letter| within(letter)).take(max).cloned().collect();
        let last = letters.last().map_or(range.to, |letter| letter.id.0.sequence);
        let next = (letters.len() == max && last < range.to).then_some(last + 1);
        Box::pin(async move { Ok(LetterBatch { letters, next }) })
    }

    fn delete(&self, id: LetterId) -> BoxFuture<'_, Result<bool, ReadError>> {
        let removed = self.letters.lock().unwrap().remove(&id.0.sequence);
        Box::pin(async move { Ok(removed.is_some()) })
    }

    fn republish<'a>(
        &'a self,
        letter: &'a StoredLetter,
        job: &'a str,
    ) -> BoxFuture<'a, Result<Republished, ReadError>> {
        Box::pin(async move {
            if let Some(room) = &mut *self.room.lock().unwrap() {
                if *room == 0 {
                    return Ok(Republished::Full("full".into()));
                }
                *room -= 1;
            }
            self.published.lock().unwrap().push((letter.id, job.to_owned()));
            self.letters.lock().unwrap().remove(&letter.id.0.sequence);
            Ok(Republished::Stored)
        })
    }
}
