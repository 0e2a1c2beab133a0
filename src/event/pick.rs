//! The values of an event that somebody asks for, in one walk that steps over all others.
//!
//! A [`Selection`] says what is asked, as a tree of member names; [`Picked`] is what one event
//! answers. Texts are compared as bytes, unescaped only where they hold an escape; of a repeated
//! name the last value counts, as on the tape. Long lists are not taken apart.

mod names;
mod unescape;

use std::sync::Arc;

use names::{Lookup, Names, NamesBuilder, RowId, Sieve};
use unescape::unescape;

use super::scan::{Walk, offset, parse_number};

/// Longest list whose items are picked.
pub const ITEMS_MAX: u32 = 256;

/// A value in a selection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Place(u32);

impl Place {
    /// The event itself.
    pub const ROOT: Self = Self(0);
}

/// Which values are asked for. Immutable.
#[derive(Debug, Default)]
pub struct Selection {
    places: Box<[Asked]>,
    names: Names,
}

/// What is asked of the value at a place.
#[derive(Debug, Default)]
struct Asked {
    /// The map that it is a member of; of the event itself, itself.
    parent: Place,
    /// Of a map, members: the row of their names; each leads to a place.
    members: RowId,
    /// Of a list, its items, and of these that are maps members: the row of their names.
    items: Option<RowId>,
    /// How many values are kept of an item: itself and the members asked for.
    width: u32,
}

/// Collects what is asked.
#[derive(Debug)]
pub struct SelectionBuilder {
    places: Vec<Wanted>,
    base: Option<Arc<Selection>>,
}

#[derive(Debug, Default)]
struct Wanted {
    parent: Place,
    members: Vec<(Box<str>, u32)>,
    items: Option<Vec<Box<str>>>,
}

impl Default for SelectionBuilder {
    fn default() -> Self {
        Self { places: vec![Wanted::default()], base: None }
    }
}

impl SelectionBuilder {
    /// Asks for all that `base` asks for, and maybe for more.
    #[must_use]
    pub fn on(base: &Arc<Selection>) -> Self {
        let wanted = |asked: &Asked| Wanted {
            parent: asked.parent,
            members: base.names.entries(asked.members).collect(),
            items: asked.items.map(|row| base.names.entries(row).map(|(name, _)| name).collect()),
        };
        Self { places: base.places.iter().map(wanted).collect(), base: Some(Arc::clone(base)) }
    }

    /// How many places there are so far, the event among them.
    #[must_use]
    pub fn places(&self) -> usize {
        self.places.len()
    }

    /// Asks for the member `name` of a map.
    pub fn member(&mut self, of: Place, name: &str) -> Place {
        let fresh = offset(self.places.len());
        let Some(wanted) = self.places.get_mut(of.0 as usize) else { return of };
        if let Some((_, known)) = wanted.members.iter().find(|(known, _)| &**known == name) {
            return Place(*known);
        }
        wanted.members.push((name.into(), fresh));
        self.places.push(Wanted { parent: of, ..Wanted::default() });
        Place(fresh)
    }

    /// Asks for the items of a list.
    pub fn items(&mut self, of: Place) {
        if let Some(wanted) = self.places.get_mut(of.0 as usize) {
            wanted.items.get_or_insert_default();
        }
    }

    /// Asks for the member `name` of each item of a list that is a map; yields its position among
    /// the values of an item, where the item itself comes first.
    pub fn item_member(&mut self, of: Place, name: &str) -> usize {
        let Some(wanted) = self.places.get_mut(of.0 as usize) else { return 0 };
        let names = wanted.items.get_or_insert_default();
        let known = names.iter().position(|known| &**known == name);
        1 + known.unwrap_or_else(|| {
            names.push(name.into());
            names.len() - 1
        })
    }

