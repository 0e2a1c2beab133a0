//! The index of one (site, event type): which filters hold for an event, or need to be evaluated.
//!
//! A filter becomes a row of integer comparisons ([`conjunction`]) over what the event says to each
//! [`column`]. It is scratch by its *anchor*: the rarest test that must hold for the filter to be
//! true. It may be skipped only when the anchor is false and nothing before it can have failed,
//! since in `a && b` an error in `a` is the outcome even if `b` is false. So an event that brings a
//! column into *trouble* (a plain `.name` on null, a comparison with no number) makes candidates of
//! all filters that ask the column up to their anchor. The common case pays nothing for this.
//!
//! Filters with the same anchor stand side by side with their tests, and their place stands beside
//! the symbol: an event's value leads to all of them in two reads of far memory, and a filter that
//! holds is known by its place alone. One of several anchors has a copy of its row at each.
//!
//! **Source:** the access-predicate idea of Fabret et al. 2001; trouble and ranges are ours.

mod builder;
mod column;
mod conjunction;
mod dictionary;
mod path;
mod planner;
mod subexpression;

use std::ops::Range;
use std::sync::Arc;

use switchyard_expr::{Env, Program};

use self::column::{Column, ColumnTables, EventValues};
use self::conjunction::{Op, Test, TestTables, Truth, split_row};
use self::dictionary::index;
use self::path::CompiledPath;
use self::subexpression::SharedSubexpression;
use super::{EventSubscription, Subscription};
use crate::event::Decoder;
use crate::event::pick::{Picked, Selection};

/// Position of a listener in its segment. That of the first who listen with an equal filter, which
/// is decided once for all of them, stands for their group.
pub(super) type ListenerId = u32;

/// One subscription under one event type.
#[derive(Clone, Debug)]
pub(super) struct Listener {
    pub(super) subscription: Arc<Subscription>,
    /// Which of the subscription's event types this is.
    event_at: u32,
    /// Of its filter, so that most matches need not look there.
    pub(super) ignore_self: bool,
    /// As above.
    pub(super) requires_licence: bool,
    /// Whether the next listener has another filter.
    ends_group: bool,
}

impl Listener {
    pub(super) fn new(subscription: &Arc<Subscription>, at: usize) -> Self {
        let conditions = subscription.event_subscriptions.get(at).map(|event| &event.conditions);
        Self {
            subscription: Arc::clone(subscription),
            event_at: index(at),
            ignore_self: conditions.is_some_and(|conditions| conditions.ignore_self),
            requires_licence: conditions.is_some_and(|conditions| conditions.requires_licence),
            ends_group: true,
        }
    }

    pub(super) fn event_subscription(&self) -> Option<&EventSubscription> {
        self.subscription.event_subscriptions.get(self.event_at as usize)
    }

    pub(super) fn program(&self) -> Option<&Arc<Program>> {
        self.event_subscription()?.program.as_ref()
    }
}

/// Immutable index over some listeners of one event type of one site.
#[derive(Debug)]
pub(super) struct Segment {
    /// Group by group: those with an equal filter, which is decided once for all of them.
    listeners: Box<[Listener]>,
    /// Places of listeners in the order of their subscriptions' pointers.
    by_pointer: Box<[ListenerId]>,
    /// Runs of rows. At the start stands one of none.
    rows: Box<[Test]>,
    tables: TestTables,
    /// Shared with other segments that ask for no more, or hardly less.
    selection: Arc<Selection>,
    paths: Box<[(CompiledPath, Range<u32>)]>,
    /// In the order of their paths.
    columns: Box<[Column]>,
    column_tables: ColumnTables,
    /// Their columns stand behind the others.
    subexpressions: Box<[SharedSubexpression]>,
    /// Of columns and subexpressions.
    postings: Box<[ColumnPostings]>,
    bounds: Box<[Bound]>,
    rows_that_may_error: Box<[u32]>,
    /// The run of groups without an anchor, decided for every event.
    without_access_predicate: u32,
}

/// Which rows depend on a column, beside the runs that its symbols lead to.
#[derive(Debug, Default)]
struct ColumnPostings {
    /// All rows that its symbols lead to.
    rows: Range<u32>,
    /// Among the bounds, those above and below of which numbers are wanted.
    below: Range<u32>,
    above: Range<u32>,
    /// Among the rows_that_may_error rows, those to check_conjunction when the column is in trouble, besides its own.
    rows_that_may_error: Range<u32>,
}

