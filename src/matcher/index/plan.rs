//! From a filter to checks, and from checks to the anchor the filter is found by.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use switchyard_expr::predicate::{Constant, ItemTest};
use switchyard_expr::{Condition, Path, Program, limits};

use super::check::{Check, Op, Tables};
use super::column::{ColumnBuilder, ITEMS_MAX, Kind, READ_STEPS_MAX};
use super::dictionary::{Symbol, index};
use super::{operand, route};

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

/// Turns filters into checks; equal paths share a column, equal constants a symbol, equal operands
/// an evaluation.
#[derive(Debug, Default)]
pub(super) struct Planner {
    pub(super) columns: Vec<(Path, ColumnBuilder)>,
    /// Their columns are those behind all others.
    pub(super) operands: Vec<Program>,
    pub(super) tables: Tables,
    ids: HashMap<(Path, Kind), ColumnId, RandomState>,
    /// By text; none for what is no operand of its own.
    operand_ids: HashMap<Box<str>, Option<ColumnId>, RandomState>,
}

impl Planner {
    /// The checks of a program.
    pub(super) fn checks(&mut self, program: &Program, steps_max: u32, out: &mut Vec<Check>) {
        let (source, facts) = (program.source(), program.facts());
        let source_len = source.len();
        let steps_max = steps_max as usize;
        // An evaluation that could run out of steps before the checks do has an error that they
        // would not see. Each node costs one step and stands for one character at least, an element
        // of a list that stands in the filter four steps for two characters, and a constant is
        // compared with all of a list: hence the factor. The text and lists that tests search are
        // apart, and so are the items of a list, the errors that a `?.` swallows, and remainders.
        let apart = source.matches("?.").count() * limits::STEPS_PER_ERROR as usize
            + source.matches('%').count() * limits::STEPS_PER_REMAINDER as usize;
        let searched = reads(&facts.condition) * READ_STEPS_MAX;
        if source_len * 4 + searched + apart > steps_max {
            out.push(STUCK);
            return;
        }
        let may_test_items = source_len * ITEMS_MAX + apart <= steps_max;
        let start = out.len();
        let Condition::All(operands) = &facts.condition else {
            return self.condition(&facts.condition, &[], may_test_items, out);
        };
        self.operands(operands, may_test_items, out);
        let own = out.get(start..).unwrap_or_default();
        if !own.iter().all(is_decided) && Uses::default().anchor(own, &self.tables).is_none() {
            let steps_left = steps_max - source_len * 4 - searched - apart;
            let evaluations = steps_left / operand::STEPS_MAX as usize;
            let texts = operand::texts(&source, operands.len());
            let texts = texts.iter().map(|text| Some(&**text));
            let texts = texts.take(evaluations.min(operand::COUNT_MAX));
            out.truncate(start);
            for (at, text) in (0..operands.len()).zip(texts.chain(std::iter::repeat(None))) {
                self.operand(operands, at, text, may_test_items, out);
            }
        }
    }

    /// Appends the checks of an operand of a filter that nothing else leads to. One that no test
    /// describes is evaluated, once for all filters, and can be an anchor like any other.
    fn operand(
        &mut self,
        operands: &[Condition],
        at: usize,
        text: Option<&str>,
        items: bool,
        out: &mut Vec<Check>,
    ) {
        let start = out.len();
        let Some((operand, before)) = operands.get(..=at).and_then(<[Condition]>::split_last)
        else {
            return;
        };
        self.condition(operand, before, items, out);
        if !out.iter().skip(start).all(is_decided)
            && let Some(column) = text.and_then(|text| self.operand_id(text))
        {
            out.truncate(start);
            out.push(Check { op: Op::Operand, column, argument: 0 });
        }
    }

    fn operand_id(&mut self, text: &str) -> Option<ColumnId> {
        if let Some(known) = self.operand_ids.get(text) {
            return *known;
        }
        let id = operand::compiled(text).and_then(|program| {
            let id = ColumnId::try_from(self.operands.len()).ok()?;
            self.operands.push(program);
            Some(id)
        });
        self.operand_ids.insert(text.into(), id);
        id
    }

    /// Puts columns into the order of their paths, so that each path is followed once, and those of
    /// operands behind them.
    pub(super) fn sort_columns(&mut self, checks: &mut [Check]) {
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
        for check in checks.iter_mut() {
            if check.op == Op::Operand {
                let column = ColumnId::try_from(behind + usize::from(check.column));
                let is = |column| Check { op: Op::Is, column, argument: operand::HOLDS };
                *check = column.map_or(STUCK, is);
            } else if check.asked().is_some() {
                check.column = new.get(usize::from(check.column)).copied().unwrap_or(ColumnId::MAX);
            }
        }
    }

