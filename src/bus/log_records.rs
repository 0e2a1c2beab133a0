//! The records of the delivery log that may answer a question, newest first or oldest first: where the log
//! is indexed, those that the index names; elsewhere those of the subjects.

use futures_util::{StreamExt, TryStreamExt, stream};

use super::batched_get::{DirectReader, ReadMessage};
use super::log_index::IndexedChunks;
use super::log_windows::Windows;
use crate::delivery::{CHUNK_RECORDS, LogPosition};

/// Records that the index names, of one read.
const NAMED_MAX: usize = 64;
/// Single records that are read at once.
const AT_ONCE: usize = 8;

/// Records of a range of sequences, newest first.
pub(super) struct NewestRecords<'a> {
    reader: &'a DirectReader,
    filter: &'a str,
    indexed: IndexedChunks,
    first: u64,
    /// Highest sequence that is not read yet; below `first` at the end.
    last: u64,
    /// Reads what is not indexed, from `first` or later up to `last`.
    windows: Option<Windows<'a>>,
}

impl<'a> NewestRecords<'a> {
    /// Begins to read the records from `first` to `last`. Of chunks that are `indexed`, only what the index
    /// names is read, whatever its subject.
    pub(super) fn new(
        reader: &'a DirectReader,
        filter: &'a str,
        (first, last): (u64, u64),
        indexed: IndexedChunks,
    ) -> Self {
        Self { reader, filter, indexed, first, last, windows: None }
    }

    /// Whether there are sequences that are not read yet.
    pub(super) fn has_more(&self) -> bool {
        match &self.windows {
            Some(windows) => windows.has_more() || windows.first() > self.first,
            None => self.last >= self.first,
        }
    }

    /// Returns the position at which a later read continues.
    pub(super) fn continue_at(&self) -> LogPosition {
        match &self.windows {
            Some(windows) => windows.continue_at(),
            None => LogPosition { sequence: self.last.saturating_add(1), entry: usize::MAX },
        }
    }

    /// Reads the next records, oldest first; none at the end.
    ///
    /// # Errors
    /// The broker does not answer; one sentence.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<ReadMessage>>, String> {
        while self.has_more() {
            if let Some(windows) = &mut self.windows {
                if let Some(records) = windows.next().await? {
                    return Ok(Some(records));
                }
                self.last = windows.first().saturating_sub(1);
                self.windows = None;
                continue;
            }
            let named = self.take_named();
            if !named.is_empty() {
                return read_named(self.reader, named).await.map(Some);
            }
            if self.has_more() {
                let first = self.indexed.first_unindexed(self.last).max(self.first);
                let range = (first, self.last);
                self.windows = Some(Windows::new(self.reader, self.filter, range));
            }
        }
        Ok(None)
    }

    /// Removes and returns the next sequences that the index names, oldest first; none before a chunk that is
    /// not indexed.
    fn take_named(&mut self) -> Vec<u64> {
        let mut named = Vec::new();
        while self.has_more() {
            let Some(chunk) = self.indexed.0.get(&(self.last / CHUNK_RECORDS)) else { break };
            let (first, last) = (self.first, self.last);
            let within = chunk.iter().rev().filter(|s| (first..=last).contains(*s));
            let start = first_of(last / CHUNK_RECORDS).max(first);
            self.last = start.saturating_sub(1);
            for sequence in within {
                if named.len() == NAMED_MAX {
                    self.last = *sequence;
                    break;
                }
                named.push(*sequence);
            }
            if named.len() == NAMED_MAX {
                break;
            }
        }
        named.reverse();
        named
    }
}

impl IndexedChunks {
    /// Returns the first sequence of the chunks that are not indexed and end with that of `last`.
    fn first_unindexed(&self, last: u64) -> u64 {
        let chunk = last / CHUNK_RECORDS;
        let below = self.0.range(..chunk).next_back();
        below.map_or(0, |(indexed, _)| first_of(indexed.saturating_add(1)))
    }

    /// Returns the sequences from `from` on that the index names, up to [`NAMED_MAX`], and the first sequence
    /// after the part that they cover; none if the chunk of `from` is not indexed.
    pub(super) fn named_from(&self, from: u64) -> Option<(Vec<u64>, u64)> {
        let mut chunk = from / CHUNK_RECORDS;
        let mut named = Vec::new();
        self.0.get(&chunk)?;
        while let Some(found) = self.0.get(&chunk) {
            for sequence in found.iter().filter(|sequence| **sequence >= from) {
                if named.len() == NAMED_MAX {
                    return Some((named, *sequence));
                }
                named.push(*sequence);
            }
            chunk = chunk.saturating_add(1);
        }
        Some((named, first_of(chunk)))
    }
}

fn first_of(chunk: u64) -> u64 {
    chunk.saturating_mul(CHUNK_RECORDS)
}

/// Reads records by their sequences, without those that are deleted.
///
/// # Errors
/// The broker does not answer; one sentence.
pub(super) async fn read_named(
    reader: &DirectReader,
    named: Vec<u64>,
) -> Result<Vec<ReadMessage>, String> {
    let reads = stream::iter(named.into_iter().map(|sequence| reader.one(sequence)));
    let found: Vec<Option<ReadMessage>> = reads.buffered(AT_ONCE).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn indexed(chunks: &[(u64, &[u64])]) -> IndexedChunks {
        let places = |(chunk, places): &(u64, &[u64])| {
            (*chunk, places.iter().map(|place| first_of(*chunk) + place).collect())
        };
        IndexedChunks(chunks.iter().map(places).collect())
    }

    #[test]
    fn runs_of_chunks_that_are_not_indexed_end_at_an_indexed_one() {
        let chunks = indexed(&[(2, &[]), (3, &[1])]);
        assert_eq!(chunks.first_unindexed(first_of(7) + 5), first_of(4));
        assert_eq!(chunks.first_unindexed(first_of(1)), 0);
    }

    #[test]
    fn what_the_index_names_is_taken_up_to_the_next_chunk_that_is_not_indexed() {
        let chunks = indexed(&[(1, &[4, 9]), (2, &[]), (3, &[7])]);
        let at = |chunk, place| first_of(chunk) + place;
        assert_eq!(chunks.named_from(at(0, 5)), None);
        let all = vec![at(1, 4), at(1, 9), at(3, 7)];
        assert_eq!(chunks.named_from(at(1, 0)), Some((all, first_of(4))));
        assert_eq!(chunks.named_from(at(1, 5)).unwrap().0, [at(1, 9), at(3, 7)]);
        let many: Vec<u64> = (0..100).collect();
        let (named, next) = indexed(&[(0, &many)]).named_from(0).unwrap();
        assert_eq!((named.len(), next), (NAMED_MAX, 64));
    }
}
