//! Compiles a filter to tests and chooses the access predicate by which it is found.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use switchyard_expr::predicate::{Constant, ItemTest};
use switchyard_expr::{Condition, Path, Program, limits};

use super::super::column::{ColumnBuilder, ITEMS_MAX, READ_STEPS_MAX, TestKind};
use super::super::conjunction::{Op, Test, TestTables};
use super::super::dictionary::{ConstantId, index};
use super::super::{path, subexpression};

/// Position of a column in its segment.
pub(in crate::matcher::index) type ColumnId = u16;

/// Returns how many tests of the condition search a text or a list.
fn reads(condition: &Condition) -> usize {
    match condition {
        Condition::Includes { .. } => 1,
        Condition::All(operands) | Condition::Any(operands) => operands.iter().map(reads).sum(),
        Condition::Not(operand) => reads(operand),
        _ => 0,
    }
}

/// Compiles filters to tests; equal paths share a column, equal constants an id, equal
/// subexpressions an evaluation.
#[derive(Debug, Default)]
pub(in crate::matcher::index) struct Planner {
    pub(in crate::matcher::index) columns: Vec<(Path, ColumnBuilder)>,
    /// Their columns come after all others.
    pub(in crate::matcher::index) subexpressions: Vec<Program>,
    pub(in crate::matcher::index) tables: TestTables,
    ids: HashMap<(Path, TestKind), ColumnId, RandomState>,
    /// By text; none if it cannot be evaluated on its own.
    subexpression_ids: HashMap<Box<str>, Option<ColumnId>, RandomState>,
}

impl Planner {
    /// Appends the tests of a program.
    pub(in crate::matcher::index) fn tests(
        &mut self,
        program: &Program,
        steps_max: u32,
        out: &mut Vec<Test>,
    ) {
        let (source, facts) = (program.source(), program.facts());
        let source_len = source.len();
        let steps_max = steps_max as usize;
        // Filters whose evaluation could exceed the budget have an error that tests would not see,
        // so they are not decided here. Each node costs one unit and has one character at least, an
        // element of a list in the filter costs four units for two characters, and a constant is
        // compared with every element of a list: hence the factor. Searches in text and lists, the
        // items of a list, the errors that a `?.` swallows, and remainders are counted apart.
        let apart = source.matches("?.").count() * limits::STEPS_PER_ERROR as usize
            + source.matches('%').count() * limits::STEPS_PER_REMAINDER as usize;
        let searched = reads(&facts.condition) * READ_STEPS_MAX;
        if source_len * 4 + searched + apart > steps_max {
            out.push(MAY_ERROR);
            return;
        }
        let may_test_items = source_len * ITEMS_MAX + apart <= steps_max;
        let start = out.len();
        let Condition::All(operands) = &facts.condition else {
            return self.condition(&facts.condition, &[], may_test_items, out);
        };
        self.operands(operands, may_test_items, out);
        let own = out.get(start..).unwrap_or_default();
        if !own.iter().all(is_decided)
            && Selectivity::default().access_predicate(own, &self.tables).is_none()
        {
            let steps_left = steps_max - source_len * 4 - searched - apart;
            let evaluations = steps_left / subexpression::STEPS_MAX as usize;
            let texts = subexpression::texts(&source, operands.len());
            let texts = texts.iter().map(|text| Some(&**text));
            let texts = texts.take(evaluations.min(subexpression::COUNT_MAX));
            out.truncate(start);
            for (at, text) in (0..operands.len()).zip(texts.chain(std::iter::repeat(None))) {
                self.conjunct(operands, at, text, may_test_items, out);
            }
        }
    }

    /// Appends the tests of a conjunct of a filter without an access predicate. A conjunct that has
    /// no test becomes a shared subexpression, which can be an access predicate.
    fn conjunct(
        &mut self,
        operands: &[Condition],
        at: usize,
        text: Option<&str>,
        items: bool,
        out: &mut Vec<Test>,
    ) {
        let start = out.len();
        let Some((operand, before)) = operands.get(..=at).and_then(<[Condition]>::split_last)
        else {
            return;
        };
        self.condition(operand, before, items, out);
        if !out.iter().skip(start).all(is_decided)
            && let Some(column) = text.and_then(|text| self.subexpression_id(text))
        {
            out.truncate(start);
            out.push(Test { op: Op::SharedSubexpression, column, argument: 0 });
        }
    }

