//! Compiles filters to tests.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use switchyard_expr::predicate::{Constant, ItemTest};
use switchyard_expr::{Condition, Path, Program};

use super::access::Selectivity;
use super::columns::{ColumnBuilder, MemberNames};
use crate::matcher::index::column::{ITEMS_MAX, READ_STEPS_MAX, TestKind};
use crate::matcher::index::conjunction::{Test, TestTables};
use crate::matcher::index::ids::{ColumnId, ConstantId, SegmentTooLarge, TestCount};
use crate::matcher::index::subexpression::SharedSubexpression;
use crate::matcher::index::{path, subexpression};

/// Compiles filters to tests; equal paths share a column, equal constants an id, equal subexpressions
/// an evaluation.
#[derive(Debug)]
pub(super) struct Planner {
    steps_max: usize,
    columns: Vec<(Path, ColumnBuilder)>,
    subexpressions: Vec<Arc<Program>>,
    tables: TestTables,
    ids: HashMap<ColumnKey, ColumnId, RandomState>,
    /// By text: the number of a shared subexpression; none if it cannot be evaluated on its own.
    subexpression_ids: HashMap<Box<str>, Option<ColumnId>, RandomState>,
}

/// The path, kind and member names of a column.
type ColumnKey = (Path, TestKind, MemberNames);

/// The columns of a segment and the tables of its tests.
#[derive(Debug)]
pub(super) struct Plan {
    /// Sorted by path.
    pub(super) columns: Vec<(Path, ColumnBuilder)>,
    /// Their columns come after all others.
    pub(super) subexpressions: Vec<Arc<Program>>,
    pub(super) tables: TestTables,
}

impl Planner {
    /// Starts a plan for filters whose evaluation ends after `steps_max` steps.
    pub(super) fn new(steps_max: u32) -> Self {
        Self {
            steps_max: steps_max as usize,
            columns: Vec::new(),
            subexpressions: Vec::new(),
            tables: TestTables::default(),
            ids: HashMap::default(),
            subexpression_ids: HashMap::default(),
        }
    }

    /// Appends the tests of a filter.
    pub(super) fn tests(
        &mut self,
        program: &Program,
        out: &mut Vec<Test>,
    ) -> Result<(), SegmentTooLarge> {
        let (source_len, facts) = (program.source_len(), program.facts());
        // Filters whose evaluation could exceed the budget have an error that tests would not see, so
        // they are not decided here. Each node costs one unit and has one character at least, an
        // element of a list in the filter costs four units for two characters, and a constant is
        // compared with every element of a list: hence the factor. Searches in text and lists, the
        // items of a list, the errors that a `?.` swallows, and remainders are counted apart.
        let apart = facts.extra_steps as usize;
        let searched = searches(&facts.condition) * READ_STEPS_MAX;
        let Some(steps_left) = self.steps_max.checked_sub(source_len * 4 + searched + apart) else {
            out.push(Test::MayError);
            return Ok(());
        };
        let may_test_items = source_len * ITEMS_MAX + apart <= self.steps_max;
        let start = out.len();
        let Condition::All(conjuncts) = &facts.condition else {
            return self.condition(&facts.condition, &[], may_test_items, out);
        };
        self.operands(conjuncts, may_test_items, out)?;
        let own = out.get(start..).unwrap_or_default();
        if !own.iter().all(|test| test.is_decided())
            && Selectivity::default().access_predicate(own, &self.tables).is_none()
        {
            let evaluations = steps_left / subexpression::STEPS_MAX as usize;
            let texts = subexpression::conjuncts(program, conjuncts.len());
            let texts = texts.iter().map(|conjunct| Some(&*conjunct.source));
            let texts = texts.take(evaluations.min(subexpression::COUNT_MAX));
            out.truncate(start);
            for (at, text) in (0..conjuncts.len()).zip(texts.chain(std::iter::repeat(None))) {
                self.conjunct(conjuncts, at, text, may_test_items, out)?;
            }
        }
        Ok(())
    }

    /// Appends the tests of a conjunct of a filter without an access predicate. A conjunct that has no
    /// test becomes a shared subexpression, which can be an access predicate.
    fn conjunct(
        &mut self,
        conjuncts: &[Condition],
        at: usize,
        text: Option<&str>,
        items: bool,
        out: &mut Vec<Test>,
    ) -> Result<(), SegmentTooLarge> {
        let start = out.len();
        let Some((conjunct, before)) = conjuncts.get(..=at).and_then(<[Condition]>::split_last)
        else {
            return Ok(());
        };
        self.condition(conjunct, before, items, out)?;
        if !out.iter().skip(start).all(|test| test.is_decided())
            && let Some(text) = text
            && let Some(number) = self.subexpression_id(text)?
        {
            out.truncate(start);
            out.push(Test::SharedSubexpression { number });
        }
        Ok(())
    }

