//! Puts the tables of a segment together.

use std::ops::Range;
use std::sync::Arc;

use switchyard_expr::Path;

use super::access::Selectivity;
use super::columns::{ColumnBuilder, ColumnsBuilder};
use super::filter::compile;
use super::groups::{FilterGroup, group_by_filter};
use super::planner::{Plan, Planner};
use super::postings::{Rows, RowsBuilder};
use crate::event::projection::{Projection, ProjectionBuilder};
use crate::matcher::index::build_error::BuildError;
use crate::matcher::index::column::{Column, ColumnTables};
use crate::matcher::index::conjunction::{RowCell, RowHeader, Test, TestTables};
use crate::matcher::index::corrupt::CorruptSegment;
use crate::matcher::index::ids::{ColumnId, ListenerId, RowId, TestCount, range};
use crate::matcher::index::listener::Listener;
use crate::matcher::index::path::CompiledPath;
use crate::matcher::index::segment::Segment;
use crate::matcher::index::subexpression::SharedSubexpression;

/// The projections of other segments that a segment may use.
#[derive(Clone, Copy, Debug)]
pub(in crate::matcher) struct Projections<'p> {
    /// That of the segments before it in the partition, which is used if there is one.
    pub(in crate::matcher) previous: Option<&'p Arc<Projection>>,
    /// That of other sites for the same event type, which is used if it fits.
    pub(in crate::matcher) shared: Option<&'p Arc<Projection>>,
}

/// A projection with more fields is not extended by a later segment, which would copy it.
const BASE_FIELDS_MAX: usize = 1024;

/// Builds the index of `listeners`, which it sorts by filter.
///
/// # Errors
/// A table would have more entries than its ids can number, or tables do not fit each other.
pub(in crate::matcher) fn build(
    listeners: &mut [Listener],
    projections: Projections<'_>,
    steps_max: u32,
) -> Result<Segment, BuildError> {
    let mut planner = Planner::default();
    let mut tests = Vec::new();
    let mut groups = Vec::new();
    for range in group_by_filter(listeners) {
        let start = tests.len();
        let first = listeners.get(range.start).ok_or(CorruptSegment("listener of a group"))?;
        match first.program() {
            Some(program) if first.is_indexed => {
                compile(program, steps_max, &mut planner, &mut tests)?;
            }
            Some(_) => tests.push(Test::MayError),
            None => {}
        }
        let tests = start..tests.len();
        groups.push(FilterGroup { listeners: range, tests, access_predicate: None });
    }
    assemble(listeners, tests, groups, planner, projections)
}

/// Returns a segment of one listener, whose filter is evaluated for every event.
pub(in crate::matcher) fn unindexed(listener: &Listener, projections: Projections<'_>) -> Segment {
    let projection = projections.previous.or(projections.shared);
    let header = RowHeader::new(ListenerId::default(), TestCount::ONE);
    let mut listener = listener.clone();
    listener.ends_group = true;
    let rows =
        [RowCell::End, RowCell::ListenerGroup(header), RowCell::Test(Test::MayError), RowCell::End];
    Segment {
        listeners: Box::new([listener]),
        by_pointer: Box::new([ListenerId::default()]),
        rows: Box::new(rows),
        tables: TestTables::default(),
        projection: projection
            .map_or_else(ProjectionBuilder::default, ProjectionBuilder::on)
            .finish(),
        paths: Box::default(),
        columns: Box::default(),
        column_tables: ColumnTables::default(),
        subexpressions: Box::default(),
        postings: Box::default(),
        bounds: Box::default(),
        rows_that_may_error: Box::default(),
        without_access_predicate: RowId::SECOND,
    }
}

fn assemble(
    listeners: &[Listener],
    mut tests: Vec<Test>,
    mut groups: Vec<FilterGroup>,
    planner: Planner,
    projections: Projections<'_>,
) -> Result<Segment, BuildError> {
    let plan = planner.finish(&mut tests)?;
    let mut selectivity = Selectivity::new(plan.columns.len());
    tests.iter().try_for_each(|test| selectivity.count(*test, &plan.tables))?;
    for group in &mut groups {
        let own = tests.get(group.tests.clone()).ok_or(CorruptSegment("test of a group"))?;
        group.access_predicate = selectivity.access_predicate(own, &plan.tables)?;
    }
    drop(selectivity);
    let groups = sort_by_posting_list(groups, &plan.tables)?;
    let constants = plan.columns.iter().map(|(_, column)| column.constants());
    let constants = constants.chain(plan.subexpressions.iter().map(|_| 1));
    let mut rows = RowsBuilder::new(&tests, &groups, &plan.tables, constants);
    let mut ordered = Vec::with_capacity(listeners.len());
    for group in &groups {
        rows.add_listeners(group, listeners, &mut ordered)?;
    }
    let rows = rows.finish()?;
    finish(ordered, rows, plan, projections)
}

/// Sorts groups by their first posting list, so that listeners are in the order in which lookups read
/// them.
fn sort_by_posting_list(
    groups: Vec<FilterGroup>,
    tables: &TestTables,
) -> Result<Vec<FilterGroup>, CorruptSegment> {
    let mut keyed = Vec::with_capacity(groups.len());
    let mut constants = Vec::new();
    for group in groups {
        constants.clear();
        group.add_constants(tables, &mut constants)?;
        let first = constants.first().copied();
        keyed.push(((first.is_none(), first), group));
    }
    keyed.sort_by_key(|(key, _)| *key);
    Ok(keyed.into_iter().map(|(_, group)| group).collect())
}

