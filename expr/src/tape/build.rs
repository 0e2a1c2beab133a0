//! Fills a tape: a serde visitor that writes nodes instead of values.

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::tape::{Cell, NONE, Node, Range, TapeError, TapeLimits, hash, slice};

/// From this many members on, a map is searched by its index.
const INDEXED_FROM: u32 = 64;

pub(super) struct Builder<'t> {
    text: &'t str,
    escaped: &'t mut String,
    nodes: &'t mut Vec<Node>,
    index: &'t mut Vec<(u32, u32)>,
    limits: TapeLimits,
    /// A bound that was hit, which serde's error cannot carry.
    bound: Option<TapeError>,
}

impl<'t> Builder<'t> {
    pub(super) fn new(
        text: &'t str,
        escaped: &'t mut String,
        nodes: &'t mut Vec<Node>,
        index: &'t mut Vec<(u32, u32)>,
        limits: TapeLimits,
    ) -> Builder<'t> {
        Builder { text, escaped, nodes, index, limits, bound: None }
    }

    pub(super) fn build(mut self) -> Result<(), TapeError> {
        let mut reader = serde_json::Deserializer::from_str(self.text);
        // Values count their depth themselves, so that the bound is ours and has its own error.
        reader.disable_recursion_limit();
        let root = Slot { builder: &mut self, name: Range::default(), depth: 0 };
        let read = root.deserialize(&mut reader).and_then(|_| reader.end());
        read.map_err(|error| {
            self.bound.unwrap_or(TapeError::Syntax { line: error.line(), column: error.column() })
        })
    }

    /// Where `text` stands: in the source if it is part of it, else in the buffer of escapes.
    fn range(&mut self, text: &str, borrowed: bool) -> Range {
        let len = offset(text.len());
        if borrowed {
            let start = text.as_ptr().addr().wrapping_sub(self.text.as_ptr().addr());
            return Range { start: offset(start), len };
        }
        let start = offset(self.text.len() + self.escaped.len());
        self.escaped.push_str(text);
        Range { start, len }
    }

    fn name_of(&self, node: u32) -> &str {
        let range = self.nodes.get(node as usize).map(|node| node.name).unwrap_or_default();
        slice(self.text, self.escaped, range)
    }

    fn push(&mut self, cell: Cell, name: Range) -> Result<u32, TapeError> {
        let id = offset(self.nodes.len());
        if id >= self.limits.nodes {
            return Err(TapeError::Nodes);
        }
        self.nodes.push(Node { cell, name, next: NONE });
        Ok(id)
    }

    fn set_next(&mut self, node: u32, next: u32) {
        if let Some(node) = self.nodes.get_mut(node as usize) {
            node.next = next;
        }
    }

    fn set_cell(&mut self, node: u32, cell: Cell) {
        if let Some(node) = self.nodes.get_mut(node as usize) {
            node.cell = cell;
        }
    }

    fn next(&self, node: u32) -> u32 {
        self.nodes.get(node as usize).map_or(NONE, |node| node.next)
    }
}

/// Sources are shorter than `u32::MAX`, and so is all that points into them.
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(NONE)
}

/// The place of the value that is read next. Yields its node.
struct Slot<'b, 't> {
    builder: &'b mut Builder<'t>,
    name: Range,
    depth: u32,
}

impl<'t> Slot<'_, 't> {
    fn put<E: Error>(self, cell: Cell) -> Result<u32, E> {
        let pushed = self.builder.push(cell, self.name);
        self.checked(pushed)
    }

    fn checked<E: Error, T>(self, outcome: Result<T, TapeError>) -> Result<T, E> {
        outcome.map_err(|error| {
            self.builder.bound = Some(error);
            E::custom("bound")
        })
    }

    fn string<E: Error>(self, text: &str, borrowed: bool) -> Result<u32, E> {
        let range = self.builder.range(text, borrowed);
        self.put(Cell::String(range))
    }

    /// Opens a list or map one level deeper.
    fn open<E: Error>(self, cell: Cell) -> Result<(u32, Self), E> {
        if self.depth >= self.builder.limits.depth {
            return self.checked(Err(TapeError::Depth));
        }
        let (name, depth) = (self.name, self.depth + 1);
        match self.builder.push(cell, name) {
            Ok(id) => Ok((id, Slot { depth, ..self })),
            Err(error) => self.checked(Err(error)),
        }
    }

    /// The place of a value inside of this one.
    fn inner(&mut self, name: Range) -> Slot<'_, 't> {
        Slot { builder: &mut *self.builder, name, depth: self.depth }
    }
}

