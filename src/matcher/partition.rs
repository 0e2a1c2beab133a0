//! The live filters of one (site, event type): a few immutable segments, the largest first, each
//! with tombstones for the listeners deleted since it was built.
//!
//! A change builds a small segment from the listeners it adds and marks those it removes, so that
//! its cost does not grow with the number or size of registered filters. Segments of similar size are
//! merged, as in a log-structured merge tree: a listener is indexed a logarithmic number of times
//! in its life. Sizes are counted in index entries, since one filter may have as many as a thousand
//! others.
//!
//! Listeners for which no segment can be built, because they are too many for its ids or because of
//! a defect of the build, are split into two, again and again if needed. A single filter for which
//! none can be built is evaluated for every event.
//!
//! Design: `docs/design/index.md`.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::Subscription;
use super::index::{Listener, ListenerId, Projections, Segment};
use super::indexer::Indexer;
use crate::event::projection::Projection;

/// Listeners with up to this many index entries always form one segment: building it takes about a
/// millisecond, and a lookup in one segment is faster than in two. Some 500 filters have as many.
/// Tests use a smaller limit to get several segments.
const SINGLE_MAX: usize = if cfg!(test) { 192 } else { 8192 };
/// A segment is merged with the one before it unless that one has this many times its entries.
const GROWTH: usize = 4;

/// What readers see of one event type of one site. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Partition {
    pub(super) segments: Vec<SegmentWithDeletes>,
    /// Number of events of this partition that were matched.
    pub(super) seen: Arc<AtomicU64>,
}

/// A segment and the listeners deleted since it was built.
#[derive(Clone, Debug)]
pub(super) struct SegmentWithDeletes {
    pub(super) index: Arc<Segment>,
    /// Whether no segment could be built with more listeners, so that it is not merged.
    is_full: bool,
    /// Index entries of all listeners, and of those that are not deleted.
    entries: usize,
    live_entries: usize,
    deleted: Tombstones,
}

