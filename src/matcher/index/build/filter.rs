//! Compiles one filter to tests.

use std::collections::HashSet;

use switchyard_expr::predicate::{Conjunct, Constant, ItemTest};
use switchyard_expr::{Condition, Path, Program};

use super::access::Selectivity;
use super::planner::Planner;
use crate::matcher::index::bounds::{ENTRIES_MAX, PATHS_MAX, exceeds_bounds};
use crate::matcher::index::build_error::BuildError;
use crate::matcher::index::column::{ITEMS_MAX, READ_STEPS_MAX, TestKind};
use crate::matcher::index::conjunction::Test;
use crate::matcher::index::corrupt::CorruptSegment;
use crate::matcher::index::ids::{ConstantId, TestCount};
use crate::matcher::index::subexpression;

/// Appends the tests of a filter, whose evaluation ends after `steps_max` steps.
pub(super) fn compile(
    program: &Program,
    steps_max: u32,
    planner: &mut Planner,
    out: &mut Vec<Test>,
) -> Result<(), BuildError> {
    let (steps_max, source_len) = (steps_max as usize, program.source_len());
    let facts = program.facts();
    // Filters whose evaluation could exceed the budget have an error that tests would not see, so
    // they are not decided here. Each node costs one unit and has one character at least, an element
    // of a list in the filter costs four units for two characters, and a constant is compared with
    // every element of a list: hence the factor. Searches in text and lists, the items of a list,
    // the errors that a `?.` swallows, and remainders are counted apart.
    let apart = facts.extra_steps as usize;
    let searched = searches(&facts.condition) * READ_STEPS_MAX;
    let Some(steps_left) = steps_max.checked_sub(source_len * 4 + searched + apart) else {
        out.push(Test::MayError);
        return Ok(());
    };
    let may_test_items = source_len * ITEMS_MAX + apart <= steps_max;
    let start = out.len();
    let mut compiler = FilterCompiler { planner, may_test_items, out };
    if exceeds_bounds(program) {
        // What comes after the predicates within the bounds is evaluated.
        let conjuncts = facts.condition.operands();
        let within = conjuncts.get(..within_bounds(conjuncts)).unwrap_or_default();
        compiler.operands(within)?;
        compiler.out.push(Test::MayError);
        return Ok(());
    }
    let Condition::All(conjuncts) = &facts.condition else {
        return compiler.condition(&facts.condition, &[]);
    };
    compiler.operands(conjuncts)?;
    if !compiler.is_found_or_decided(start)? {
        compiler.out.truncate(start);
        let evaluations = steps_left / subexpression::STEPS_MAX as usize;
        let shared = subexpression::conjuncts(program, conjuncts.len());
        let shared = shared.iter().take(evaluations.min(subexpression::COUNT_MAX)).map(Some);
        for (at, shared) in (0..conjuncts.len()).zip(shared.chain(std::iter::repeat(None))) {
            compiler.conjunct(conjuncts, at, shared)?;
        }
    }
    Ok(())
}

/// Returns how many leading operands of a top-level `&&` are within the bounds of the index.
fn within_bounds(conjuncts: &[Condition]) -> usize {
    let (mut paths, mut entries) = (HashSet::new(), 0_u32);
    for (at, conjunct) in conjuncts.iter().enumerate() {
        entries = entries.saturating_add(conjunct.measure(&mut paths));
        if entries > ENTRIES_MAX || paths.len() > PATHS_MAX {
            return at;
        }
    }
    conjuncts.len()
}

/// Compiles the conditions of one filter.
struct FilterCompiler<'p> {
    planner: &'p mut Planner,
    /// Whether tests of list items cannot exceed the budget.
    may_test_items: bool,
    out: &'p mut Vec<Test>,
}