    /// The selection: that which this one was made on, if it asks for no more.
    #[must_use]
    pub fn finish(self) -> Arc<Selection> {
        let is_all = |base: &Selection| {
            let widths = self.places.iter().map(Wanted::width);
            widths.eq(base.places.iter().map(|asked| asked.width))
        };
        if let Some(base) = self.base.as_ref().filter(|base| is_all(base)) {
            return Arc::clone(base);
        }
        let mut names = NamesBuilder::default();
        let places = self.places.into_iter().map(|wanted| {
            let width = wanted.width();
            Asked {
                parent: wanted.parent,
                members: names.row(wanted.members),
                width,
                items: wanted.items.map(|items| names.row(items.into_iter().zip(1..).collect())),
            }
        });
        Arc::new(Selection { places: places.collect(), names: names.finish() })
    }
}

impl Wanted {
    /// How many values are kept of an item.
    fn width(&self) -> u32 {
        offset(self.items.as_ref().map_or(0, |items| items.len() + 1))
    }
}

impl Selection {
    /// How many places there are, the event among them.
    #[must_use]
    pub fn places(&self) -> usize {
        self.places.len()
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        size_of_val(&*self.places) + self.names.heap_bytes()
    }
}

/// What an event says to a selection. Reused from event to event.
#[derive(Debug, Default)]
pub struct Picked {
    /// By place.
    values: Vec<Value>,
    /// Values of the items of lists, item by item.
    items: Vec<Value>,
    /// Texts that were unescaped, behind each other.
    unescaped: Vec<u8>,
}

/// A value, as where to find it.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
enum Value {
    #[default]
    Missing,
    Null,
    Bool(bool),
    Number(f64),
    Text {
        start: u32,
        end: u32,
    },
    Unescaped {
        start: u32,
        end: u32,
    },
    /// Its items begin at `first`; none if nobody asked for them.
    List {
        first: u32,
        len: u32,
    },
    /// A list of more items than are picked.
    LongList,
    Map,
}

/// A value that was picked.
#[derive(Clone, Copy, Debug)]
pub enum Pick<'e> {
    /// There is no such member.
    Missing,
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// Any number.
    Number(f64),
    /// Text, escapes resolved; always UTF-8.
    Text(&'e [u8]),
    /// A list with its items, if they were asked for.
    List(Items<'e>),
    /// A list of more than [`ITEMS_MAX`] items.
    LongList,
    /// A map.
    Map,
}

/// The items of a list.
#[derive(Clone, Copy, Debug)]
pub struct Items<'e> {
    picks: Picks<'e>,
    first: usize,
    len: usize,
    width: usize,
}

/// The values of one event by place.
#[derive(Clone, Copy, Debug)]
pub struct Picks<'e> {
    selection: &'e Selection,
    picked: &'e Picked,
    text: &'e [u8],
}

impl Picked {
    /// Picks what `selection` asks for from the text of `walk`.
    pub(super) fn read(&mut self, selection: &Selection, walk: Walk<'_>) {
        self.values.clear();
        self.values.resize(selection.places.len(), Value::Missing);
        self.items.clear();
        self.unescaped.clear();
        let at = walk.token(0);
        Picker { selection, walk, picked: self }.value(at, Place::ROOT.0);
    }

    /// What was picked last, by the same selection and from the same text.
    pub(super) fn view<'e>(&'e self, selection: &'e Selection, text: &'e [u8]) -> Picks<'e> {
        Picks { selection, picked: self, text }
    }
}