impl Partition {
    pub(super) fn new() -> Self {
        Self { segments: Vec::new(), seen: Arc::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// The projection of its segments, if there are any.
    pub(super) fn projection(&self) -> Option<&Arc<Projection>> {
        self.segments.first().map(|segment| segment.index.projection())
    }

    /// Removes and adds listeners. `removed` must be live. `shared` is the projection that other
    /// sites use for the event type.
    pub(super) fn change(
        &mut self,
        removed: &[Arc<Subscription>],
        added: &[Listener],
        shared: Option<&Arc<Projection>>,
        indexer: &Indexer,
    ) {
        for subscription in removed {
            let found = self.segments.iter_mut().any(|segment| segment.remove(subscription));
            debug_assert!(found, "a removed subscription is live");
        }
        let kept = self.segments_to_keep(added.iter().map(Listener::entries).sum());
        let merged = self.segments.split_off(kept);
        let mut listeners: Vec<Listener> =
            merged.iter().flat_map(SegmentWithDeletes::alive).cloned().collect();
        listeners.extend_from_slice(added);
        drop(merged);
        self.add(&mut listeners, shared, indexer);
    }

    /// Adds a segment of `listeners`, or several if one cannot be built.
    fn add(
        &mut self,
        listeners: &mut [Listener],
        shared: Option<&Arc<Projection>>,
        indexer: &Indexer,
    ) {
        if listeners.is_empty() {
            return;
        }
        let projections = Projections { previous: self.projection(), shared };
        if let Some(index) = indexer.segment(listeners, projections) {
            self.segments.push(SegmentWithDeletes::new(index));
            return;
        }
        let (left, right) = listeners.split_at_mut(listeners.len() / 2);
        let first = self.segments.len();
        self.add(left, shared, indexer);
        self.add(right, shared, indexer);
        let added = self.segments.get_mut(first..).unwrap_or_default();
        added.iter_mut().for_each(|segment| segment.is_full = true);
    }

    /// Returns how many segments stay as they are when listeners of `added` entries are added.
    fn segments_to_keep(&self, added: usize) -> usize {
        let live = |segment: &SegmentWithDeletes| segment.live_entries;
        let total: usize = self.segments.iter().map(live).sum();
        let is_any_full = self.segments.iter().any(|segment| segment.is_full);
        if total + added <= SINGLE_MAX && !is_any_full {
            return 0;
        }
        // A segment of which half is deleted is merged, and all segments after it.
        let half_deleted =
            self.segments.iter().position(|segment| segment.live_entries * 2 < segment.entries);
        let mut kept = half_deleted.unwrap_or(self.segments.len());
        let behind = self.segments.get(kept..).unwrap_or_default();
        let mut size = added + behind.iter().map(live).sum::<usize>();
        while let Some(before) = kept.checked_sub(1).and_then(|at| self.segments.get(at)) {
            if size == 0 || before.is_full || before.live_entries >= size * GROWTH {
                break;
            }
            size += before.live_entries;
            kept -= 1;
        }
        kept
    }

    /// See [`Segment::prefetch`].
    pub(super) fn prefetch(&self) {
        self.segments.iter().for_each(|segment| segment.index.prefetch());
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.segments.iter().map(|segment| segment.index.heap_bytes()).sum()
    }
}

#[cfg(test)]
impl Partition {
    /// Returns a copy whose segments have a defect.
    pub(super) fn with_defect(&self, defect: super::index::Defect) -> Self {
        let mut copy = self.clone();
        for segment in &mut copy.segments {
            segment.index = Arc::new(segment.index.with_defect(defect));
        }
        copy
    }
}

impl SegmentWithDeletes {
    fn new(index: Segment) -> Self {
        let entries = index.all_listeners().iter().map(Listener::entries).sum();
        let deleted = Tombstones::default();
        Self { index: Arc::new(index), is_full: false, entries, live_entries: entries, deleted }
    }

    fn alive(&self) -> impl Iterator<Item = &Listener> {
        let listeners = self.index.all_listeners().iter().enumerate();
        listeners.filter(|(at, _)| !self.deleted.has(*at)).map(|(_, listener)| listener)
    }

    /// Whether the listener is not deleted.
    pub(super) fn is_alive(&self, id: ListenerId) -> bool {
        self.deleted.count == 0 || !self.deleted.has(id.index())
    }

    fn remove(&mut self, subscription: &Arc<Subscription>) -> bool {
        let mut ids = self.index.listener_ids_of(subscription);
        let id = ids.find(|id| !self.deleted.has(id.index()));
        drop(ids);
        if let Some(id) = id {
            self.deleted.insert(id.index());
            let listener = self.index.all_listeners().get(id.index());
            let entries = listener.map_or(0, Listener::entries);
            self.live_entries = self.live_entries.saturating_sub(entries);
        }
        id.is_some()
    }
}

/// Bits of one block.
const BLOCK_BITS: usize = 4096;
type Block = [u64; BLOCK_BITS / 64];

/// A set of listener ids that shares its blocks with older copies of itself: a change copies one
/// block of 512 bytes and the list of pointers, 2 KiB for a million listeners.
#[derive(Clone, Debug, Default)]
struct Tombstones {
    blocks: Vec<Option<Arc<Block>>>,
    count: usize,
}

impl Tombstones {
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
    fn tombstones_hold_what_was_inserted_and_copies_do_not_change() {
        let mut deleted = Tombstones::default();
        for at in [0, 63, 64, 4095, 4096, 1_000_000, 0] {
            deleted.insert(at);
        }
        assert_eq!(deleted.count, 6);
        let copy = deleted.clone();
        deleted.insert(65);
        assert!(deleted.has(65) && !copy.has(65));
        for at in [0, 63, 64, 4095, 4096, 1_000_000] {
            assert!(deleted.has(at) && copy.has(at), "{at}");
        }
        for at in [1, 62, 4094, 4097, 999_999, 2_000_000] {
            assert!(!deleted.has(at), "{at}");
        }
    }
}
