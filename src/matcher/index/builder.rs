//! Lays out a segment: groups equal filters, chooses anchors, puts rows of one anchor together.

use switchyard_expr::predicate::Order;

use super::column::ColumnsBuilder;
use super::dictionary::Symbol;
use super::planner::{Anchor, ColumnId, Planner, STUCK, Uses};
use super::*;
use crate::domain::InstallationId;
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
    /// What an anchor must hold for the filter to be true; none if it has no anchor.
    fn targets(&self) -> &[Check] {
        self.anchor.as_ref().map_or(&[], |anchor| &anchor.targets)
    }

    /// The columns and symbols that lead to it.
    fn symbols<'a>(
        &'a self,
        tables: &'a Tables,
    ) -> impl Iterator<Item = (ColumnId, Symbol)> + use<'a> {
        self.targets().iter().flat_map(|target| {
            let symbols = match target.op {
                Op::Is | Op::MayBe => std::slice::from_ref(&target.argument),
                Op::IsOneOf => tables.set(target.argument),
                _ => &[],
            };
            symbols.iter().map(|symbol| (target.column, *symbol))
        })
    }
}

pub(super) fn build(
    mut listeners: Vec<Listener>,
    first: Option<&Arc<Selection>>,
    shared: Option<&Arc<Selection>>,
    steps_max: u32,
) -> Segment {
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
    planner.sort_columns(&mut checks);
    let mut uses = Uses::new(planner.columns.len());
    checks.iter().for_each(|check| uses.count(*check, &planner.tables));
    for draft in &mut drafts {
        let own = checks.get(draft.checks.clone()).unwrap_or_default();
        draft.anchor = uses.anchor(own, &planner.tables);
    }
    drop(uses);
    // Listeners stand as the rows that lead to them.
    drafts.sort_by_cached_key(|draft| {
        let first = draft.symbols(&planner.tables).next();
        (first.is_none(), first)
    });
    let base = first.or_else(|| shared.filter(|shared| is_near(shared, &planner)));
    let selection = base.map_or_else(SelectionBuilder::default, SelectionBuilder::on);
    lay_out(&listeners, &checks, &drafts, planner, selection)
}

/// Whether picking what `shared` asks for is worth being shared: what is in the cache for the events
/// of other sites costs less, even if it asks for more.
fn is_near(shared: &Selection, planner: &Planner) -> bool {
    const MORE_MAX: usize = 16;
    let mut own = SelectionBuilder::default();
    for (path, _) in &planner.columns {
        Route::new(path, &mut own);
    }
    shared.places() <= own.places() * 2 + MORE_MAX
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

fn lay_out(
    listeners: &[Listener],
    checks: &[Check],
    drafts: &[Draft],
    planner: Planner,
    mut selection: SelectionBuilder,
) -> Segment {
    let mut placed = Vec::with_capacity(listeners.len());
    let mut rows = RowsBuilder::new(checks, drafts, &planner);
    for draft in drafts {
        rows.place(draft, listeners, &mut placed);
    }
    rows.found_by_symbols();
    let unanchored = rows.others();
    let RowsBuilder { rows, columns: postings, .. } = rows;
    let mut paths: Vec<(Route, Range<u32>)> = Vec::new();
    let mut last = None;
    let mut columns = Vec::with_capacity(planner.columns.len());
    let mut column_tables = ColumnsBuilder::default();
    for ((id, (path, builder)), postings) in (0..).zip(planner.columns).zip(&postings) {
        let at = index(columns.len());
        if last.as_ref() != Some(&path) {
            paths.push((Route::new(&path, &mut selection), at..at));
            last = Some(path);
        }
        let Some((route, of_path)) = paths.last_mut() else { continue };
        of_path.end = at + 1;
        let runs = &postings.runs;
        columns.push(column_tables.column(id, builder, route.end(), runs, &mut selection));
    }
    let of_operands = postings.iter().skip(columns.len());
    let operands = planner.operands.into_iter().zip(of_operands).map(|(program, postings)| {
        Operand::new(program, postings.runs.first().copied().unwrap_or_default())
    });
    let operands = operands.collect();
    let (mut bounds, mut fragile) = (Vec::new(), Vec::new());
    let postings = postings.into_iter().map(|one| one.finish(&mut bounds, &mut fragile)).collect();
    let mut tables = planner.tables;
    tables.bounds.shrink_to_fit();
    tables.sets.shrink_to_fit();
    let mut by_pointer: Vec<Place> = (0..index(placed.len())).collect();
    by_pointer.sort_unstable_by_key(|at| {
        placed.get(*at as usize).map(|listener| Arc::as_ptr(&listener.subscription))
    });
    Segment {
        by_pointer: by_pointer.into(),
        listeners: placed.into(),
        rows: rows.into(),
        tables,
        selection: selection.finish(),
        paths: paths.into(),
        columns: columns.into(),
        column_tables: column_tables.finish(),
        operands,
        postings,
        bounds: bounds.into(),
        fragile: fragile.into(),
        unanchored,
    }
}

/// Writes the rows of all filters and notes what leads to them.
struct RowsBuilder<'d> {
    checks: &'d [Check],
    drafts: &'d [Draft],
    tables: &'d Tables,
    rows: Vec<Check>,
    /// By draft, its head.
    heads: Vec<Check>,
    /// By draft, one of its rows; 0 if there is none yet.
    written: Vec<u32>,
    columns: Vec<PostingsBuilder>,
}

