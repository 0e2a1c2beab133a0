//! Conjunctions: a filter as a sequence of integer tests, eight bytes each, which is decided from the
//! values of columns without reading the event again.
//!
//! The tests of one filter, after a header, are a *row*. Rows with the same access predicate form a
//! *posting list*, which ends with a mark, so that a lookup reads memory from front to back. A row
//! that would be copied into many posting lists is *shared*: they contain its position instead.

use switchyard_expr::predicate::Order;

use super::corrupt::CorruptSegment;
use super::ids::{
    BoundId, ColumnId, ConstantId, ListenerId, Offset, RowId, SegmentTooLarge, SetId, TestCount,
};
use super::values::{ColumnValue, EventValues};

/// One test, or a group of the tests after it. The tests of a row are in order of evaluation and
/// must all hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Test {
    /// The constant holds.
    Is { column: ColumnId, constant: ConstantId },
    /// One of the constants of the set holds.
    IsOneOf { column: ColumnId, set: SetId },
    /// The constant holds, and the filter tests more, which cannot fail.
    MayBe { column: ColumnId, constant: ConstantId },
    /// The number compares so with the bound.
    Ordered { order: Order, column: ColumnId, bound: BoundId },
    /// All of the next tests.
    All { tests: TestCount },
    /// Any of the next tests.
    Any { tests: TestCount },
    /// Not all of the next tests.
    Not { tests: TestCount },
    /// An expression that needs evaluation and cannot fail.
    Unknown,
    /// An expression that needs evaluation and may fail.
    MayError,
    /// The shared subexpression is true. Becomes `Is` when all columns are known.
    SharedSubexpression { number: ColumnId },
}

impl Test {
    /// The number of tests after this one that belong to it.
    pub(super) fn inner(self) -> usize {
        match self {
            Self::All { tests } | Self::Any { tests } | Self::Not { tests } => tests.index(),
            _ => 0,
        }
    }

    /// The column that is tested.
    pub(super) fn column(self) -> Option<ColumnId> {
        match self {
            Self::Is { column, .. }
            | Self::IsOneOf { column, .. }
            | Self::MayBe { column, .. }
            | Self::Ordered { column, .. } => Some(column),
            _ => None,
        }
    }

    /// Whether the outcome is known without evaluation.
    pub(super) fn is_decided(self) -> bool {
        !matches!(self, Self::Unknown | Self::MayError)
    }
}

/// The header of a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RowHeader {
    /// Number of tests after the header.
    tests: TestCount,
    /// Bytes, since an aligned id would not fit next to the tag of [`RowCell`].
    listener: [u8; 4],
}

impl RowHeader {
    pub(super) fn new(listener: ListenerId, tests: TestCount) -> Self {
        Self { tests, listener: listener.to_bytes() }
    }

    /// The first listener of the group with this filter.
    pub(super) fn listener(self) -> ListenerId {
        ListenerId::from_bytes(self.listener)
    }
}

#[cfg(test)]
impl RowHeader {
    /// Refers to a listener that does not exist.
    pub(super) fn corrupt(&mut self) {
        self.listener = [u8::MAX; 4];
    }
}

/// An entry of the table of rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum RowCell {
    /// One test of a row.
    Test(Test),
    /// The header of a row of a single listener without conditions. The row is in one posting list.
    SingleListener(RowHeader),
    /// The header of a row of a group. The row may be in several posting lists.
    ListenerGroup(RowHeader),
    /// The header of a row of a group that so many posting lists lead to that none has a copy.
    SharedRow(RowHeader),
    /// In a posting list: the position of a shared row.
    Reference([u8; 4]),
    /// The end of a posting list.
    End,
}

const _: () = assert!(size_of::<RowCell>() == 8, "a test takes eight bytes");

