//! What this replica published since its last block.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::block::{Block, StoredId};
use super::id::RepeatId;
use crate::domain::CloudId;

/// Most notes. Further publishes are not noted; their ids are read from the event stream.
const NOTES_MAX: usize = 131_072;

/// Most sites whose name is shared between notes.
const SHARED_SITES_MAX: usize = 4_096;

/// Confirmed publishes by sequence.
#[derive(Debug, Default)]
pub(super) struct Notes {
    by_sequence: BTreeMap<u64, Note>,
    by_id: HashMap<RepeatId, u64>,
    /// Names of sites: one of each request would outlive it and fragment the memory of requests.
    sites: HashSet<CloudId>,
}

#[derive(Clone, Debug)]
struct Note {
    /// `None` if the id is not remembered.
    id: Option<RepeatId>,
    site: CloudId,
}

impl Notes {
    /// Notes a publish that the broker confirmed.
    pub(super) fn add(&mut self, sequence: u64, id: Option<RepeatId>, site: CloudId) {
        if self.by_sequence.len() >= NOTES_MAX {
            return;
        }
        if let Some(id) = id {
            self.by_id.insert(id, sequence);
        }
        let site = self.shared(site);
        let replaced = self.by_sequence.insert(sequence, Note { id, site });
        let other = replaced.and_then(|note| note.id).filter(|other| Some(*other) != id);
        if let Some(other) = other.filter(|other| self.by_id.get(other) == Some(&sequence)) {
            // Its event was lost, and its sequence given to another.
            self.by_id.remove(&other);
        }
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
        self.by_sequence.len()
    }

    /// Returns the first `count` notes as a block; none if there is no note.
    pub(super) fn block(&self, count: usize, created_ns: i64, newest_ms: i64) -> Option<Block> {
        let (mut covered, mut ids) = (Vec::<(u64, u64)>::new(), Vec::new());
        for (sequence, note) in self.by_sequence.iter().take(count) {
            match covered.last_mut() {
                Some((_, to)) if to.saturating_add(1) == *sequence => *to = *sequence,
                _ => covered.push((*sequence, *sequence)),
            }
            if let Some(id) = note.id {
                let site = note.site.token().into();
                ids.push(StoredId { id, sequence: *sequence, site });
            }
        }
        (!covered.is_empty()).then_some(Block { created_ns, newest_ms, covered, ids })
    }

    /// Removes the notes of a block that is stored.
    pub(super) fn remove(&mut self, block: &Block) {
        for (from, to) in &block.covered {
            for sequence in *from..=*to {
                let removed = self.by_sequence.remove(&sequence);
                let id = removed.and_then(|note| note.id);
                if let Some(id) = id.filter(|id| self.by_id.get(id) == Some(&sequence)) {
                    self.by_id.remove(&id);
                }
            }
        }
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
    fn a_sequence_that_is_given_again_leaves_no_id_behind() {
        let mut notes = Notes::default();
        notes.add(4, id(1), "c1".into());
        notes.add(4, id(2), "c1".into());
        assert_eq!((notes.find(id(1).unwrap()), notes.find(id(2).unwrap())), (None, Some(4)));
        assert_eq!((notes.len(), notes.by_id.len()), (1, 1));
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
