//! Windows of sequences over a stream, newest first.
//!
//! A window is read forward and answered backward. Windows grow while they hold few records and shrink
//! while they hold many, so that a page costs about as many reads as it has records.

use super::batched_get::{DirectReader, ReadBatch, ReadMessage, StartAt};
use crate::delivery::LogPosition;

/// Sequences of the first window.
const WINDOW_MIN: u64 = 256;
/// Most sequences of a window.
const WINDOW_MAX: u64 = 1 << 22;
/// Most records of a window.
const WINDOW_RECORDS_MAX: u64 = 1_000;
/// Most bytes of a window of several sequences. Records with excerpts of responses are large.
const WINDOW_BYTES_MAX: usize = 8 << 20;
/// Records of one window below which the next is larger.
const WINDOW_RECORDS_FEW: u64 = WINDOW_RECORDS_MAX / 8;
/// Most records of one batch.
pub(super) const BATCH_MAX: usize = 500;

/// Windows of a stream, newest first.
pub(super) struct Windows<'a> {
    reader: &'a DirectReader,
    filter: &'a str,
    first: u64,
    /// Highest sequence that is not read yet; below `first` at the end.
    last: u64,
    size: u64,
}

impl<'a> Windows<'a> {
    /// Begins to read the matching records from `first` to `last`.
    pub(super) fn new(
        reader: &'a DirectReader,
        filter: &'a str,
        (first, last): (u64, u64),
    ) -> Self {
        Self { reader, filter, first, last, size: WINDOW_MIN }
    }

    /// Returns the lowest sequence of all windows.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Whether there are sequences that are not read yet.
    pub(super) fn has_more(&self) -> bool {
        self.last >= self.first
    }

    /// Returns the position at which a later read continues.
    pub(super) fn continue_at(&self) -> LogPosition {
        LogPosition { sequence: self.last.saturating_add(1), entry: usize::MAX }
    }

    /// Reads the next window, oldest record first; none at the end.
    ///
    /// # Errors
    /// The broker does not answer; one sentence.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<ReadMessage>>, String> {
        if !self.has_more() {
            return Ok(None);
        }
        // Counted before the window: records that are stored between the two counts make the window
        // seem to have more, never fewer.
        let above = self.count_from(self.last.saturating_add(1)).await?;
        loop {
            let sequences = self.size.min(self.last.saturating_add(1).saturating_sub(self.first));
            let lowest = self.last.saturating_add(1).saturating_sub(sequences);
            let probe = self.reader.batch(StartAt::Sequence(lowest), self.filter, 1).await?;
            let ReadBatch { messages, after_first, .. } = probe;
            let count = match messages.first() {
                Some(found) if found.sequence <= self.last => {
                    after_first.saturating_add(1).saturating_sub(above).min(sequences)
                }
                _ => 0,
            };
            if count > WINDOW_RECORDS_MAX {
                self.size = shrunk(sequences, count);
                continue;
            }
            let Some(records) = self.read(messages, count, sequences).await? else {
                self.size = (sequences / 2).max(1);
                continue;
            };
            self.last = lowest.saturating_sub(1);
            if count < WINDOW_RECORDS_FEW {
                self.size = self.size.saturating_mul(4).min(WINDOW_MAX);
            }
            return Ok(Some(records));
        }
    }

    /// Reads `count` records, the first of which is in `read`, up to the end of a window of so many
    /// sequences; none if they are too large for several sequences.
    async fn read(
        &self,
        mut read: Vec<ReadMessage>,
        count: u64,
        sequences: u64,
    ) -> Result<Option<Vec<ReadMessage>>, String> {
        let mut bytes: usize = read.iter().map(|message| message.payload.len()).sum();
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        while read.len() < count {
            let Some(newest) = read.last().filter(|newest| newest.sequence < self.last) else {
                break;
            };
            let next = StartAt::Sequence(newest.sequence.saturating_add(1));
            let wanted = count.saturating_sub(read.len()).min(BATCH_MAX);
            let batch = self.reader.batch(next, self.filter, wanted).await?;
            if batch.messages.is_empty() {
                break;
            }
            bytes += batch.messages.iter().map(|message| message.payload.len()).sum::<usize>();
            read.extend(batch.messages);
            if bytes > WINDOW_BYTES_MAX && sequences > 1 {
                return Ok(None);
            }
        }
        read.retain(|message| message.sequence <= self.last);
        Ok(Some(read))
    }

    /// Returns how many records match from a sequence on.
    async fn count_from(&self, sequence: u64) -> Result<u64, String> {
        let found = self.reader.batch(StartAt::Sequence(sequence), self.filter, 1).await?;
        let first = u64::from(!found.messages.is_empty());
        Ok(found.after_first.saturating_add(first))
    }
}

/// Returns the size of a window that is likely to have half of the records that a window may have.
fn shrunk(size: u64, count: u64) -> u64 {
    (size.saturating_mul(WINDOW_RECORDS_MAX / 2) / count.max(1)).clamp(1, (size / 2).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_with_many_records_shrink_until_one_sequence_is_left() {
        assert_eq!(shrunk(1 << 20, 1 << 20), WINDOW_RECORDS_MAX / 2);
        assert_eq!(shrunk(2, u64::MAX), 1);
        assert!(shrunk(1_000_000, WINDOW_RECORDS_MAX + 1) <= 500_000);
    }
}
