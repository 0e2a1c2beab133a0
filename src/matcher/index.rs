//! The index of one (site, event type): which filters cannot be ruled out for an event.
//!
//! A filter is posted under one *anchor*: a top-level conjunct that compares a path with constants.
//! It may be skipped only when the anchor is false and nothing before it can have failed, since in
//! `a && b` an error in `a` is the outcome even if `b` is false. So a filter is also posted as
//! *fragile* under every path up to its anchor: when an event breaks that path (a plain `.name`
//! on null), the filter is evaluated in full. The common case pays nothing for this.
//!
//! **Source:** the access-predicate idea of Fabret et al. 2001; the fragile lists are ours.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use foldhash::fast::RandomState;
use switchyard_expr::predicate::Constant;
use switchyard_expr::view::{NodeId, Read};
use switchyard_expr::{Conjunct, Path, Program, Resolved, View};

use super::Subscription;
use crate::domain::InstallationId;

/// Position of a group in its partition.
type GroupId = u32;

/// Live subscriptions of one event type of one site, immutable.
#[derive(Debug)]
pub(super) struct Partition {
    /// Listeners whose filter has no expression: they hear every event.
    pub(super) unconditional: Box<[Listener]>,
    groups: Box<[Group]>,
    paths: Box<[PathIndex]>,
    /// Groups without an anchor, evaluated for every event.
    unanchored: Box<[GroupId]>,
    /// Events of this partition seen by the matcher; outlives the partition.
    pub(super) seen: Arc<AtomicU64>,
}

/// One subscription under one event type.
#[derive(Clone, Debug)]
pub(super) struct Listener {
    pub(super) subscription: Arc<Subscription>,
    /// Which of the subscription's event types this is.
    pub(super) listen: usize,
}

impl Listener {
    pub(super) fn filter(&self) -> Option<&super::Filter> {
        self.subscription.listens.get(self.listen).map(|listen| &listen.filter)
    }
}

/// Listeners with an equal filter, which is evaluated once for all of them.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) program: Arc<Program>,
    pub(super) listeners: Vec<Listener>,
}

/// Which groups depend on the value at one path.
#[derive(Debug)]
struct PathIndex {
    path: Path,
    strings: HashMap<Box<str>, Vec<GroupId>, RandomState>,
    others: HashMap<Constant, Vec<GroupId>, RandomState>,
    /// Groups to evaluate when reading the path raises an error.
    fragile: Vec<GroupId>,
}

/// Working memory of one lookup, reused from event to event.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    /// Groups that cannot be ruled out, each once.
    pub(super) groups: Vec<GroupId>,
    /// For each group the lookup that named it last; saves clearing between events.
    named_in: Vec<u64>,
    lookup: u64,
}

impl Candidates {
    fn begin(&mut self, groups: usize) {
        self.groups.clear();
        self.lookup += 1;
        if self.named_in.len() < groups {
            self.named_in.resize(groups, 0);
        }
    }

    fn name(&mut self, postings: &[GroupId]) {
        for &group in postings {
            if let Some(last) = self.named_in.get_mut(group as usize)
                && *last != self.lookup
            {
                *last = self.lookup;
                self.groups.push(group);
            }
        }
    }
}

impl Partition {
    /// Indexes `listeners`; equal filters (one shared program) become one group.
    pub(super) fn build(listeners: Vec<Listener>, seen: Arc<AtomicU64>, steps_max: u32) -> Self {
        let (unconditional, groups) = group(listeners);
        let mut index = Builder::default();
        index.count(&groups);
        for (id, group) in groups.iter().enumerate() {
            // A partition holds far fewer than 2^32 filters: each has a registry record.
            let id = u32::try_from(id).unwrap_or(GroupId::MAX);
            if may_run_out_of_steps(&group.program, steps_max) {
                index.unanchored.push(id);
            } else {
                index.post(id, &group.program.facts().conjuncts);
            }
        }
        Self {
            unconditional: unconditional.into(),
            groups: groups.into(),
            paths: index.paths.into(),
            unanchored: index.unanchored.into(),
            seen,
        }
    }

    /// Collects the groups whose outcome on this event is not provably "no match".
    pub(super) fn candidates(&self, event: &impl View, found: &mut Candidates) {
        found.begin(self.groups.len());
        found.name(&self.unanchored);
        for index in &self.paths {
            match index.path.resolve(event) {
                Resolved::Broken => found.name(&index.fragile),
                Resolved::Null => found.name(index.equal_to(&Constant::Null)),
                Resolved::Value(node) => found.name(index.holding(event, node)),
            }
        }
    }

    pub(super) fn group(&self, id: GroupId) -> Option<&Group> {
        self.groups.get(id as usize)
    }
}

impl PathIndex {
    fn new(path: Path) -> Self {
        Self { path, strings: HashMap::default(), others: HashMap::default(), fragile: Vec::new() }
    }

    fn equal_to(&self, constant: &Constant) -> &[GroupId] {
        self.others.get(constant).map_or(&[], Vec::as_slice)
    }

