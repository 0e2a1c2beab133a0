//! The index of one (site, event type): which filters hold for an event, or need to be evaluated.
//!
//! A filter becomes a row of integer comparisons ([`check`]) over what the event says to each
//! [`column`]. It is found by its *anchor*: the rarest test that must hold for the filter to be
//! true. It may be skipped only when the anchor is false and nothing before it can have failed,
//! since in `a && b` an error in `a` is the outcome even if `b` is false. So an event that brings a
//! column into *trouble* (a plain `.name` on null, a comparison with no number) makes candidates of
//! all filters that ask the column up to their anchor. The common case pays nothing for this.
//!
//! Filters with the same anchor stand side by side with their checks, and their place stands beside
//! the symbol: an event's value leads to all of them in two reads of far memory, and a filter that
//! holds is known by its place alone. One of several anchors has a copy of its row at each.
//!
//! **Source:** the access-predicate idea of Fabret et al. 2001; trouble and ranges are ours.

mod builder;
mod check;
mod column;
mod dictionary;
mod operand;
mod plan;
mod route;

use std::ops::Range;
use std::sync::Arc;

use switchyard_expr::{Env, Program};

use self::check::{Answer, Check, Op, Tables, split_row};
use self::column::{Column, ColumnTables, States};
use self::dictionary::index;
use self::operand::Operand;
use self::route::Route;
use super::{Listen, Subscription};
use crate::event::Decoder;
use crate::event::pick::{Picked, Selection};

/// Position of a listener in its segment. That of the first who listen with an equal filter, which
/// is decided once for all of them, stands for their group.
pub(super) type Place = u32;

/// One subscription under one event type.
#[derive(Clone, Debug)]
pub(super) struct Listener {
    pub(super) subscription: Arc<Subscription>,
    /// Which of the subscription's event types this is.
    listen: u32,
    /// Of its filter, so that most matches need not look there.
    pub(super) ignore_self: bool,
    /// As above.
    pub(super) requires_licence: bool,
    /// Whether the next listener has another filter.
    ends_group: bool,
}

impl Listener {
    pub(super) fn new(subscription: &Arc<Subscription>, at: usize) -> Self {
        let interest = subscription.listens.get(at).map(|listen| &listen.interest);
        Self {
            subscription: Arc::clone(subscription),
            listen: index(at),
            ignore_self: interest.is_some_and(|interest| interest.ignore_self),
            requires_licence: interest.is_some_and(|interest| interest.requires_licence),
            ends_group: true,
        }
    }

    pub(super) fn listen(&self) -> Option<&Listen> {
        self.subscription.listens.get(self.listen as usize)
    }

    pub(super) fn program(&self) -> Option<&Arc<Program>> {
        self.listen()?.program.as_ref()
    }
}

/// Immutable index over some listeners of one event type of one site.
#[derive(Debug)]
pub(super) struct Segment {
    /// Group by group: those with an equal filter, which is decided once for all of them.
    listeners: Box<[Listener]>,
    /// Places of listeners in the order of their subscriptions' pointers.
    by_pointer: Box<[Place]>,
    /// Runs of rows. At the start stands one of none.
    rows: Box<[Check]>,
    tables: Tables,
    /// Shared with other segments that ask for no more, or hardly less.
    selection: Arc<Selection>,
    paths: Box<[(Route, Range<u32>)]>,
    /// In the order of their paths.
    columns: Box<[Column]>,
    column_tables: ColumnTables,
    /// Their columns stand behind the others.
    operands: Box<[Operand]>,
    /// Of columns and operands.
    postings: Box<[Postings]>,
    bounds: Box<[Bound]>,
    fragile: Box<[u32]>,
    /// The run of groups without an anchor, decided for every event.
    unanchored: u32,
}

