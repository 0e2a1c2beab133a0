//! What this replica published since its last block.

use std::collections::{HashMap, HashSet};

use super::block::{Block, StoredId};
use super::id::RepeatId;
use crate::domain::CloudId;

/// Most notes. Further publishes are not noted; their ids are read from the event stream.
const NOTES_MAX: usize = 131_072;
/// Most sites whose name is shared between notes.
const SHARED_SITES_MAX: usize = 4_096;

/// Confirmed publishes. An event adds no allocation: small ones that outlive their request would
/// fragment the memory of the requests.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// In the order of confirmations, which is nearly that of the sequences.
    list: Vec<Note>,
    by_id: HashMap<RepeatId, u64>,
    sites: HashSet<CloudId>,
}

#[derive(Clone, Debug)]
struct Note {
    sequence: u64,
    /// `None` if the id is not remembered.
    id: Option<RepeatId>,
    site: CloudId,
}

impl Notes {
    /// Notes a publish that the broker confirmed.
    pub(super) fn add(&mut self, sequence: u64, id: Option<RepeatId>, site: CloudId) {
        if self.list.len() >= NOTES_MAX {
            return;
        }
        if let Some(id) = id
            && self.by_id.insert(id, sequence) == Some(sequence)
        {
            // A repetition that the broker found.
            return;
        }
        let site = self.shared(site);
        self.list.push(Note { sequence, id, site });
    }

    fn shared(&mut self, site: CloudId) -> CloudId {
        if let Some(known) = self.sites.get(&site) {
            return known.clone();
        }
        if self.sites.len() >= SHARED_SITES_MAX {
            self.sites.clear();
        }
        self.sites.insert(site.clone());
        site
    }

    /// Returns the sequence of an id.
    pub(super) fn find(&self, id: RepeatId) -> Option<u64> {
        self.by_id.get(&id).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Returns the `count` notes of the lowest sequences as a block; none if there is no note.
    pub(super) fn block(&mut self, count: usize, created_ns: i64, newest_ms: i64) -> Option<Block> {
        // Stable sorts take linear time for what is nearly in order.
        self.list.sort_by_key(|note| note.sequence);
        self.list.dedup_by_key(|note| note.sequence);
        let (mut covered, mut ids) = (Vec::<(u64, u64)>::new(), Vec::new());
        for note in self.list.iter().take(count) {
            match covered.last_mut() {
                Some((_, to)) if to.saturating_add(1) == note.sequence => *to = note.sequence,
                _ => covered.push((note.sequence, note.sequence)),
            }
            if let Some(id) = note.id {
                let site = note.site.token().into();
                ids.push(StoredId { id, sequence: note.sequence, site });
            }
        }
        (!covered.is_empty()).then_some(Block { created_ns, newest_ms, covered, ids })
    }

    /// Removes the notes of a block that is stored.
    pub(super) fn remove(&mut self, block: &Block) {
        let is_stored = |sequence: u64| {
            let after = block.covered.partition_point(|(from, _)| *from <= sequence);
            let range = after.checked_sub(1).and_then(|index| block.covered.get(index));
            range.is_some_and(|(_, to)| sequence <= *to)
        };
        let by_id = &mut self.by_id;
        self.list.retain(|note| {
            let is_kept = !is_stored(note.sequence);
            if let Some(id) = note.id.filter(|_| !is_kept)
                && by_id.get(&id) == Some(&note.sequence)
            {
                by_id.remove(&id);
            }
            is_kept
        });
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> Option<RepeatId> {
        RepeatId::of(&format!("c1/{number}"))
    }

    #[test]
    fn notes_become_blocks_and_are_removed_once_these_are_stored() {
        let mut notes = Notes::default();
        for sequence in [4, 2, 3, 9] {
            notes.add(sequence, id(sequence), "c1".into());
        }
        notes.add(10, None, "c1".into());
        assert_eq!(notes.find(id(9).unwrap()), Some(9));
        let block = notes.block(4, 7, 8).unwrap();
        assert_eq!(block.covered, [(2, 4), (9, 9)]);
        let sequences: Vec<u64> = block.ids.iter().map(|stored| stored.sequence).collect();
        assert_eq!(sequences, [2, 3, 4, 9]);
        assert_eq!((block.created_ns, block.newest_ms), (7, 8));
        notes.remove(&block);
        assert_eq!(notes.find(id(9).unwrap()), None);
        let block = notes.block(100, 7, 8).unwrap();
        assert_eq!((block.covered.as_slice(), block.ids.len()), (&[(10, 10)][..], 0));
        notes.remove(&block);
        assert_eq!(notes.block(100, 7, 8), None);
    }

    #[test]
    fn a_repetition_that_the_broker_found_is_noted_at_its_first_sequence() {
        let mut notes = Notes::default();
        notes.add(4, id(1), "c1".into());
        notes.add(4, id(1), "c1".into());
        assert_eq!((notes.len(), notes.find(id(1).unwrap())), (1, Some(4)));
    }

    #[test]
    fn notes_are_bounded() {
        let mut notes = Notes::default();
        for sequence in 0..NOTES_MAX as u64 + 5 {
            notes.add(sequence, id(sequence), "c1".into());
        }
        assert_eq!((notes.len(), notes.by_id.len()), (NOTES_MAX, NOTES_MAX));
    }
}