/// A row of a segment.
#[derive(Debug)]
pub(super) struct Row<'r> {
    /// The first listener of its group.
    pub(super) listener: ListenerId,
    /// Whether the group is a single listener without conditions.
    pub(super) is_single: bool,
    pub(super) tests: &'r [RowCell],
}

/// What a posting list contains at one position.
#[derive(Debug)]
pub(super) enum Posting<'r> {
    /// A row.
    Row(Row<'r>),
    /// The position of a shared row.
    Reference(RowId),
    /// Nothing more.
    End,
}

/// Splits off the first posting; returns it with the cells after it.
#[inline(always)]
pub(super) fn split_posting(
    cells: &[RowCell],
) -> Result<(Posting<'_>, &[RowCell]), CorruptSegment> {
    let (first, rest) = cells.split_first().ok_or(CorruptSegment("row"))?;
    let (header, is_single) = match *first {
        RowCell::SingleListener(header) => (header, true),
        RowCell::ListenerGroup(header) => (header, false),
        RowCell::Reference(row) => return Ok((Posting::Reference(RowId::from_bytes(row)), rest)),
        RowCell::End => return Ok((Posting::End, rest)),
        RowCell::Test(_) | RowCell::SharedRow(_) => return Err(CorruptSegment("row header")),
    };
    let (row, rest) = row(header, is_single, rest)?;
    Ok((Posting::Row(row), rest))
}

/// Returns the shared row at the start of `cells`; none if it is a row that is not shared.
#[inline(always)]
pub(super) fn shared_row(cells: &[RowCell]) -> Result<Option<Row<'_>>, CorruptSegment> {
    let Some((RowCell::SharedRow(header), rest)) = cells.split_first() else { return Ok(None) };
    Ok(Some(row(*header, false, rest)?.0))
}

#[inline(always)]
fn row(
    header: RowHeader,
    is_single: bool,
    rest: &[RowCell],
) -> Result<(Row<'_>, &[RowCell]), CorruptSegment> {
    let tests = rest.split_at_checked(header.tests.index());
    let (tests, rest) = tests.ok_or(CorruptSegment("tests of a row"))?;
    Ok((Row { listener: header.listener(), is_single, tests }, rest))
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
    /// Not known: a test refers to an entry that its table does not have.
    Corrupt,
}

/// The tables that tests refer to.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct TestTables {
    bounds: Vec<f64>,
    /// By set, where its constants begin; they end where the next set begins.
    sets: Vec<Offset>,
    /// The constants of all sets, those of each in rising order.
    set_constants: Vec<ConstantId>,
}

impl TestTables {
    /// Adds a number to compare with.
    pub(super) fn add_bound(&mut self, bound: f64) -> Result<BoundId, SegmentTooLarge> {
        let id = BoundId::new(self.bounds.len())?;
        self.bounds.push(bound);
        Ok(id)
    }

    /// Adds a set of constants in rising order.
    pub(super) fn add_set(
        &mut self,
        constants: impl IntoIterator<Item = ConstantId>,
    ) -> Result<SetId, SegmentTooLarge> {
        let id = SetId::new(self.sets.len())?;
        self.sets.push(Offset::new(self.set_constants.len())?);
        self.set_constants.extend(constants);
        Ok(id)
    }

    /// The constants of a set, in rising order.
    pub(super) fn set(&self, id: SetId) -> Option<&[ConstantId]> {
        let start = self.sets.get(id.index())?.index();
        let end = self.sets.get(id.index() + 1).map_or(self.set_constants.len(), |end| end.index());
        self.set_constants.get(start..end)
    }

    pub(super) fn bound(&self, id: BoundId) -> Option<f64> {
        self.bounds.get(id.index()).copied()
    }

    /// Removes memory that is allocated and not used.
    pub(super) fn shrink(&mut self) {
        self.bounds.shrink_to_fit();
        self.sets.shrink_to_fit();
        self.set_constants.shrink_to_fit();
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.bounds) + size_of_val(&*self.sets) + size_of_val(&*self.set_constants)
    }
}