impl<'de> DeserializeSeed<'de> for Slot<'_, '_> {
    type Value = u32;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u32, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Slot<'_, '_> {
    type Value = u32;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<u32, E> {
        self.put(Cell::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<u32, E> {
        self.put(Cell::Bool(value))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<u32, E> {
        #[expect(clippy::cast_precision_loss, reason = "numbers of the language are doubles")]
        let number = number as f64;
        self.put(Cell::Number(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<u32, E> {
        #[expect(clippy::cast_precision_loss, reason = "numbers of the language are doubles")]
        let number = number as f64;
        self.put(Cell::Number(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<u32, E> {
        self.put(Cell::Number(number))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<u32, E> {
        self.string(text, true)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u32, E> {
        self.string(text, false)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<u32, A::Error> {
        let (list, mut slot) = self.open(Cell::List { len: 0 })?;
        let (mut len, mut last) = (0, NONE);
        while let Some(child) = items.next_element_seed(slot.inner(Range::default()))? {
            slot.builder.set_next(last, child);
            last = child;
            len += 1;
        }
        slot.builder.set_cell(list, Cell::List { len });
        Ok(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<u32, A::Error> {
        let (map, mut slot) = self.open(Cell::Map { len: 0, first: NONE, index: NONE })?;
        let mut members = Members::default();
        while let Some(name) = items.next_key_seed(Name { builder: slot.builder })? {
            let child = items.next_value_seed(slot.inner(name))?;
            members.add(child, slot.builder);
        }
        let cell = members.finish(slot.builder);
        slot.builder.set_cell(map, cell);
        Ok(map)
    }
}

/// Reads a member name.
struct Name<'b, 't> {
    builder: &'b mut Builder<'t>,
}

impl<'de> DeserializeSeed<'de> for Name<'_, '_> {
    type Value = Range;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Range, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name<'_, '_> {
    type Value = Range;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a member name")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Range, E> {
        Ok(self.builder.range(text, true))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Range, E> {
        Ok(self.builder.range(text, false))
    }
}

/// The members of a map being read. A repeated name replaces its earlier value.
struct Members {
    first: u32,
    last: u32,
    len: u32,
    /// One bit for each hash seen, so that nearly all names need no search.
    seen: [u64; 4],
}

impl Default for Members {
    fn default() -> Members {
        Members { first: NONE, last: NONE, len: 0, seen: [0; 4] }
    }
}

impl Members {
    fn add(&mut self, child: u32, builder: &mut Builder<'_>) {
        // Beyond the threshold repeats are found by sorting, in `finish`.
        if self.len < INDEXED_FROM {
            let hash = quick_hash(builder.name_of(child));
            let bit = 1_u64 << (hash % 64);
            let seen = self.seen.get_mut(hash / 64).map_or(0, |word| {
                let seen = *word & bit;
                *word |= bit;
                seen
            });
            if seen != 0 {
                self.remove_named_like(child, builder);
            }
        }
        if self.first == NONE {
            self.first = child;
        } else {
            builder.set_next(self.last, child);
        }
        self.last = child;
        self.len += 1;
    }

    /// Unlinks an earlier member of the same name.
    fn remove_named_like(&mut self, child: u32, builder: &mut Builder<'_>) {
        let (mut before, mut at) = (NONE, self.first);
        let name = builder.name_of(child);
        while at != NONE && builder.name_of(at) != name {
            before = at;
            at = builder.next(at);
        }
        if at == NONE {
            return;
        }
        let after = builder.next(at);
        if before == NONE {
            self.first = after;
        } else {
            builder.set_next(before, after);
        }
        if self.last == at {
            self.last = before;
        }
        self.len -= 1;
    }

    fn finish(mut self, builder: &mut Builder<'_>) -> Cell {
        if self.len < INDEXED_FROM {
            return Cell::Map { len: self.len, first: self.first, index: NONE };
        }
        let mut children: Vec<(u32, u32)> = Vec::with_capacity(self.len as usize);
        let mut at = self.first;
        while at != NONE {
            children.push((hash(builder.name_of(at)), at));
            at = builder.next(at);
        }
        let name = |child: &(u32, u32)| (child.0, builder.name_of(child.1));
        // The last of equal names comes first, and is the one that stays.
        children.sort_unstable_by(|a, b| name(a).cmp(&name(b)).then(b.1.cmp(&a.1)));
        children.dedup_by(|later, kept| name(later) == name(kept));

        let index = offset(builder.index.len());
        builder.index.extend(&children);
        self.len = offset(children.len());
        // Siblings stay in the order of the text.
        children.sort_unstable_by_key(|(_, child)| *child);
        self.first = children.first().map_or(NONE, |(_, child)| *child);
        for pair in children.windows(2) {
            if let [(_, child), (_, next)] = pair {
                builder.set_next(*child, *next);
            }
        }
        if let Some((_, last)) = children.last() {
            builder.set_next(*last, NONE);
        }
        Cell::Map { len: self.len, first: self.first, index }
    }
}

/// Tells names of one map apart well enough, in a few instructions: 0 to 255. The end of a name
/// counts most, for the sake of `customfield_10001` and its siblings.
fn quick_hash(name: &str) -> usize {
    let tail = name
        .bytes()
        .rev()
        .take(4)
        .fold(name.len(), |hash, byte| hash.wrapping_mul(31).wrapping_add(usize::from(byte)));
    tail.wrapping_mul(0x9e37_79b9) >> 16 & 0xff
}
