//! Columns: one kind of test of one path. A column turns an event's value into constant ids, once
//! for all filters that test it.

use std::ops::Range;

use aho_corasick::AhoCorasick;
use switchyard_expr::limits;
use switchyard_expr::predicate::Constant;

use super::build::planner::ColumnId;
use super::dedup_from;
use super::dictionary::{
    ConstantEntry, ConstantId, ConstantIds, Dictionary, DictionaryBuilder, begin_key, index,
    push_constant, push_value,
};
use super::path::Resolved;
use crate::event::projection::{
    FieldId, ITEMS_MAX as PROJECTED_MAX, JsonValue, ListItems, ProjectionBuilder,
};

/// Longest list whose items are tested here; with a longer one, an evaluation could exceed its
/// budget.
pub(super) const ITEMS_MAX: usize = 64;
/// Most budget that the evaluation of one search of a text or list uses. The length of the
/// constants that are searched for is part of the filter's length.
pub(super) const READ_STEPS_MAX: usize = 512;
/// Longest list on which membership is decided here.
const MEMBERS_MAX: usize = READ_STEPS_MAX / limits::STEPS_PER_ELEMENT as usize;
/// Longest text that is searched here, in bytes.
const TEXT_BYTES_MAX: usize = READ_STEPS_MAX * limits::SEARCH_BYTES_PER_STEP;
const _: () = assert!(MEMBERS_MAX <= PROJECTED_MAX as usize);

/// The kind of a test.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum TestKind {
    /// Which constant the value equals. Undetermined if evaluating the path is an error.
    Equal,
    /// Which constants the value includes. Undetermined unless it is a list, or text and all
    /// constants are text.
    Includes {
        /// Whether all constants are text.
        text: bool,
        /// Whether null means false instead of undetermined, because `path != null` is tested
        /// before.
        null_is_false: bool,
    },
    /// Which tuples of constants the members with these names of one list item equal. Undetermined
    /// unless it is a short list, and one of maps if there are names.
    Some(Box<[Option<Box<str>>]>),
    /// How the value compares with numbers. Undetermined unless it is a number.
    Ordered {
        /// As for `Includes`.
        null_is_false: bool,
    },
}

/// The value of one column for one event.
#[derive(Clone, Debug)]
pub(super) struct ColumnValue {
    /// Whether the tests of this column cannot be decided, because evaluation may raise an error.
    pub(super) undetermined: bool,
    /// Range of its entries.
    entries: Range<u32>,
    /// The constant of its first entry; most columns have no other.
    first: ConstantId,
    /// The value of an `Ordered` column; for others NaN, which satisfies no comparison.
    pub(super) number: f64,
}

impl Default for ColumnValue {
    fn default() -> Self {
        Self { undetermined: false, entries: 0..0, first: 0, number: f64::NAN }
    }
}

/// The values of all columns for one event. Reused from event to event.
#[derive(Debug, Default)]
pub(super) struct EventValues {
    pub(super) columns: Vec<ColumnValue>,
    entries: Vec<ConstantEntry>,
    key: Vec<u8>,
}

impl EventValues {
    pub(super) fn clear(&mut self) {
        self.columns.clear();
        self.entries.clear();
    }

    /// The constants that hold in a column, with their posting lists.
    pub(super) fn entries(&self, value: &ColumnValue) -> &[ConstantEntry] {
        let Range { start, end } = value.entries;
        self.entries.get(start as usize..end as usize).unwrap_or_default()
    }

    /// Whether a constant holds in a column.
    #[inline(always)]
    pub(super) fn holds(&self, value: &ColumnValue, constant: ConstantId) -> bool {
        match value.entries.end - value.entries.start {
            0 => false,
            1 => value.first == constant,
            _ => self.entries(value).iter().any(|entry| entry.constant == constant),
        }
    }

    /// Appends the value of a column whose tests cannot be decided.
    pub(super) fn push_undetermined(&mut self) {
        self.columns.push(ColumnValue { undetermined: true, ..ColumnValue::default() });
    }

    /// Appends the value of a shared subexpression: an entry if it is true.
    pub(super) fn push_subexpression(&mut self, holds: Option<ConstantEntry>) {
        let start = self.entries.len();
        self.entries.extend(holds);
        self.push_entries_from(start);
    }

    fn push_number(&mut self, number: f64) {
        self.columns.push(ColumnValue { number, ..ColumnValue::default() });
    }