/// Fills the tables of columns and puts everything together.
fn finish(
    listeners: Vec<Listener>,
    rows: Rows,
    plan: Plan,
    projections: Projections<'_>,
) -> Result<Segment, BuildError> {
    let previous = projections.previous.filter(|base| base.field_count() <= BASE_FIELDS_MAX);
    let shared = projections.shared.filter(|shared| is_near(shared, &plan));
    let base = previous.or(shared);
    let mut projection = base.map_or_else(ProjectionBuilder::default, ProjectionBuilder::on);
    let lists = |at: usize| {
        let postings = rows.columns.get(at).ok_or(CorruptSegment("postings of a column"))?;
        Ok(&*postings.lists)
    };
    let first_subexpression = plan.columns.len();
    let mut columns = ColumnsBuilder::default();
    let (paths, indexed) = add_columns(plan.columns, lists, &mut columns, &mut projection)?;
    let subexpressions = plan.subexpressions.into_iter().zip(first_subexpression..);
    let subexpressions = subexpressions.map(|(program, at)| {
        let postings = lists(at)?.first().ok_or(CorruptSegment("posting list"))?;
        Ok(SharedSubexpression::new(program, *postings))
    });
    let subexpressions = subexpressions.collect::<Result<_, CorruptSegment>>()?;
    let (mut bounds, mut rows_that_may_error) = (Vec::new(), Vec::new());
    let postings = rows.columns.into_iter();
    let postings = postings.map(|one| one.finish(&mut bounds, &mut rows_that_may_error));
    let postings = postings.collect::<Result<Box<[_]>, _>>()?;
    let mut tables = plan.tables;
    tables.shrink();
    Ok(Segment {
        by_pointer: by_pointer(&listeners)?,
        listeners: listeners.into(),
        rows: rows.rows.into(),
        tables,
        projection: projection.finish(),
        paths,
        columns: indexed,
        column_tables: columns.finish()?,
        subexpressions,
        postings,
        bounds: bounds.into(),
        rows_that_may_error: rows_that_may_error.into(),
        without_access_predicate: rows.without_access_predicate,
    })
}

/// The paths of a segment, each with the range of its columns, and its columns.
type Columns = (Box<[(CompiledPath, Range<u32>)]>, Box<[Column]>);

/// Adds the columns, which are sorted by path; `lists` returns the posting lists of a column.
fn add_columns<'r>(
    columns: Vec<(Path, ColumnBuilder)>,
    lists: impl Fn(usize) -> Result<&'r [RowId], CorruptSegment>,
    tables: &mut ColumnsBuilder,
    projection: &mut ProjectionBuilder,
) -> Result<Columns, BuildError> {
    let mut paths: Vec<(Path, CompiledPath, Range<usize>)> = Vec::new();
    let mut built = Vec::with_capacity(columns.len());
    for (at, (path, column)) in columns.into_iter().enumerate() {
        let compiled = match paths.last_mut() {
            Some((known, compiled, columns)) if *known == path => {
                columns.end = at + 1;
                *compiled
            }
            _ => {
                let compiled = CompiledPath::new(&path, projection);
                paths.push((path, compiled, at..at + 1));
                compiled
            }
        };
        let id = ColumnId::new(at)?;
        built.push(tables.add(id, column, compiled.end(), lists(at)?, projection)?);
    }
    let paths = paths.into_iter().map(|(_, path, columns)| Ok((path, range(columns)?)));
    Ok((paths.collect::<Result<_, BuildError>>()?, built.into()))
}

/// Returns the ids of the listeners, sorted by the addresses of their subscriptions.
fn by_pointer(listeners: &[Listener]) -> Result<Box<[ListenerId]>, BuildError> {
    let mut ids = (0..listeners.len()).map(ListenerId::new).collect::<Result<Box<[_]>, _>>()?;
    ids.sort_unstable_by_key(|id| {
        listeners.get(id.index()).map(|listener| Arc::as_ptr(&listener.subscription))
    });
    Ok(ids)
}

/// Whether to use `shared`: a projection that is in the cache from the events of other sites costs less
/// even if it reads more values.
fn is_near(shared: &Projection, plan: &Plan) -> bool {
    const MORE_MAX: usize = 16;
    let mut own = ProjectionBuilder::default();
    for (path, _) in &plan.columns {
        CompiledPath::new(path, &mut own);
    }
    shared.field_count() <= own.field_count() * 2 + MORE_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matcher::index::ids::ConstantId;

    #[test]
    fn tables_that_do_not_fit_each_other_fail_the_build() {
        let (column, constant) = (ColumnId::new(3).unwrap(), ConstantId::default());
        let no_column = vec![Test::Is { column, constant }];
        for (tests, listeners, range) in
            [(no_column, 0..0, 0..1), (vec![], 0..1, 0..0), (vec![], 0..0, 0..1)]
        {
            let group = FilterGroup { listeners, tests: range, access_predicate: None };
            let projections = Projections { previous: None, shared: None };
            let built = assemble(&[], tests, vec![group], Planner::default(), projections);
            assert!(matches!(built, Err(BuildError::Corrupt(_))), "{built:?}");
        }
        let error = Planner::default().constant_id(column, []).unwrap_err();
        let expected = "no column of a constant at the position that the index refers to";
        assert_eq!(error.to_string(), expected);
    }
}
