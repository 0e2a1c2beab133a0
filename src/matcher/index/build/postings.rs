//! Writes the rows of a segment and the posting lists that lead to them.

use switchyard_expr::predicate::Order;

use super::access::{AccessPredicate, set_of};
use super::groups::FilterGroup;
use crate::matcher::index::build_error::BuildError;
use crate::matcher::index::conjunction::{RowCell, RowHeader, Test, TestTables};
use crate::matcher::index::corrupt::CorruptSegment;
use crate::matcher::index::ids::{ColumnId, ConstantId, ListenerId, RowId, TestCount, range};
use crate::matcher::index::listener::Listener;
use crate::matcher::index::segment::{Bound, ColumnPostings};

/// A row is copied into the posting lists that lead to it, unless all copies together take more than
/// this many times the cells of a single one: then the lists contain its position. So the rows of a
/// filter are linear in its size, and one with few tests is found in one read of far memory. Tests
/// share rows earlier.
const COPIES_SHARE: usize = if cfg!(test) { 1 } else { 8 };

/// Writes the rows of all filters and the posting lists that refer to them.
pub(super) struct RowsBuilder<'g> {
    tests: &'g [Test],
    groups: &'g [FilterGroup],
    tables: &'g TestTables,
    rows: Vec<RowCell>,
    /// By group.
    headers: Vec<RowCell>,
    /// By group: one of its rows, if any is written.
    row_of_group: Vec<Option<RowId>>,
    columns: Vec<PostingsBuilder>,
}

/// The rows of a segment with what leads to them.
pub(super) struct Rows {
    pub(super) rows: Vec<RowCell>,
    /// By column.
    pub(super) columns: Vec<PostingsBuilder>,
    /// Posting list of the groups without an access predicate.
    pub(super) without_access_predicate: RowId,
}

impl<'g> RowsBuilder<'g> {
    /// Starts with columns of these numbers of constants.
    pub(super) fn new(
        tests: &'g [Test],
        groups: &'g [FilterGroup],
        tables: &'g TestTables,
        constants: impl IntoIterator<Item = usize>,
    ) -> Self {
        let columns = constants.into_iter().map(PostingsBuilder::new).collect();
        Self {
            tests,
            groups,
            tables,
            rows: vec![RowCell::End],
            headers: Vec::with_capacity(groups.len()),
            row_of_group: vec![None; groups.len()],
            columns,
        }
    }

    /// Appends the listeners of the next group to `ordered` and adds the header of its rows.
    pub(super) fn add_listeners(
        &mut self,
        group: &FilterGroup,
        listeners: &[Listener],
        ordered: &mut Vec<Listener>,
    ) -> Result<(), BuildError> {
        let first = ListenerId::new(ordered.len())?;
        let own = listeners.get(group.listeners.clone()).ok_or(CorruptSegment("listener"))?;
        ordered.extend(own.iter().cloned());
        for (behind, listener) in ordered.iter_mut().rev().take(own.len()).enumerate() {
            listener.ends_group = behind == 0;
        }
        let header = RowHeader::new(first, TestCount::new(group.tests.len())?);
        self.headers.push(match own {
            _ if self.is_shared(group)? => RowCell::SharedRow(header),
            [only] if group.access_tests().len() <= 1 && only.conditions.is_empty() => {
                RowCell::SingleListener(header)
            }
            _ => RowCell::ListenerGroup(header),
        });
        Ok(())
    }

    /// Whether the row of a group is too large to be copied to everything that leads to it.
    fn is_shared(&self, group: &FilterGroup) -> Result<bool, CorruptSegment> {
        let mut leads = 0_usize;
        for test in group.access_tests() {
            leads += match test {
                Test::IsOneOf { set, .. } => set_of(self.tables, *set)?.len(),
                _ => 1,
            };
        }
        let cells = group.tests.len() + 1;
        Ok(leads * cells > (leads + cells) * COPIES_SHARE)
    }

    /// Writes all rows.
    pub(super) fn finish(mut self) -> Result<Rows, BuildError> {
        self.write_shared_rows()?;
        self.write_posting_lists()?;
        let without_access_predicate = self.write_other_rows()?;
        Ok(Rows { rows: self.rows, columns: self.columns, without_access_predicate })
    }

    fn write_shared_rows(&mut self) -> Result<(), BuildError> {
        for group in 0..self.groups.len() {
            if let Some(RowCell::SharedRow(_)) = self.headers.get(group) {
                self.write(group, None)?;
            }
        }
        Ok(())
    }

    /// Writes a posting list for each constant of each column.
    fn write_posting_lists(&mut self) -> Result<(), BuildError> {
        let mut all: Vec<(ColumnId, ConstantId, usize)> = Vec::new();
        let mut constants = Vec::new();
        for (at, group) in (0_usize..).zip(self.groups) {
            group.add_constants(self.tables, &mut constants)?;
            all.extend(constants.drain(..).map(|(column, constant)| (column, constant, at)));
        }
        all.sort_unstable();
        all.dedup();
        for list in all.chunk_by(|(a, x, _), (b, y, _)| (a, x) == (b, y)) {
            let Some((column, constant, _)) = list.first() else { continue };
            let start = self.rows.len();
            for (_, _, group) in list {
                match (self.headers.get(*group), self.row_of_group.get(*group)) {
                    (Some(RowCell::SharedRow(_)), Some(Some(row))) => {
                        self.rows.push(RowCell::Reference(row.to_bytes()));
                    }
                    _ => drop(self.write(*group, Some(*constant))?),
                }
            }
            self.rows.push(RowCell::End);
            let end = self.rows.len();
            self.postings_of(*column)?.add_list(*constant, start, end)?;
        }
        Ok(())
    }