    /// A list may contain a constant twice; the column has it once.
    fn push_entries_from(&mut self, start: usize) {
        dedup_from(start, &mut self.entries);
        let entries = index(start)..index(self.entries.len());
        let first = self.entries.get(start).map_or(0, |entry| entry.constant);
        self.columns.push(ColumnValue { entries, first, ..ColumnValue::default() });
    }
}

/// A column: how to find its constants in an event. What varies in size is in [`ColumnTables`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    kind: LookupKind,
    id: ColumnId,
    /// For `Some`, the first of its positions and their number; for a search in text, its search.
    first: u32,
    len: u32,
}

/// A [`TestKind`] without its names.
#[derive(Clone, Copy, Debug)]
enum LookupKind {
    Equal,
    Includes { text: bool, null_is_false: bool },
    Some,
    Ordered { null_is_false: bool },
}

/// The tables in which the columns of a segment look up values.
#[derive(Debug, Default)]
pub(super) struct ColumnTables {
    dictionary: Dictionary,
    /// For `Some` columns: the position of each name among the projected members of an item.
    positions: Box<[u32]>,
    searches: Box<[Search]>,
}

/// Finds all text constants of an `Includes` column in one pass over the value.
#[derive(Debug)]
struct Search {
    automaton: AhoCorasick,
    /// By pattern of the automaton.
    entries: Box<[ConstantEntry]>,
}

impl ColumnTables {
    pub(super) fn heap_bytes(&self) -> usize {
        let of_search =
            |search: &Search| search.automaton.memory_usage() + size_of_val(&*search.entries);
        self.dictionary.heap_bytes()
            + size_of_val(&*self.positions)
            + size_of_val(&*self.searches)
            + self.searches.iter().map(of_search).sum::<usize>()
    }

    /// See [`Dictionary::prefetch`].
    pub(super) fn prefetch(&self) {
        self.dictionary.prefetch();
    }
}

impl Column {
    /// The id of the column.
    pub(super) fn id(&self) -> u32 {
        u32::from(self.id)
    }

    /// Reads the value at the column's path and appends the column's value.
    pub(super) fn read(self, found: Resolved<'_>, tables: &ColumnTables, values: &mut EventValues) {
        let start = values.entries.len();
        let value = match found {
            Resolved::Error => return values.push_undetermined(),
            Resolved::Value(value) => value,
        };
        match (self.kind, value) {
            (LookupKind::Equal, value) => {
                self.look_up(value, tables, values);
                values.push_entries_from(start);
            }
            (LookupKind::Ordered { .. }, JsonValue::Number(number)) => values.push_number(number),
            (
                LookupKind::Ordered { null_is_false: true }
                | LookupKind::Includes { null_is_false: true, .. },
                JsonValue::Missing | JsonValue::Null,
            ) => values.push_entries_from(start),
            (LookupKind::Includes { .. }, JsonValue::List(items)) if items.len() <= MEMBERS_MAX => {
                (0..items.len()).for_each(|at| self.look_up(items.get(at, 0), tables, values));
                values.push_entries_from(start);
            }
            (LookupKind::Includes { text: true, .. }, JsonValue::Text(text))
                if text.len() <= TEXT_BYTES_MAX =>
            {
                self.search(text, tables, values);
                values.push_entries_from(start);
            }
            (LookupKind::Some, JsonValue::List(items)) if items.len() <= ITEMS_MAX => {
                match self.look_up_items(items, tables, values) {
                    Some(()) => values.push_entries_from(start),
                    None => values.push_undetermined(),
                }
            }
            _ => values.push_undetermined(),
        }
    }

    fn look_up(self, value: JsonValue<'_>, tables: &ColumnTables, values: &mut EventValues) {
        begin_key(&mut values.key, self.id);
        if push_value(&mut values.key, value)
            && let Some(entry) = tables.dictionary.get(&values.key)
        {
            values.entries.push(entry);
        }
    }

    fn search(self, text: &[u8], tables: &ColumnTables, values: &mut EventValues) {
        let Some(search) = tables.searches.get(self.first as usize) else { return };
        for found in search.automaton.find_overlapping_iter(text) {
            values.entries.extend(search.entries.get(found.pattern().as_usize()));
        }
    }

