//! Which events have records of more than one *handling*: work on an event from its delivery by the
//! broker to its acknowledgement. Pure.
//!
//! The deliveries in records of one handling are distinct. Only an event that is handled again, because
//! the first time ended before its acknowledgement, may have records that repeat a delivery. Recent
//! events have their handling, older ones a bit each: what comes late counts as another handling.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use super::limits::TooLarge;

/// Events whose handling is known.
const RECENT_MAX: usize = 1 << 18;
/// Sequences of one block.
const BLOCK: u64 = 1 << 16;
/// Words of one block.
const WORDS: usize = 1 << 10;
/// Most blocks: with a bit for each of a billion events they take 128 MiB.
const BLOCKS_MAX: usize = 1 << 14;
/// Most events with several handlings.
const REPEATED_MAX: usize = 1 << 20;

/// Names a handling.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Handling {
    /// Number of the replica.
    pub(super) router: u32,
    /// When it began.
    pub(super) started_ms: i64,
    /// Number of the delivery by the broker.
    pub(super) delivery_count: i64,
}

/// Finds events with several handlings.
#[derive(Debug)]
pub(super) struct Handlings {
    recent: HashMap<u64, Handling>,
    order: VecDeque<u64>,
    recent_max: usize,
    older: SequenceSet,
    repeated: HashSet<u64>,
}

impl Handlings {
    pub(super) fn new() -> Self {
        Self::with_recent(RECENT_MAX)
    }

    fn with_recent(recent_max: usize) -> Self {
        let (recent, order) = (HashMap::new(), VecDeque::new());
        Self { recent, order, recent_max, older: SequenceSet::default(), repeated: HashSet::new() }
    }

    /// Notes a record of an event; returns whether no other handling of it is known.
    ///
    /// # Errors
    /// There are more events than it can hold.
    pub(super) fn is_only(&mut self, sequence: u64, handling: Handling) -> Result<bool, TooLarge> {
        if self.repeated.contains(&sequence) {
            return Ok(false);
        }
        let is_older = self.older.contains(sequence);
        match self.recent.entry(sequence) {
            Entry::Occupied(known) if *known.get() == handling => return Ok(true),
            Entry::Vacant(vacant) if !is_older => {
                vacant.insert(handling);
                self.order.push_back(sequence);
                self.forget()?;
                return Ok(true);
            }
            Entry::Occupied(_) | Entry::Vacant(_) => {}
        }
        if self.repeated.len() >= REPEATED_MAX {
            return Err(TooLarge::RepeatedEvents);
        }
        self.repeated.insert(sequence);
        Ok(false)
    }

    /// Returns the events with several handlings.
    pub(super) fn into_repeated(self) -> HashSet<u64> {
        self.repeated
    }

    pub(super) fn has_repeated(&self) -> bool {
        !self.repeated.is_empty()
    }

    fn forget(&mut self) -> Result<(), TooLarge> {
        while self.order.len() > self.recent_max {
            if let Some(oldest) = self.order.pop_front() {
                self.recent.remove(&oldest);
                self.older.insert(oldest)?;
            }
        }
        Ok(())
    }
}

/// A set of sequences that are close together.
#[derive(Debug, Default)]
struct SequenceSet(BTreeMap<u64, Box<[u64]>>);

impl SequenceSet {
    fn contains(&self, sequence: u64) -> bool {
        let Some(block) = self.0.get(&(sequence / BLOCK)) else { return false };
        let (word, bit) = place(sequence);
        block.get(word).is_some_and(|word| word & bit != 0)
    }

    fn insert(&mut self, sequence: u64) -> Result<(), TooLarge> {
        let number = sequence / BLOCK;
        if self.0.len() >= BLOCKS_MAX && !self.0.contains_key(&number) {
            return Err(TooLarge::Events);
        }
        let block = self.0.entry(number).or_insert_with(|| vec![0; WORDS].into());
        let (word, bit) = place(sequence);
        if let Some(word) = block.get_mut(word) {
            *word |= bit;
        }
        Ok(())
    }
}

/// Returns the word of a sequence in its block, and its bit there.
fn place(sequence: u64) -> (usize, u64) {
    let within = sequence % BLOCK;
    (usize::try_from(within / 64).unwrap_or(0), 1 << (within % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handling(started_ms: i64) -> Handling {
        Handling { router: 0, started_ms, delivery_count: 1 }
    }

    #[test]
    fn event_that_is_handled_again_is_repeated_however_late() {
        let mut handlings = Handlings::with_recent(2);
        assert_eq!(handlings.is_only(1, handling(1)), Ok(true));
        assert_eq!(handlings.is_only(1, handling(1)), Ok(true), "another record of it");
        for sequence in 2..100_000 {
            assert_eq!(handlings.is_only(sequence, handling(2)), Ok(true));
        }
        assert!(!handlings.has_repeated());
        assert_eq!(handlings.is_only(1, handling(1)), Ok(false), "too late to be sure");
        assert_eq!(handlings.is_only(99_999, handling(3)), Ok(false));
        assert_eq!(handlings.is_only(99_999, handling(2)), Ok(false));
        assert_eq!(handlings.into_repeated(), HashSet::from([1, 99_999]));
    }

    #[test]
    fn set_has_exactly_what_was_inserted() {
        let mut set = SequenceSet::default();
        let wanted = [0, 1, 63, 64, BLOCK - 1, BLOCK, 7 * BLOCK + 65, u64::MAX];
        for sequence in wanted {
            set.insert(sequence).unwrap();
        }
        for sequence in wanted {
            assert!(set.contains(sequence), "{sequence}");
        }
        for sequence in [2, 62, 65, BLOCK + 1, 7 * BLOCK + 64, u64::MAX - 1] {
            assert!(!set.contains(sequence), "{sequence}");
        }
    }
}