impl<'e> Picks<'e> {
    /// The value at a place.
    #[must_use]
    #[inline]
    pub fn at(self, place: Place) -> Pick<'e> {
        let value = self.picked.values.get(place.0 as usize).copied().unwrap_or_default();
        let width = || self.selection.places.get(place.0 as usize).map_or(0, |asked| asked.width);
        self.pick(value, width)
    }

    /// The map that the value at a place is a member of; none of the event itself.
    #[must_use]
    pub fn parent(self, place: Place) -> Option<Place> {
        let asked = self.selection.places.get(place.0 as usize)?;
        (place != Place::ROOT).then_some(asked.parent)
    }

    #[inline]
    fn pick(self, value: Value, width: impl FnOnce() -> u32) -> Pick<'e> {
        let part = |all: &'e [u8], start: u32, end: u32| {
            all.get(start as usize..end as usize).unwrap_or_default()
        };
        match value {
            Value::Missing => Pick::Missing,
            Value::Null => Pick::Null,
            Value::Bool(truth) => Pick::Bool(truth),
            Value::Number(number) => Pick::Number(number),
            Value::Text { start, end } => Pick::Text(part(self.text, start, end)),
            Value::Unescaped { start, end } => Pick::Text(part(&self.picked.unescaped, start, end)),
            Value::List { first, len } => Pick::List(Items {
                picks: self,
                first: first as usize,
                len: len as usize,
                width: width() as usize,
            }),
            Value::LongList => Pick::LongList,
            Value::Map => Pick::Map,
        }
    }
}

impl<'e> Items<'e> {
    /// How many there are.
    #[must_use]
    pub fn len(self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// A value of item `at`, by the position that [`SelectionBuilder::item_member`] gave; 0 is the
    /// item itself.
    #[must_use]
    pub fn get(self, at: usize, position: usize) -> Pick<'e> {
        let value = self.picks.picked.items.get(self.first + at * self.width + position);
        // Of a list in a list nobody asks the items.
        self.picks.pick(value.copied().unwrap_or_default(), || 0)
    }
}

/// One walk. Recursion goes as deep as both the selection and the text, whose depth is bounded.
struct Picker<'e> {
    selection: &'e Selection,
    walk: Walk<'e>,
    picked: &'e mut Picked,
}

