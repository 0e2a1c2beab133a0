//! Segments: the tables of an immutable index.

use std::ops::Range;
use std::sync::Arc;

use super::column::{Column, ColumnTables, TestKind};
use super::conjunction::{RowCell, TestTables};
use super::ids::{ListenerId, RowId};
use super::listener::Listener;
use super::path::CompiledPath;
use super::prefetch::prefetch;
use super::subexpression::SharedSubexpression;
use crate::event::projection::Projection;
use crate::matcher::Subscription;

/// An immutable index of some listeners of one event type of one site.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(in crate::matcher) struct Segment {
    /// Sorted by group: the listeners of a group have an equal filter.
    pub(super) listeners: Box<[Listener]>,
    /// Sorted by the addresses of their subscriptions.
    pub(super) by_pointer: Box<[ListenerId]>,
    /// Posting lists, one after the other. The first is empty.
    pub(super) rows: Box<[RowCell]>,
    pub(super) tables: TestTables,
    /// Shared with other segments whose projection is equal or little larger.
    pub(super) projection: Arc<Projection>,
    /// With the range of their columns.
    pub(super) paths: Box<[(CompiledPath, Range<u32>)]>,
    /// Sorted by path.
    pub(super) columns: Box<[Column]>,
    pub(super) column_tables: ColumnTables,
    /// Their columns come after all others.
    pub(super) subexpressions: Box<[SharedSubexpression]>,
    /// For each column, subexpressions included.
    pub(super) postings: Box<[ColumnPostings]>,
    pub(super) bounds: Box<[Bound]>,
    pub(super) rows_that_may_error: Box<[RowId]>,
    /// Posting list of the groups without an access predicate, which are checked for every event.
    pub(super) without_access_predicate: RowId,
}

/// The rows that depend on a column, in addition to the posting lists of its constants.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct ColumnPostings {
    /// All posting lists of its constants.
    pub(super) rows: Range<u32>,
    /// Range of its bounds that compare with `<` or `<=`; `above` with `>` or `>=`.
    pub(super) below: Range<u32>,
    pub(super) above: Range<u32>,
    /// Range of the rows to check when the column is undetermined, in addition to `rows`.
    pub(super) rows_that_may_error: Range<u32>,
}

/// A row whose access predicate is a comparison with a number. For each column and direction,
/// bounds are sorted so that the one that most numbers satisfy comes first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    pub(super) number: f64,
    /// Whether the number itself does not satisfy the comparison.
    pub(super) is_excluded: bool,
    pub(super) row: RowId,
}

/// A segment with more tests and headers is not prefetched; this is about 500 filters.
const PREFETCH_ROWS_MAX: usize = 2048;

impl Segment {
    /// The values that it reads of an event.
    pub(in crate::matcher) fn projection(&self) -> &Arc<Projection> {
        &self.projection
    }

    /// All listeners.
    pub(in crate::matcher) fn all_listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// Returns a listener.
    pub(in crate::matcher) fn listener(&self, id: ListenerId) -> Option<&Listener> {
        self.listeners.get(id.index())
    }

    /// Yields the listeners of the group that begins at `first`, with their ids.
    pub(in crate::matcher) fn group(
        &self,
        first: ListenerId,
    ) -> impl Iterator<Item = (ListenerId, &Listener)> {
        let listeners = self.listeners.get(first.index()..).unwrap_or_default();
        debug_assert!(!listeners.is_empty(), "lookups return ids of listeners");
        let end = listeners.iter().position(|listener| listener.ends_group);
        let len = end.map_or(listeners.len(), |last| last + 1);
        first.following().zip(listeners.iter().take(len))
    }

    /// Yields the first listener of every group.
    pub(super) fn groups(&self) -> impl Iterator<Item = ListenerId> {
        let is_first = |at: usize| {
            let previous = at.checked_sub(1).and_then(|at| self.listeners.get(at));
            previous.is_none_or(|previous| previous.ends_group)
        };
        let ids = ListenerId::default().following().zip(0..self.listeners.len());
        ids.filter(move |(_, at)| is_first(*at)).map(|(id, _)| id)
    }

    /// Yields the ids of a subscription's listeners.
    pub(in crate::matcher) fn listener_ids_of(
        &self,
        subscription: &Arc<Subscription>,
    ) -> impl Iterator<Item = ListenerId> {
        let wanted = Arc::as_ptr(subscription);
        let pointer = |id: &ListenerId| {
            self.listeners.get(id.index()).map(|listener| Arc::as_ptr(&listener.subscription))
        };
        let start = self.by_pointer.partition_point(|id| pointer(id) < Some(wanted));
        let ids = self.by_pointer.get(start..).unwrap_or_default();
        ids.iter().copied().take_while(move |id| pointer(id) == Some(wanted))
    }

    /// Reads all memory of a small segment: with many sites it is in no cache when an event
    /// arrives, and independent cache misses at once take a fraction of the time of dependent ones.
    pub(in crate::matcher) fn prefetch(&self) {
        if self.rows.len() <= PREFETCH_ROWS_MAX {
            prefetch(&self.paths, |(_, columns)| columns.end);
            prefetch(&self.columns, |column| u32::from(column.kind == TestKind::Some));
            prefetch(&self.postings, |postings| postings.rows.end);
            prefetch(&self.bounds, |bound| u32::from(bound.is_excluded));
            prefetch(&self.rows, |cell| u32::from(matches!(cell, RowCell::End)));
            self.column_tables.prefetch();
        }
    }

    /// Returns the bytes on the heap, without what listeners share with the registry.
    pub(in crate::matcher) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.listeners)
            + size_of_val(&*self.by_pointer)
            + size_of_val(&*self.rows)
            + self.tables.heap_bytes()
            // Its share of the projection.
            + self.projection.heap_bytes() / Arc::strong_count(&self.projection)
            + size_of_val(&*self.paths)
            + size_of_val(&*self.columns)
            + self.column_tables.heap_bytes()
            + size_of_val(&*self.subexpressions)
            + self.subexpressions.iter().map(SharedSubexpression::heap_bytes).sum::<usize>()
            + size_of_val(&*self.postings)
            + size_of_val(&*self.bounds)
            + size_of_val(&*self.rows_that_may_error)
    }
}

/// A defect that tests build into a segment.
#[cfg(test)]
#[derive(Clone, Copy, Debug)]
pub(in crate::matcher) enum Defect {
    /// Constants lead to posting lists that do not exist.
    PostingLists,
    /// The last posting list has no end.
    Rows,
    /// Tests refer to sets and bounds that do not exist.
    TestTables,
    /// Paths lead to columns that do not exist.
    Columns,
    /// Rows belong to listeners that do not exist.
    Listeners,
}

#[cfg(test)]
impl Segment {
    /// Returns a copy of the segment with a defect.
    pub(in crate::matcher) fn with_defect(&self, defect: Defect) -> Self {
        let mut copy = self.clone();
        match defect {
            Defect::PostingLists => copy.column_tables.dictionary.corrupt(),
            Defect::Rows => copy.rows = copy.rows.split_last().unwrap().1.into(),
            Defect::TestTables => copy.tables = TestTables::default(),
            Defect::Columns => copy.columns = Box::default(),
            Defect::Listeners => {
                for cell in &mut copy.rows {
                    if let RowCell::SingleListener(header)
                    | RowCell::ListenerGroup(header)
                    | RowCell::SharedRow(header) = cell
                    {
                        header.corrupt();
                    }
                }
            }
        }
        copy
    }
}
