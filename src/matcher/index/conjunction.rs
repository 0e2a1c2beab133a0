//! A filter as a row of integer comparisons: eight bytes a test, decided without looking at the
//! event again.
//!
//! Rows stand one behind the other as heads with their tests. Those found by the same symbol are a
//! *run*, which ends at a mark: what an event finds is read from front to back.

use switchyard_expr::predicate::Order;

use super::column::{ColumnValue, EventValues};
use super::dictionary::ConstantId;

/// One test, or the head of a group of tests. Rows are in order of evaluation; a row as a whole is
/// a conjunction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Test {
    pub(super) op: Op,
    /// The column that is asked.
    pub(super) column: u16,
    /// What `op` says.
    pub(super) argument: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Op {
    /// The symbol `argument` holds.
    Is,
    /// One of the symbols of set `argument` holds.
    IsOneOf,
    /// As `Is`, but more is asked that cannot fail.
    MayBe,
    /// The number compares so with bound `argument`.
    Ordered(Order),
    /// The next `argument` tests, all of them.
    All,
    /// The next `argument` tests, any of them.
    Any,
    /// The next `argument` tests, not all of them.
    Not,
    /// Something that only evaluation can tell, and that cannot fail.
    Unknown,
    /// Something that only evaluation can tell.
    MayError,
    /// The operand `column` holds. Becomes `Is` when all columns are known.
    SharedSubexpression,
    /// The head of a row of as many tests as `column` says: the filter of one listener, at place
    /// `argument`, who has no conditions beside it. It is found once.
    SingleListener,
    /// As above, of all who listen with the same filter; `argument` is the place of the first. It
    /// may be found several times.
    ListenerGroup,
    /// The end of a run of rows.
    End,
}

/// Splits off the first row: its head, its tests, and what stands behind.
pub(super) fn split_row(rows: &[Test]) -> Option<(Test, &[Test], &[Test])> {
    let (head, behind) = rows.split_first()?;
    let (tests, behind) = behind.split_at_checked(usize::from(head.column))?;
    Some((*head, tests, behind))
}

/// What is known of a filter without evaluating it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Truth {
    True,
    False,
    /// True or false.
    Unknown,
    /// True, false or an error.
    MayError,
}

/// The tables that tests refer to.
#[derive(Debug, Default)]
pub(super) struct TestTables {
    pub(super) bounds: Vec<f64>,
    /// Each set is its length, then its symbols in rising order.
    pub(super) sets: Vec<u32>,
}

impl TestTables {
    pub(super) fn set(&self, at: u32) -> &[ConstantId] {
        let at = at as usize;
        let len = self.sets.get(at).copied().unwrap_or_default() as usize;
        self.sets.get(at + 1..at + 1 + len).unwrap_or_default()
    }

    pub(super) fn bound(&self, at: u32) -> f64 {
        self.bounds.get(at as usize).copied().unwrap_or(f64::NAN)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.bounds) + size_of_val(&*self.sets)
    }
}

/// Decides a row as evaluation would: in order, with `&&` and `||` ending at the first operand that
/// settles them, and errors winning over what stands behind them.
pub(super) fn all(mut tests: &[Test], values: &EventValues, tables: &TestTables) -> Truth {
    let mut unknown = false;
    while let Some((test, rest)) = tests.split_first() {
        let truth;
        (truth, tests) = operand(*test, rest, values, tables);
        match truth {
            Truth::True => {}
            Truth::False | Truth::MayError => return truth,
            Truth::Unknown => unknown = true,
        }
    }
    if unknown { Truth::Unknown } else { Truth::True }
}

fn any(mut tests: &[Test], values: &EventValues, tables: &TestTables) -> Truth {
    let mut unknown = false;
    while let Some((test, rest)) = tests.split_first() {
        let truth;
        (truth, tests) = operand(*test, rest, values, tables);
        match truth {
            Truth::False => {}
            Truth::True | Truth::MayError => return truth,
            Truth::Unknown => unknown = true,
        }
    }
    if unknown { Truth::Unknown } else { Truth::False }
}

/// Decides the operand that begins with `test` and yields the row behind it.
#[inline(always)]
fn operand<'c>(
    test: Test,
    rest: &'c [Test],
    values: &EventValues,
    tables: &TestTables,
) -> (Truth, &'c [Test]) {
    match test.op {
        Op::All | Op::Any | Op::Not => group(test, rest, values, tables),
        Op::Unknown => (Truth::Unknown, rest),
        Op::MayError => (Truth::MayError, rest),
        _ => match values.columns.get(usize::from(test.column)) {
            Some(value) => (leaf(test, value, values, tables), rest),
            None => (Truth::MayError, rest),
        },
    }
}

/// Decides the group that `test` heads. Nests no deeper than filters.
fn group<'c>(
    test: Test,
    rest: &'c [Test],
    values: &EventValues,
    tables: &TestTables,
) -> (Truth, &'c [Test]) {
    let (inner, behind) = rest.split_at_checked(test.argument as usize).unwrap_or((rest, &[]));
    let truth = match test.op {
        Op::Any => any(inner, values, tables),
        Op::Not => match all(inner, values, tables) {
            Truth::True => Truth::False,
            Truth::False => Truth::True,
            other => other,
        },
        _ => all(inner, values, tables),
    };
    (truth, behind)
}

#[inline(always)]
fn leaf(test: Test, value: &ColumnValue, values: &EventValues, tables: &TestTables) -> Truth {
    if value.undetermined {
        return Truth::MayError;
    }
    let holds = match test.op {
        Op::Is => values.holds(value, test.argument),
        Op::IsOneOf => {
            let set = tables.set(test.argument);
            let found = values.entries(value).iter();
            found.map(|entry| entry.constant).any(|constant| set.binary_search(&constant).is_ok())
        }
        Op::MayBe if values.holds(value, test.argument) => return Truth::Unknown,
        Op::Ordered(order) => order.holds(value.number, tables.bound(test.argument)),
        _ => false,
    };
    if holds { Truth::True } else { Truth::False }
}