impl FilterCompiler<'_> {
    /// Whether the tests from `start` on have an access predicate or need no evaluation.
    fn is_found_or_decided(&self, start: usize) -> Result<bool, CorruptSegment> {
        let own = self.out.get(start..).ok_or(CorruptSegment("test"))?;
        let tables = &self.planner.tables;
        Ok(own.iter().all(|test| test.is_decided())
            || Selectivity::default().access_predicate(own, tables)?.is_some())
    }

    /// Appends the tests of a conjunct of a filter without an access predicate. A conjunct that has
    /// no test becomes a shared subexpression, which can be an access predicate.
    fn conjunct(
        &mut self,
        conjuncts: &[Condition],
        at: usize,
        shared: Option<&Conjunct>,
    ) -> Result<(), BuildError> {
        let start = self.out.len();
        let until = conjuncts.get(..=at).and_then(<[Condition]>::split_last);
        let (conjunct, before) = until.ok_or(CorruptSegment("conjunct"))?;
        self.condition(conjunct, before)?;
        if !self.out.iter().skip(start).all(|test| test.is_decided())
            && let Some(shared) = shared
            && let Some(number) = self.planner.subexpression_id(&shared.source)?
        {
            self.out.truncate(start);
            self.out.push(Test::SharedSubexpression { number });
        }
        Ok(())
    }

    fn operands(&mut self, operands: &[Condition]) -> Result<(), BuildError> {
        operands.iter().enumerate().try_for_each(|(at, operand)| {
            self.condition(operand, operands.get(..at).unwrap_or_default())
        })
    }

    /// Appends the tests of `condition`, which is only evaluated when all of `before` hold.
    fn condition(&mut self, condition: &Condition, before: &[Condition]) -> Result<(), BuildError> {
        let group: fn(TestCount) -> Test = match condition {
            Condition::All(_) => |tests| Test::All { tests },
            Condition::Any(_) => |tests| Test::Any { tests },
            Condition::Not(_) => |tests| Test::Not { tests },
            single => {
                let test = self.single(single, before)?;
                self.out.push(test.unwrap_or(Test::MayError));
                return Ok(());
            }
        };
        let start = self.out.len();
        self.out.push(Test::Unknown);
        match condition {
            Condition::All(operands) => self.operands(operands)?,
            Condition::Any(operands) => {
                operands.iter().try_for_each(|operand| self.condition(operand, &[]))?
            }
            Condition::Not(operand) => self.condition(operand, &[])?,
            _ => {}
        }
        let inner = TestCount::new(self.out.len() - start - 1)?;
        *self.out.get_mut(start).ok_or(CorruptSegment("test of a group"))? = group(inner);
        Ok(())
    }

    /// Returns the test of a condition that has no operands; none if it needs evaluation and may fail.
    fn single(
        &mut self,
        condition: &Condition,
        before: &[Condition],
    ) -> Result<Option<Test>, BuildError> {
        match condition {
            Condition::OneOf { path, constants } => self.one_of(path, constants),
            Condition::Ordered { path, order, bound } => {
                let null_is_false = is_null_guarded(path, before);
                let kind = TestKind::Ordered { null_is_false };
                let Some(column) = self.planner.column(path, kind, Box::default())? else {
                    return Ok(None);
                };
                // Adding zero turns -0 into 0, which is equal and sorts the same.
                let bound = self.planner.tables.add_bound(*bound + 0.0)?;
                Ok(Some(Test::Ordered { order: *order, column, bound }))
            }
            Condition::Method { path, test, constant } => {
                let null_is_false = is_null_guarded(path, before);
                let text = matches!(constant, Constant::String(_));
                let kind = TestKind::Method { test: *test, text, null_is_false };
                let Some(column) = self.planner.column(path, kind, Box::default())? else {
                    return Ok(None);
                };
                Ok(Some(Test::Is {
                    column,
                    constant: self.planner.constant_id(column, [constant])?,
                }))
            }
            Condition::Some { path, tests, exact } if self.may_test_items => {
                self.some(path, tests, *exact)
            }
            Condition::Opaque { can_fail: false } => Ok(Some(Test::Unknown)),
            _ => Ok(None),
        }
    }

    fn one_of(&mut self, path: &Path, constants: &[Constant]) -> Result<Option<Test>, BuildError> {
        // The value differs from app to app, so it cannot be looked up once for all.
        if path.is_app_specific() {
            let cannot_fail = path.steps.len() == 1;
            return Ok(cannot_fail.then_some(Test::Unknown));
        }
        let Some(column) = self.planner.column(path, TestKind::Equal, Box::default())? else {
            return Ok(None);
        };
        if let [constant] = constants {
            return Ok(Some(Test::Is {
                column,
                constant: self.planner.constant_id(column, [constant])?,
            }));
        }
        let ids = constants.iter().map(|constant| self.planner.constant_id(column, [constant]));
        let mut ids = ids.collect::<Result<Vec<ConstantId>, _>>()?;
        ids.sort_unstable();
        // 0 and -0 are equal and have one id.
        ids.dedup();
        Ok(Some(Test::IsOneOf { column, set: self.planner.tables.add_set(ids)? }))
    }

    fn some(
        &mut self,
        path: &Path,
        tests: &[ItemTest],
        exact: bool,
    ) -> Result<Option<Test>, BuildError> {
        let mut tests: Vec<&ItemTest> = tests.iter().collect();
        tests.sort_by(|a, b| a.name.cmp(&b.name));
        // A name that occurs twice makes a column of its own, which is correct.
        let names = tests.iter().map(|test| test.name.clone()).collect();
        let Some(column) = self.planner.column(path, TestKind::Some, names)? else {
            return Ok(None);
        };
        let constants: Vec<&Constant> = tests.iter().map(|test| &test.constant).collect();
        let constant = self.planner.constant_id(column, constants)?;
        Ok(Some(match exact {
            true => Test::Is { column, constant },
            false => Test::MayBe { column, constant },
        }))
    }
}

/// Returns how many tests of the condition search a text or a list.
fn searches(condition: &Condition) -> usize {
    match condition {
        Condition::Method { .. } => 1,
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
