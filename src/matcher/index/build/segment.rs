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
use crate::matcher::index::column::Column;
use crate::matcher::index::conjunction::Test;
use crate::matcher::index::ids::{ColumnId, ListenerId, RowId, SegmentTooLarge, range};
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

/// Builds the index of `listeners`, which it sorts by filter.
///
/// # Errors
/// A table would have more entries than its ids can number.
pub(in crate::matcher) fn build(
    listeners: &mut [Listener],
    projections: Projections<'_>,
    steps_max: u32,
) -> Result<Segment, SegmentTooLarge> {
    let mut planner = Planner::default();
    let mut tests = Vec::new();
    let mut groups = Vec::new();
    for range in group_by_filter(listeners) {
        let start = tests.len();
        if let Some(program) = listeners.get(range.start).and_then(Listener::program) {
            compile(program, steps_max, &mut planner, &mut tests)?;
        }
        let tests = start..tests.len();
        groups.push(FilterGroup { listeners: range, tests, access_predicate: None });
    }
    assemble(listeners, tests, groups, planner, projections)
}

/// Builds a segment that evaluates the filters of `listeners` for every event.
///
/// # Errors
/// As [`build`]; never for a single listener.
pub(in crate::matcher) fn unindexed(
    listeners: &mut [Listener],
    projections: Projections<'_>,
) -> Result<Segment, SegmentTooLarge> {
    let mut tests = Vec::new();
    let mut groups = Vec::new();
    for listeners in group_by_filter(listeners) {
        tests.push(Test::MayError);
        let tests = tests.len() - 1..tests.len();
        groups.push(FilterGroup { listeners, tests, access_predicate: None });
    }
    assemble(listeners, tests, groups, Planner::default(), projections)
}

fn assemble(
    listeners: &[Listener],
    mut tests: Vec<Test>,
    mut groups: Vec<FilterGroup>,
    planner: Planner,
    projections: Projections<'_>,
) -> Result<Segment, SegmentTooLarge> {
    let plan = planner.finish(&mut tests)?;
    let mut selectivity = Selectivity::new(plan.columns.len());
    tests.iter().for_each(|test| selectivity.count(*test, &plan.tables));
    for group in &mut groups {
        let own = tests.get(group.tests.clone());
        debug_assert!(own.is_some(), "the tests of a group are planned");
        let own = own.unwrap_or_default();
        group.access_predicate = selectivity.access_predicate(own, &plan.tables);
    }
    drop(selectivity);
    // Listeners are in the order of the posting lists, which read them.
    groups.sort_by_cached_key(|group| {
        let first = group.constants(&plan.tables).next();
        (first.is_none(), first)
    });
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

/// Fills the tables of columns and puts everything together.
fn finish(
    listeners: Vec<Listener>,
    rows: Rows,
    plan: Plan,
    projections: Projections<'_>,
) -> Result<Segment, SegmentTooLarge> {
    let shared = projections.shared.filter(|shared| is_near(shared, &plan));
    let base = projections.previous.or(shared);
    let mut projection = base.map_or_else(ProjectionBuilder::default, ProjectionBuilder::on);
    let lists = |at: usize| rows.columns.get(at).map_or(&[][..], |postings| &*postings.lists);
    let first_subexpression = plan.columns.len();
    let mut columns = ColumnsBuilder::default();
    let (paths, indexed) = add_columns(plan.columns, lists, &mut columns, &mut projection)?;
    let subexpressions = plan.subexpressions.into_iter().zip(first_subexpression..);
    let subexpressions = subexpressions.map(|(program, at)| {
        let postings = lists(at).first().copied();
        debug_assert!(postings.is_some(), "its constant has a posting list");
        SharedSubexpression::new(program, postings.unwrap_or_default())
    });
    let subexpressions = subexpressions.collect();
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
    lists: impl Fn(usize) -> &'r [RowId],
    tables: &mut ColumnsBuilder,
    projection: &mut ProjectionBuilder,
) -> Result<Columns, SegmentTooLarge> {
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
        built.push(tables.add(id, column, compiled.end(), lists(at), projection)?);
    }
    let paths = paths.into_iter().map(|(_, path, columns)| Ok((path, range(columns)?)));
    Ok((paths.collect::<Result<_, _>>()?, built.into()))
}

/// Returns the ids of the listeners, sorted by the addresses of their subscriptions.
fn by_pointer(listeners: &[Listener]) -> Result<Box<[ListenerId]>, SegmentTooLarge> {
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
