//! The values of all columns for one event.

use std::ops::Range;

use super::dictionary::ConstantEntry;
use super::ids::ConstantId;

/// The value of one column for one event.
#[derive(Clone, Debug)]
pub(super) struct ColumnValue {
    /// Whether the tests of this column cannot be decided, because evaluation may raise an error.
    pub(super) undetermined: bool,
    /// Range of its entries.
    entries: Range<u32>,
    /// The constant of its first entry; most columns have no other.
    first: ConstantId,
    /// The value of an `Ordered` column; for others NaN, which satisfies no comparison.
    pub(super) number: f64,
}

impl Default for ColumnValue {
    fn default() -> Self {
        Self { undetermined: false, entries: 0..0, first: ConstantId::NONE, number: f64::NAN }
    }
}

/// The values of all columns for one event. Reused from event to event.
#[derive(Debug, Default)]
pub(super) struct EventValues {
    /// By column.
    pub(super) columns: Vec<ColumnValue>,
    /// The entries of the last column are added here before its value.
    pub(super) entries: Vec<ConstantEntry>,
    /// Memory for the key of one lookup.
    pub(super) key: Vec<u8>,
}

impl EventValues {
    pub(super) fn clear(&mut self) {
        self.columns.clear();
        self.entries.clear();
    }

    /// The constants that hold in a column, with their posting lists.
    pub(super) fn entries(&self, value: &ColumnValue) -> &[ConstantEntry] {
        let Range { start, end } = value.entries;
        let entries = self.entries.get(start as usize..end as usize);
        debug_assert!(entries.is_some(), "the value is of this event");
        entries.unwrap_or_default()
    }

    /// Whether a constant holds in a column.
    #[inline(always)]
    pub(super) fn holds(&self, value: &ColumnValue, constant: ConstantId) -> bool {
        match value.entries.end - value.entries.start {
            0 => false,
            1 => value.first == constant,
            _ => self.entries(value).iter().any(|entry| entry.constant == constant),
        }
    }

    /// Appends the value of a column whose tests cannot be decided.
    pub(super) fn push_undetermined(&mut self) {
        self.columns.push(ColumnValue { undetermined: true, ..ColumnValue::default() });
    }

    /// Appends the value of a column that compares numbers.
    pub(super) fn push_number(&mut self, number: f64) {
        self.columns.push(ColumnValue { number, ..ColumnValue::default() });
    }

    /// Appends the value of a column whose entries begin at `start`. A list may contain a constant
    /// twice; the column has it once.
    pub(super) fn push_entries_from(&mut self, start: usize) {
        dedup_from(start, &mut self.entries);
        let Some(entries) = range(start, self.entries.len()) else {
            // No event has so many values, and with undetermined columns none is left out.
            return self.push_undetermined();
        };
        let first = self.entries.get(start).map_or(ConstantId::NONE, |entry| entry.constant);
        self.columns.push(ColumnValue { entries, first, ..ColumnValue::default() });
    }
}

fn range(start: usize, end: usize) -> Option<Range<u32>> {
    Some(u32::try_from(start).ok()?..u32::try_from(end).ok()?)
}

/// Removes duplicates from `start` on.
pub(super) fn dedup_from<T: Ord + Copy>(start: usize, items: &mut Vec<T>) {
    let Some(tail) = items.get_mut(start..).filter(|tail| tail.len() > 1) else { return };
    tail.sort_unstable();
    let (mut last, mut at) = (None, 0);
    items.retain(|item| {
        at += 1;
        at <= start || last.replace(*item) != Some(*item)
    });
}
