//! The index of one (site, event type): which filters hold for an event, or need to be evaluated.
//!
//! A filter becomes a row of integer comparisons ([`check`]) over what the event says to each
//! [`column`]. It is found by its *anchor*: the rarest test that must hold for the filter to be
//! true. It may be skipped only when the anchor is false and nothing before it can have failed,
//! since in `a && b` an error in `a` is the outcome even if `b` is false. So an event that brings a
//! column into *trouble* (a plain `.name` on null, a comparison with no number) makes candidates of
//! all filters that ask the column up to their anchor. The common case pays nothing for this.
//!
//! Filters with the same anchor stand side by side, so that a posting is a range of numbers and
//! their checks are read in one run of memory.
//!
//! **Source:** the access-predicate idea of Fabret et al. 2001; trouble and ranges are ours.

mod builder;
mod check;
mod column;
mod dictionary;
mod plan;
mod route;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use foldhash::fast::RandomState;
use switchyard_expr::Program;
use switchyard_expr::predicate::Order;

use self::check::{Answer, Check, Op, Tables};
use self::column::{Column, States};
use self::dictionary::{Symbol, index};
use self::plan::{Anchor, ColumnId, Planner, Uses};
use self::route::Route;
use super::Subscription;
use crate::domain::InstallationId;
use crate::event::Decoder;
use crate::event::pick::{Picked, Selection};

/// Position of a group in its segment.
pub(super) type GroupId = u32;

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
}

impl Listener {
    pub(super) fn new(subscription: &Arc<Subscription>, at: usize) -> Self {
        let filter = subscription.listens.get(at).map(|listen| &listen.filter);
        Self {
            subscription: Arc::clone(subscription),
            listen: index(at),
            ignore_self: filter.is_some_and(|filter| filter.ignore_self),
            requires_licence: filter.is_some_and(|filter| filter.requires_licence),
        }
    }

    pub(super) fn filter(&self) -> Option<&super::Filter> {
        self.subscription.listens.get(self.listen as usize).map(|listen| &listen.filter)
    }

    pub(super) fn program(&self) -> Option<&Arc<Program>> {
        self.filter()?.program.as_ref()
    }
}

/// Immutable index over some listeners of one event type of one site.
#[derive(Debug)]
pub(super) struct Segment {
    /// Group by group: those with an equal filter, which is decided once for all of them.
    listeners: Box<[Listener]>,
    /// First listener of each group, and the end.
    groups: Box<[u32]>,
    /// Places of listeners in the order of their subscriptions' pointers.
    by_pointer: Box<[u32]>,
    /// First check of each group, and the end.
    rows: Box<[u32]>,
    checks: Box<[Check]>,
    tables: Tables,
    selection: Selection,
    paths: Box<[(Route, Range<u32>)]>,
    /// In the order of their paths.
    columns: Box<[(Column, Postings)]>,
    /// Groups without an anchor, decided for every event.
    unanchored: Box<[GroupId]>,
}

/// Which groups depend on a column.
#[derive(Debug, Default)]
struct Postings {
    /// First of the groups that have this column's symbol as their only anchor, by symbol, and the
    /// end.
    own: Box<[GroupId]>,
    /// Groups with several anchors, by symbol.
    shared: Box<[(Symbol, GroupId)]>,
    /// Groups anchored in a comparison, by bound from the one that most numbers satisfy.
    below: Box<[(Bound, GroupId)]>,
    above: Box<[(Bound, GroupId)]>,
    /// Groups to decide when the column is in trouble, besides its own.
    fragile: Box<[GroupId]>,
}

/// A bound and whether the number itself is excluded.
type Bound = (f64, bool);

/// Working memory of one lookup, reused from event to event.
#[derive(Debug, Default)]
pub(super) struct Findings {
    picked: Picked,
    states: States,
    /// Groups whose filter holds, each once.
    pub(super) holding: Vec<GroupId>,
    /// Groups whose filter must be evaluated, each once.
    pub(super) undecided: Vec<GroupId>,
    /// How many groups the index could not skip.
    pub(super) candidates: usize,
}

impl Segment {
    /// Indexes `listeners`.
    pub(super) fn build(listeners: Vec<Listener>, steps_max: u32) -> Self {
        builder::build(listeners, steps_max)
    }

    /// Decides all filters: which hold, and which only evaluation can tell.
    pub(super) fn find(&self, decoder: &Decoder, found: &mut Findings) {
        found.holding.clear();
        found.undecided.clear();
        found.candidates = 0;
        found.states.clear();
        self.touch();
        let picks = decoder.pick(&self.selection, &mut found.picked);
        for (route, columns) in &self.paths {
            let value = route.follow(picks);
            let columns = columns.start as usize..columns.end as usize;
            for (column, _) in self.columns.get(columns).unwrap_or_default() {
                column.read(value, &mut found.states);
            }
        }
        let states = std::mem::take(&mut found.states);
        let is_troubled = states.columns.iter().any(|state| state.trouble);
        self.decide(self.unanchored.iter().copied(), &states, found);
        if !is_troubled {
            for ((_, postings), state) in self.columns.iter().zip(&states.columns) {
                let symbols = states.symbols(state).iter();
                self.decide(symbols.flat_map(|symbol| postings.own(*symbol)), &states, found);
            }
        }
        // A group that is found by one symbol alone is found once; those from here on, more often.
        let (holding, undecided) = (found.holding.len(), found.undecided.len());
        for ((_, postings), state) in self.columns.iter().zip(&states.columns) {
            if state.trouble {
                self.decide(postings.all_own(), &states, found);
                self.decide(postings.fragile.iter().copied(), &states, found);
                continue;
            }
            for symbol in states.symbols(state) {
                if is_troubled {
                    self.decide(postings.own(*symbol), &states, found);
                }
                self.decide(postings.shared(*symbol), &states, found);
            }
            self.decide(postings.ordered(state.number), &states, found);
        }
        dedup_from(holding, &mut found.holding);
        dedup_from(undecided, &mut found.undecided);
        found.states = states;
    }