    fn subexpression_id(&mut self, text: &str) -> Result<Option<ColumnId>, SegmentTooLarge> {
        if let Some(known) = self.subexpression_ids.get(text) {
            return Ok(*known);
        }
        let id = match subexpression::compiled(text) {
            Some(program) => {
                let id = ColumnId::new(self.subexpressions.len())?;
                self.subexpressions.push(Arc::new(program));
                Some(id)
            }
            None => None,
        };
        self.subexpression_ids.insert(text.into(), id);
        Ok(id)
    }

    /// Sorts columns by path, so that each path is resolved once, and puts those of subexpressions after
    /// them. Changes the tests accordingly.
    pub(super) fn finish(self, tests: &mut [Test]) -> Result<Plan, SegmentTooLarge> {
        let mut first: HashMap<&Path, usize, RandomState> = HashMap::default();
        for (at, (path, _)) in self.columns.iter().enumerate() {
            first.entry(path).or_insert(at);
        }
        let mut order: Vec<usize> = (0..self.columns.len()).collect();
        order.sort_by_key(|at| self.columns.get(*at).and_then(|(path, _)| first.get(path)));
        let mut new = vec![ColumnId::default(); order.len()];
        for (at, before) in order.iter().enumerate() {
            if let Some(id) = new.get_mut(*before) {
                *id = ColumnId::new(at)?;
            }
        }
        drop(first);
        let new_id = |old: ColumnId| {
            let id = new.get(old.index()).copied();
            debug_assert!(id.is_some(), "tests are of columns of this plan");
            id.unwrap_or_default()
        };
        for test in tests {
            match test {
                Test::Is { column, .. }
                | Test::IsOneOf { column, .. }
                | Test::MayBe { column, .. }
                | Test::Ordered { column, .. } => *column = new_id(*column),
                Test::SharedSubexpression { number } => {
                    let column = ColumnId::new(new.len() + number.index())?;
                    *test = Test::Is { column, constant: SharedSubexpression::true_constant() };
                }
                _ => {}
            }
        }
        let mut columns: Vec<_> = new.into_iter().zip(self.columns).collect();
        columns.sort_unstable_by_key(|(id, _)| *id);
        Ok(Plan {
            columns: columns.into_iter().map(|(_, column)| column).collect(),
            subexpressions: self.subexpressions,
            tables: self.tables,
        })
    }

    fn operands(
        &mut self,
        operands: &[Condition],
        items: bool,
        out: &mut Vec<Test>,
    ) -> Result<(), SegmentTooLarge> {
        operands.iter().enumerate().try_for_each(|(at, operand)| {
            self.condition(operand, operands.get(..at).unwrap_or_default(), items, out)
        })
    }

    /// Appends the tests of `condition`, which is only evaluated when all of `before` hold.
    fn condition(
        &mut self,
        condition: &Condition,
        before: &[Condition],
        items: bool,
        out: &mut Vec<Test>,
    ) -> Result<(), SegmentTooLarge> {
        let group: fn(TestCount) -> Test = match condition {
            Condition::All(_) => |tests| Test::All { tests },
            Condition::Any(_) => |tests| Test::Any { tests },
            Condition::Not(_) => |tests| Test::Not { tests },
            single => {
                out.push(self.single(single, before, items)?.unwrap_or(Test::MayError));
                return Ok(());
            }
        };
        let start = out.len();
        out.push(Test::Unknown);
        match condition {
            Condition::All(operands) => self.operands(operands, items, out)?,
            Condition::Any(operands) => {
                operands.iter().try_for_each(|operand| self.condition(operand, &[], items, out))?
            }
            Condition::Not(operand) => self.condition(operand, &[], items, out)?,
            _ => {}
        }
        let inner = TestCount::new(out.len() - start - 1)?;
        if let Some(head) = out.get_mut(start) {
            *head = group(inner);
        }
        Ok(())
    }

