//! Hash tables of member names, optimized for misses: most members of an event are in no
//! projection.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use crate::event::scan::offset;

/// Id of the name table of one map.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct TableId(u32);

/// The name tables of a projection; each name has a target number. Immutable.
#[derive(Debug, Default)]
pub(super) struct NameTables {
    rows: Box<[Table]>,
    /// Open-addressing hash tables, at most a quarter full: positions in `entries`, or [`NONE`].
    slots: Box<[u32]>,
    entries: Box<[Entry]>,
    bytes: Box<[u8]>,
    multiplier: Multiplier,
}

/// Factor of the hash of names: odd and chosen at random, so that no filter can choose names that
/// meet in one slot.
#[derive(Clone, Copy, Debug)]
struct Multiplier(u64);

impl Default for Multiplier {
    fn default() -> Self {
        Self(RandomState::default().hash_one(0) | 1)
    }
}

#[derive(Clone, Copy, Debug)]
struct Table {
    filter: NameFilter,
    first_slot: u32,
    /// Right shift that reduces a hash to a slot of the table.
    shift: u32,
    first: u32,
    len: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    tail: u64,
    start: u32,
    len: u32,
    target: u32,
}

const NONE: u32 = u32::MAX;

impl NameTables {
    /// Returns the name table of one map.
    #[inline]
    pub(super) fn of(&self, row: TableId) -> NameTable<'_> {
        let row = self.rows.get(row.0 as usize);
        debug_assert!(row.is_some(), "a table of these names");
        let Some(Table { first_slot, shift, filter, .. }) = row else { return NameTable::NONE };
        let (first_slot, shift) = (*first_slot, *shift);
        let slots = self.slots.get(first_slot as usize..first_slot as usize + (1 << (64 - shift)));
        debug_assert!(slots.is_some(), "slots of these names");
        NameTable {
            filter,
            slots: slots.unwrap_or_default(),
            shift,
            multiplier: self.multiplier,
            entries: &self.entries,
            bytes: &self.bytes,
        }
    }

    pub(super) fn is_empty(&self, row: TableId) -> bool {
        self.rows.get(row.0 as usize).is_none_or(|row| row.len == 0)
    }

    /// Iterates over the names of a table with their targets, in insertion order.
    pub(super) fn entries(&self, row: TableId) -> impl Iterator<Item = (Box<str>, u32)> {
        self.of_row(row).iter().map(|entry| {
            let start = entry.start as usize;
            let name = self.bytes.get(start..start + entry.len as usize);
            debug_assert!(name.is_some(), "a name of these bytes");
            let name = name.unwrap_or_default();
            (String::from_utf8_lossy(name).into(), entry.target)
        })
    }

    /// Iterates over the targets of a table.
    pub(super) fn targets(&self, row: TableId) -> impl Iterator<Item = u32> {
        self.of_row(row).iter().map(|entry| entry.target)
    }

    fn of_row(&self, row: TableId) -> &[Entry] {
        let row = self.rows.get(row.0 as usize);
        let range = row.map_or(0..0, |row| row.first as usize..(row.first + row.len) as usize);
        debug_assert!(range.end <= self.entries.len(), "entries of these names");
        self.entries.get(range).unwrap_or_default()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.rows)
            + size_of_val(&*self.slots)
            + size_of_val(&*self.entries)
            + self.bytes.len()
    }
}

/// The name table of one map, for lookups.
#[derive(Clone, Copy, Debug)]
pub(super) struct NameTable<'n> {
    pub(super) filter: &'n NameFilter,
    slots: &'n [u32],
    shift: u32,
    multiplier: Multiplier,
    entries: &'n [Entry],
    bytes: &'n [u8],
}