/// A row of a group anchored in a comparison. Of one column and side they stand in order, first
/// the one that most numbers satisfy.
#[derive(Clone, Copy, Debug)]
struct Bound {
    number: f64,
    /// Whether the number itself is excluded.
    is_excluded: bool,
    row: u32,
}

/// Working memory of one lookup, reused from event to event.
#[derive(Debug, Default)]
pub(super) struct LookupScratch {
    picked: Picked,
    values: EventValues,
    /// Listeners without conditions whose filter holds, each once.
    pub(super) matched_listeners: Vec<ListenerId>,
    /// Other groups whose filter holds, each once.
    pub(super) matched_groups: Vec<ListenerId>,
    /// Groups whose filter must be evaluated, each once.
    pub(super) groups_to_evaluate: Vec<ListenerId>,
    /// How many rows the index could not skip.
    pub(super) candidates: usize,
}

impl LookupScratch {
    fn clear(&mut self) {
        self.values.clear();
        self.matched_listeners.clear();
        self.matched_groups.clear();
        self.groups_to_evaluate.clear();
        self.candidates = 0;
    }
}

impl Segment {
    /// Indexes `listeners`, to stand behind a segment with the selection `first`: what that one picks
    /// of an event need not be picked again. Without one, `shared` is used if it comes near.
    pub(super) fn build(
        listeners: Vec<Listener>,
        first: Option<&Arc<Selection>>,
        shared: Option<&Arc<Selection>>,
        steps_max: u32,
    ) -> Self {
        builder::build(listeners, first, shared, steps_max)
    }

    /// What it picks of an event.
    pub(super) fn selection(&self) -> &Arc<Selection> {
        &self.selection
    }

    /// Decides all filters: which hold, and which only evaluation can tell. Of the same event,
    /// `scratch` may hold what the segment `before` picked.
    pub(super) fn find(
        &self,
        decoder: &Decoder,
        env: &Env,
        previous: Option<&Self>,
        expression: &mut switchyard_expr::Scratch,
        scratch: &mut LookupScratch,
    ) {
        scratch.clear();
        if !previous.is_some_and(|previous| Arc::ptr_eq(&previous.selection, &self.selection)) {
            decoder.pick(&self.selection, &mut scratch.picked);
        }
        let picks = decoder.picks(&self.selection, &scratch.picked);
        for (path, columns) in &self.paths {
            let value = path.resolve(picks);
            for column in part(&self.columns, columns) {
                column.read(value, &self.column_tables, &mut scratch.values);
            }
        }
        for subexpression in &self.subexpressions {
            subexpression.read(decoder, env, expression, &mut scratch.values);
        }
        let values = std::mem::take(&mut scratch.values);
        self.check_postings(self.without_access_predicate, &values, scratch);
        for (postings, value) in self.postings.iter().zip(&values.columns) {
            if value.undetermined {
                self.check_all_postings(part(&self.rows, &postings.rows), &values, scratch);
                let rows_that_may_error =
                    part(&self.rows_that_may_error, &postings.rows_that_may_error).iter();
                rows_that_may_error.for_each(|row| self.check_row(*row, &values, scratch));
                continue;
            }
            for entry in values.entries(value) {
                self.check_postings(entry.postings, &values, scratch);
            }
            let bounds = self.bounds_satisfied_by(postings, value.number);
            bounds.for_each(|bound| self.check_row(bound.row, &values, scratch));
        }
        // Only trouble leads to a row that its anchor leads to, too.
        if values.columns.iter().any(|value| value.undetermined) {
            dedup_from(0, &mut scratch.matched_listeners);
        }
        dedup_from(0, &mut scratch.matched_groups);
        dedup_from(0, &mut scratch.groups_to_evaluate);
        scratch.values = values;
    }

    /// Decides the rows from `start` to the end of their run.
    #[inline]
    fn check_postings(&self, start: u32, values: &EventValues, scratch: &mut LookupScratch) {
        let mut rows = self.rows.get(start as usize..).unwrap_or_default();
        while let Some((head, tests, behind)) = split_row(rows)
            && head.op != Op::End
        {
            self.check_conjunction(head, tests, values, scratch);
            rows = behind;
        }
    }

    /// Decides all rows of several runs.
    fn check_all_postings(
        &self,
        mut rows: &[Test],
        values: &EventValues,
        scratch: &mut LookupScratch,
    ) {
        while let Some((head, tests, behind)) = split_row(rows) {
            if head.op != Op::End {
                self.check_conjunction(head, tests, values, scratch);
            }
            rows = behind;
        }
    }

