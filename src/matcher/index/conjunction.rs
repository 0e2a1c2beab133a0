//! Conjunctions: a filter as a sequence of integer tests, eight bytes each, which is decided from
//! the values of columns without reading the event again.
//!
//! The tests of one filter, after a header, are a *row*. Rows with the same access predicate form a
//! *posting list*, which ends with a mark, so that a lookup reads memory from front to back.

use switchyard_expr::predicate::Order;

use super::column::{ColumnValue, EventValues};
use super::dictionary::ConstantId;

/// One test, or the header of a row. The tests of a row are in order of evaluation and must all
/// hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Test {
    pub(super) op: Op,
    /// The column that is tested.
    pub(super) column: u16,
    /// The meaning depends on `op`.
    pub(super) argument: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Op {
    /// Constant `argument` holds.
    Is,
    /// One of the constants of set `argument` holds.
    IsOneOf,
    /// As `Is`, but the filter tests more, which cannot fail.
    MayBe,
    /// The number compares so with bound `argument`.
    Ordered(Order),
    /// The next `argument` tests, all of them.
    All,
    /// The next `argument` tests, any of them.
    Any,
    /// The next `argument` tests, not all of them.
    Not,
    /// An expression that needs evaluation and cannot fail.
    Unknown,
    /// An expression that needs evaluation and may fail.
    MayError,
    /// Shared subexpression `column` is true. Becomes `Is` when all columns are known.
    SharedSubexpression,
    /// The header of a row with `column` tests: the filter of listener `argument`, which has no
    /// conditions. The row is in one posting list only.
    SingleListener,
    /// As above, for a group whose first listener is `argument`. The row may be in several posting
    /// lists.
    ListenerGroup,
    /// The end of a posting list.
    End,
}

/// Splits off the first row: returns its header, its tests and the rest.
pub(super) fn split_row(rows: &[Test]) -> Option<(Test, &[Test], &[Test])> {
    let (head, behind) = rows.split_first()?;
    let (tests, behind) = behind.split_at_checked(usize::from(head.column))?;
    Some((*head, tests, behind))
}

/// The outcome of a filter as far as it is known without evaluation.
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
    /// Each set is its length, then its constants in rising order.
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

/// Decides a conjunction with the semantics of evaluation: in order, `&&` and `||` end at the first
/// operand that settles them, and an error there is the outcome whatever the operands after it are.
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

/// Decides the operand that begins with `test` and returns the tests after it.
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

/// Decides the group that begins with `test`. Recursion is bounded by the nesting limit of filters.
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
