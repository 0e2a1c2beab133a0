//! Builds a segment: groups equal filters, chooses access predicates, writes posting lists.

use switchyard_expr::predicate::Order;

use super::super::column::ColumnsBuilder;
use super::super::dictionary::ConstantId;
use super::super::*;
use super::planner::{AccessPredicate, ColumnId, MAY_ERROR, Planner, Selectivity};
use crate::domain::InstallationId;
use crate::event::projection::ProjectionBuilder;

/// The listeners of one filter, with its tests.
#[derive(Debug)]
struct FilterGroup {
    /// Range of listeners, which are sorted by group.
    listeners: Range<usize>,
    tests: Range<usize>,
    access_predicate: Option<AccessPredicate>,
}

impl FilterGroup {
    /// The tests of which one holds whenever the filter is true; none if it has no access
    /// predicate.
    fn access_tests(&self) -> &[Test] {
        self.access_predicate.as_ref().map_or(&[], |access_predicate| &access_predicate.tests)
    }

    /// The columns and constants whose posting lists contain it.
    fn constants<'a>(
        &'a self,
        tables: &'a TestTables,
    ) -> impl Iterator<Item = (ColumnId, ConstantId)> + use<'a> {
        self.access_tests().iter().flat_map(|test| {
            let constants = match test.op {
                Op::Is | Op::MayBe => std::slice::from_ref(&test.argument),
                Op::IsOneOf => tables.set(test.argument),
                _ => &[],
            };
            constants.iter().map(move |constant| (test.column, *constant))
        })
    }
}

pub(in crate::matcher::index) fn build(
    mut listeners: Vec<Listener>,
    first: Option<&Arc<Projection>>,
    shared: Option<&Arc<Projection>>,
    steps_max: u32,
) -> Segment {
    let mut planner = Planner::default();
    let mut tests = Vec::new();
    let mut groups = Vec::new();
    for range in group_by_filter(&mut listeners) {
        let start = tests.len();
        if let Some(program) = listeners.get(range.start).and_then(Listener::program) {
            planner.tests(program, steps_max, &mut tests);
        }
        groups.push(FilterGroup {
            listeners: range,
            tests: start..tests.len(),
            access_predicate: None,
        });
    }
    planner.sort_columns(&mut tests);
    let mut selectivity = Selectivity::new(planner.columns.len());
    tests.iter().for_each(|test| selectivity.count(*test, &planner.tables));
    for group in &mut groups {
        let own = tests.get(group.tests.clone()).unwrap_or_default();
        group.access_predicate = selectivity.access_predicate(own, &planner.tables);
    }
    drop(selectivity);
    // Listeners are in the order of the posting lists, which read them.
    groups.sort_by_cached_key(|group| {
        let first = group.constants(&planner.tables).next();
        (first.is_none(), first)
    });
    let base = first.or_else(|| shared.filter(|shared| is_near(shared, &planner)));
    let projection = base.map_or_else(ProjectionBuilder::default, ProjectionBuilder::on);
    build_segment(&listeners, &tests, &groups, planner, projection)
}

/// Whether to use `shared`: a projection that is in the cache from the events of other sites costs
/// less even if it reads more values.
fn is_near(shared: &Projection, planner: &Planner) -> bool {
    const MORE_MAX: usize = 16;
    let mut own = ProjectionBuilder::default();
    for (path, _) in &planner.columns {
        CompiledPath::new(path, &mut own);
    }
    shared.field_count() <= own.field_count() * 2 + MORE_MAX
}