    /// Returns none if an item has no members.
    fn look_up_items(
        self,
        items: ListItems<'_>,
        tables: &ColumnTables,
        values: &mut EventValues,
    ) -> Option<()> {
        let (first, len) = (self.first as usize, self.len as usize);
        let positions = tables.positions.get(first..first + len).unwrap_or_default();
        for at in 0..items.len() {
            begin_key(&mut values.key, self.id);
            let mut comparable = true;
            for position in positions {
                if *position > 0 && !matches!(items.get(at, 0), JsonValue::Map) {
                    return None;
                }
                comparable &= push_value(&mut values.key, items.get(at, *position as usize));
            }
            if comparable && let Some(entry) = tables.dictionary.get(&values.key) {
                values.entries.push(entry);
            }
        }
        Some(())
    }
}

/// Collects the constants of a column.
#[derive(Debug)]
pub(super) struct ColumnBuilder {
    kind: TestKind,
    ids: ConstantIds,
    texts: Vec<(Box<str>, ConstantId)>,
    key: Vec<u8>,
}

impl ColumnBuilder {
    pub(super) fn new(kind: TestKind) -> Self {
        Self { kind, ids: ConstantIds::default(), texts: Vec::new(), key: Vec::new() }
    }

    /// Returns the id of a constant, or of a tuple of constants with one for each name.
    pub(super) fn constant_id<'c>(
        &mut self,
        constants: impl IntoIterator<Item = &'c Constant> + Clone,
    ) -> ConstantId {
        self.key.clear();
        for constant in constants.clone() {
            push_constant(&mut self.key, constant);
        }
        let id = self.ids.id(&self.key);
        if let (TestKind::Includes { text: true, .. }, Some(Constant::String(text))) =
            (&self.kind, constants.into_iter().next())
            && id as usize == self.texts.len()
        {
            self.texts.push((text.clone(), id));
        }
        id
    }

    /// The number of constants.
    pub(super) fn constants(&self) -> usize {
        self.ids.len()
    }
}

/// Collects the columns of a segment and their tables.
#[derive(Debug, Default)]
pub(super) struct ColumnsBuilder {
    dictionary: DictionaryBuilder,
    positions: Vec<u32>,
    searches: Vec<Search>,
}

impl ColumnsBuilder {
    /// Adds column `id`, whose path leads to `place`; `postings` are posting lists by constant.
    pub(super) fn column(
        &mut self,
        id: ColumnId,
        column: ColumnBuilder,
        place: FieldId,
        postings: &[u32],
        projection: &mut ProjectionBuilder,
    ) -> Column {
        let ColumnBuilder { kind, ids, texts, .. } = column;
        let mut first = index(self.positions.len());
        let kind = match kind {
            TestKind::Equal => LookupKind::Equal,
            TestKind::Ordered { null_is_false } => LookupKind::Ordered { null_is_false },
            TestKind::Includes { null_is_false, .. } => {
                projection.items(place);
                first = index(self.searches.len());
                let search = search(&texts, postings);
                let text = search.is_some();
                self.searches.extend(search);
                LookupKind::Includes { text, null_is_false }
            }
            TestKind::Some(names) => {
                projection.items(place);
                self.positions.extend(names.iter().map(|name| {
                    name.as_ref().map_or(0, |name| index(projection.item_member(place, name)))
                }));
                LookupKind::Some
            }
        };
        self.dictionary.add(id, ids, postings);
        Column { kind, id, first, len: index(self.positions.len()).saturating_sub(first) }
    }

    pub(super) fn finish(self) -> ColumnTables {
        ColumnTables {
            dictionary: self.dictionary.finish(),
            positions: self.positions.into(),
            searches: self.searches.into(),
        }
    }
}

/// Returns a search for all of `texts`, if there are any. Building it fails only beyond 2^31 bytes;
/// then text columns are undetermined.
fn search(texts: &[(Box<str>, ConstantId)], postings: &[u32]) -> Option<Search> {
    let patterns = texts.iter().map(|(text, _)| &**text);
    let automaton = (!texts.is_empty()).then(|| AhoCorasick::new(patterns).ok()).flatten()?;
    let entry = |(_, constant): &(_, ConstantId)| ConstantEntry {
        constant: *constant,
        postings: postings.get(*constant as usize).copied().unwrap_or_default(),
    };
    Some(Search { automaton, entries: texts.iter().map(entry).collect() })
}
