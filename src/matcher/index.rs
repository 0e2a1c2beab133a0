//! The index of one (site, event type): decides which filters hold for an event and which need
//! evaluation.
//!
//! A filter is compiled to a [`conjunction`] of integer tests over *columns*. A [`column`] is one
//! kind of test of one path; the constants of all filters are numbered per column, so that an
//! event's value is looked up once and every test of it compares two integers. A filter is found by
//! its *access predicate*: the rarest test that must hold for the filter to be true. The constant
//! of that test leads to a *posting list*, which holds the conjunctions of all filters with this
//! access predicate.
//!
//! A filter may be skipped only if its access predicate is false and no test before it can have
//! failed, since in `a && b` an error in `a` is the outcome even if `b` is false. So an event that
//! makes a column *undetermined* (a plain `.name` on null, a comparison of text with a number)
//! makes candidates of all filters that test the column up to their access predicate. Events
//! without errors pay nothing for this.
//!
//! The dictionary slot of a constant holds the position of its posting list, so an event's value
//! leads to the tests of all filters in two reads of uncached memory. A filter with several access
//! predicates (`a in [x, y]`) has a copy of its conjunction in each posting list.
//!
//! **Source:** access predicates are those of Fabret et al., SIGMOD 2001; undetermined columns and
//! ranges are additions.

mod build;
mod column;
mod conjunction;
mod dictionary;
mod path;
mod subexpression;

use std::ops::Range;
use std::sync::Arc;

use switchyard_expr::{Env, Program};

use self::column::{Column, ColumnTables, EventValues};
use self::conjunction::{Op, Test, TestTables, Truth, split_row};
use self::dictionary::index;
use self::path::CompiledPath;
use self::subexpression::SharedSubexpression;
use super::conditions::Conditions;
use super::{EventSubscription, Subscription};
use crate::event::Decoder;
use crate::event::projection::{Projection, ProjectionBuffer};

/// Position of a listener in its segment. A group of listeners with an equal filter, which is
/// decided once for all of them, is identified by the position of its first listener.
pub(super) type ListenerId = u32;

/// One subscription under one event type.
#[derive(Clone, Debug)]
pub(super) struct Listener {
    pub(super) subscription: Arc<Subscription>,
    /// Which of the subscription's event types this is.
    event_at: u32,
    /// Copied from the event subscription, so that most matches need not read it.
    pub(super) conditions: Conditions,
    /// Whether this is the last listener of its group.
    ends_group: bool,
}

