//! Dictionary encoding: maps the constants of all filters to ids, so that an event's value is
//! looked up once and all tests of it compare two integers.

use std::collections::HashMap;
use std::hash::BuildHasher;

use foldhash::fast::{FixedState, RandomState};
use switchyard_expr::predicate::Constant;

use super::build::planner::ColumnId;
use crate::event::projection::JsonValue;

/// The id of a constant in its column.
pub(super) type ConstantId = u32;

/// A constant's id and the position of its posting list. Both are in the dictionary slot: finding a
/// constant and its filters takes two dependent reads of uncached memory, where separate tables
/// took four.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct ConstantEntry {
    pub(super) constant: ConstantId,
    /// Start of its posting list.
    pub(super) postings: u32,
}

/// Entries by column and constant, or tuple of constants: one hash table for all columns, so that a
/// lookup meets few cache lines. Immutable; takes about 30 bytes and the constant for each entry,
/// against about 100 for a map of boxed text.
#[derive(Debug, Default)]
pub(super) struct Dictionary {
    /// Open addressing, at most three quarters full.
    slots: Box<[Slot]>,
    /// All keys, one after the other. None is a prefix of another.
    bytes: Box<[u8]>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    /// Start of the key.
    key: u32,
    entry: ConstantEntry,
}

const EMPTY: Slot =
    Slot { hash: 0, key: 0, entry: ConstantEntry { constant: ConstantId::MAX, postings: 0 } };

impl Dictionary {
    /// Returns the entry of `key`, if any filter contains it.
    pub(super) fn get(&self, key: &[u8]) -> Option<ConstantEntry> {
        let hash = hash(key);
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots.get(at).copied().unwrap_or(EMPTY);
            if slot.entry == EMPTY.entry {
                return None;
            }
            if slot.hash == hash && self.key_begins(slot.key, key) {
                return Some(slot.entry);
            }
            at = (at + 1) & mask;
        }
    }

    fn key_begins(&self, at: u32, key: &[u8]) -> bool {
        self.bytes.get(at as usize..).is_some_and(|bytes| bytes.starts_with(key))
    }

    /// Reads one item of each of its cache lines.
    pub(super) fn prefetch(&self) {
        super::prefetch(&self.slots, |slot| slot.hash);
        super::prefetch(&self.bytes, |byte| u32::from(*byte));
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.slots) + self.bytes.len()
    }
}

/// Numbers the constants of one column in the order of first use.
#[derive(Debug, Default)]
pub(super) struct ConstantIds {
    ids: HashMap<Box<[u8]>, ConstantId, RandomState>,
}

impl ConstantIds {
    pub(super) fn id(&mut self, key: &[u8]) -> ConstantId {
        if let Some(id) = self.ids.get(key) {
            return *id;
        }
        let id = index(self.ids.len());
        self.ids.insert(key.into(), id);
        id
    }

    /// The number of constants.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }
}

/// Collects the constants of all columns.
#[derive(Debug, Default)]
pub(super) struct DictionaryBuilder {
    /// Keys, all different, with their entries.
    keys: Vec<(Box<[u8]>, ConstantEntry)>,
}

impl DictionaryBuilder {
    /// Adds the constants of a column; `postings` are their posting lists.
    pub(super) fn add(&mut self, column: ColumnId, constants: ConstantIds, postings: &[u32]) {
        let mut ids: Vec<(ConstantId, Box<[u8]>)> =
            constants.ids.into_iter().map(|(key, id)| (id, key)).collect();
        ids.sort_unstable_by_key(|(id, _)| *id);
        self.keys.extend(ids.into_iter().map(|(id, constants)| {
            let mut key = Vec::with_capacity(constants.len() + 2);
            begin_key(&mut key, column);
            key.extend_from_slice(&constants);
            let postings = postings.get(id as usize).copied().unwrap_or_default();
            (key.into(), ConstantEntry { constant: id, postings })
        }));
    }

    /// Builds the dictionary.
    pub(super) fn finish(self) -> Dictionary {
        let mut slots = vec![EMPTY; (self.keys.len() * 4 / 3 + 1).next_power_of_two()];
        let mask = slots.len() - 1;
        let mut bytes = Vec::with_capacity(self.keys.iter().map(|(key, _)| key.len()).sum());
        for (key, entry) in self.keys {
            let hash = hash(&key);
            let mut at = hash as usize & mask;
            while slots.get(at).is_some_and(|slot| slot.entry != EMPTY.entry) {
                at = (at + 1) & mask;
            }
            if let Some(slot) = slots.get_mut(at) {
                *slot = Slot { hash, key: index(bytes.len()), entry };
            }
            bytes.extend_from_slice(&key);
        }
        Dictionary { slots: slots.into(), bytes: bytes.into() }
    }
}