    fn subexpression_id(&mut self, text: &str) -> Option<ColumnId> {
        if let Some(known) = self.subexpression_ids.get(text) {
            return *known;
        }
        let id = subexpression::compiled(text).and_then(|program| {
            let id = ColumnId::try_from(self.subexpressions.len()).ok()?;
            self.subexpressions.push(program);
            Some(id)
        });
        self.subexpression_ids.insert(text.into(), id);
        id
    }

    /// Sorts columns by path, so that each path is resolved once, and puts those of subexpressions
    /// after them.
    pub(in crate::matcher::index) fn sort_columns(&mut self, tests: &mut [Test]) {
        let mut first: HashMap<&Path, usize, RandomState> = HashMap::default();
        for (at, (path, _)) in self.columns.iter().enumerate() {
            first.entry(path).or_insert(at);
        }
        let rank: Vec<usize> =
            self.columns.iter().map(|(path, _)| first.get(path).copied().unwrap_or(0)).collect();
        self.ids.clear();
        let mut old: Vec<(usize, (Path, ColumnBuilder))> =
            std::mem::take(&mut self.columns).into_iter().enumerate().collect();
        old.sort_by_key(|(at, _)| rank.get(*at));
        let mut new = vec![0; old.len()];
        for (id, (before, _)) in (0..).zip(&old) {
            if let Some(place) = new.get_mut(*before) {
                *place = id;
            }
        }
        self.columns = old.into_iter().map(|(_, column)| column).collect();
        let behind = self.columns.len();
        for test in tests.iter_mut() {
            if test.op == Op::SharedSubexpression {
                let column = ColumnId::try_from(behind + usize::from(test.column));
                let is = |column| Test { op: Op::Is, column, argument: subexpression::TRUE };
                *test = column.map_or(MAY_ERROR, is);
            } else if test.tested_column().is_some() {
                test.column = new.get(usize::from(test.column)).copied().unwrap_or(ColumnId::MAX);
            }
        }
    }

    fn operands(&mut self, operands: &[Condition], items: bool, out: &mut Vec<Test>) {
        for (at, operand) in operands.iter().enumerate() {
            self.condition(operand, operands.get(..at).unwrap_or_default(), items, out);
        }
    }

    /// Appends the tests of `condition`, which is only evaluated when all of `before` hold.
    fn condition(
        &mut self,
        condition: &Condition,
        before: &[Condition],
        items: bool,
        out: &mut Vec<Test>,
    ) {
        let start = out.len();
        let test = match condition {
            Condition::OneOf { path, constants } => self.one_of(path, constants),
            Condition::Ordered { path, order, bound } => {
                let null_is_false = is_null_guarded(path, before);
                let column = self.column(path, TestKind::Ordered { null_is_false });
                // Adding zero turns -0 into 0, which is equal and sorts the same.
                self.tables.bounds.push(*bound + 0.0);
                let bound = index(self.tables.bounds.len() - 1);
                column.map(|column| Test { op: Op::Ordered(*order), column, argument: bound })
            }
            Condition::Includes { path, constant } => {
                let null_is_false = is_null_guarded(path, before);
                let text = matches!(constant, Constant::String(_));
                let column = self.column(path, TestKind::Includes { text, null_is_false });
                column.map(|column| self.is(Op::Is, column, [constant]))
            }
            Condition::Some { path, tests, exact } => {
                items.then(|| self.some(path, tests, *exact)).flatten()
            }
            Condition::Opaque { can_fail: false } => {
                Some(Test { op: Op::Unknown, column: 0, argument: 0 })
            }
            Condition::Opaque { can_fail: true } => None,
            Condition::All(_) | Condition::Any(_) | Condition::Not(_) => {
                let op = match condition {
                    Condition::All(_) => Op::All,
                    Condition::Any(_) => Op::Any,
                    _ => Op::Not,
                };
                out.push(Test { op, column: 0, argument: 0 });
                match condition {
                    Condition::All(operands) => self.operands(operands, items, out),
                    Condition::Any(operands) => {
                        operands
                            .iter()
                            .for_each(|operand| self.condition(operand, &[], items, out));
                    }
                    Condition::Not(operand) => self.condition(operand, &[], items, out),
                    _ => {}
                }
                let inner = index(out.len() - start - 1);
                if let Some(head) = out.get_mut(start) {
                    head.argument = inner;
                }
                return;
            }
        };
        out.push(test.unwrap_or(MAY_ERROR));
    }