impl Picker<'_> {
    /// Reads the value at `at` for a place.
    fn value(&mut self, at: usize, place: u32) {
        let first = self.walk.byte(at);
        if matches!(first, b'{' | b'[') {
            self.walk.next();
            return self.container(first, at, place);
        }
        let (value, _) = self.scalar(at);
        self.set(place, value);
    }

    /// As [`Picker::value`], of the list or map whose first byte was the last mark.
    fn container(&mut self, bracket: u8, at: usize, place: u32) {
        let selection = self.selection;
        let Some(asked) = selection.places.get(place as usize) else { return };
        let value = match (bracket, asked.items) {
            (b'{', _) => Value::Map,
            (_, Some(names)) => self.items(at, names, asked.width),
            (_, None) => {
                self.walk.skip();
                Value::List { first: 0, len: 0 }
            }
        };
        self.set(place, value);
        if value == Value::Map {
            self.members(asked.members, |walk, at, place| walk.value(at, place));
        }
    }

    /// Keeps a value; what an earlier one of the same name held is forgotten.
    #[inline(always)]
    fn set(&mut self, place: u32, value: Value) {
        let Some(kept) = self.picked.values.get_mut(place as usize) else { return };
        if std::mem::replace(kept, value) == Value::Map {
            self.forget_members(place);
        }
    }

    #[cold]
    fn forget_members(&mut self, place: u32) {
        if let Some(asked) = self.selection.places.get(place as usize) {
            for below in self.selection.names.targets(asked.members) {
                self.set(below, Value::Missing);
            }
        }
    }

    /// Reads the members of the map that opened, each with its target among `names`, if it is one
    /// of them; yields where the map ends.
    #[inline(always)]
    fn members(&mut self, names: RowId, mut read: impl FnMut(&mut Self, usize, u32)) -> usize {
        if self.selection.names.is_empty(names) {
            return self.walk.skip();
        }
        let names = self.selection.names.of(names);
        // How an escaped name ends tells nothing.
        let is_plain = !self.walk.has_escaped_names();
        let sieve = if is_plain { names.sieve } else { Sieve::ALL };
        self.walk.enter();
        loop {
            let mark = self.walk.next_of(|text, colon| sieve.may_have(text, colon));
            if self.walk.byte(mark) != b':' {
                return mark + 1;
            }
            if let Some(target) = self.target(names, self.walk.name(mark)) {
                let value = self.walk.token(mark + 1);
                read(self, value, target);
            }
        }
    }

    #[inline(always)]
    fn target(&self, names: Lookup<'_>, name: (usize, usize)) -> Option<u32> {
        let found = names.get(self.walk.text(), name.0, name.1);
        if found.is_none() && self.walk.has_escaped_names() && self.walk.has_escape(name) {
            return self.escaped_target(names, name);
        }
        found
    }

    #[cold]
    fn escaped_target(&self, names: Lookup<'_>, name: (usize, usize)) -> Option<u32> {
        let mut plain = Vec::new();
        unescape(self.walk.part(name), &mut plain);
        names.get(&plain, 0, plain.len())
    }

    /// Reads the items of the list that opened at `start`.
    fn items(&mut self, start: usize, names: RowId, width: u32) -> Value {
        let span = self.walk.enter();
        let first = self.picked.items.len();
        let mut len = 0;
        let mut at = self.walk.token(start + 1);
        while !matches!(self.walk.byte(at), b']' | 0) {
            if len == ITEMS_MAX {
                self.walk.leave(span);
                return Value::LongList;
            }
            len += 1;
            let item = self.picked.items.len();
            self.picked.items.resize(item + width as usize, Value::Missing);
            let end = self.item(names, at, item);
            at = self.walk.token(end);
            if self.walk.byte(at) == b',' {
                at = self.walk.token(at + 1);
            }
        }
        // The closing bracket.
        self.walk.next();
        Value::List { first: offset(first), len }
    }

    /// Reads the item at `at`, whose values are kept from `item` on; yields where it ends.
    fn item(&mut self, names: RowId, at: usize, item: usize) -> usize {
        if self.walk.byte(at) != b'{' {
            return self.item_value(at, item);
        }
        self.walk.next();
        self.keep(item, Value::Map);
        self.members(names, |walk, at, position| {
            walk.item_value(at, item + position as usize);
        })
    }

    /// Reads a value of an item; yields where it ends.
    fn item_value(&mut self, at: usize, to: usize) -> usize {
        let (value, end) = match self.walk.byte(at) {
            bracket @ (b'{' | b'[') => {
                self.walk.next();
                let is_map = bracket == b'{';
                let value = if is_map { Value::Map } else { Value::List { first: 0, len: 0 } };
                (value, self.walk.skip())
            }
            _ => self.scalar(at),
        };
        self.keep(to, value);
        end
    }

    fn keep(&mut self, to: usize, value: Value) {
        if let Some(kept) = self.picked.items.get_mut(to) {
            *kept = value;
        }
    }

    /// The text, number or word at `at`, and where it ends.
    fn scalar(&mut self, at: usize) -> (Value, usize) {
        match self.walk.byte(at) {
            b'"' => {
                let inside = self.walk.inside(at);
                (self.text(inside), inside.1 + 1)
            }
            b't' => (Value::Bool(true), at + 4),
            b'f' => (Value::Bool(false), at + 5),
            b'n' => (Value::Null, at + 4),
            _ => {
                let end = self.walk.scalar_end(at);
                // What the scan accepted is a number.
                let number = parse_number(self.walk.part((at, end)));
                (number.map_or(Value::Null, Value::Number), end)
            }
        }
    }

    fn text(&mut self, inside: (usize, usize)) -> Value {
        if self.walk.has_escape(inside) {
            return self.unescaped(inside);
        }
        Value::Text { start: offset(inside.0), end: offset(inside.1) }
    }

    fn unescaped(&mut self, inside: (usize, usize)) -> Value {
        let start = offset(self.picked.unescaped.len());
        unescape(self.walk.part(inside), &mut self.picked.unescaped);
        Value::Unescaped { start, end: offset(self.picked.unescaped.len()) }
    }
}

#[cfg(test)]
mod tests;