/// Starts the key of a constant of a column.
pub(super) fn begin_key(key: &mut Vec<u8>, column: ColumnId) {
    key.clear();
    key.extend_from_slice(&column.to_le_bytes());
}

/// Converts a position; filters of one partition, and their text, are far fewer than 2^32.
pub(super) fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[expect(clippy::cast_possible_truncation, reason = "half of a hash is a hash")]
fn hash(key: &[u8]) -> u32 {
    FixedState::default().hash_one(key) as u32
}

/// Appends a constant to a key. Keys are equal if and only if values are equal in the sense of
/// `==`.
pub(super) fn push_constant(key: &mut Vec<u8>, constant: &Constant) {
    match constant {
        Constant::Null => key.push(b'0'),
        Constant::Bool(truth) => push_bool(key, *truth),
        Constant::Number(number) => push_number(key, *number),
        Constant::String(text) => push_text(key, text.as_bytes()),
    }
}

/// Appends a value of an event; returns false for a list or map, which equals no constant.
pub(super) fn push_value(key: &mut Vec<u8>, value: JsonValue<'_>) -> bool {
    match value {
        JsonValue::Missing | JsonValue::Null => key.push(b'0'),
        JsonValue::Bool(truth) => push_bool(key, truth),
        JsonValue::Number(number) => push_number(key, number),
        JsonValue::Text(text) => push_text(key, text),
        JsonValue::List(_) | JsonValue::LongList | JsonValue::Map => return false,
    }
    true
}

fn push_bool(key: &mut Vec<u8>, truth: bool) {
    key.push(if truth { b't' } else { b'f' });
}

fn push_number(key: &mut Vec<u8>, number: f64) {
    key.push(b'n');
    let bits = if number == 0.0 { 0 } else { number.to_bits() };
    key.extend_from_slice(&bits.to_le_bytes());
}

/// The length comes first, so that no tuple of constants is a prefix of another.
fn push_text(key: &mut Vec<u8>, text: &[u8]) {
    key.push(b's');
    key.extend_from_slice(&index(text.len()).to_le_bytes());
    key.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without a column.
    fn key(constants: &[Constant]) -> Vec<u8> {
        let mut key = Vec::new();
        constants.iter().for_each(|constant| push_constant(&mut key, constant));
        key
    }

    #[test]
    fn equality_is_that_of_the_language() {
        let text = |text: &str| Constant::String(text.into());
        let mut builder = ConstantIds::default();
        let rows = [
            vec![Constant::Null],
            vec![Constant::Bool(true)],
            vec![Constant::Number(1.0)],
            vec![text("1")],
            vec![text("true")],
            vec![text("")],
            vec![text("ab"), text("c")],
            vec![text("a"), text("bc")],
            vec![Constant::Number(0.0)],
        ];
        for (at, row) in rows.iter().enumerate() {
            assert_eq!(builder.id(&key(row)), index(at));
        }
        assert_eq!(builder.id(&key(&[Constant::Number(-0.0)])), 8);
        assert_eq!(builder.len(), rows.len());
        let postings: Vec<u32> = (0..index(rows.len())).map(|id| id * 10).collect();
        let mut other = ConstantIds::default();
        assert_eq!(other.id(&key(&[text("1")])), 0);
        let mut dictionary = DictionaryBuilder::default();
        dictionary.add(3, builder, &postings);
        dictionary.add(4, other, &[7]);
        let dictionary = dictionary.finish();
        let get = |column: ColumnId, constants: &[Constant]| {
            let mut whole = Vec::new();
            begin_key(&mut whole, column);
            whole.extend(key(constants));
            dictionary.get(&whole)
        };
        for (at, row) in (0..).zip(&rows) {
            assert_eq!(
                get(3, row),
                Some(ConstantEntry { constant: at, postings: at * 10 }),
                "{row:?}"
            );
        }
        assert_eq!(get(4, &[text("1")]), Some(ConstantEntry { constant: 0, postings: 7 }));
        assert_eq!(get(4, &[text("true")]), None);
        assert_eq!(get(3, &[text("abc")]), None);
        assert_eq!(get(3, &[text("a"), text("b")]), None);
        assert_eq!(DictionaryBuilder::default().finish().get(b"000"), None);
    }
}
