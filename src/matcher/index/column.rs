//! One kind of test over one path: what an event's value means for all filters that ask so.

use std::ops::Range;

use aho_corasick::AhoCorasick;
use switchyard_expr::limits;
use switchyard_expr::predicate::Constant;

use super::dedup_from;
use super::dictionary::{
    ConstantEntry, ConstantId, ConstantIds, Dictionary, DictionaryBuilder, begin_key, index,
    push_constant, push_value,
};
use super::path::Resolved;
use super::planner::ColumnId;
use crate::event::pick::{ITEMS_MAX as PICKED_MAX, Items, Pick, Place, SelectionBuilder};

/// Longest list whose items are tested here; beyond, an evaluation could run out of steps.
pub(super) const ITEMS_MAX: usize = 64;
/// Most steps of an evaluation that one search of a text or list stands for. Constants that are
/// looked for are paid for by their characters in the filter.
pub(super) const READ_STEPS_MAX: usize = 512;
/// Longest list that membership is decided on here.
const MEMBERS_MAX: usize = READ_STEPS_MAX / limits::STEPS_PER_ELEMENT as usize;
/// Longest text that is searched here, in bytes.
const TEXT_BYTES_MAX: usize = READ_STEPS_MAX * limits::SEARCH_BYTES_PER_STEP;
const _: () = assert!(MEMBERS_MAX <= PICKED_MAX as usize);

/// What is asked of the value at a path.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum TestKind {
    /// Which constant it equals. Trouble if the path is broken.
    Equal,
    /// Which constants it includes. Trouble unless it is a list, or text and the constants too.
    Includes {
        /// Whether all constants are text.
        text: bool,
        /// Whether null means no rather than trouble, because `path != null` was asked before.
        null_is_false: bool,
    },
    /// Which rows of constants an item of the list has under these names. Trouble unless it is a
    /// short list, and of maps where there are names.
    Some(Box<[Option<Box<str>>]>),
    /// How it compares with numbers. Trouble unless it is a number.
    Ordered {
        /// As for `Includes`.
        null_is_false: bool,
    },
}

/// What one event says to one column.
#[derive(Clone, Debug)]
pub(super) struct ColumnValue {
    /// The tests of this column cannot be decided: evaluation may raise an error.
    pub(super) undetermined: bool,
    /// Which of the entries are this column's.
    entries: Range<u32>,
    /// The symbol of the first of them; most columns have no other.
    first: ConstantId,
    /// The value of an ordered column; NaN, of which nothing holds, elsewhere.
    pub(super) number: f64,
}

impl Default for ColumnValue {
    fn default() -> Self {
        Self { undetermined: false, entries: 0..0, first: 0, number: f64::NAN }
    }
}

/// What one event says to all columns. Reused from event to event.
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

    /// The symbols that hold in a column, with what is found by them.
    pub(super) fn entries(&self, value: &ColumnValue) -> &[ConstantEntry] {
        let Range { start, end } = value.entries;
        self.entries.get(start as usize..end as usize).unwrap_or_default()
    }

    /// Whether a symbol holds in a column.
    #[inline(always)]
    pub(super) fn holds(&self, value: &ColumnValue, constant: ConstantId) -> bool {
        match value.entries.end - value.entries.start {
            0 => false,
            1 => value.first == constant,
            _ => self.entries(value).iter().any(|entry| entry.constant == constant),
        }
    }

    /// Of a column whose value nobody can tell.
    pub(super) fn push_undetermined(&mut self) {
        self.columns.push(ColumnValue { undetermined: true, ..ColumnValue::default() });
    }

    /// Of an operand, with what it leads to if it holds.
    pub(super) fn push_subexpression(&mut self, holds: Option<ConstantEntry>) {
        let start = self.entries.len();
        self.entries.extend(holds);
        self.push_entries_from(start);
    }

    fn push_number(&mut self, number: f64) {
        self.columns.push(ColumnValue { number, ..ColumnValue::default() });
    }

    /// A list may hold a constant twice; the column has its symbol once.
    fn push_entries_from(&mut self, start: usize) {
        dedup_from(start, &mut self.entries);
        let entries = index(start)..index(self.entries.len());
        let first = self.entries.get(start).map_or(0, |entry| entry.constant);
        self.columns.push(ColumnValue { entries, first, ..ColumnValue::default() });
    }
}