    /// Writes and posts all other rows; returns the posting list of those without an access
    /// predicate.
    fn write_other_rows(&mut self) -> Result<RowId, BuildError> {
        let without_access_predicate = RowId::new(self.rows.len())?;
        let groups = self.groups;
        for (at, group) in groups.iter().enumerate() {
            if group.access_predicate.is_none() {
                self.write(at, None)?;
            }
        }
        self.rows.push(RowCell::End);
        for (at, group) in groups.iter().enumerate() {
            if let Some(predicate) = &group.access_predicate {
                let row = match self.row_of_group.get(at).copied().flatten() {
                    Some(row) => row,
                    None => self.write(at, None)?,
                };
                self.post(row, predicate)?;
            }
        }
        Ok(without_access_predicate)
    }

    /// Writes a row of a group and returns it; `constant` is the constant of its posting list.
    fn write(&mut self, group: usize, constant: Option<ConstantId>) -> Result<RowId, BuildError> {
        let start = RowId::new(self.rows.len())?;
        let own = self.groups.get(group).zip(self.headers.get(group));
        let (own, header) = own.ok_or(CorruptSegment("group of a row"))?;
        self.rows.push(*header);
        let tests = self.tests.get(own.tests.clone()).ok_or(CorruptSegment("test of a group"))?;
        // In the posting list of one constant, a test for a list of constants becomes a test for
        // this one: all rows of the group together test the whole list, and no row searches it.
        let listed = match own.access_tests() {
            [only @ Test::IsOneOf { .. }] => Some(*only),
            _ => None,
        };
        self.rows.extend(tests.iter().map(|test| match (test, constant) {
            (Test::IsOneOf { column, .. }, Some(constant)) if Some(*test) == listed => {
                RowCell::Test(Test::Is { column: *column, constant })
            }
            _ => RowCell::Test(*test),
        }));
        *self.row_of_group.get_mut(group).ok_or(CorruptSegment("row of a group"))? = Some(start);
        Ok(start)
    }

    /// Posts a row under the comparisons of its access predicate, and under the columns that may
    /// make it fail and do not lead to it.
    fn post(&mut self, row: RowId, predicate: &AccessPredicate) -> Result<(), CorruptSegment> {
        for test in &predicate.tests {
            let Test::Ordered { order, column, bound } = *test else { continue };
            let number = self.tables.bound(bound).ok_or(CorruptSegment("bound"))?;
            self.postings_of(column)?.add_bound(order, number, row);
        }
        let leads = |test: &&Test| !matches!(test, Test::Ordered { .. });
        let leads = predicate.tests.iter().filter(leads).filter_map(|test| test.column());
        let mut leads: Vec<ColumnId> = leads.collect();
        leads.sort_unstable();
        for column in &predicate.columns {
            if leads.binary_search(column).is_err() {
                self.postings_of(*column)?.add_row_that_may_error(row);
            }
        }
        Ok(())
    }

    fn postings_of(&mut self, column: ColumnId) -> Result<&mut PostingsBuilder, CorruptSegment> {
        self.columns.get_mut(column.index()).ok_or(CorruptSegment("column of a test"))
    }
}

/// The rows that depend on a column.
#[derive(Debug, Default)]
pub(super) struct PostingsBuilder {
    /// By constant: the position of its posting list. Those without one lead to the first, which is
    /// empty.
    pub(super) lists: Vec<RowId>,
    rows: std::ops::Range<usize>,
    below: Vec<Bound>,
    above: Vec<Bound>,
    rows_that_may_error: Vec<RowId>,
}

impl PostingsBuilder {
    fn new(constants: usize) -> Self {
        Self { lists: vec![RowId::default(); constants], ..Self::default() }
    }

    fn add_list(
        &mut self,
        constant: ConstantId,
        start: usize,
        end: usize,
    ) -> Result<(), BuildError> {
        let list = self.lists.get_mut(constant.index());
        *list.ok_or(CorruptSegment("constant of a column"))? = RowId::new(start)?;
        if self.rows.is_empty() {
            self.rows.start = start;
        }
        self.rows.end = end;
        Ok(())
    }

    fn add_bound(&mut self, order: Order, number: f64, row: RowId) {
        let is_excluded = matches!(order, Order::Less | Order::Greater);
        let side = match order {
            Order::Less | Order::LessOrEqual => &mut self.below,
            Order::Greater | Order::GreaterOrEqual => &mut self.above,
        };
        side.push(Bound { number, is_excluded, row });
    }

    fn add_row_that_may_error(&mut self, row: RowId) {
        if self.rows_that_may_error.last() != Some(&row) {
            self.rows_that_may_error.push(row);
        }
    }

    /// Appends its bounds and rows to the tables of the segment.
    pub(super) fn finish(
        mut self,
        bounds: &mut Vec<Bound>,
        rows_that_may_error: &mut Vec<RowId>,
    ) -> Result<ColumnPostings, BuildError> {
        // The bounds that most numbers satisfy come first, so that a lookup ends at the first that
        // fails.
        self.below.sort_unstable_by(|a, b| {
            b.number.total_cmp(&a.number).then(a.is_excluded.cmp(&b.is_excluded))
        });
        self.above.sort_unstable_by(|a, b| {
            a.number.total_cmp(&b.number).then(a.is_excluded.cmp(&b.is_excluded))
        });
        Ok(ColumnPostings {
            rows: range(self.rows)?,
            below: range(append(bounds, self.below))?,
            above: range(append(bounds, self.above))?,
            rows_that_may_error: range(append(rows_that_may_error, self.rows_that_may_error))?,
        })
    }
}

/// Appends `items` and returns their range.
fn append<T>(all: &mut Vec<T>, items: Vec<T>) -> std::ops::Range<usize> {
    let start = all.len();
    all.extend(items);
    start..all.len()
}