/// Sorts listeners by filter and returns the range of each group. Equal filters are one program;
/// those that read `event.selfGenerated`, whose value differs between apps, are grouped by
/// installation.
fn group_by_filter(listeners: &mut [Listener]) -> Vec<Range<usize>> {
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

fn build_segment(
    listeners: &[Listener],
    tests: &[Test],
    groups: &[FilterGroup],
    planner: Planner,
    mut projection: ProjectionBuilder,
) -> Segment {
    let mut ordered = Vec::with_capacity(listeners.len());
    let mut rows = RowsBuilder::new(tests, groups, &planner);
    for group in groups {
        rows.add_listeners(group, listeners, &mut ordered);
    }
    rows.write_posting_lists();
    let without_access_predicate = rows.write_other_rows();
    let RowsBuilder { rows, columns: postings, .. } = rows;
    let mut paths: Vec<(CompiledPath, Range<u32>)> = Vec::new();
    let mut last = None;
    let mut columns = Vec::with_capacity(planner.columns.len());
    let mut column_tables = ColumnsBuilder::default();
    for ((id, (path, builder)), postings) in (0..).zip(planner.columns).zip(&postings) {
        let at = index(columns.len());
        if last.as_ref() != Some(&path) {
            paths.push((CompiledPath::new(&path, &mut projection), at..at));
            last = Some(path);
        }
        let Some((path, of_path)) = paths.last_mut() else { continue };
        of_path.end = at + 1;
        let lists = &postings.lists;
        columns.push(column_tables.column(id, builder, path.end(), lists, &mut projection));
    }
    let of_subexpressions = postings.iter().skip(columns.len());
    let subexpressions =
        planner.subexpressions.into_iter().zip(of_subexpressions).map(|(program, postings)| {
            SharedSubexpression::new(program, postings.lists.first().copied().unwrap_or_default())
        });
    let subexpressions = subexpressions.collect();
    let (mut bounds, mut rows_that_may_error) = (Vec::new(), Vec::new());
    let postings =
        postings.into_iter().map(|one| one.finish(&mut bounds, &mut rows_that_may_error)).collect();
    let mut tables = planner.tables;
    tables.bounds.shrink_to_fit();
    tables.sets.shrink_to_fit();
    let mut by_pointer: Vec<ListenerId> = (0..index(ordered.len())).collect();
    by_pointer.sort_unstable_by_key(|at| {
        ordered.get(*at as usize).map(|listener| Arc::as_ptr(&listener.subscription))
    });
    Segment {
        by_pointer: by_pointer.into(),
        listeners: ordered.into(),
        rows: rows.into(),
        tables,
        projection: projection.finish(),
        paths: paths.into(),
        columns: columns.into(),
        column_tables: column_tables.finish(),
        subexpressions,
        postings,
        bounds: bounds.into(),
        rows_that_may_error: rows_that_may_error.into(),
        without_access_predicate,
    }
}

/// Writes the rows of all filters and the posting lists that refer to them.
struct RowsBuilder<'d> {
    tests: &'d [Test],
    groups: &'d [FilterGroup],
    tables: &'d TestTables,
    rows: Vec<Test>,
    /// By group.
    headers: Vec<Test>,
    /// By group: position of one of its rows; 0 if none is written yet.
    row_of_group: Vec<u32>,
    columns: Vec<PostingsBuilder>,
}

const END: Test = Test { op: Op::End, column: 0, argument: 0 };

impl<'d> RowsBuilder<'d> {
    fn new(tests: &'d [Test], groups: &'d [FilterGroup], planner: &'d Planner) -> Self {
        let postings =
            |constants| PostingsBuilder { lists: vec![0; constants], ..Default::default() };
        let columns = planner.columns.iter().map(|(_, column)| postings(column.constants()));
        let subexpressions = planner.subexpressions.iter().map(|_| postings(1));
        Self {
            tests,
            groups,
            tables: &planner.tables,
            rows: vec![END],
            headers: Vec::with_capacity(groups.len()),
            row_of_group: vec![0; groups.len()],
            columns: columns.chain(subexpressions).collect(),
        }
    }

    /// Appends the listeners of the next group to `ordered` and adds the header of its rows.
    fn add_listeners(
        &mut self,
        group: &FilterGroup,
        listeners: &[Listener],
        ordered: &mut Vec<Listener>,
    ) {
        let first = index(ordered.len());
        let own = listeners.get(group.listeners.clone()).unwrap_or_default();
        ordered.extend(own.iter().map(|own| Listener { ends_group: false, ..own.clone() }));
        ordered.last_mut().into_iter().for_each(|last| last.ends_group = true);
        let is_single = match own {
            [only] => group.access_tests().len() <= 1 && only.conditions.is_empty(),
            _ => false,
        };
        let op = if is_single { Op::SingleListener } else { Op::ListenerGroup };
        self.headers.push(Test { op, column: 0, argument: first });
    }

    /// Writes a posting list for each constant of each column.
    fn write_posting_lists(&mut self) {
        let groups = (0_usize..).zip(self.groups);
        let mut all: Vec<(ColumnId, ConstantId, usize)> = groups
            .flat_map(|(at, group)| {
                group.constants(self.tables).map(move |(column, constant)| (column, constant, at))
            })
            .collect();
        all.sort_unstable();
        all.dedup();
        for run in all.chunk_by(|(a, x, _), (b, y, _)| (a, x) == (b, y)) {
            let Some((column, constant, _)) = run.first() else { continue };
            let start = index(self.rows.len());
            run.iter().for_each(|(_, _, at)| self.write(*at, Some(*constant)));
            self.rows.push(END);
            let end = index(self.rows.len());
            let Some(postings) = self.columns.get_mut(usize::from(*column)) else { continue };
            if let Some(run) = postings.lists.get_mut(*constant as usize) {
                *run = start;
            }
            if postings.rows.is_empty() {
                postings.rows.start = start;
            }
            postings.rows.end = end;
        }
    }

