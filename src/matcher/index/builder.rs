//! Lays out a segment: groups equal filters, chooses anchors, puts groups of one anchor together.

use super::*;
use crate::event::pick::SelectionBuilder;

/// A filter on its way into a segment.
#[derive(Debug)]
struct Draft {
    /// Among the listeners, which are sorted by group.
    listeners: Range<usize>,
    checks: Range<usize>,
    anchor: Option<Anchor>,
}

impl Draft {
    /// The column and symbol that alone decide where the group stands.
    fn place(&self) -> Option<(ColumnId, Symbol)> {
        let [target] = self.anchor.as_ref()?.targets.as_slice() else { return None };
        matches!(target.op, Op::Is | Op::MayBe).then_some((target.column, target.argument))
    }
}

pub(super) fn build(mut listeners: Vec<Listener>, steps_max: u32) -> Segment {
    let mut planner = Planner::default();
    let mut checks = Vec::new();
    let mut drafts = Vec::new();
    for group in group(&mut listeners) {
        let start = checks.len();
        if let Some(program) = listeners.get(group.start).and_then(Listener::program) {
            planner.checks(program, steps_max, &mut checks);
        }
        drafts.push(Draft { listeners: group, checks: start..checks.len(), anchor: None });
    }
    let mut uses = Uses::default();
    checks.iter().for_each(|check| uses.count(*check, &planner.tables));
    for draft in &mut drafts {
        let own = checks.get(draft.checks.clone()).unwrap_or_default();
        draft.anchor = uses.anchor(own, &planner.tables);
    }
    drop(uses);
    let columns = ColumnOrder::of(&planner);
    // Those found by one symbol first, each column's together, in the order of symbols.
    let place =
        |draft: &Draft| draft.place().map(|(column, symbol)| (columns.renumbered(column), symbol));
    drafts.sort_by_key(|draft| place(draft).map_or((1, None), |place| (0, Some(place))));
    lay_out(listeners, &checks, &drafts, planner, &columns)
}

/// Sorts listeners by filter and yields where each group stands. Equal filters are one program;
/// those that read `event.selfGenerated`, whose value differs between apps, are kept apart by
/// installation.
fn group(listeners: &mut [Listener]) -> Vec<Range<usize>> {
    let key = |listener: &Listener| -> (usize, Option<InstallationId>) {
        let program = listener.program();
        let own = program.is_some_and(|program| program.reads_self_generated());
        let installation = own.then(|| listener.subscription.owner.id.clone());
        (program.map_or(0, |program| Arc::as_ptr(program) as usize), installation)
    };
    listeners.sort_by_cached_key(key);
    let mut groups: Vec<Range<usize>> = Vec::new();
    let mut last = None;
    for (at, listener) in listeners.iter().enumerate() {
        let key = key(listener);
        if last.as_ref() == Some(&key)
            && let Some(group) = groups.last_mut()
        {
            group.end = at + 1;
        } else {
            groups.push(at..at + 1);
            last = Some(key);
        }
    }
    groups
}

/// Columns in the order of their paths, so that each path is followed once.
struct ColumnOrder {
    /// New position by old one.
    new: Vec<ColumnId>,
    /// Old position by new one.
    old: Vec<usize>,
}

impl ColumnOrder {
    fn of(planner: &Planner) -> Self {
        let mut first: HashMap<&switchyard_expr::Path, usize, RandomState> = HashMap::default();
        for (at, (path, _)) in planner.columns.iter().enumerate() {
            first.entry(path).or_insert(at);
        }
        let mut old: Vec<usize> = (0..planner.columns.len()).collect();
        old.sort_by_key(|at| planner.columns.get(*at).and_then(|(path, _)| first.get(path)));
        let mut new = vec![0; old.len()];
        for (at, before) in old.iter().enumerate() {
            if let Some(place) = new.get_mut(*before) {
                // There are no more columns than their ids.
                *place = ColumnId::try_from(at).unwrap_or(ColumnId::MAX);
            }
        }
        Self { new, old }
    }

    fn renumbered(&self, column: ColumnId) -> ColumnId {
        self.new.get(usize::from(column)).copied().unwrap_or(ColumnId::MAX)
    }
}

fn lay_out(
    listeners: Vec<Listener>,
    checks: &[Check],
    drafts: &[Draft],
    planner: Planner,
    order: &ColumnOrder,
) -> Segment {
    let mut segment = Rows::with_capacity(listeners.len(), checks.len(), drafts.len());
    let mut postings: Vec<PostingsBuilder> = Vec::new();
    postings.resize_with(order.old.len(), PostingsBuilder::default);
    let mut unanchored = Vec::new();
    for (id, draft) in drafts.iter().enumerate() {
        let id = index(id);
        segment.push(draft, &listeners, checks, order);
        match &draft.anchor {
            None => unanchored.push(id),
            Some(anchor) => {
                post(id, anchor, draft.place().is_some(), &planner.tables, &mut postings, order);
            }
        }
    }
    let mut selection = SelectionBuilder::default();
    let mut paths: Vec<(Route, Range<u32>)> = Vec::new();
    let mut last = None;
    let mut columns = Vec::with_capacity(order.old.len());
    let mut builders: Vec<_> = planner.columns.into_iter().map(Some).collect();
    for (old, postings) in order.old.iter().zip(postings) {
        let Some((path, builder)) = builders.get_mut(*old).and_then(Option::take) else { continue };
        let at = index(columns.len());
        if last.as_ref() != Some(&path) {
            paths.push((Route::new(&path, &mut selection), at..at));
            last = Some(path);
        }
        let Some((route, of_path)) = paths.last_mut() else { continue };
        of_path.end = at + 1;
        let column = builder.finish(route.end(), &mut selection);
        let postings = postings.finish(column.symbols());
        columns.push((column, postings));
    }
    let mut tables = planner.tables;
    tables.bounds.shrink_to_fit();
    tables.sets.shrink_to_fit();
    let mut by_pointer: Vec<u32> = (0..index(segment.listeners.len())).collect();
    by_pointer.sort_unstable_by_key(|at| {
        segment.listeners.get(*at as usize).map(|listener| Arc::as_ptr(&listener.subscription))
    });
    Segment {
        by_pointer: by_pointer.into(),
        listeners: segment.listeners.into(),
        groups: segment.groups.into(),
        rows: segment.rows.into(),
        checks: segment.checks.into(),
        tables,
        selection: selection.finish(),
        paths: paths.into(),
        columns: columns.into(),
        unanchored: unanchored.into(),
    }
}