    #[inline]
    fn decide(&self, groups: impl Iterator<Item = GroupId>, states: &States, found: &mut Findings) {
        for group in groups {
            found.candidates += 1;
            let checks = self.checks.get(range(&self.rows, group)).unwrap_or_default();
            match check::all(checks, states, &self.tables) {
                Answer::True => found.holding.push(group),
                Answer::False => {}
                Answer::Open | Answer::Stuck => found.undecided.push(group),
            }
        }
    }

    /// Looks at all memory of a small segment: one of many sites is in no cache when its event comes,
    /// and missing its lines at once takes a fraction of missing them one after the other.
    fn touch(&self) {
        if self.checks.len() <= TOUCHED_CHECKS_MAX {
            touch(&self.columns, |(_, postings)| index(postings.own.len()));
            touch(&self.checks, |check| check.argument);
            touch(&self.rows, |row| *row);
            touch(&self.groups, |group| *group);
            touch(&self.listeners, |listener| listener.listen);
            for (column, postings) in &self.columns {
                column.touch();
                touch(&postings.own, |group| *group);
                touch(&postings.shared, |(_, group)| *group);
            }
        }
    }

    /// Who listens with the filter of a group, and their places among all listeners.
    pub(super) fn listeners(&self, group: GroupId) -> impl Iterator<Item = (u32, &Listener)> {
        let range = range(&self.groups, group);
        (index(range.start)..).zip(self.listeners.get(range).unwrap_or_default())
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
        let columns = self.columns.iter().map(|(column, postings)| {
            column.heap_bytes()
                + size_of_val(&*postings.own)
                + size_of_val(&*postings.shared)
                + size_of_val(&*postings.below)
                + size_of_val(&*postings.above)
                + size_of_val(&*postings.fragile)
        });
        let routes = self.paths.iter().map(|(route, _)| route.heap_bytes()).sum::<usize>();
        size_of_val(&*self.listeners)
            + size_of_val(&*self.groups)
            + size_of_val(&*self.by_pointer)
            + size_of_val(&*self.rows)
            + size_of_val(&*self.checks)
            + size_of_val(&*self.columns)
            + size_of_val(&*self.paths)
            + self.selection.heap_bytes()
            + routes
            + size_of_val(&*self.unanchored)
            + self.tables.heap_bytes()
            + columns.sum::<usize>()
    }
}

impl Postings {
    fn all_own(&self) -> Range<GroupId> {
        let first = self.own.first().copied().unwrap_or_default();
        first..self.own.last().copied().unwrap_or_default()
    }

    fn own(&self, symbol: Symbol) -> Range<GroupId> {
        let start = self.own.get(symbol as usize).copied().unwrap_or_default();
        start..self.own.get(symbol as usize + 1).copied().unwrap_or_default()
    }

    fn shared(&self, symbol: Symbol) -> impl Iterator<Item = GroupId> {
        let start = self.shared.partition_point(|(of, _)| *of < symbol);
        let behind = self.shared.get(start..).unwrap_or_default();
        behind.iter().take_while(move |(of, _)| *of == symbol).map(|(_, group)| *group)
    }

    /// Groups whose comparison holds for `number`.
    fn ordered(&self, number: f64) -> impl Iterator<Item = GroupId> {
        let below = self.below.iter().take_while(move |((bound, excluded), _)| {
            if *excluded { number < *bound } else { number <= *bound }
        });
        let above = self.above.iter().take_while(move |((bound, excluded), _)| {
            if *excluded { number > *bound } else { number >= *bound }
        });
        below.chain(above).map(|(_, group)| *group)
    }
}

/// A segment is small up to this many checks, which is some 500 filters.
const TOUCHED_CHECKS_MAX: usize = 1536;

/// Reads something of each cache line.
fn touch<T>(all: &[T], read: impl Fn(&T) -> u32) {
    const LINE_BYTES: usize = 64;
    let step = (LINE_BYTES / size_of::<T>()).max(1);
    std::hint::black_box(all.iter().step_by(step).map(read).fold(0, u32::wrapping_add));
}

/// Leaves each number from `start` on once.
fn dedup_from(start: usize, numbers: &mut Vec<u32>) {
    let Some(tail) = numbers.get_mut(start..).filter(|tail| tail.len() > 1) else { return };
    tail.sort_unstable();
    let (mut last, mut at) = (None, 0);
    numbers.retain(|number| {
        at += 1;
        at <= start || last.replace(*number) != Some(*number)
    });
}

/// The part of a table that belongs to one group.
fn range(starts: &[u32], group: GroupId) -> Range<usize> {
    let at = group as usize;
    let start = starts.get(at).copied().unwrap_or_default() as usize;
    start..starts.get(at + 1).copied().unwrap_or_default() as usize
}