const END: Check = Check { op: Op::End, column: 0, argument: 0 };

impl<'d> RowsBuilder<'d> {
    fn new(checks: &'d [Check], drafts: &'d [Draft], planner: &'d Planner) -> Self {
        let postings = |symbols| PostingsBuilder { runs: vec![0; symbols], ..Default::default() };
        let columns = planner.columns.iter().map(|(_, column)| postings(column.symbols()));
        let operands = planner.operands.iter().map(|_| postings(1));
        Self {
            checks,
            drafts,
            tables: &planner.tables,
            rows: vec![END],
            heads: Vec::with_capacity(drafts.len()),
            written: vec![0; drafts.len()],
            columns: columns.chain(operands).collect(),
        }
    }

    /// Puts the listeners of the next draft in their place.
    fn place(&mut self, draft: &Draft, listeners: &[Listener], placed: &mut Vec<Listener>) {
        let first = index(placed.len());
        let own = listeners.get(draft.listeners.clone()).unwrap_or_default();
        placed.extend(own.iter().map(|own| Listener { ends_group: false, ..own.clone() }));
        placed.last_mut().into_iter().for_each(|last| last.ends_group = true);
        let is_lone = match own {
            [only] => draft.targets().len() <= 1 && !only.ignore_self && !only.requires_licence,
            _ => false,
        };
        let op = if is_lone { Op::Lone } else { Op::Group };
        self.heads.push(Check { op, column: 0, argument: first });
    }

    /// Writes a run for each symbol of each column.
    fn found_by_symbols(&mut self) {
        let drafts = (0_usize..).zip(self.drafts);
        let mut all: Vec<(ColumnId, Symbol, usize)> = drafts
            .flat_map(|(at, draft)| {
                draft.symbols(self.tables).map(move |(column, symbol)| (column, symbol, at))
            })
            .collect();
        all.sort_unstable();
        all.dedup();
        for run in all.chunk_by(|(a, x, _), (b, y, _)| (a, x) == (b, y)) {
            let Some((column, symbol, _)) = run.first() else { continue };
            let start = index(self.rows.len());
            run.iter().for_each(|(_, _, at)| self.write(*at, Some(*symbol)));
            self.rows.push(END);
            let end = index(self.rows.len());
            let Some(postings) = self.columns.get_mut(usize::from(*column)) else { continue };
            if let Some(run) = postings.runs.get_mut(*symbol as usize) {
                *run = start;
            }
            if postings.rows.is_empty() {
                postings.rows.start = start;
            }
            postings.rows.end = end;
        }
    }