    fn one_of(&mut self, path: &Path, constants: &[Constant]) -> Option<Test> {
        // The value of `selfGenerated` differs from app to app, so it cannot be looked up once for
        // all.
        if path.is_app_specific() {
            let op = if path.steps.len() == 1 { Op::Unknown } else { Op::MayError };
            return Some(Test { op, column: 0, argument: 0 });
        }
        let column = self.column(path, TestKind::Equal)?;
        if let [constant] = constants {
            return Some(self.is(Op::Is, column, [constant]));
        }
        let at = self.tables.sets.len();
        let mut ids: Vec<ConstantId> =
            constants.iter().map(|constant| self.constant_id(column, [constant])).collect();
        ids.sort_unstable();
        // 0 and -0 are equal and have one id.
        ids.dedup();
        self.tables.sets.push(index(ids.len()));
        self.tables.sets.extend(ids);
        Some(Test { op: Op::IsOneOf, column, argument: index(at) })
    }

    fn some(&mut self, path: &Path, tests: &[ItemTest], exact: bool) -> Option<Test> {
        let mut tests: Vec<&ItemTest> = tests.iter().collect();
        tests.sort_by(|a, b| a.name.cmp(&b.name));
        // A name that occurs twice makes a column of its own, which is correct.
        let names = tests.iter().map(|test| test.name.clone()).collect();
        let column = self.column(path, TestKind::Some(names))?;
        let op = if exact { Op::Is } else { Op::MayBe };
        let constants: Vec<&Constant> = tests.iter().map(|test| &test.constant).collect();
        Some(self.is(op, column, constants))
    }

    fn is<'c>(
        &mut self,
        op: Op,
        column: ColumnId,
        constants: impl IntoIterator<Item = &'c Constant> + Clone,
    ) -> Test {
        Test { op, column, argument: self.constant_id(column, constants) }
    }

    fn constant_id<'c>(
        &mut self,
        column: ColumnId,
        constants: impl IntoIterator<Item = &'c Constant> + Clone,
    ) -> ConstantId {
        let column = self.columns.get_mut(usize::from(column));
        column.map_or(ConstantId::MAX, |(_, column)| column.constant_id(constants))
    }

    /// Returns the column of a path; none if there are too many.
    fn column(&mut self, path: &Path, kind: TestKind) -> Option<ColumnId> {
        if path.is_app_specific() || path.steps.len() > path::STEPS_MAX {
            return None;
        }
        let key = (path.clone(), kind);
        if let Some(id) = self.ids.get(&key) {
            return Some(*id);
        }
        let id = ColumnId::try_from(self.columns.len()).ok()?;
        self.columns.push((key.0.clone(), ColumnBuilder::new(key.1.clone())));
        self.ids.insert(key, id);
        Some(id)
    }
}

/// A filter that needs evaluation and may fail.
pub(in crate::matcher::index) const MAY_ERROR: Test =
    Test { op: Op::MayError, column: 0, argument: 0 };