    fn operands(&mut self, operands: &[Condition], items: bool, out: &mut Vec<Check>) {
        for (at, operand) in operands.iter().enumerate() {
            self.condition(operand, operands.get(..at).unwrap_or_default(), items, out);
        }
    }

    /// Appends the checks of `condition`, which is only asked when all of `before` hold.
    fn condition(
        &mut self,
        condition: &Condition,
        before: &[Condition],
        items: bool,
        out: &mut Vec<Check>,
    ) {
        let start = out.len();
        let check = match condition {
            Condition::OneOf { path, constants } => self.one_of(path, constants),
            Condition::Ordered { path, order, bound } => {
                let null_is_false = is_guarded(path, before);
                let column = self.column(path, Kind::Ordered { null_is_false });
                // Adding zero makes -0 of it 0, which equals it and sorts like it.
                self.tables.bounds.push(*bound + 0.0);
                let bound = index(self.tables.bounds.len() - 1);
                column.map(|column| Check { op: Op::Ordered(*order), column, argument: bound })
            }
            Condition::Includes { path, constant } => {
                let null_is_false = is_guarded(path, before);
                let text = matches!(constant, Constant::String(_));
                let column = self.column(path, Kind::Includes { text, null_is_false });
                column.map(|column| self.is(Op::Is, column, [constant]))
            }
            Condition::Some { path, tests, exact } => {
                items.then(|| self.some(path, tests, *exact)).flatten()
            }
            Condition::Opaque { can_fail: false } => {
                Some(Check { op: Op::Open, column: 0, argument: 0 })
            }
            Condition::Opaque { can_fail: true } => None,
            Condition::All(_) | Condition::Any(_) | Condition::Not(_) => {
                let op = match condition {
                    Condition::All(_) => Op::All,
                    Condition::Any(_) => Op::Any,
                    _ => Op::Not,
                };
                out.push(Check { op, column: 0, argument: 0 });
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
        out.push(check.unwrap_or(STUCK));
    }

    fn one_of(&mut self, path: &Path, constants: &[Constant]) -> Option<Check> {
        // What differs from app to app cannot be looked up once for all of them.
        if path.is_app_specific() {
            let op = if path.steps.len() == 1 { Op::Open } else { Op::Stuck };
            return Some(Check { op, column: 0, argument: 0 });
        }
        let column = self.column(path, Kind::Equal)?;
        if let [constant] = constants {
            return Some(self.is(Op::Is, column, [constant]));
        }
        let at = self.tables.sets.len();
        let mut symbols: Vec<Symbol> =
            constants.iter().map(|constant| self.symbol(column, [constant])).collect();
        symbols.sort_unstable();
        // 0 and -0 are one.
        symbols.dedup();
        self.tables.sets.push(index(symbols.len()));
        self.tables.sets.extend(symbols);
        Some(Check { op: Op::IsOneOf, column, argument: index(at) })
    }

    fn some(&mut self, path: &Path, tests: &[ItemTest], exact: bool) -> Option<Check> {
        let mut tests: Vec<&ItemTest> = tests.iter().collect();
        tests.sort_by(|a, b| a.name.cmp(&b.name));
        // The same member twice is a column of its own and as right as any.
        let names = tests.iter().map(|test| test.name.clone()).collect();
        let column = self.column(path, Kind::Some(names))?;
        let op = if exact { Op::Is } else { Op::MayBe };
        let constants: Vec<&Constant> = tests.iter().map(|test| &test.constant).collect();
        Some(self.is(op, column, constants))
    }

    fn is<'c>(
        &mut self,
        op: Op,
        column: ColumnId,
        constants: impl IntoIterator<Item = &'c Constant> + Clone,
    ) -> Check {
        Check { op, column, argument: self.symbol(column, constants) }
    }

    fn symbol<'c>(
        &mut self,
        column: ColumnId,
        constants: impl IntoIterator<Item = &'c Constant> + Clone,
    ) -> Symbol {
        let column = self.columns.get_mut(usize::from(column));
        column.map_or(Symbol::MAX, |(_, column)| column.symbol(constants))
    }