/// Decides a conjunction with the semantics of evaluation: in order, `&&` and `||` end at the first
/// operand that settles them, and an error there is the outcome whatever the operands after it are.
pub(super) fn all(mut cells: &[RowCell], values: &EventValues, tables: &TestTables) -> Truth {
    let mut unknown = false;
    while let Some((cell, rest)) = cells.split_first() {
        let truth;
        (truth, cells) = operand(*cell, rest, values, tables);
        match truth {
            Truth::True => {}
            Truth::False | Truth::MayError | Truth::Corrupt => return truth,
            Truth::Unknown => unknown = true,
        }
    }
    if unknown { Truth::Unknown } else { Truth::True }
}

fn any(mut cells: &[RowCell], values: &EventValues, tables: &TestTables) -> Truth {
    let mut unknown = false;
    while let Some((cell, rest)) = cells.split_first() {
        let truth;
        (truth, cells) = operand(*cell, rest, values, tables);
        match truth {
            Truth::False => {}
            Truth::True | Truth::MayError | Truth::Corrupt => return truth,
            Truth::Unknown => unknown = true,
        }
    }
    if unknown { Truth::Unknown } else { Truth::False }
}

/// Decides the operand that begins with `cell` and returns the cells after it.
#[inline(always)]
fn operand<'c>(
    cell: RowCell,
    rest: &'c [RowCell],
    values: &EventValues,
    tables: &TestTables,
) -> (Truth, &'c [RowCell]) {
    let RowCell::Test(test) = cell else { return (Truth::Corrupt, rest) };
    let (column, rest) = match test {
        Test::Is { column, .. }
        | Test::IsOneOf { column, .. }
        | Test::MayBe { column, .. }
        | Test::Ordered { column, .. } => (column, rest),
        Test::All { tests } | Test::Any { tests } | Test::Not { tests } => {
            return group(test, tests, rest, values, tables);
        }
        Test::Unknown => return (Truth::Unknown, rest),
        Test::MayError => return (Truth::MayError, rest),
        Test::SharedSubexpression { .. } => return (Truth::Corrupt, rest),
    };
    match values.columns.get(column.index()) {
        Some(value) => (leaf(test, value, values, tables), rest),
        None => (Truth::Corrupt, rest),
    }
}

/// Decides a group of tests. Recursion is bounded by the nesting limit of filters.
fn group<'c>(
    test: Test,
    len: TestCount,
    rest: &'c [RowCell],
    values: &EventValues,
    tables: &TestTables,
) -> (Truth, &'c [RowCell]) {
    let Some((inner, rest)) = rest.split_at_checked(len.index()) else {
        return (Truth::Corrupt, rest);
    };
    let truth = match test {
        Test::Any { .. } => any(inner, values, tables),
        Test::Not { .. } => match all(inner, values, tables) {
            Truth::True => Truth::False,
            Truth::False => Truth::True,
            other => other,
        },
        _ => all(inner, values, tables),
    };
    (truth, rest)
}

#[inline(always)]
fn leaf(test: Test, value: &ColumnValue, values: &EventValues, tables: &TestTables) -> Truth {
    if value.undetermined {
        return Truth::MayError;
    }
    let holds = match test {
        Test::Is { constant, .. } => values.holds(value, constant),
        Test::IsOneOf { set, .. } => {
            let Some(set) = tables.set(set) else { return Truth::Corrupt };
            let found = values.entries(value).iter();
            found.map(|entry| entry.constant).any(|constant| set.binary_search(&constant).is_ok())
        }
        Test::MayBe { constant, .. } if values.holds(value, constant) => return Truth::Unknown,
        Test::Ordered { order, bound, .. } => match tables.bound(bound) {
            Some(bound) => order.holds(value.number, bound),
            None => return Truth::Corrupt,
        },
        _ => false,
    };
    if holds { Truth::True } else { Truth::False }
}