impl Listener {
    pub(super) fn new(subscription: &Arc<Subscription>, at: usize) -> Self {
        let event = subscription.event_subscriptions.get(at);
        Self {
            subscription: Arc::clone(subscription),
            event_at: index(at),
            conditions: event.map(|event| Conditions::from(&*event.conditions)).unwrap_or_default(),
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

/// An immutable index of some listeners of one event type of one site.
#[derive(Debug)]
pub(super) struct Segment {
    /// Sorted by group: the listeners of a group have an equal filter.
    listeners: Box<[Listener]>,
    /// Listener ids, sorted by the addresses of their subscriptions.
    by_pointer: Box<[ListenerId]>,
    /// Posting lists, one after the other. The first is empty.
    rows: Box<[Test]>,
    tables: TestTables,
    /// Shared with other segments whose projection is equal or little larger.
    projection: Arc<Projection>,
    paths: Box<[(CompiledPath, Range<u32>)]>,
    /// Sorted by path.
    columns: Box<[Column]>,
    column_tables: ColumnTables,
    /// Their columns come after all others.
    subexpressions: Box<[SharedSubexpression]>,
    /// For each column, subexpressions included.
    postings: Box<[ColumnPostings]>,
    bounds: Box<[Bound]>,
    rows_that_may_error: Box<[u32]>,
    /// Posting list of the groups without an access predicate, which are checked for every event.
    without_access_predicate: u32,
}

/// The rows that depend on a column, in addition to the posting lists of its constants.
#[derive(Debug, Default)]
struct ColumnPostings {
    /// All posting lists of its constants.
    rows: Range<u32>,
    /// Range of its bounds that compare with `<` or `<=`; `above` with `>` or `>=`.
    below: Range<u32>,
    above: Range<u32>,
    /// Range of the rows to check when the column is undetermined, in addition to `rows`.
    rows_that_may_error: Range<u32>,
}

/// A row whose access predicate is a comparison with a number. For each column and direction,
/// bounds are sorted so that the one that most numbers satisfy comes first.
#[derive(Clone, Copy, Debug)]
struct Bound {
    number: f64,
    /// Whether the number itself does not satisfy the comparison.
    is_excluded: bool,
    row: u32,
}

/// Working memory of one lookup, reused from event to event.
#[derive(Debug, Default)]
pub(super) struct LookupScratch {
    projected: ProjectionBuffer,
    values: EventValues,
    /// Listeners without conditions whose filter holds, each once.
    pub(super) matched_listeners: Vec<ListenerId>,
    /// Other groups whose filter holds, each once.
    pub(super) matched_groups: Vec<ListenerId>,
    /// Groups whose filter must be evaluated, each once.
    pub(super) groups_to_evaluate: Vec<ListenerId>,
    /// Number of rows that the index could not skip.
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
    /// Builds the index of `listeners`. `first` is the projection of the segments before it, which
    /// is used if there is one; otherwise `shared` is used if it fits.
    pub(super) fn build(
        listeners: Vec<Listener>,
        first: Option<&Arc<Projection>>,
        shared: Option<&Arc<Projection>>,
        steps_max: u32,
    ) -> Self {
        build::build(listeners, first, shared, steps_max)
    }

    /// The values that it reads of an event.
    pub(super) fn projection(&self) -> &Arc<Projection> {
        &self.projection
    }

    /// Decides all filters for an event: fills `scratch` with the filters that hold and those that
    /// need evaluation. `previous` is the segment that `scratch` was last used with for the same
    /// event.
    pub(super) fn find(
        &self,
        decoder: &Decoder,
        env: &Env,
        previous: Option<&Self>,
        expression: &mut switchyard_expr::EvalScratch,
        scratch: &mut LookupScratch,
    ) {
        scratch.clear();
        if !previous.is_some_and(|previous| Arc::ptr_eq(&previous.projection, &self.projection)) {
            decoder.project(&self.projection, &mut scratch.projected);
        }
        let projected = decoder.projected(&self.projection, &scratch.projected);
        for (path, columns) in &self.paths {
            let value = path.resolve(projected);
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
        // Only an undetermined column leads to a row that is also in a posting list.
        if values.columns.iter().any(|value| value.undetermined) {
            dedup_from(0, &mut scratch.matched_listeners);
        }
        dedup_from(0, &mut scratch.matched_groups);
        dedup_from(0, &mut scratch.groups_to_evaluate);
        scratch.values = values;
    }

    /// Checks the posting list that begins at `start`.
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

    /// Checks several posting lists.
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

    /// Yields the bounds that `number` satisfies.
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

    /// Reads all memory of a small segment: with many sites it is in no cache when an event
    /// arrives, and independent cache misses at once take a fraction of the time of dependent ones.
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

    /// Yields the listeners of the group that begins at `first`, with their ids.
    pub(super) fn group(&self, first: ListenerId) -> impl Iterator<Item = (ListenerId, &Listener)> {
        let behind = self.listeners.get(first as usize..).unwrap_or_default();
        let end = behind.iter().position(|listener| listener.ends_group).map_or(0, |at| at + 1);
        (first..).zip(behind.get(..end).unwrap_or_default())
    }

    /// Yields the positions of a subscription's listeners.
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

    /// Returns the bytes on the heap, without what listeners share with the registry.
    pub(super) fn heap_bytes(&self) -> usize {
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

/// A segment with more tests and headers is not prefetched; this is about 500 filters.
const PREFETCH_ROWS_MAX: usize = 2048;

/// Reads one item of each cache line.
fn prefetch<T>(all: &[T], read: impl Fn(&T) -> u32) {
    const LINE_BYTES: usize = 64;
    let step = (LINE_BYTES / size_of::<T>()).max(1);
    std::hint::black_box(all.iter().step_by(step).map(read).fold(0, u32::wrapping_add));
}

/// Removes duplicates from `start` on.
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
