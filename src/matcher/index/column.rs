//! One kind of test over one path: what an event's value means for all filters that ask so.

use std::ops::Range;

use aho_corasick::AhoCorasick;
use switchyard_expr::limits;
use switchyard_expr::predicate::Constant;

use super::dedup_from;
use super::dictionary::{
    Dictionary, DictionaryBuilder, Entry, Symbol, index, push_constant, push_value,
};
use super::route::Found;
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
pub(super) enum Kind {
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
pub(super) struct State {
    /// The tests of this column cannot be decided: evaluation may raise an error.
    pub(super) trouble: bool,
    /// Which of the entries are this column's.
    entries: Range<u32>,
    /// The symbol of the first of them; most columns have no other.
    first: Symbol,
    /// The value of an ordered column; NaN, of which nothing holds, elsewhere.
    pub(super) number: f64,
}

impl Default for State {
    fn default() -> Self {
        Self { trouble: false, entries: 0..0, first: 0, number: f64::NAN }
    }
}

/// What one event says to all columns. Reused from event to event.
#[derive(Debug, Default)]
pub(super) struct States {
    pub(super) columns: Vec<State>,
    entries: Vec<Entry>,
    key: Vec<u8>,
}

impl States {
    pub(super) fn clear(&mut self) {
        self.columns.clear();
        self.entries.clear();
    }

    /// The symbols that hold in a column, with what is found by them.
    pub(super) fn entries(&self, state: &State) -> &[Entry] {
        let Range { start, end } = state.entries;
        self.entries.get(start as usize..end as usize).unwrap_or_default()
    }

    /// Whether a symbol holds in a column.
    #[inline(always)]
    pub(super) fn holds(&self, state: &State, symbol: Symbol) -> bool {
        match state.entries.end - state.entries.start {
            0 => false,
            1 => state.first == symbol,
            _ => self.entries(state).iter().any(|entry| entry.symbol == symbol),
        }
    }

    /// Of a column whose value nobody can tell.
    pub(super) fn trouble(&mut self) {
        self.columns.push(State { trouble: true, ..State::default() });
    }

    /// Of an operand, with what it leads to if it holds.
    pub(super) fn operand(&mut self, holds: Option<Entry>) {
        let start = self.entries.len();
        self.entries.extend(holds);
        self.entries_from(start);
    }

    fn number(&mut self, number: f64) {
        self.columns.push(State { number, ..State::default() });
    }

    /// A list may hold a constant twice; the column has its symbol once.
    fn entries_from(&mut self, start: usize) {
        dedup_from(start, &mut self.entries);
        let entries = index(start)..index(self.entries.len());
        let first = self.entries.get(start).map_or(0, |entry| entry.symbol);
        self.columns.push(State { entries, first, ..State::default() });
    }
}

/// A column: its symbols, and how to find them in an event.
#[derive(Debug)]
pub(super) struct Column {
    kind: Kind,
    /// Of a `Some` column: where each name stands among the values of an item.
    positions: Box<[usize]>,
    dictionary: Dictionary,
    /// Finds all text constants of an including column in one pass over the value.
    texts: Option<Texts>,
}

#[derive(Debug)]
struct Texts {
    automaton: AhoCorasick,
    /// By pattern of the automaton.
    entries: Box<[Entry]>,
}

impl Column {
    pub(super) fn heap_bytes(&self) -> usize {
        let texts = self.texts.as_ref();
        let texts = texts.map_or(0, |t| t.automaton.memory_usage() + size_of_val(&*t.entries));
        self.dictionary.heap_bytes() + texts
    }

    /// See [`Dictionary::touch`].
    pub(super) fn touch(&self) {
        self.dictionary.touch();
    }

    /// Reads what the value at the column's path says and appends the state.
    pub(super) fn read(&self, found: Found<'_>, states: &mut States) {
        let start = states.entries.len();
        let value = match found {
            Found::Broken => return states.trouble(),
            Found::Value(value) => value,
        };
        match (&self.kind, value) {
            (Kind::Equal, value) => {
                self.look_up(value, states);
                states.entries_from(start);
            }
            (Kind::Ordered { .. }, Pick::Number(number)) => states.number(number),
            (
                Kind::Ordered { null_is_false: true } | Kind::Includes { null_is_false: true, .. },
                Pick::Missing | Pick::Null,
            ) => states.entries_from(start),
            (Kind::Includes { .. }, Pick::List(items)) if items.len() <= MEMBERS_MAX => {
                (0..items.len()).for_each(|at| self.look_up(items.get(at, 0), states));
                states.entries_from(start);
            }
            (Kind::Includes { text: true, .. }, Pick::Text(text))
                if text.len() <= TEXT_BYTES_MAX =>
            {
                self.search(text, states);
                states.entries_from(start);
            }
            (Kind::Some(_), Pick::List(items)) if items.len() <= ITEMS_MAX => {
                match self.look_up_items(items, states) {
                    Some(()) => states.entries_from(start),
                    None => states.trouble(),
                }
            }
            _ => states.trouble(),
        }
    }