    /// Writes and posts all other rows; returns the posting list of those without an access
    /// predicate.
    fn write_other_rows(&mut self) -> u32 {
        let without_access_predicate = index(self.rows.len());
        for (at, _) in
            self.groups.iter().enumerate().filter(|(_, group)| group.access_predicate.is_none())
        {
            self.write(at, None);
        }
        self.rows.push(END);
        for (at, group) in self.groups.iter().enumerate() {
            let Some(access_predicate) = &group.access_predicate else { continue };
            if self.row_of_group.get(at) == Some(&0) {
                self.write(at, None);
            }
            let row = self.row_of_group.get(at).copied().unwrap_or_default();
            self.post(row, access_predicate);
        }
        without_access_predicate
    }

    /// Writes a row of a group; `constant` is the constant of its posting list.
    fn write(&mut self, group: usize, constant: Option<ConstantId>) {
        let start = index(self.rows.len());
        let Some(own) = self.groups.get(group) else { return };
        let Some(header) = self.headers.get(group) else { return };
        self.rows.push(*header);
        let tests = self.tests.get(own.tests.clone()).unwrap_or_default();
        // In the posting list of one constant, a test for a list of constants becomes a test for
        // this one: all rows of the group together test the whole list, and no row searches it.
        let listed = match own.access_tests() {
            [only] if only.op == Op::IsOneOf => Some(*only),
            _ => None,
        };
        self.rows.extend(tests.iter().map(|test| match constant {
            Some(constant) if Some(*test) == listed => {
                Test { op: Op::Is, argument: constant, ..*test }
            }
            _ => *test,
        }));
        let len = u16::try_from(self.rows.len() - start as usize - 1).unwrap_or_else(|_| {
            // No source is long enough for so many tests.
            self.rows.truncate(start as usize + 1);
            self.rows.push(MAY_ERROR);
            1
        });
        if let Some(header) = self.rows.get_mut(start as usize) {
            header.column = len;
        }
        if let Some(row_of_group) = self.row_of_group.get_mut(group) {
            *row_of_group = start;
        }
    }

    /// Posts a row under the comparisons of its access predicate, and under the columns that may
    /// make it fail and do not lead to it.
    fn post(&mut self, row: u32, access_predicate: &AccessPredicate) {
        for test in &access_predicate.tests {
            let (Op::Ordered(order), Some(postings)) =
                (test.op, self.columns.get_mut(usize::from(test.column)))
            else {
                continue;
            };
            let number = self.tables.bound(test.argument);
            let is_excluded = matches!(order, Order::Less | Order::Greater);
            let side = match order {
                Order::Less | Order::LessOrEqual => &mut postings.below,
                Order::Greater | Order::GreaterOrEqual => &mut postings.above,
            };
            side.push(Bound { number, is_excluded, row });
        }
        for column in &access_predicate.columns {
            let leads = |test: &Test| test.column == *column && !matches!(test.op, Op::Ordered(_));
            if !access_predicate.tests.iter().any(leads)
                && let Some(postings) = self.columns.get_mut(usize::from(*column))
                && postings.rows_that_may_error.last() != Some(&row)
            {
                postings.rows_that_may_error.push(row);
            }
        }
    }
}

#[derive(Default)]
struct PostingsBuilder {
    /// By constant: the position of its posting list.
    lists: Vec<u32>,
    rows: Range<u32>,
    below: Vec<Bound>,
    above: Vec<Bound>,
    rows_that_may_error: Vec<u32>,
}

impl PostingsBuilder {
    fn finish(
        mut self,
        bounds: &mut Vec<Bound>,
        rows_that_may_error: &mut Vec<u32>,
    ) -> ColumnPostings {
        // The bounds that most numbers satisfy come first, so that a lookup ends at the first that
        // fails.
        self.below.sort_unstable_by(|a, b| {
            b.number.total_cmp(&a.number).then(a.is_excluded.cmp(&b.is_excluded))
        });
        self.above.sort_unstable_by(|a, b| {
            a.number.total_cmp(&b.number).then(a.is_excluded.cmp(&b.is_excluded))
        });
        ColumnPostings {
            rows: self.rows,
            below: append(bounds, self.below),
            above: append(bounds, self.above),
            rows_that_may_error: append(rows_that_may_error, self.rows_that_may_error),
        }
    }
}

/// Appends `items` and returns their range.
fn append<T>(all: &mut Vec<T>, items: Vec<T>) -> Range<u32> {
    let start = index(all.len());
    all.extend(items);
    start..index(all.len())
}
