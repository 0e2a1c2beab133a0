//! The live filters of one (site, event type): a few immutable segments, the largest first, and
//! marks on what was removed from them.
//!
//! A change builds a small segment for what came and marks what went, so that its cost does not
//! grow with what is registered. Segments of similar size are merged, like the levels of a log-
//! structured store: a listener is indexed anew a logarithmic number of times in its life.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::Subscription;
use super::index::{Listener, Segment};
use crate::event::projection::Projection;

/// Up to this many listeners are one segment, always: building it takes less than a millisecond,
/// and a lookup in one is faster than in two. Tests meet several segments sooner.
const SINGLE_MAX: usize = if cfg!(test) { 16 } else { 512 };
/// A segment is merged with the one before it unless that is this many times as large.
const GROWTH: usize = 4;

/// What readers see of one event type of one site. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Partition {
    pub(super) layers: Vec<Layer>,
    /// Events of this partition seen by the matcher.
    pub(super) seen: Arc<AtomicU64>,
}

/// A segment, less what was removed from it.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) segment: Arc<Segment>,
    removed: Removed,
}

impl Partition {
    pub(super) fn new() -> Self {
        Self { layers: Vec::new(), seen: Arc::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// What its events are asked, if there is anyone to ask.
    pub(super) fn selection(&self) -> Option<&Arc<Projection>> {
        self.layers.first().map(|layer| layer.segment.selection())
    }

    /// Takes out and adds listeners. Whoever goes must be on. `shared` is what other sites pick of
    /// events of the type.
    pub(super) fn change(
        &mut self,
        gone: &[Arc<Subscription>],
        came: Vec<Listener>,
        shared: Option<&Arc<Projection>>,
        steps_max: u32,
    ) {
        for subscription in gone {
            let found = self.layers.iter_mut().any(|layer| layer.remove(subscription));
            debug_assert!(found, "only listeners are removed");
        }
        let keep = self.keep(came.len());
        let merged = self.layers.split_off(keep);
        let mut listeners: Vec<Listener> = merged.iter().flat_map(Layer::live).cloned().collect();
        listeners.extend(came);
        drop(merged);
        if !listeners.is_empty() {
            let segment = Segment::build(listeners, self.selection(), shared, steps_max);
            let segment = Arc::new(segment);
            self.layers.push(Layer { segment, removed: Removed::default() });
        }
    }

    /// How many layers stay as they are when `came` listeners come.
    fn keep(&self, came: usize) -> usize {
        let total: usize = self.layers.iter().map(Layer::len).sum();
        if total + came <= SINGLE_MAX {
            return 0;
        }
        // What is half removed is built anew, and everything behind it with it.
        let worn = self
            .layers
            .iter()
            .position(|layer| layer.len() * 2 < layer.segment.all_listeners().len());
        let mut keep = worn.unwrap_or(self.layers.len());
        let behind = self.layers.get(keep..).unwrap_or_default();
        let mut size = came + behind.iter().map(Layer::len).sum::<usize>();
        while let Some(before) = keep.checked_sub(1).and_then(|at| self.layers.get(at)) {
            if size == 0 || before.len() >= size * GROWTH {
                break;
            }
            size += before.len();
            keep -= 1;
        }
        keep
    }

    /// See [`Segment::touch`].
    pub(super) fn touch(&self) {
        self.layers.iter().for_each(|layer| layer.segment.touch());
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.layers.iter().map(|layer| layer.segment.heap_bytes()).sum()
    }
}

impl Layer {
    fn len(&self) -> usize {
        self.segment.all_listeners().len() - self.removed.count
    }

    fn live(&self) -> impl Iterator<Item = &Listener> {
        let listeners = self.segment.all_listeners().iter().enumerate();
        listeners.filter(|(at, _)| !self.removed.has(*at)).map(|(_, listener)| listener)
    }

    /// Whether the listener at a place is still on.
    pub(super) fn is_live(&self, at: u32) -> bool {
        self.removed.count == 0 || !self.removed.has(at as usize)
    }

    fn remove(&mut self, subscription: &Arc<Subscription>) -> bool {
        let mut places = self.segment.places_of(subscription);
        let place = places.find(|at| !self.removed.has(*at));
        drop(places);
        if let Some(at) = place {
            self.removed.insert(at);
        }
        place.is_some()
    }
}

/// Bits of one block.
const BLOCK_BITS: usize = 4096;
type Block = [u64; BLOCK_BITS / 64];

/// A set of places that shares its blocks with older copies of itself: a change copies 512 bytes
/// and the row of pointers, 2 KiB for a million listeners.
#[derive(Clone, Debug, Default)]
struct Removed {
    blocks: Vec<Option<Arc<Block>>>,
    count: usize,
}

impl Removed {
    fn has(&self, at: usize) -> bool {
        let block = self.blocks.get(at / BLOCK_BITS).and_then(Option::as_ref);
        let word = block.and_then(|block| block.get(at % BLOCK_BITS / 64));
        word.is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    fn insert(&mut self, at: usize) {
        let block = at / BLOCK_BITS;
        if self.blocks.len() <= block {
            self.blocks.resize(block + 1, None);
        }
        if let Some(slot) = self.blocks.get_mut(block) {
            let block = Arc::make_mut(slot.get_or_insert_with(|| Arc::new([0; BLOCK_BITS / 64])));
            if let Some(word) = block.get_mut(at % BLOCK_BITS / 64) {
                self.count += usize::from(*word >> (at % 64) & 1 == 0);
                *word |= 1 << (at % 64);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removed_places_are_those_inserted_and_copies_do_not_change() {
        let mut removed = Removed::default();
        for at in [0, 63, 64, 4095, 4096, 1_000_000, 0] {
            removed.insert(at);
        }
        assert_eq!(removed.count, 6);
        let copy = removed.clone();
        removed.insert(65);
        assert!(removed.has(65) && !copy.has(65));
        for at in [0, 63, 64, 4095, 4096, 1_000_000] {
            assert!(removed.has(at) && copy.has(at), "{at}");
        }
        for at in [1, 62, 4094, 4097, 999_999, 2_000_000] {
            assert!(!removed.has(at), "{at}");
        }
    }
}