    fn check_row(&self, row: u32, values: &EventValues, scratch: &mut LookupScratch) {
        let row = self.rows.get(row as usize..).and_then(split_row);
        row.into_iter()
            .for_each(|(head, tests, _)| self.check_conjunction(head, tests, values, scratch));
    }

    /// Comparisons of a column that hold for `number`.
    fn bounds_satisfied_by(
        &self,
        postings: &ColumnPostings,
        number: f64,
    ) -> impl Iterator<Item = &Bound> {
        let below = part(&self.bounds, &postings.below).iter().take_while(move |bound| {
            if bound.is_excluded { number < bound.number } else { number <= bound.number }
        });
        let above = part(&self.bounds, &postings.above).iter().take_while(move |bound| {
            if bound.is_excluded { number > bound.number } else { number >= bound.number }
        });
        below.chain(above)
    }

    #[inline]
    fn check_conjunction(
        &self,
        head: Test,
        tests: &[Test],
        values: &EventValues,
        scratch: &mut LookupScratch,
    ) {
        scratch.candidates += 1;
        match conjunction::all(tests, values, &self.tables) {
            Truth::True if head.op == Op::SingleListener => {
                scratch.matched_listeners.push(head.argument)
            }
            Truth::True => scratch.matched_groups.push(head.argument),
            Truth::False => {}
            Truth::Unknown | Truth::MayError => scratch.groups_to_evaluate.push(head.argument),
        }
    }

    /// Looks at all memory of a small segment: one of many sites is in no cache when its event comes,
    /// and missing its lines at once takes a fraction of missing them one after the other.
    pub(super) fn prefetch(&self) {
        if self.rows.len() <= PREFETCH_ROWS_MAX {
            prefetch(&self.paths, |(_, columns)| columns.end);
            prefetch(&self.columns, Column::id);
            prefetch(&self.postings, |postings| postings.rows.end);
            prefetch(&self.bounds, |bound| bound.row);
            prefetch(&self.rows, |test| test.argument);
            self.column_tables.prefetch();
        }
    }

    /// Who listens with the filter of the group that begins at `first`, and their places.
    pub(super) fn group(&self, first: ListenerId) -> impl Iterator<Item = (ListenerId, &Listener)> {
        let behind = self.listeners.get(first as usize..).unwrap_or_default();
        let end = behind.iter().position(|listener| listener.ends_group).map_or(0, |at| at + 1);
        (first..).zip(behind.get(..end).unwrap_or_default())
    }

    /// Where a subscription stands.
    pub(super) fn listener_ids_of(
        &self,
        subscription: &Arc<Subscription>,
    ) -> impl Iterator<Item = usize> {
        let wanted = Arc::as_ptr(subscription);
        let pointer = |at: &u32| {
            self.listeners.get(*at as usize).map(|listener| Arc::as_ptr(&listener.subscription))
        };
        let start = self.by_pointer.partition_point(|at| pointer(at) < Some(wanted));
        let behind = self.by_pointer.get(start..).unwrap_or_default();
        behind.iter().take_while(move |at| pointer(at) == Some(wanted)).map(|at| *at as usize)
    }

    /// All listeners.
    pub(super) fn all_listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// Bytes on the heap, without what listeners share with the registry.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.listeners)
            + size_of_val(&*self.by_pointer)
            + size_of_val(&*self.rows)
            + self.tables.heap_bytes()
            // Its part of what it shares.
            + self.selection.heap_bytes() / Arc::strong_count(&self.selection)
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

/// A segment is small up to this many tests and heads, which is some 500 filters.
const PREFETCH_ROWS_MAX: usize = 2048;

/// Reads something of each cache line.
fn prefetch<T>(all: &[T], read: impl Fn(&T) -> u32) {
    const LINE_BYTES: usize = 64;
    let step = (LINE_BYTES / size_of::<T>()).max(1);
    std::hint::black_box(all.iter().step_by(step).map(read).fold(0, u32::wrapping_add));
}

/// Leaves each item from `start` on once.
fn dedup_from<T: Ord + Copy>(start: usize, items: &mut Vec<T>) {
    let Some(tail) = items.get_mut(start..).filter(|tail| tail.len() > 1) else { return };
    tail.sort_unstable();
    let (mut last, mut at) = (None, 0);
    items.retain(|item| {
        at += 1;
        at <= start || last.replace(*item) != Some(*item)
    });
}

fn part<'a, T>(all: &'a [T], range: &Range<u32>) -> &'a [T] {
    all.get(range.start as usize..range.end as usize).unwrap_or_default()
}