/// A column: how to find its symbols in an event. What differs in size from column to column
/// stands in [`ColumnTables`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    kind: LookupKind,
    id: ColumnId,
    /// Of a `Some` column, the first of its positions and how many there are; of one that searches
    /// text, its search.
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

/// What the columns of a segment look their values up in.
#[derive(Debug, Default)]
pub(super) struct ColumnTables {
    dictionary: Dictionary,
    /// Of `Some` columns: where each name stands among the values of an item.
    positions: Box<[u32]>,
    searches: Box<[Search]>,
}

/// Finds all text constants of an including column in one pass over the value.
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
    /// Its number.
    pub(super) fn id(&self) -> u32 {
        u32::from(self.id)
    }

    /// Reads what the value at the column's path says and appends the value.
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
            (LookupKind::Ordered { .. }, Pick::Number(number)) => values.push_number(number),
            (
                LookupKind::Ordered { null_is_false: true }
                | LookupKind::Includes { null_is_false: true, .. },
                Pick::Missing | Pick::Null,
            ) => values.push_entries_from(start),
            (LookupKind::Includes { .. }, Pick::List(items)) if items.len() <= MEMBERS_MAX => {
                (0..items.len()).for_each(|at| self.look_up(items.get(at, 0), tables, values));
                values.push_entries_from(start);
            }
            (LookupKind::Includes { text: true, .. }, Pick::Text(text))
                if text.len() <= TEXT_BYTES_MAX =>
            {
                self.search(text, tables, values);
                values.push_entries_from(start);
            }
            (LookupKind::Some, Pick::List(items)) if items.len() <= ITEMS_MAX => {
                match self.look_up_items(items, tables, values) {
                    Some(()) => values.push_entries_from(start),
                    None => values.push_undetermined(),
                }
            }
            _ => values.push_undetermined(),
        }
    }

    fn look_up(self, value: Pick<'_>, tables: &ColumnTables, values: &mut EventValues) {
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

    /// None if an item has no members.
    fn look_up_items(
        self,
        items: Items<'_>,
        tables: &ColumnTables,
        values: &mut EventValues,
    ) -> Option<()> {
        let (first, len) = (self.first as usize, self.len as usize);
        let positions = tables.positions.get(first..first + len).unwrap_or_default();
        for at in 0..items.len() {
            begin_key(&mut values.key, self.id);
            let mut comparable = true;
            for position in positions {
                if *position > 0 && !matches!(items.get(at, 0), Pick::Map) {
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

/// Collects the symbols of a column.
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

    /// The symbol of a constant, or of one constant for each name.
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

    /// How many symbols there are.
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
    /// Column `id`, whose path leads to `place`; `runs` of rows are by symbol.
    pub(super) fn column(
        &mut self,
        id: ColumnId,
        column: ColumnBuilder,
        place: Place,
        postings: &[u32],
        selection: &mut SelectionBuilder,
    ) -> Column {
        let ColumnBuilder { kind, ids, texts, .. } = column;
        let mut first = index(self.positions.len());
        let kind = match kind {
            TestKind::Equal => LookupKind::Equal,
            TestKind::Ordered { null_is_false } => LookupKind::Ordered { null_is_false },
            TestKind::Includes { null_is_false, .. } => {
                selection.items(place);
                first = index(self.searches.len());
                let search = search(&texts, postings);
                let text = search.is_some();
                self.searches.extend(search);
                LookupKind::Includes { text, null_is_false }
            }
            TestKind::Some(names) => {
                selection.items(place);
                self.positions.extend(names.iter().map(|name| {
                    name.as_ref().map_or(0, |name| index(selection.item_member(place, name)))
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

/// A search for all of `texts`, if there are any. Building it fails only beyond 2^31 bytes of them;
/// then text is left to evaluation.
fn search(texts: &[(Box<str>, ConstantId)], postings: &[u32]) -> Option<Search> {
    let patterns = texts.iter().map(|(text, _)| &**text);
    let automaton = (!texts.is_empty()).then(|| AhoCorasick::new(patterns).ok()).flatten()?;
    let entry = |(_, constant): &(_, ConstantId)| ConstantEntry {
        constant: *constant,
        postings: postings.get(*constant as usize).copied().unwrap_or_default(),
    };
    Some(Search { automaton, entries: texts.iter().map(entry).collect() })
}
