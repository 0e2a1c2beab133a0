//! Columns: one kind of test of one path. A column turns an event's value into constant ids, once for
//! all filters that test it.

use aho_corasick::AhoCorasick;
use switchyard_expr::limits;
use switchyard_expr::predicate::MethodTest;

use super::corrupt::CorruptSegment;
use super::dictionary::{ConstantEntry, Dictionary};
use super::ids::{ColumnId, Offset};
use super::key::{begin_key, push_value};
use super::path::ResolvedValue;
use super::values::EventValues;
use crate::event::projection::{ITEMS_MAX as PROJECTED_MAX, JsonValue, ListItems};

/// Longest list whose items are tested here; with a longer one, an evaluation could exceed its
/// budget.
pub(super) const ITEMS_MAX: usize = 64;
/// Most budget that the evaluation of one search of a text or list uses. The length of the constants
/// that are searched for is part of the filter's length.
pub(super) const READ_STEPS_MAX: usize = 512;
/// Longest list on which membership is decided here.
const MEMBERS_MAX: usize = READ_STEPS_MAX / limits::STEPS_PER_ELEMENT as usize;
/// Longest text that is searched here, in bytes.
const TEXT_BYTES_MAX: usize = READ_STEPS_MAX * limits::SEARCH_BYTES_PER_STEP;
/// Most hits of one search that are decided here: constants that contain each other, such as `a`, `aa`
/// and `aaa`, have as many as the text has bytes, each. Half a megabyte.
const HITS_MAX: usize = 64 << 10;
const _: () = assert!(MEMBERS_MAX <= PROJECTED_MAX as usize);

/// The kind of the tests of a column.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum TestKind {
    /// Which constant the value equals. Undetermined if evaluating the path is an error.
    Equal,
    /// With which constants as argument the method is true. Undetermined for a value that the method
    /// does not take, and for text unless all constants are text.
    Method {
        /// The method.
        test: MethodTest,
        /// Whether all constants are text.
        text: bool,
        /// Whether null means false instead of undetermined, because `path != null` is tested before.
        null_is_false: bool,
    },
    /// Which tuples of constants the members with certain names of one list item equal. Undetermined
    /// unless it is a short list, and one of maps if there are names.
    Some,
    /// How the value compares with numbers. Undetermined unless it is a number.
    Ordered {
        /// As for `Method`.
        null_is_false: bool,
    },
}

/// A column: how to find its constants in an event. What varies in size is in [`ColumnTables`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) kind: TestKind,
    pub(super) id: ColumnId,
    /// For `Some`, its first member; for `Method` on text, its search.
    pub(super) table_at: Offset,
    /// For `Some`, its number of members.
    pub(super) members: Offset,
}

/// The tables in which the columns of a segment look up values.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct ColumnTables {
    pub(super) dictionary: Dictionary,
    /// For `Some` columns: the position of each name among the projected members of an item.
    pub(super) members: Box<[Offset]>,
    pub(super) searches: Box<[Search]>,
}

/// Finds all text constants of a `Method` column in one pass over the value.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Search {
    pub(super) automaton: AhoCorasick,
    /// By pattern of the automaton.
    pub(super) entries: Box<[ConstantEntry]>,
}

impl ColumnTables {
    pub(super) fn heap_bytes(&self) -> usize {
        let of_search =
            |search: &Search| search.automaton.memory_usage() + size_of_val(&*search.entries);
        self.dictionary.heap_bytes()
            + size_of_val(&*self.members)
            + size_of_val(&*self.searches)
            + self.searches.iter().map(of_search).sum::<usize>()
    }

    /// See [`Dictionary::prefetch`].
    pub(super) fn prefetch(&self) {
        self.dictionary.prefetch();
    }
}

impl Column {
    /// Reads the value at the column's path and appends the column's value.
    pub(super) fn read(
        self,
        resolved: ResolvedValue<'_>,
        tables: &ColumnTables,
        values: &mut EventValues,
    ) -> Result<(), CorruptSegment> {
        let start = values.entries.len();
        let value = match resolved {
            ResolvedValue::Error => {
                values.push_undetermined();
                return Ok(());
            }
            ResolvedValue::Value(value) => value,
        };
        match (self.kind, value) {
            (TestKind::Equal, value) => self.look_up(value, tables, values)?,
            (TestKind::Ordered { .. }, JsonValue::Number(number)) => {
                values.push_number(number);
                return Ok(());
            }
            (
                TestKind::Ordered { null_is_false: true }
                | TestKind::Method { null_is_false: true, .. },
                JsonValue::Missing | JsonValue::Null,
            ) => {}
            (TestKind::Method { test: MethodTest::Includes, .. }, JsonValue::List(items))
                if items.len() <= MEMBERS_MAX =>
            {
                for at in 0..items.len() {
                    self.look_up(items.get(at, 0), tables, values)?;
                }
            }
            (
                TestKind::Method { test: MethodTest::Includes, text: true, .. },
                JsonValue::Text(text),
            ) if text.len() <= TEXT_BYTES_MAX && self.search(text, tables, values)? => {}
            (TestKind::Some, JsonValue::List(items))
                if items.len() <= ITEMS_MAX && self.look_up_items(items, tables, values)? => {}
            _ => {
                values.entries.truncate(start);
                values.push_undetermined();
                return Ok(());
            }
        }
        values.push_entries_from(start);
        Ok(())
    }

    #[inline]
    fn look_up(
        self,
        value: JsonValue<'_>,
        tables: &ColumnTables,
        values: &mut EventValues,
    ) -> Result<(), CorruptSegment> {
        begin_key(&mut values.key, self.id);
        if push_value(&mut values.key, value) {
            values.entries.extend(tables.dictionary.get(&values.key)?);
        }
        Ok(())
    }

    /// Returns false if there are too many hits.
    fn search(
        self,
        text: &[u8],
        tables: &ColumnTables,
        values: &mut EventValues,
    ) -> Result<bool, CorruptSegment> {
        let search = tables.searches.get(self.table_at.index()).ok_or(CorruptSegment("search"))?;
        for (hits, found) in search.automaton.find_overlapping_iter(text).enumerate() {
            if hits == HITS_MAX {
                return Ok(false);
            }
            let entry = search.entries.get(found.pattern().as_usize());
            values.entries.push(*entry.ok_or(CorruptSegment("searched constant"))?);
        }
        Ok(true)
    }

    /// Returns false if an item has no members.
    fn look_up_items(
        self,
        items: ListItems<'_>,
        tables: &ColumnTables,
        values: &mut EventValues,
    ) -> Result<bool, CorruptSegment> {
        let first = self.table_at.index();
        let members = tables.members.get(first..first + self.members.index());
        let members = members.ok_or(CorruptSegment("member of a list item"))?;
        for at in 0..items.len() {
            begin_key(&mut values.key, self.id);
            let mut is_comparable = true;
            for member in members {
                if member.index() > 0 && !matches!(items.get(at, 0), JsonValue::Map) {
                    return Ok(false);
                }
                is_comparable &= push_value(&mut values.key, items.get(at, member.index()));
            }
            if is_comparable {
                values.entries.extend(tables.dictionary.get(&values.key)?);
            }
        }
        Ok(true)
    }
}