    /// Returns the test of a condition that has no operands; none if it needs evaluation and may fail.
    fn single(
        &mut self,
        condition: &Condition,
        before: &[Condition],
        items: bool,
    ) -> Result<Option<Test>, SegmentTooLarge> {
        match condition {
            Condition::OneOf { path, constants } => self.one_of(path, constants),
            Condition::Ordered { path, order, bound } => {
                let null_is_false = is_null_guarded(path, before);
                let kind = TestKind::Ordered { null_is_false };
                let Some(column) = self.column(path, kind, Box::default())? else {
                    return Ok(None);
                };
                // Adding zero turns -0 into 0, which is equal and sorts the same.
                let bound = self.tables.add_bound(*bound + 0.0)?;
                Ok(Some(Test::Ordered { order: *order, column, bound }))
            }
            Condition::Includes { path, constant } => {
                let null_is_false = is_null_guarded(path, before);
                let text = matches!(constant, Constant::String(_));
                let kind = TestKind::Includes { text, null_is_false };
                let Some(column) = self.column(path, kind, Box::default())? else {
                    return Ok(None);
                };
                Ok(Some(Test::Is { column, constant: self.constant_id(column, [constant])? }))
            }
            Condition::Some { path, tests, exact } if items => self.some(path, tests, *exact),
            Condition::Opaque { can_fail: false } => Ok(Some(Test::Unknown)),
            _ => Ok(None),
        }
    }

    fn one_of(
        &mut self,
        path: &Path,
        constants: &[Constant],
    ) -> Result<Option<Test>, SegmentTooLarge> {
        // The value of `selfGenerated` differs from app to app, so it cannot be looked up once for all.
        if path.is_app_specific() {
            let cannot_fail = path.steps.len() == 1;
            return Ok(cannot_fail.then_some(Test::Unknown));
        }
        let Some(column) = self.column(path, TestKind::Equal, Box::default())? else {
            return Ok(None);
        };
        if let [constant] = constants {
            return Ok(Some(Test::Is { column, constant: self.constant_id(column, [constant])? }));
        }
        let ids = constants.iter().map(|constant| self.constant_id(column, [constant]));
        let mut ids = ids.collect::<Result<Vec<ConstantId>, _>>()?;
        ids.sort_unstable();
        // 0 and -0 are equal and have one id.
        ids.dedup();
        Ok(Some(Test::IsOneOf { column, set: self.tables.add_set(ids)? }))
    }

    fn some(
        &mut self,
        path: &Path,
        tests: &[ItemTest],
        exact: bool,
    ) -> Result<Option<Test>, SegmentTooLarge> {
        let mut tests: Vec<&ItemTest> = tests.iter().collect();
        tests.sort_by(|a, b| a.name.cmp(&b.name));
        // A name that occurs twice makes a column of its own, which is correct.
        let names = tests.iter().map(|test| test.name.clone()).collect();
        let Some(column) = self.column(path, TestKind::Some, names)? else { return Ok(None) };
        let constants: Vec<&Constant> = tests.iter().map(|test| &test.constant).collect();
        let constant = self.constant_id(column, constants)?;
        Ok(Some(match exact {
            true => Test::Is { column, constant },
            false => Test::MayBe { column, constant },
        }))
    }

    fn constant_id<'c>(
        &mut self,
        column: ColumnId,
        constants: impl IntoIterator<Item = &'c Constant> + Clone,
    ) -> Result<ConstantId, SegmentTooLarge> {
        let column = self.columns.get_mut(column.index());
        debug_assert!(column.is_some(), "the column was added before");
        column.map_or(Ok(ConstantId::NONE), |(_, column)| column.constant_id(constants))
    }

    /// Returns the column of a path; none if its values cannot be looked up.
    fn column(
        &mut self,
        path: &Path,
        kind: TestKind,
        names: MemberNames,
    ) -> Result<Option<ColumnId>, SegmentTooLarge> {
        if path.is_app_specific() || path.steps.len() > path::STEPS_MAX {
            return Ok(None);
        }
        let key = (path.clone(), kind, names);
        if let Some(id) = self.ids.get(&key) {
            return Ok(Some(*id));
        }
        let id = ColumnId::new(self.columns.len())?;
        self.columns.push((key.0.clone(), ColumnBuilder::new(kind, key.2.clone())));
        self.ids.insert(key, id);
        Ok(Some(id))
    }
}

/// Returns how many tests of the condition search a text or a list.
fn searches(condition: &Condition) -> usize {
    match condition {
        Condition::Includes { .. } => 1,
        Condition::All(operands) | Condition::Any(operands) => operands.iter().map(searches).sum(),
        Condition::Not(operand) => searches(operand),
        _ => 0,
    }
}

/// Whether `path != null` is among the conditions that hold.
fn is_null_guarded(path: &Path, before: &[Condition]) -> bool {
    before.iter().any(|condition| match condition {
        Condition::Not(inner) => match &**inner {
            Condition::OneOf { path: guarded, constants } => {
                guarded == path && constants.contains(&Constant::Null)
            }
            _ => false,
        },
        _ => false,
    })
}