    fn look_up(&self, value: Pick<'_>, states: &mut States) {
        states.key.clear();
        if push_value(&mut states.key, value)
            && let Some(entry) = self.dictionary.get(&states.key)
        {
            states.entries.push(entry);
        }
    }

    fn search(&self, text: &[u8], states: &mut States) {
        let Some(texts) = &self.texts else { return };
        for found in texts.automaton.find_overlapping_iter(text) {
            states.entries.extend(texts.entries.get(found.pattern().as_usize()));
        }
    }

    /// None if an item has no members.
    fn look_up_items(&self, items: Items<'_>, states: &mut States) -> Option<()> {
        for at in 0..items.len() {
            states.key.clear();
            let mut comparable = true;
            for position in &self.positions {
                if *position > 0 && !matches!(items.get(at, 0), Pick::Map) {
                    return None;
                }
                comparable &= push_value(&mut states.key, items.get(at, *position));
            }
            if comparable && let Some(entry) = self.dictionary.get(&states.key) {
                states.entries.push(entry);
            }
        }
        Some(())
    }
}

/// Collects the symbols of a column.
#[derive(Debug)]
pub(super) struct ColumnBuilder {
    kind: Kind,
    dictionary: DictionaryBuilder,
    texts: Vec<(Box<str>, Symbol)>,
    key: Vec<u8>,
}

impl ColumnBuilder {
    pub(super) fn new(kind: Kind) -> Self {
        let dictionary = DictionaryBuilder::default();
        Self { kind, dictionary, texts: Vec::new(), key: Vec::new() }
    }

    /// The symbol of a constant, or of one constant for each name.
    pub(super) fn symbol<'c>(
        &mut self,
        constants: impl IntoIterator<Item = &'c Constant> + Clone,
    ) -> Symbol {
        self.key.clear();
        for constant in constants.clone() {
            push_constant(&mut self.key, constant);
        }
        let symbol = self.dictionary.symbol(&self.key);
        if let (Kind::Includes { text: true, .. }, Some(Constant::String(text))) =
            (&self.kind, constants.into_iter().next())
            && symbol as usize == self.texts.len()
        {
            self.texts.push((text.clone(), symbol));
        }
        symbol
    }

    /// How many symbols there are.
    pub(super) fn symbols(&self) -> usize {
        self.dictionary.len()
    }

    /// The column, whose path leads to `place`; `runs` of rows are by symbol.
    pub(super) fn finish(
        self,
        place: Place,
        runs: &[u32],
        selection: &mut SelectionBuilder,
    ) -> Column {
        let positions = match &self.kind {
            Kind::Equal | Kind::Ordered { .. } => Box::default(),
            Kind::Includes { .. } => {
                selection.items(place);
                Box::default()
            }
            Kind::Some(names) => {
                selection.items(place);
                let position = |name: &Option<Box<str>>| {
                    name.as_ref().map_or(0, |name| selection.item_member(place, name))
                };
                names.iter().map(position).collect()
            }
        };
        let patterns = self.texts.iter().map(|(text, _)| &**text);
        // Building fails only beyond 2^31 bytes of patterns; then text is left to evaluation.
        let automaton = (!self.texts.is_empty()).then(|| AhoCorasick::new(patterns).ok()).flatten();
        let entry = |(_, symbol): &(_, Symbol)| Entry {
            symbol: *symbol,
            run: runs.get(*symbol as usize).copied().unwrap_or_default(),
        };
        let entries = self.texts.iter().map(entry).collect();
        let kind = match (self.kind, &automaton) {
            (Kind::Includes { null_is_false, .. }, None) => {
                Kind::Includes { text: false, null_is_false }
            }
            (kind, _) => kind,
        };
        let texts = automaton.map(|automaton| Texts { automaton, entries });
        Column { kind, positions, dictionary: self.dictionary.finish(runs), texts }
    }
}
