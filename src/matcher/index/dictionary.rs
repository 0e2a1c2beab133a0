//! Dictionary encoding: maps the constants of all filters to ids, so that an event's value is looked up
//! once and all tests of it compare two integers.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use super::build_error::BuildError;
use super::corrupt::CorruptSegment;
use super::ids::{ConstantId, Offset, RowId};
use super::prefetch::prefetch;

/// A constant's id and the position of its posting list. Both are in the dictionary slot: finding a
/// constant and its filters takes two dependent reads of uncached memory, where separate tables took
/// four.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct ConstantEntry {
    pub(super) constant: ConstantId,
    /// Start of its posting list.
    pub(super) postings: RowId,
}

/// Entries by column and constant, or tuple of constants: one hash table for all columns, so that a
/// lookup meets few cache lines. Immutable; takes about 30 bytes and the constant for each entry,
/// against about 100 for a map of boxed text.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Dictionary {
    /// Open addressing, at most three quarters full.
    slots: Box<[Slot]>,
    /// All keys, one after the other. None is a prefix of another.
    keys: Box<[u8]>,
    /// Seeded at random, so that no filter can choose constants that collide.
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    /// Start of the key.
    key: Offset,
    /// In an empty slot, the constant is none.
    entry: ConstantEntry,
}

const _: () = assert!(size_of::<Slot>() == 16, "a quarter of a cache line");

impl Slot {
    fn empty() -> Self {
        let entry = ConstantEntry { constant: ConstantId::NONE, postings: RowId::default() };
        Self { hash: 0, key: Offset::default(), entry }
    }

    fn is_empty(&self) -> bool {
        self.entry.constant == ConstantId::NONE
    }
}

impl Dictionary {
    /// Builds the dictionary of `entries`, whose keys are all different.
    pub(super) fn build(entries: &[(Box<[u8]>, ConstantEntry)]) -> Result<Self, BuildError> {
        let mut slots = vec![Slot::empty(); (entries.len() * 4 / 3 + 1).next_power_of_two()];
        let mask = slots.len() - 1;
        let hasher = RandomState::default();
        let mut keys = Vec::with_capacity(entries.iter().map(|(key, _)| key.len()).sum());
        for (key, entry) in entries {
            let hash = hash(&hasher, key);
            let mut at = hash as usize & mask;
            while slots.get(at).is_some_and(|slot| !slot.is_empty()) {
                at = (at + 1) & mask;
            }
            let slot = slots.get_mut(at).ok_or(CorruptSegment("dictionary slot"))?;
            *slot = Slot { hash, key: Offset::new(keys.len())?, entry: *entry };
            keys.extend_from_slice(key);
        }
        Ok(Self { slots: slots.into(), keys: keys.into(), hasher })
    }

    /// Returns the entry of `key`, if any filter contains it.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<ConstantEntry>, CorruptSegment> {
        let hash = hash(&self.hasher, key);
        let Some(mask) = self.slots.len().checked_sub(1) else { return Ok(None) };
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots.get(at).ok_or(CorruptSegment("dictionary slot"))?;
            if slot.is_empty() {
                return Ok(None);
            }
            if slot.hash == hash && self.key_begins(slot.key, key)? {
                return Ok(Some(slot.entry));
            }
            at = (at + 1) & mask;
        }
    }

    fn key_begins(&self, at: Offset, key: &[u8]) -> Result<bool, CorruptSegment> {
        let keys = self.keys.get(at.index()..).ok_or(CorruptSegment("dictionary key"))?;
        Ok(keys.starts_with(key))
    }

    /// Reads one item of each of its cache lines.
    pub(super) fn prefetch(&self) {
        prefetch(&self.slots, |slot| slot.hash);
        prefetch(&self.keys, |byte| u32::from(*byte));
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.slots) + self.keys.len()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "half of a hash is a hash")]
fn hash(hasher: &RandomState, key: &[u8]) -> u32 {
    hasher.hash_one(key) as u32
}

#[cfg(test)]
impl Dictionary {
    /// Lets every entry refer to a posting list that does not exist.
    pub(super) fn corrupt(&mut self) {
        for slot in self.slots.iter_mut().filter(|slot| !slot.is_empty()) {
            slot.entry.postings = RowId::new(RowId::COUNT_MAX - 1).expect("a row id");
        }
    }
}