/// Which rows depend on a column, beside the runs that its symbols lead to.
#[derive(Debug, Default)]
struct Postings {
    /// All rows that its symbols lead to.
    rows: Range<u32>,
    /// Among the bounds, those above and below of which numbers are wanted.
    below: Range<u32>,
    above: Range<u32>,
    /// Among the fragile rows, those to decide when the column is in trouble, besides its own.
    fragile: Range<u32>,
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
pub(super) struct Findings {
    picked: Picked,
    states: States,
    /// Listeners without conditions whose filter holds, each once.
    pub(super) lone: Vec<Place>,
    /// Other groups whose filter holds, each once.
    pub(super) holding: Vec<Place>,
    /// Groups whose filter must be evaluated, each once.
    pub(super) undecided: Vec<Place>,
    /// How many rows the index could not skip.
    pub(super) candidates: usize,
}

impl Findings {
    fn clear(&mut self) {
        self.states.clear();
        self.lone.clear();
        self.holding.clear();
        self.undecided.clear();
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
    /// `found` may hold what the segment `before` picked.
    pub(super) fn find(
        &self,
        decoder: &Decoder,
        env: &Env,
        before: Option<&Self>,
        scratch: &mut switchyard_expr::EvalScratch,
        found: &mut Findings,
    ) {
        found.clear();
        if !before.is_some_and(|before| Arc::ptr_eq(&before.selection, &self.selection)) {
            decoder.pick(&self.selection, &mut found.picked);
        }
        let picks = decoder.picks(&self.selection, &found.picked);
        for (route, columns) in &self.paths {
            let value = route.follow(picks);
            for column in part(&self.columns, columns) {
                column.read(value, &self.column_tables, &mut found.states);
            }
        }
        for operand in &self.operands {
            operand.read(decoder, env, scratch, &mut found.states);
        }
        let states = std::mem::take(&mut found.states);
        self.decide_run(self.unanchored, &states, found);
        for (postings, state) in self.postings.iter().zip(&states.columns) {
            if state.trouble {
                self.decide_rows(part(&self.rows, &postings.rows), &states, found);
                let fragile = part(&self.fragile, &postings.fragile).iter();
                fragile.for_each(|row| self.decide_one(*row, &states, found));
                continue;
            }
            for entry in states.entries(state) {
                self.decide_run(entry.run, &states, found);
            }
            let bounds = self.satisfied(postings, state.number);
            bounds.for_each(|bound| self.decide_one(bound.row, &states, found));
        }
        // Only trouble leads to a row that its anchor leads to, too.
        if states.columns.iter().any(|state| state.trouble) {
            dedup_from(0, &mut found.lone);
        }
        dedup_from(0, &mut found.holding);
        dedup_from(0, &mut found.undecided);
        found.states = states;
    }

    /// Decides the rows from `start` to the end of their run.
    #[inline]
    fn decide_run(&self, start: u32, states: &States, found: &mut Findings) {
        let mut rows = self.rows.get(start as usize..).unwrap_or_default();
        while let Some((head, checks, behind)) = split_row(rows)
            && head.op != Op::End
        {
            self.decide(head, checks, states, found);
            rows = behind;
        }
    }

    /// Decides all rows of several runs.
    fn decide_rows(&self, mut rows: &[Check], states: &States, found: &mut Findings) {
        while let Some((head, checks, behind)) = split_row(rows) {
            if head.op != Op::End {
                self.decide(head, checks, states, found);
            }
            rows = behind;
        }
    }

    fn decide_one(&self, row: u32, states: &States, found: &mut Findings) {
        let row = self.rows.get(row as usize..).and_then(split_row);
        row.into_iter().for_each(|(head, checks, _)| self.decide(head, checks, states, found));
    }

    /// Comparisons of a column that hold for `number`.
    fn satisfied(&self, postings: &Postings, number: f64) -> impl Iterator<Item = &Bound> {
        let below = part(&self.bounds, &postings.below).iter().take_while(move |bound| {
            if bound.is_excluded { number < bound.number } else { number <= bound.number }
        });
        let above = part(&self.bounds, &postings.above).iter().take_while(move |bound| {
            if bound.is_excluded { number > bound.number } else { number >= bound.number }
        });
        below.chain(above)
    }

    #[inline]
    fn decide(&self, head: Check, checks: &[Check], states: &States, found: &mut Findings) {
        found.candidates += 1;
        match check::all(checks, states, &self.tables) {
            Answer::True if head.op == Op::Lone => found.lone.push(head.argument),
            Answer::True => found.holding.push(head.argument),
            Answer::False => {}
            Answer::Open | Answer::Stuck => found.undecided.push(head.argument),
        }
    }

    /// Looks at all memory of a small segment: one of many sites is in no cache when its event comes,
    /// and missing its lines at once takes a fraction of missing them one after the other.
    pub(super) fn touch(&self) {
        if self.rows.len() <= TOUCHED_ROWS_MAX {
            touch(&self.paths, |(_, columns)| columns.end);
            touch(&self.columns, Column::id);
            touch(&self.postings, |postings| postings.rows.end);
            touch(&self.bounds, |bound| bound.row);
            touch(&self.rows, |check| check.argument);
            self.column_tables.touch();
        }
    }

    /// Who listens with the filter of the group that begins at `first`, and their places.
    pub(super) fn group(&self, first: Place) -> impl Iterator<Item = (Place, &Listener)> {
        let behind = self.listeners.get(first as usize..).unwrap_or_default();
        let end = behind.iter().position(|listener| listener.ends_group).map_or(0, |at| at + 1);
        (first..).zip(behind.get(..end).unwrap_or_default())
    }

    /// Where a subscription stands.
    pub(super) fn places_of(
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
            + size_of_val(&*self.operands)
            + self.operands.iter().map(Operand::heap_bytes).sum::<usize>()
            + size_of_val(&*self.postings)
            + size_of_val(&*self.bounds)
            + size_of_val(&*self.fragile)
    }
}

/// A segment is small up to this many checks and heads, which is some 500 filters.
const TOUCHED_ROWS_MAX: usize = 2048;

/// Reads something of each cache line.
fn touch<T>(all: &[T], read: impl Fn(&T) -> u32) {
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
