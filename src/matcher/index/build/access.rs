//! Access predicates: chooses the tests by which a filter is found.

use crate::matcher::index::conjunction::{Test, TestTables};
use crate::matcher::index::corrupt::CorruptSegment;
use crate::matcher::index::ids::{ColumnId, ConstantId, SetId};

/// The access predicate of a filter: the filter may be skipped if no test holds and no column is
/// undetermined.
#[derive(Clone, Debug, Default)]
pub(super) struct AccessPredicate {
    /// Tests of which one holds whenever the filter is true.
    pub(super) tests: Vec<Test>,
    /// The columns that, when undetermined, could make the filter fail before or in one of `tests`.
    pub(super) columns: Vec<ColumnId>,
    /// Number of filters with the same tests.
    cost: usize,
}

/// Cost of a shared subexpression as access predicate: higher than that of any constant.
const SUBEXPRESSION_COST: usize = 1 << 30;

/// How often each constant of each column is tested; the rarest makes the best access predicate.
#[derive(Debug, Default)]
pub(super) struct Selectivity {
    /// Columns from here on are those of shared subexpressions.
    first_subexpression: usize,
    constants: Vec<Vec<u32>>,
    ordered: Vec<usize>,
}

impl Selectivity {
    /// Returns an empty count; columns from `first_subexpression` on are those of shared
    /// subexpressions.
    pub(super) fn new(first_subexpression: usize) -> Self {
        Self { first_subexpression, ..Self::default() }
    }

    pub(super) fn count(&mut self, test: Test, tables: &TestTables) -> Result<(), CorruptSegment> {
        match test {
            Test::Is { column, constant } | Test::MayBe { column, constant } => {
                self.add(column, constant);
            }
            Test::IsOneOf { column, set } => {
                set_of(tables, set)?.iter().for_each(|constant| self.add(column, *constant));
            }
            Test::Ordered { column, .. } => *entry(&mut self.ordered, column.index()) += 1,
            _ => {}
        }
        Ok(())
    }

    fn add(&mut self, column: ColumnId, constant: ConstantId) {
        *entry(entry(&mut self.constants, column.index()), constant.index()) += 1;
    }

    /// Number of tests of a constant; 0 if none is counted yet.
    fn of(&self, column: ColumnId, constant: ConstantId) -> usize {
        let count = self.constants.get(column.index());
        let count = count.and_then(|counts| counts.get(constant.index()));
        // A subexpression may hold for every event, so it leads only to filters that nothing else
        // leads to.
        let is_subexpression = column.index() >= self.first_subexpression;
        count.map_or(0, |count| *count as usize)
            + if is_subexpression { SUBEXPRESSION_COST } else { 0 }
    }

    /// Returns the best access predicate of a conjunction, if it has one.
    ///
    /// # Errors
    /// A test refers to constants that `tables` do not have.
    pub(super) fn access_predicate(
        &self,
        mut tests: &[Test],
        tables: &TestTables,
    ) -> Result<Option<AccessPredicate>, CorruptSegment> {
        // With the number of columns before it.
        let mut best: Option<(AccessPredicate, usize)> = None;
        let mut before: Vec<ColumnId> = Vec::new();
        while let Some((test, rest)) = tests.split_first() {
            let (inner, behind) = split_operands(*test, rest)?;
            if let Some(predicate) = self.of_test(*test, inner, tables)?
                && best.as_ref().is_none_or(|(best, _)| predicate.cost < best.cost)
            {
                best = Some((predicate, before.len()));
            }
            // An error here would be the outcome, whatever the operands after it are.
            if *test == Test::MayError || inner.contains(&Test::MayError) {
                break;
            }
            before.extend(test.column());
            before.extend(inner.iter().filter_map(|test| test.column()));
            tests = behind;
        }
        Ok(best.map(|(mut predicate, columns)| {
            predicate.columns.extend(before.iter().take(columns));
            predicate
        }))
    }

    fn of_test(
        &self,
        test: Test,
        inner: &[Test],
        tables: &TestTables,
    ) -> Result<Option<AccessPredicate>, CorruptSegment> {
        let cost = match test {
            Test::Is { column, constant } | Test::MayBe { column, constant } => {
                self.of(column, constant)
            }
            Test::IsOneOf { column, set } => {
                set_of(tables, set)?.iter().map(|constant| self.of(column, *constant)).sum()
            }
            // On average, half of the comparisons hold.
            Test::Ordered { column, .. } => self.ordered.get(column.index()).map_or(0, |n| n / 2),
            Test::All { .. } => return self.access_predicate(inner, tables),
            Test::Any { .. } => return self.of_any(inner, tables),
            _ => return Ok(None),
        };
        let columns = test.column().into_iter().collect();
        Ok(Some(AccessPredicate { tests: vec![test], columns, cost }))
    }

    /// Returns the union of the operands' access predicates; each operand needs one.
    fn of_any(
        &self,
        mut tests: &[Test],
        tables: &TestTables,
    ) -> Result<Option<AccessPredicate>, CorruptSegment> {
        let mut sum = AccessPredicate::default();
        while let Some((test, rest)) = tests.split_first() {
            let (inner, behind) = split_operands(*test, rest)?;
            let Some(predicate) = self.of_test(*test, inner, tables)? else { return Ok(None) };
            sum.tests.extend(predicate.tests);
            sum.columns.extend(predicate.columns);
            sum.cost += predicate.cost;
            tests = behind;
        }
        Ok((!sum.tests.is_empty()).then_some(sum))
    }
}

/// Returns the constants of a set of the same segment.
pub(super) fn set_of(tables: &TestTables, set: SetId) -> Result<&[ConstantId], CorruptSegment> {
    tables.set(set).ok_or(CorruptSegment("set of constants"))
}

/// Splits the tests after `test` into those that belong to it and the others.
fn split_operands(test: Test, rest: &[Test]) -> Result<(&[Test], &[Test]), CorruptSegment> {
    rest.split_at_checked(test.inner()).ok_or(CorruptSegment("test of a group"))
}

/// Returns the entry at a position; extends the table if needed.
fn entry<T: Default + Clone>(table: &mut Vec<T>, at: usize) -> &mut T {
    if table.len() <= at {
        table.resize(at + 1, T::default());
    }
    #[expect(clippy::indexing_slicing, reason = "the lines above extend the table")]
    &mut table[at]
}