/// Listeners and checks in the order of groups.
struct Rows {
    listeners: Vec<Listener>,
    groups: Vec<u32>,
    rows: Vec<u32>,
    checks: Vec<Check>,
}

impl Rows {
    fn with_capacity(listeners: usize, checks: usize, groups: usize) -> Self {
        let starts = || {
            let mut starts = Vec::with_capacity(groups + 1);
            starts.push(0);
            starts
        };
        Self {
            listeners: Vec::with_capacity(listeners),
            groups: starts(),
            rows: starts(),
            checks: Vec::with_capacity(checks),
        }
    }

    fn push(
        &mut self,
        draft: &Draft,
        listeners: &[Listener],
        checks: &[Check],
        order: &ColumnOrder,
    ) {
        let own = listeners.get(draft.listeners.clone()).unwrap_or_default();
        self.listeners.extend_from_slice(own);
        self.groups.push(index(self.listeners.len()));
        let own = checks.get(draft.checks.clone()).unwrap_or_default();
        self.checks.extend(
            own.iter().map(|check| Check { column: order.renumbered(check.column), ..*check }),
        );
        self.rows.push(index(self.checks.len()));
    }
}

#[derive(Default)]
struct PostingsBuilder {
    own: Vec<(Symbol, GroupId)>,
    shared: Vec<(Symbol, GroupId)>,
    below: Vec<(Bound, GroupId)>,
    above: Vec<(Bound, GroupId)>,
    fragile: Vec<GroupId>,
}

/// Posts a group under its anchor, and under the columns that may fail it.
fn post(
    group: GroupId,
    anchor: &Anchor,
    is_placed: bool,
    tables: &Tables,
    postings: &mut [PostingsBuilder],
    order: &ColumnOrder,
) {
    for target in &anchor.targets {
        let Some(postings) = postings.get_mut(usize::from(order.renumbered(target.column))) else {
            continue;
        };
        match target.op {
            Op::Is | Op::MayBe if is_placed => postings.own.push((target.argument, group)),
            Op::Is | Op::MayBe => postings.shared.push((target.argument, group)),
            Op::IsOneOf => {
                let symbols = tables.set(target.argument);
                postings.shared.extend(symbols.iter().map(|symbol| (*symbol, group)));
            }
            Op::Ordered(order) => {
                let bound = tables.bound(target.argument);
                match order {
                    Order::Less => postings.below.push(((bound, true), group)),
                    Order::LessOrEqual => postings.below.push(((bound, false), group)),
                    Order::Greater => postings.above.push(((bound, true), group)),
                    Order::GreaterOrEqual => postings.above.push(((bound, false), group)),
                }
            }
            Op::All | Op::Any | Op::Not | Op::Open | Op::Stuck => {}
        }
    }
    let placed_in = anchor.targets.first().filter(|_| is_placed).map(|target| target.column);
    for column in anchor.columns.iter().filter(|column| Some(**column) != placed_in) {
        if let Some(postings) = postings.get_mut(usize::from(order.renumbered(*column)))
            && postings.fragile.last() != Some(&group)
        {
            postings.fragile.push(group);
        }
    }
}

impl PostingsBuilder {
    fn finish(mut self, symbols: usize) -> Postings {
        // The widest bounds first: what a number does not satisfy, it satisfies nothing behind.
        self.below.sort_unstable_by(|((a, a_out), _), ((b, b_out), _)| {
            b.total_cmp(a).then(a_out.cmp(b_out))
        });
        self.above.sort_unstable_by(|((a, a_out), _), ((b, b_out), _)| {
            a.total_cmp(b).then(a_out.cmp(b_out))
        });
        self.shared.sort_unstable();
        self.shared.dedup();
        Postings {
            own: starts(&self.own, symbols),
            shared: self.shared.into(),
            below: self.below.into(),
            above: self.above.into(),
            fragile: self.fragile.into(),
        }
    }
}

/// Where the groups of each symbol start, of groups that stand in the order of symbols.
fn starts(own: &[(Symbol, GroupId)], symbols: usize) -> Box<[GroupId]> {
    let Some((_, first)) = own.first() else { return Box::default() };
    let mut starts = Vec::with_capacity(symbols + 1);
    let mut next = own.iter().peekable();
    let mut group = *first;
    for symbol in 0..symbols {
        starts.push(group);
        while next.next_if(|(of, _)| *of as usize == symbol).is_some() {
            group += 1;
        }
    }
    starts.push(group);
    starts.into()
}