/// Whether the outcome of a test is known without evaluation.
fn is_decided(test: &Test) -> bool {
    !matches!(test.op, Op::Unknown | Op::MayError)
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

/// The access predicate of a filter: the filter may be skipped if no test holds and no column is
/// undetermined.
#[derive(Clone, Debug, Default)]
pub(in crate::matcher::index) struct AccessPredicate {
    /// Tests of which one holds whenever the filter is true.
    pub(in crate::matcher::index) tests: Vec<Test>,
    /// The columns that, when undetermined, could make the filter fail before or in one of `tests`.
    pub(in crate::matcher::index) columns: Vec<ColumnId>,
    /// Number of filters with the same tests.
    cost: usize,
}

/// Cost of a shared subexpression as access predicate: higher than that of any constant.
const SUBEXPRESSION_COST: usize = 1 << 30;

/// How often each constant of each column is tested; the rarest makes the best access predicate.
#[derive(Debug, Default)]
pub(in crate::matcher::index) struct Selectivity {
    /// Columns from here on are those of shared subexpressions.
    first_subexpression: usize,
    constants: Vec<Vec<u32>>,
    ordered: Vec<usize>,
}

impl Selectivity {
    /// Returns an empty count; columns from `first_subexpression` on are those of shared
    /// subexpressions.
    pub(in crate::matcher::index) fn new(first_subexpression: usize) -> Self {
        Self { first_subexpression, ..Self::default() }
    }

    pub(in crate::matcher::index) fn count(&mut self, test: Test, tables: &TestTables) {
        match test.op {
            Op::Is | Op::MayBe => self.add(test.column, test.argument),
            Op::IsOneOf => tables.set(test.argument).iter().for_each(|s| self.add(test.column, *s)),
            Op::Ordered(_) => *at(&mut self.ordered, usize::from(test.column)) += 1,
            _ => {}
        }
    }

    fn add(&mut self, column: ColumnId, constant: ConstantId) {
        *at(at(&mut self.constants, usize::from(column)), constant as usize) += 1;
    }

    fn of(&self, column: ColumnId, constant: ConstantId) -> usize {
        let count = self.constants.get(usize::from(column));
        let count = count.and_then(|counts| counts.get(constant as usize));
        // A subexpression may hold for every event, so it leads only to filters that nothing else
        // leads to.
        let is_subexpression = usize::from(column) >= self.first_subexpression;
        count.map_or(0, |count| *count as usize)
            + if is_subexpression { SUBEXPRESSION_COST } else { 0 }
    }

    /// Returns the best access predicate of a conjunction.
    pub(in crate::matcher::index) fn access_predicate(
        &self,
        mut tests: &[Test],
        tables: &TestTables,
    ) -> Option<AccessPredicate> {
        let mut best: Option<AccessPredicate> = None;
        let mut before: Vec<ColumnId> = Vec::new();
        while let Some((test, rest)) = tests.split_first() {
            let inner = test.inner();
            let (operand, behind) = tests.split_at_checked(inner + 1)?;
            if let Some(mut predicate) = self.access_predicate_of(*test, rest.get(..inner)?, tables)
                && best.as_ref().is_none_or(|best| predicate.cost < best.cost)
            {
                predicate.columns.extend(&before);
                best = Some(predicate);
            }
            // An error here would be the outcome, whatever the operands after it are.
            if operand.iter().any(|test| test.op == Op::MayError) {
                break;
            }
            before.extend(operand.iter().filter_map(|test| test.tested_column()));
            tests = behind;
        }
        best
    }

    fn access_predicate_of(
        &self,
        test: Test,
        inner: &[Test],
        tables: &TestTables,
    ) -> Option<AccessPredicate> {
        let column = test.column;
        let cost = match test.op {
            Op::Is | Op::MayBe => self.of(column, test.argument),
            Op::IsOneOf => tables.set(test.argument).iter().map(|s| self.of(column, *s)).sum(),
            // On average, half of the comparisons hold.
            Op::Ordered(_) => self.ordered.get(usize::from(column)).map_or(0, |n| n / 2),
            Op::All => return self.access_predicate(inner, tables),
            Op::Any => return self.access_predicate_of_any(inner, tables),
            _ => return None,
        };
        Some(AccessPredicate { tests: vec![test], columns: vec![column], cost })
    }

    /// Returns the union of the operands' access predicates; each operand needs one.
    fn access_predicate_of_any(
        &self,
        mut tests: &[Test],
        tables: &TestTables,
    ) -> Option<AccessPredicate> {
        let mut sum = AccessPredicate::default();
        while let Some((test, rest)) = tests.split_first() {
            let (inner, behind) = rest.split_at_checked(test.inner())?;
            let predicate = self.access_predicate_of(*test, inner, tables)?;
            sum.tests.extend(predicate.tests);
            sum.columns.extend(predicate.columns);
            sum.cost += predicate.cost;
            tests = behind;
        }
        (!sum.tests.is_empty()).then_some(sum)
    }
}

impl Test {
    /// The number of tests after this one that belong to it.
    fn inner(self) -> usize {
        match self.op {
            Op::All | Op::Any | Op::Not => self.argument as usize,
            _ => 0,
        }
    }

    /// The column that is tested.
    fn tested_column(self) -> Option<ColumnId> {
        match self.op {
            Op::Is | Op::IsOneOf | Op::MayBe | Op::Ordered(_) => Some(self.column),
            _ => None,
        }
    }
}

/// Returns the entry at a position; grows the table if needed.
fn at<T: Default + Clone>(table: &mut Vec<T>, position: usize) -> &mut T {
    if table.len() <= position {
        table.resize(position + 1, T::default());
    }
    #[expect(clippy::indexing_slicing, reason = "the lines above extend the table")]
    &mut table[position]
}