    /// Writes all other rows and posts them; yields the run of those without an anchor.
    fn others(&mut self) -> u32 {
        let unanchored = index(self.rows.len());
        for (at, _) in self.drafts.iter().enumerate().filter(|(_, draft)| draft.anchor.is_none()) {
            self.write(at, None);
        }
        self.rows.push(END);
        for (at, draft) in self.drafts.iter().enumerate() {
            let Some(anchor) = &draft.anchor else { continue };
            if self.written.get(at) == Some(&0) {
                self.write(at, None);
            }
            let row = self.written.get(at).copied().unwrap_or_default();
            self.post(row, anchor);
        }
        unanchored
    }

    /// Writes a row of a draft, as it is found by `symbol`.
    fn write(&mut self, draft: usize, symbol: Option<Symbol>) {
        let start = index(self.rows.len());
        let Some(own) = self.drafts.get(draft) else { return };
        let Some(head) = self.heads.get(draft) else { return };
        self.rows.push(*head);
        let checks = self.checks.get(own.checks.clone()).unwrap_or_default();
        // Of a list of constants, each row asks for the one that it is found by: together they ask
        // for all, and none has to search the list.
        let listed = match own.targets() {
            [only] if only.op == Op::IsOneOf => Some(*only),
            _ => None,
        };
        self.rows.extend(checks.iter().map(|check| match symbol {
            Some(symbol) if Some(*check) == listed => {
                Check { op: Op::Is, argument: symbol, ..*check }
            }
            _ => *check,
        }));
        let len = u16::try_from(self.rows.len() - start as usize - 1).unwrap_or_else(|_| {
            // No source is long enough for so many.
            self.rows.truncate(start as usize + 1);
            self.rows.push(STUCK);
            1
        });
        if let Some(head) = self.rows.get_mut(start as usize) {
            head.column = len;
        }
        if let Some(written) = self.written.get_mut(draft) {
            *written = start;
        }
    }

    /// Posts a row under its anchor's comparisons, and under the columns that may fail it and do
    /// not lead to it.
    fn post(&mut self, row: u32, anchor: &Anchor) {
        for target in &anchor.targets {
            let (Op::Ordered(order), Some(postings)) =
                (target.op, self.columns.get_mut(usize::from(target.column)))
            else {
                continue;
            };
            let number = self.tables.bound(target.argument);
            let is_excluded = matches!(order, Order::Less | Order::Greater);
            let side = match order {
                Order::Less | Order::LessOrEqual => &mut postings.below,
                Order::Greater | Order::GreaterOrEqual => &mut postings.above,
            };
            side.push(Bound { number, is_excluded, row });
        }
        for column in &anchor.columns {
            let leads =
                |target: &Check| target.column == *column && !matches!(target.op, Op::Ordered(_));
            if !anchor.targets.iter().any(leads)
                && let Some(postings) = self.columns.get_mut(usize::from(*column))
                && postings.fragile.last() != Some(&row)
            {
                postings.fragile.push(row);
            }
        }
    }
}

#[derive(Default)]
struct PostingsBuilder {
    /// By symbol.
    runs: Vec<u32>,
    rows: Range<u32>,
    below: Vec<Bound>,
    above: Vec<Bound>,
    fragile: Vec<u32>,
}

impl PostingsBuilder {
    fn finish(mut self, bounds: &mut Vec<Bound>, fragile: &mut Vec<u32>) -> Postings {
        // The widest bounds first: what a number does not satisfy, it satisfies nothing behind.
        self.below.sort_unstable_by(|a, b| {
            b.number.total_cmp(&a.number).then(a.is_excluded.cmp(&b.is_excluded))
        });
        self.above.sort_unstable_by(|a, b| {
            a.number.total_cmp(&b.number).then(a.is_excluded.cmp(&b.is_excluded))
        });
        Postings {
            rows: self.rows,
            below: append(bounds, self.below),
            above: append(bounds, self.above),
            fragile: append(fragile, self.fragile),
        }
    }
}

/// Appends `items` and yields where they stand.
fn append<T>(all: &mut Vec<T>, items: Vec<T>) -> Range<u32> {
    let start = index(all.len());
    all.extend(items);
    start..index(all.len())
}