impl NameTable<'_> {
    const NONE: Self = Self {
        filter: NameFilter::ALL,
        slots: &[],
        shift: 0,
        multiplier: Multiplier(1),
        entries: &[],
        bytes: &[],
    };

    /// Returns the target of the name at `start..end` of `text`.
    #[inline(always)]
    pub(super) fn get(self, text: &[u8], start: usize, end: usize) -> Option<u32> {
        let tail = tail(text, start, end);
        let mut at = self.multiplier.slot(tail, end - start, self.shift);
        loop {
            let slot = *self.slots.get(at)?;
            // Ends the search at an empty slot.
            let entry = self.entries.get(slot as usize)?;
            if entry.tail == tail && self.is(entry, text, start, end) {
                return Some(entry.target);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    #[inline(always)]
    fn is(self, entry: &Entry, text: &[u8], start: usize, end: usize) -> bool {
        let (first, len) = (entry.start as usize, entry.len as usize);
        // Names of up to 8 bytes are equal if their tails are.
        len == end - start
            && (len <= 8 || self.bytes.get(first..first + len) == text.get(start..end))
    }
}

/// A Bloom filter over the last bytes of the names of one table: rejects most other names in a few
/// instructions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NameFilter([u64; 4]);

impl NameFilter {
    pub(super) const ALL: &Self = &Self([u64::MAX; 4]);

    /// Whether the name before the colon at `colon` may be in the table.
    #[inline(always)]
    pub(super) fn may_contain(&self, text: &[u8], colon: usize) -> bool {
        debug_assert!(colon <= text.len(), "a colon of this text");
        let before = text.get(..colon).unwrap_or_default();
        let Some(last @ [_, _, _, quote]) = before.last_chunk() else { return true };
        let (word, bit) = Self::field(*last);
        *quote != b'"' || self.0.get(word).is_none_or(|word| word >> bit & 1 != 0)
    }

    fn add(&mut self, name: &[u8]) {
        match name {
            // Any byte can precede the quotes of an empty name.
            [] => *self = *Self::ALL,
            [byte] => {
                for before in *b"{, \n\t\r" {
                    self.add_last([before, b'"', *byte, b'"']);
                }
            }
            [a, b] => self.add_last([b'"', *a, *b, b'"']),
            [.., a, b, c] => self.add_last([*a, *b, *c, b'"']),
        }
    }

    fn add_last(&mut self, last: [u8; 4]) {
        let (word, bit) = Self::field(last);
        if let Some(word) = self.0.get_mut(word) {
            *word |= 1 << bit;
        }
    }

    /// Returns word and bit for the last bytes of a name, including its quote.
    #[inline(always)]
    fn field(last: [u8; 4]) -> (usize, u32) {
        let hash = u32::from_le_bytes(last).wrapping_mul(0x9e37_79b1) >> 24;
        ((hash >> 6) as usize, hash & 63)
    }
}

/// Builds [`NameTables`].
#[derive(Debug, Default)]
pub(super) struct NameTablesBuilder {
    rows: Vec<Table>,
    slots: Vec<u32>,
    entries: Vec<Entry>,
    bytes: Vec<u8>,
    multiplier: Multiplier,
}

impl NameTablesBuilder {
    /// Adds a table of distinct names with their targets.
    pub(super) fn row(&mut self, names: Vec<(Box<str>, u32)>) -> TableId {
        let size = (names.len() * 4).next_power_of_two().max(2);
        let mut row = Table {
            filter: NameFilter::default(),
            first_slot: offset(self.slots.len()),
            shift: 64 - size.trailing_zeros(),
            first: offset(self.entries.len()),
            len: offset(names.len()),
        };
        self.slots.resize(self.slots.len() + size, NONE);
        for (name, target) in names {
            row.filter.add(name.as_bytes());
            self.add(&row, size, &name, target);
        }
        self.rows.push(row);
        TableId(offset(self.rows.len() - 1))
    }

    fn add(&mut self, row: &Table, size: usize, name: &str, target: u32) {
        let tail = tail(name.as_bytes(), 0, name.len());
        let mut at = self.multiplier.slot(tail, name.len(), row.shift);
        while let Some(slot) = self.slots.get_mut(row.first_slot as usize + at) {
            if *slot == NONE {
                *slot = offset(self.entries.len());
                break;
            }
            at = (at + 1) & (size - 1);
        }
        let (start, len) = (offset(self.bytes.len()), offset(name.len()));
        self.entries.push(Entry { tail, start, len, target });
        self.bytes.extend_from_slice(name.as_bytes());
    }

    pub(super) fn finish(self) -> NameTables {
        NameTables {
            rows: self.rows.into(),
            slots: self.slots.into(),
            entries: self.entries.into(),
            bytes: self.bytes.into(),
            multiplier: self.multiplier,
        }
    }
}

/// Returns the last eight bytes of the name at `start..end`; they distinguish `customfield_10001`
/// from its siblings.
#[inline(always)]
fn tail(text: &[u8], start: usize, end: usize) -> u64 {
    debug_assert!(start <= end && end <= text.len(), "a name in this text");
    let (before, len) = (text.get(..end).unwrap_or_default(), end.saturating_sub(start));
    match before.last_chunk() {
        // Shifts out the bytes before a short name.
        Some(last) => {
            let last = u64::from_le_bytes(*last);
            if len < 8 { (last >> 1) >> (63 - 8 * len) } else { last }
        }
        None => before.iter().skip(start).rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

impl Multiplier {
    /// Returns the first slot to probe.
    #[inline(always)]
    fn slot(self, tail: u64, len: usize, shift: u32) -> usize {
        let hash = (tail ^ len as u64).wrapping_mul(self.0);
        #[expect(clippy::cast_possible_truncation, reason = "tables are much smaller")]
        let slot = (hash >> shift) as usize;
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_their_own_table_only() {
        let long = "a".repeat(300);
        let sets: [&[&str]; 4] = [
            &[],
            &["", "a", "ab", "abc", "abcd", "abcdefg", "abcdefgh", "xabcdefgh", "yabcdefgh"],
            &[&long, &long[1..], "project", "issuetype"],
            &["key"],
        ];
        let mut builder = NameTablesBuilder::default();
        let rows = sets.map(|set| {
            builder.row(set.iter().zip(10..).map(|(name, at)| ((*name).into(), at)).collect())
        });
        let names = builder.finish();
        for (set, row) in sets.iter().zip(rows) {
            assert_eq!(names.is_empty(row), set.is_empty());
            assert!(names.targets(row).eq((10..).take(set.len())));
            for name in sets.concat() {
                let expected = set.iter().zip(10..).find(|(of, _)| **of == name).map(|(_, at)| at);
                for before in ["", "a", "before it"] {
                    let text = format!("{before}{name}\"");
                    let found = names.of(row).get(text.as_bytes(), before.len(), text.len() - 1);
                    assert_eq!(found, expected, "{name}");
                }
            }
            assert_eq!(names.of(row).get(b"zabcdefgh", 0, 9), None);
        }
    }
}