    /// The column of a path; none when there are too many.
    fn column(&mut self, path: &Path, kind: Kind) -> Option<ColumnId> {
        if path.is_app_specific() || path.steps.len() > route::STEPS_MAX {
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
pub(super) const STUCK: Check = Check { op: Op::Stuck, column: 0, argument: 0 };

/// Whether the answer of a check is known without an evaluation.
fn is_decided(check: &Check) -> bool {
    !matches!(check.op, Op::Open | Op::Stuck)
}

/// Whether `path != null` stands among the conditions that hold.
fn is_guarded(path: &Path, before: &[Condition]) -> bool {
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
pub(super) struct Anchor {
    /// Tests of which one holds whenever the filter is true.
    pub(super) targets: Vec<Check>,
    /// Columns whose trouble could make the filter fail before the targets are asked, and theirs.
    pub(super) columns: Vec<ColumnId>,
    /// How many filters share the targets.
    cost: usize,
}

/// What an operand counts as an anchor beside the filters that share it: more than any constant.
const OPERAND_COST: usize = 1 << 30;

/// How often each symbol of each column is tested; the rarest anchor is the best.
#[derive(Debug, Default)]
pub(super) struct Uses {
    /// Columns from here on are those of operands.
    first_operand: usize,
    symbols: Vec<Vec<u32>>,
    ordered: Vec<usize>,
}

impl Uses {
    /// Of columns that, from `first_operand` on, are those of operands.
    pub(super) fn new(first_operand: usize) -> Self {
        Self { first_operand, ..Self::default() }
    }

    pub(super) fn count(&mut self, check: Check, tables: &Tables) {
        match check.op {
            Op::Is | Op::MayBe => self.add(check.column, check.argument),
            Op::IsOneOf => {
                tables.set(check.argument).iter().for_each(|s| self.add(check.column, *s))
            }
            Op::Ordered(_) => *at(&mut self.ordered, usize::from(check.column)) += 1,
            _ => {}
        }
    }

    fn add(&mut self, column: ColumnId, symbol: Symbol) {
        *at(at(&mut self.symbols, usize::from(column)), symbol as usize) += 1;
    }

    fn of(&self, column: ColumnId, symbol: Symbol) -> usize {
        let uses = self.symbols.get(usize::from(column));
        let uses = uses.and_then(|symbols| symbols.get(symbol as usize));
        // An operand may hold of every event: it leads to what nothing else does.
        let is_operand = usize::from(column) >= self.first_operand;
        uses.map_or(0, |uses| *uses as usize) + if is_operand { OPERAND_COST } else { 0 }
    }

    /// The best anchor of a row of checks that all must hold.
    pub(super) fn anchor(&self, mut checks: &[Check], tables: &Tables) -> Option<Anchor> {
        let mut best: Option<Anchor> = None;
        let mut before: Vec<ColumnId> = Vec::new();
        while let Some((check, rest)) = checks.split_first() {
            let inner = check.inner();
            let (operand, behind) = checks.split_at_checked(inner + 1)?;
            if let Some(mut anchor) = self.anchor_of(*check, rest.get(..inner)?, tables)
                && best.as_ref().is_none_or(|best| anchor.cost < best.cost)
            {
                anchor.columns.extend(&before);
                best = Some(anchor);
            }
            // An error here would be the outcome, whatever the operands behind say.
            if operand.iter().any(|check| check.op == Op::Stuck) {
                break;
            }
            before.extend(operand.iter().filter_map(|check| check.asked()));
            checks = behind;
        }
        best
    }

    fn anchor_of(&self, check: Check, inner: &[Check], tables: &Tables) -> Option<Anchor> {
        let column = check.column;
        let cost = match check.op {
            Op::Is | Op::MayBe => self.of(column, check.argument),
            Op::IsOneOf => tables.set(check.argument).iter().map(|s| self.of(column, *s)).sum(),
            // Half of them hold, for all we know.
            Op::Ordered(_) => self.ordered.get(usize::from(column)).map_or(0, |n| n / 2),
            Op::All => return self.anchor(inner, tables),
            Op::Any => return self.anchor_of_any(inner, tables),
            _ => return None,
        };
        Some(Anchor { targets: vec![check], columns: vec![column], cost })
    }

    /// Every operand needs an anchor of its own.
    fn anchor_of_any(&self, mut checks: &[Check], tables: &Tables) -> Option<Anchor> {
        let mut sum = Anchor::default();
        while let Some((check, rest)) = checks.split_first() {
            let (inner, behind) = rest.split_at_checked(check.inner())?;
            let anchor = self.anchor_of(*check, inner, tables)?;
            sum.targets.extend(anchor.targets);
            sum.columns.extend(anchor.columns);
            sum.cost += anchor.cost;
            checks = behind;
        }
        (!sum.targets.is_empty()).then_some(sum)
    }
}

impl Check {
    /// How many checks behind this one belong to it.
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
