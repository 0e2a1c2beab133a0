//! The table of a list of constants: finds a value in a time that does not grow with the list.

use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::quality::RandomState;

/// Longest list that is scanned instead: it needs no table.
pub(crate) const SCANNED_MAX: usize = 4;

/// A value that may be in a list of constants. Equality is that of the language.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Key<'k> {
    Null,
    Bool(bool),
    Number(f64),
    Text(&'k str),
}

impl Key<'_> {
    /// Bytes of the text; 0 of other values.
    pub(crate) fn text_len(self) -> usize {
        match self {
            Key::Text(text) => text.len(),
            _ => 0,
        }
    }
}

impl Hash for Key<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Key::Null => state.write_u64(0),
            Key::Bool(truth) => state.write_u64(1 + u64::from(*truth)),
            // Zero equals negative zero.
            Key::Number(number) => {
                state.write_u64(if *number == 0.0 { 0 } else { number.to_bits() });
            }
            Key::Text(text) => text.hash(state),
        }
    }
}

/// The positions of the constants of a list, by hash.
#[derive(Debug)]
pub(crate) struct ConstantTable {
    /// Positions, each increased by one; 0 is free. At least half of the slots are free.
    slots: Box<[u16]>,
    /// Apps choose the constants, but not the random number in it, so they cannot choose constants of equal
    /// hash.
    hasher: RandomState,
    /// Bytes of the longest text.
    longest: u32,
}

impl ConstantTable {
    /// The table of the list of `len` constants; none if the list is scanned.
    pub(crate) fn of<'k>(len: usize, get: impl Fn(usize) -> Option<Key<'k>>) -> Option<Self> {
        if len <= SCANNED_MAX || len >= usize::from(u16::MAX) {
            return None;
        }
        let slots = vec![0; (2 * len).next_power_of_two()].into_boxed_slice();
        let mut table = ConstantTable { slots, hasher: RandomState::default(), longest: 0 };
        for (at, position) in (0..len).zip(1_u16..) {
            let Some(key) = get(at) else { break };
            let longest = u32::try_from(key.text_len()).unwrap_or(u32::MAX);
            table.longest = table.longest.max(longest);
            // A repeated constant has the slot of the first one.
            if let Err(free) = table.slot_of(key, &get)
                && let Some(slot) = table.slots.get_mut(free)
            {
                *slot = position;
            }
        }
        Some(table)
    }

    /// Bytes of the longest text.
    pub(crate) fn longest(&self) -> usize {
        self.longest as usize
    }

    /// Whether the list has a constant that equals `key`.
    pub(crate) fn contains<'k>(
        &self,
        key: Key<'_>,
        get: impl Fn(usize) -> Option<Key<'k>>,
    ) -> bool {
        self.slot_of(key, get).is_ok()
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.slots)
    }

    /// Whether `key` is found; if not, the index of the free slot for it.
    fn slot_of<'k>(
        &self,
        key: Key<'_>,
        get: impl Fn(usize) -> Option<Key<'k>>,
    ) -> Result<(), usize> {
        let mask = self.slots.len().saturating_sub(1);
        // Tables have fewer than 2^32 slots.
        let [a, b, c, d, ..] = self.hasher.hash_one(key).to_le_bytes();
        let mut at = u32::from_le_bytes([a, b, c, d]) as usize & mask;
        loop {
            match self.slots.get(at) {
                None | Some(0) => return Err(at),
                Some(position) if get(usize::from(*position) - 1) == Some(key) => return Ok(()),
                Some(_) => at = (at + 1) & mask,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_finds_what_a_scan_finds() {
        for count in [0, 4, 5, 64, 600, 10_000] {
            let texts: Vec<String> =
                (0..count).map(|n| format!("{}{n}", "x".repeat(n % 40))).collect();
            let key = |at: usize| {
                Some(match at % 5 {
                    0 => Key::Number(at as f64),
                    1 if at.is_multiple_of(2) => Key::Bool(true),
                    2 if at.is_multiple_of(3) => Key::Null,
                    _ => Key::Text(texts.get(at)?),
                })
            };
            let Some(table) = ConstantTable::of(count, key) else {
                assert!(count <= SCANNED_MAX);
                continue;
            };
            assert!((0..count).all(|at| table.contains(key(at).unwrap(), key)), "{count}");
            for absent in [Key::Bool(false), Key::Text(""), Key::Number(f64::NAN), Key::Text("no")]
            {
                let expected = (0..count).any(|at| key(at) == Some(absent));
                assert_eq!(table.contains(absent, key), expected, "{absent:?} of {count}");
            }
            assert!(table.contains(Key::Number(-0.0), key));
        }
    }

    #[test]
    fn constants_that_repeat_or_resemble_each_other_take_no_long_walks() {
        let same = |_: usize| Some(Key::Text("same"));
        let table = ConstantTable::of(60_000, same).unwrap();
        assert_eq!(table.slots.iter().filter(|slot| **slot > 0).count(), 1);
        let texts: Vec<String> = (0..10_000_u32).map(|n| format!("{n:08}{:08}", n % 7)).collect();
        let longest_walk = |keys: &[Key<'_>]| {
            let table = ConstantTable::of(keys.len(), |at| keys.get(at).copied()).unwrap();
            table.slots.split(|slot| *slot == 0).map(<[u16]>::len).max().unwrap()
        };
        let texts: Vec<_> = texts.iter().map(|text| Key::Text(text)).collect();
        let numbers: Vec<_> = (0..10_000).map(|n| Key::Number(f64::from(n))).collect();
        let fractions: Vec<_> = (0..10_000).map(|n| Key::Number(f64::from(n) / 1024.0)).collect();
        // Each table has a random number of its own: some of them made long walks with a weaker hash.
        for _ in 0..100 {
            for keys in [&texts, &numbers, &fractions] {
                assert!(longest_walk(keys) < 64, "{:?}", keys.first());
            }
        }
    }
}