    fn holding(&self, event: &impl View, node: NodeId) -> &[GroupId] {
        match event.read(node) {
            Read::String(text) => self.strings.get(text).map_or(&[], Vec::as_slice),
            Read::Number(number) => self.equal_to(&Constant::Number(number)),
            Read::Bool(truth) => self.equal_to(&Constant::Bool(truth)),
            Read::Null => self.equal_to(&Constant::Null),
            // Equality never coerces, so a list or map equals no constant.
            Read::List { .. } | Read::Map { .. } => &[],
        }
    }

    fn postings(&mut self, constant: &Constant) -> &mut Vec<GroupId> {
        match constant {
            Constant::String(text) => self.strings.entry(text.clone()).or_default(),
            other => self.others.entry(other.clone()).or_default(),
        }
    }
}

/// Equal filters together: same program, and for filters that read `event.selfGenerated`, whose
/// value differs between apps, same installation.
fn group(listeners: Vec<Listener>) -> (Vec<Listener>, Vec<Group>) {
    let mut unconditional = Vec::new();
    let mut groups: Vec<Group> = Vec::new();
    let mut known: HashMap<(*const Program, Option<InstallationId>), usize, RandomState> =
        HashMap::default();
    for listener in listeners {
        let Some(program) = listener.filter().and_then(|filter| filter.program.clone()) else {
            unconditional.push(listener);
            continue;
        };
        let own = program.facts().reads_self_generated;
        let own = own.then(|| listener.subscription.id.installation.clone());
        let at = *known.entry((Arc::as_ptr(&program), own)).or_insert_with(|| {
            groups.push(Group { program, listeners: Vec::new() });
            groups.len() - 1
        });
        if let Some(group) = groups.get_mut(at) {
            group.listeners.push(listener);
        }
    }
    (unconditional, groups)
}

#[derive(Default)]
struct Builder {
    paths: Vec<PathIndex>,
    unanchored: Vec<GroupId>,
    path_ids: HashMap<Path, usize, RandomState>,
    /// How many groups compare a path with a constant; the rarest anchor is the best.
    uses: HashMap<(usize, Constant), usize, RandomState>,
}

impl Builder {
    fn path_id(&mut self, path: &Path) -> usize {
        if let Some(&id) = self.path_ids.get(path) {
            return id;
        }
        let id = self.paths.len();
        self.paths.push(PathIndex::new(path.clone()));
        self.path_ids.insert(path.clone(), id);
        id
    }

    fn count(&mut self, groups: &[Group]) {
        for group in groups {
            for (path, constants) in anchors(&group.program.facts().conjuncts) {
                let path = self.path_id(path);
                for constant in constants {
                    *self.uses.entry((path, constant.clone())).or_default() += 1;
                }
            }
        }
    }

    fn post(&mut self, group: GroupId, conjuncts: &[Conjunct]) {
        let Some(best) = self.rarest_anchor(conjuncts) else {
            self.unanchored.push(group);
            return;
        };
        for (at, (path, constants)) in anchors(conjuncts).enumerate().take(best + 1) {
            let path = self.path_id(path);
            let Some(index) = self.paths.get_mut(path) else { continue };
            if index.fragile.last() != Some(&group) {
                index.fragile.push(group);
            }
            if at == best {
                for constant in constants {
                    index.postings(constant).push(group);
                }
            }
        }
    }

    /// Which anchor of the conjunction is expected to let the fewest events through: the one whose
    /// constants the fewest filters name.
    fn rarest_anchor(&self, conjuncts: &[Conjunct]) -> Option<usize> {
        let cost = |(path, constants): (&Path, &[Constant])| -> usize {
            let path = self.path_ids.get(path).copied().unwrap_or_default();
            let uses = |constant: &Constant| self.uses.get(&(path, constant.clone()));
            constants.iter().filter_map(uses).sum()
        };
        anchors(conjuncts).map(cost).enumerate().min_by_key(|&(_, cost)| cost).map(|(at, _)| at)
    }
}

/// The conjuncts that may serve as anchor: comparisons that nothing unpredictable precedes.
fn anchors(conjuncts: &[Conjunct]) -> impl Iterator<Item = (&Path, &[Constant])> {
    conjuncts
        .iter()
        .take_while(|conjunct| match conjunct {
            Conjunct::OneOf { path, .. } => path.steps.len() == 1 || !is_derived(path),
            Conjunct::Opaque { can_fail } => !can_fail,
        })
        .filter_map(|conjunct| match conjunct {
            Conjunct::OneOf { path, constants } if !is_derived(path) => Some((path, &**constants)),
            _ => None,
        })
}

/// Whether the value differs from app to app, so that no lookup for all apps can find it.
fn is_derived(path: &Path) -> bool {
    path.steps.first().is_some_and(|step| &*step.name == "selfGenerated")
}

/// Whether the part of a filter that the index decides could run into the step limit, which is an
/// error that the index would not see. Each node costs one step and stands for one character at
/// least; the text that comparisons read, a fraction of the source, is in the factor of two.
fn may_run_out_of_steps(program: &Program, steps_max: u32) -> bool {
    program.source().len() * 2 > steps_max as usize
}
