//! From a filter to tests, and from tests to the predicate the filter is found by.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use switchyard_expr::predicate::{Constant, ItemTest};
use switchyard_expr::{Condition, Path, Program, limits};

use super::column::{ColumnBuilder, ITEMS_MAX, READ_STEPS_MAX, TestKind};
use super::conjunction::{Op, Test, TestTables};
use super::dictionary::{ConstantId, index};
use super::{path, subexpression};

/// Position of a column among those of a segment.
pub(super) type ColumnId = u16;

/// How many tests of the condition search a text or a list.
fn reads(condition: &Condition) -> usize {
    match condition {
        Condition::Includes { .. } => 1,
        Condition::All(operands) | Condition::Any(operands) => operands.iter().map(reads).sum(),
        Condition::Not(operand) => reads(operand),
        _ => 0,
    }
}

/// Turns filters into tests; equal paths share a column, equal constants a symbol, equal operands
/// an evaluation.
#[derive(Debug, Default)]
pub(super) struct Planner {
    pub(super) columns: Vec<(Path, ColumnBuilder)>,
    /// Their columns are those behind all others.
    pub(super) subexpressions: Vec<Program>,
    pub(super) tables: TestTables,
    ids: HashMap<(Path, TestKind), ColumnId, RandomState>,
    /// By text; none for what is no operand of its own.
    subexpression_ids: HashMap<Box<str>, Option<ColumnId>, RandomState>,
}

impl Planner {
    /// The tests of a program.
    pub(super) fn tests(&mut self, program: &Program, steps_max: u32, out: &mut Vec<Test>) {
        let (source, facts) = (program.source(), program.facts());
        let source_len = source.len();
        let steps_max = steps_max as usize;
        // An evaluation that could run out of steps before the tests do has an error that they
        // would not see. Each node costs one step and stands for one character at least, an element
        // of a list that stands in the filter four steps for two characters, and a constant is
        // compared with all of a list: hence the factor. The text and lists that tests search are
        // apart, and so are the items of a list, the errors that a `?.` swallows, and remainders.
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

    /// Appends the tests of an operand of a filter that nothing else leads to. One that no test
    /// describes is evaluated, once for all filters, and can be an predicate like any other.
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

    /// Puts columns into the order of their paths, so that each path is followed once, and those of
    /// operands behind them.
    pub(super) fn sort_columns(&mut self, tests: &mut [Test]) {
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
            } else if test.asked().is_some() {
                test.column = new.get(usize::from(test.column)).copied().unwrap_or(ColumnId::MAX);
            }
        }
    }

    fn operands(&mut self, operands: &[Condition], items: bool, out: &mut Vec<Test>) {
        for (at, operand) in operands.iter().enumerate() {
            self.condition(operand, operands.get(..at).unwrap_or_default(), items, out);
        }
    }

    /// Appends the tests of `condition`, which is only asked when all of `before` hold.
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
                // Adding zero makes -0 of it 0, which equals it and sorts like it.
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
        // What differs from app to app cannot be looked up once for all of them.
        if path.is_derived() {
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
        // 0 and -0 are one.
        ids.dedup();
        self.tables.sets.push(index(ids.len()));
        self.tables.sets.extend(ids);
        Some(Test { op: Op::IsOneOf, column, argument: index(at) })
    }

    fn some(&mut self, path: &Path, tests: &[ItemTest], exact: bool) -> Option<Test> {
        let mut tests: Vec<&ItemTest> = tests.iter().collect();
        tests.sort_by(|a, b| a.name.cmp(&b.name));
        // The same member twice is a column of its own and as right as any.
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

    /// The column of a path; none when there are too many.
    fn column(&mut self, path: &Path, kind: TestKind) -> Option<ColumnId> {
        if path.is_derived() || path.steps.len() > path::STEPS_MAX {
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

/// A filter that only evaluation can tell.
pub(super) const MAY_ERROR: Test = Test { op: Op::MayError, column: 0, argument: 0 };

/// Whether the answer of a test is known without an evaluation.
fn is_decided(test: &Test) -> bool {
    !matches!(test.op, Op::Unknown | Op::MayError)
}

/// Whether `path != null` stands among the conditions that hold.
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

/// How a filter is found: it may be skipped if no target holds and no column is in trouble.
#[derive(Clone, Debug, Default)]
pub(super) struct AccessPredicate {
    /// Tests of which one holds whenever the filter is true.
    pub(super) tests: Vec<Test>,
    /// Columns whose trouble could make the filter fail before the targets are asked, and theirs.
    pub(super) columns: Vec<ColumnId>,
    /// How many filters share the targets.
    cost: usize,
}

/// What an operand counts as an predicate beside the filters that share it: more than any constant.
const SUBEXPRESSION_COST: usize = 1 << 30;

/// How often each symbol of each column is tested; the rarest predicate is the best.
#[derive(Debug, Default)]
pub(super) struct Selectivity {
    /// Columns from here on are those of operands.
    first_subexpression: usize,
    constants: Vec<Vec<u32>>,
    ordered: Vec<usize>,
}

impl Selectivity {
    /// Of columns that, from `first_subexpression` on, are those of operands.
    pub(super) fn new(first_subexpression: usize) -> Self {
        Self { first_subexpression, ..Self::default() }
    }

    pub(super) fn count(&mut self, test: Test, tables: &TestTables) {
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
        // An operand may hold of every event: it leads to what nothing else does.
        let is_subexpression = usize::from(column) >= self.first_subexpression;
        count.map_or(0, |count| *count as usize)
            + if is_subexpression { SUBEXPRESSION_COST } else { 0 }
    }

    /// The best predicate of a row of tests that all must hold.
    pub(super) fn access_predicate(
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
            // An error here would be the outcome, whatever the operands behind say.
            if operand.iter().any(|test| test.op == Op::MayError) {
                break;
            }
            before.extend(operand.iter().filter_map(|test| test.asked()));
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
            // Half of them hold, for all we know.
            Op::Ordered(_) => self.ordered.get(usize::from(column)).map_or(0, |n| n / 2),
            Op::All => return self.access_predicate(inner, tables),
            Op::Any => return self.access_predicate_of_any(inner, tables),
            _ => return None,
        };
        Some(AccessPredicate { tests: vec![test], columns: vec![column], cost })
    }

    /// Every operand needs an predicate of its own.
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
    /// How many tests behind this one belong to it.
    fn inner(self) -> usize {
        match self.op {
            Op::All | Op::Any | Op::Not => self.argument as usize,
            _ => 0,
        }
    }

    /// The column that is asked.
    fn asked(self) -> Option<ColumnId> {
        match self.op {
            Op::Is | Op::IsOneOf | Op::MayBe | Op::Ordered(_) => Some(self.column),
            _ => None,
        }
    }
}

/// The entry at a position; the table grows to hold it.
fn at<T: Default + Clone>(table: &mut Vec<T>, position: usize) -> &mut T {
    if table.len() <= position {
        table.resize(position + 1, T::default());
    }
    #[expect(clippy::indexing_slicing, reason = "the line above made the place")]
    &mut table[position]
}
