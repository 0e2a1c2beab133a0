//! A filter as a row of integer comparisons: eight bytes a test, decided without looking at the
//! event again.
//!
//! Rows stand one behind the other as heads with their checks. Those found by the same symbol are a
//! *run*, which ends at a mark: what an event finds is read from front to back.

use switchyard_expr::predicate::Order;

use super::column::{State, States};
use super::dictionary::Symbol;

/// One test, or the head of a group of tests. Rows are in order of evaluation; a row as a whole is
/// a conjunction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Check {
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
    /// The next `argument` checks, all of them.
    All,
    /// The next `argument` checks, any of them.
    Any,
    /// The next `argument` checks, not all of them.
    Not,
    /// Something that only evaluation can tell, and that cannot fail.
    Open,
    /// Something that only evaluation can tell.
    Stuck,
    /// The operand `column` holds. Becomes `Is` when all columns are known.
    Operand,
    /// The head of a row of as many checks as `column` says: the filter of one listener, at place
    /// `argument`, who has no conditions beside it. It is found once.
    Lone,
    /// As above, of all who listen with the same filter; `argument` is the place of the first. It
    /// may be found several times.
    Group,
    /// The end of a run of rows.
    End,
}

/// Splits off the first row: its head, its checks, and what stands behind.
pub(super) fn split_row(rows: &[Check]) -> Option<(Check, &[Check], &[Check])> {
    let (head, behind) = rows.split_first()?;
    let (checks, behind) = behind.split_at_checked(usize::from(head.column))?;
    Some((*head, checks, behind))
}

/// What is known of a filter without evaluating it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    True,
    False,
    /// True or false.
    Open,
    /// True, false or an error.
    Stuck,
}

/// The tables that checks refer to.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) bounds: Vec<f64>,
    /// Each set is its length, then its symbols in rising order.
    pub(super) sets: Vec<u32>,
}

impl Tables {
    pub(super) fn set(&self, at: u32) -> &[Symbol] {
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
pub(super) fn all(mut checks: &[Check], states: &States, tables: &Tables) -> Answer {
    let mut open = false;
    while let Some((check, rest)) = checks.split_first() {
        let answer;
        (answer, checks) = operand(*check, rest, states, tables);
        match answer {
            Answer::True => {}
            Answer::False | Answer::Stuck => return answer,
            Answer::Open => open = true,
        }
    }
    if open { Answer::Open } else { Answer::True }
}

fn any(mut checks: &[Check], states: &States, tables: &Tables) -> Answer {
    let mut open = false;
    while let Some((check, rest)) = checks.split_first() {
        let answer;
        (answer, checks) = operand(*check, rest, states, tables);
        match answer {
            Answer::False => {}
            Answer::True | Answer::Stuck => return answer,
            Answer::Open => open = true,
        }
    }
    if open { Answer::Open } else { Answer::False }
}

/// Decides the operand that begins with `check` and yields the row behind it.
#[inline(always)]
fn operand<'c>(
    check: Check,
    rest: &'c [Check],
    states: &States,
    tables: &Tables,
) -> (Answer, &'c [Check]) {
    match check.op {
        Op::All | Op::Any | Op::Not => group(check, rest, states, tables),
        Op::Open => (Answer::Open, rest),
        Op::Stuck => (Answer::Stuck, rest),
        _ => match states.columns.get(usize::from(check.column)) {
            Some(state) => (leaf(check, state, states, tables), rest),
            None => (Answer::Stuck, rest),
        },
    }
}

/// Decides the group that `check` heads. Nests no deeper than filters.
fn group<'c>(
    check: Check,
    rest: &'c [Check],
    states: &States,
    tables: &Tables,
) -> (Answer, &'c [Check]) {
    let (inner, behind) = rest.split_at_checked(check.argument as usize).unwrap_or((rest, &[]));
    let answer = match check.op {
        Op::Any => any(inner, states, tables),
        Op::Not => match all(inner, states, tables) {
            Answer::True => Answer::False,
            Answer::False => Answer::True,
            other => other,
        },
        _ => all(inner, states, tables),
    };
    (answer, behind)
}

#[inline(always)]
fn leaf(check: Check, state: &State, states: &States, tables: &Tables) -> Answer {
    if state.trouble {
        return Answer::Stuck;
    }
    let holds = match check.op {
        Op::Is => states.holds(state, check.argument),
        Op::IsOneOf => {
            let set = tables.set(check.argument);
            let found = states.entries(state).iter();
            found.map(|entry| entry.symbol).any(|symbol| set.binary_search(&symbol).is_ok())
        }
        Op::MayBe if states.holds(state, check.argument) => return Answer::Open,
        Op::Ordered(order) => order.holds(state.number, tables.bound(check.argument)),
        _ => false,
    };
    if holds { Answer::True } else { Answer::False }
}
