//! Projections: extracts the values of an event that filters compare, in one pass that skips all
//! others.
//!
//! A [`Projection`] is a tree of member names; a [`ProjectionBuffer`] holds the values of one
//! event. Strings are compared as bytes and unescaped only if they have an escape; of a repeated
//! name the last value counts, as on the tape. Long lists are not expanded.

mod names;
mod unescape;

use std::sync::Arc;

use names::{NameFilter, NameTable, NameTables, NameTablesBuilder, TableId};
use unescape::unescape;

use super::scan::{ScanCursor, offset, parse_number};

/// Maximum number of items of a list that is expanded.
pub const ITEMS_MAX: u32 = 256;

/// Id of a field in a projection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FieldId(u32);

impl FieldId {
    /// The event itself.
    pub const ROOT: Self = Self(0);
}

/// The set of fields to extract. Immutable.
#[derive(Debug, Default)]
pub struct Projection {
    fields: Box<[Field]>,
    names: NameTables,
}

/// One field of a projection.
#[derive(Debug, Default)]
struct Field {
    /// The map that this field is a member of; the root is its own parent.
    parent: FieldId,
    /// If it is a map: the name table of its projected members, whose targets are field ids.
    members: TableId,
    /// If it is a list whose items are projected: the name table of the projected item members.
    items: Option<TableId>,
    /// Number of values stored for each item: the item itself and its projected members.
    width: u32,
}

/// Builds a [`Projection`].
#[derive(Debug)]
pub struct ProjectionBuilder {
    fields: Vec<FieldBuilder>,
    base: Option<Arc<Projection>>,
}

#[derive(Debug, Default)]
struct FieldBuilder {
    parent: FieldId,
    members: Vec<(Box<str>, u32)>,
    items: Option<Vec<Box<str>>>,
}

impl Default for ProjectionBuilder {
    fn default() -> Self {
        Self { fields: vec![FieldBuilder::default()], base: None }
    }
}

impl ProjectionBuilder {
    /// Starts from the fields of `base`, to which more can be added.
    #[must_use]
    pub fn on(base: &Arc<Projection>) -> Self {
        let field = |field: &Field| FieldBuilder {
            parent: field.parent,
            members: base.names.entries(field.members).collect(),
            items: field.items.map(|row| base.names.entries(row).map(|(name, _)| name).collect()),
        };
        Self { fields: base.fields.iter().map(field).collect(), base: Some(Arc::clone(base)) }
    }

    /// Returns the number of fields so far, including the root.
    #[must_use]
    pub fn field_count(&self) -> usize {
        self.fields.len()
    }

    /// Adds the member `name` of a map.
    pub fn member(&mut self, of: FieldId, name: &str) -> FieldId {
        let fresh = offset(self.fields.len());
        let Some(field) = self.fields.get_mut(of.0 as usize) else {
            debug_assert!(false, "{of:?} is of another projection");
            return of;
        };
        if let Some((_, known)) = field.members.iter().find(|(known, _)| &**known == name) {
            return FieldId(*known);
        }
        field.members.push((name.into(), fresh));
        self.fields.push(FieldBuilder { parent: of, ..FieldBuilder::default() });
        FieldId(fresh)
    }

    /// Adds the items of a list.
    pub fn items(&mut self, of: FieldId) {
        let field = self.fields.get_mut(of.0 as usize);
        debug_assert!(field.is_some(), "{of:?} is of another projection");
        if let Some(field) = field {
            field.items.get_or_insert_default();
        }
    }

    /// Adds the member `name` of each item that is a map. Returns its position among the values of
    /// an item, where 0 is the item itself.
    pub fn item_member(&mut self, of: FieldId, name: &str) -> usize {
        let Some(field) = self.fields.get_mut(of.0 as usize) else {
            debug_assert!(false, "{of:?} is of another projection");
            return 0;
        };
        let names = field.items.get_or_insert_default();
        let known = names.iter().position(|known| &**known == name);
        1 + known.unwrap_or_else(|| {
            names.push(name.into());
            names.len() - 1
        })
    }

    /// Returns the projection; `base` itself if nothing was added to it.
    #[must_use]
    pub fn finish(self) -> Arc<Projection> {
        let is_all = |base: &Projection| {
            let widths = self.fields.iter().map(FieldBuilder::width);
            widths.eq(base.fields.iter().map(|field| field.width))
        };
        if let Some(base) = self.base.as_ref().filter(|base| is_all(base)) {
            return Arc::clone(base);
        }
        let mut names = NameTablesBuilder::default();
        let fields = self.fields.into_iter().map(|field| {
            let width = field.width();
            Field {
                parent: field.parent,
                members: names.row(field.members),
                width,
                items: field.items.map(|items| names.row(items.into_iter().zip(1..).collect())),
            }
        });
        Arc::new(Projection { fields: fields.collect(), names: names.finish() })
    }
}

impl FieldBuilder {
    /// Number of values stored for each item.
    fn width(&self) -> u32 {
        offset(self.items.as_ref().map_or(0, |items| items.len() + 1))
    }
}

impl Projection {
    /// Returns the number of fields, including the root.
    #[must_use]
    pub fn field_count(&self) -> usize {
        self.fields.len()
    }

    /// Returns the bytes on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        size_of_val(&*self.fields) + self.names.heap_bytes()
    }
}

/// The extracted values of one event; reused from event to event.
#[derive(Debug, Default)]
pub struct ProjectionBuffer {
    /// Indexed by field id.
    values: Vec<StoredValue>,
    /// The values of list items, item by item.
    items: Vec<StoredValue>,
    /// Unescaped strings, concatenated.
    unescaped: Vec<u8>,
}

/// An extracted value as offsets into the body or the buffer.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
enum StoredValue {
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
    /// Its items start at `first`; empty if the items are not projected.
    List {
        first: u32,
        len: u32,
    },
    /// A list of more than [`ITEMS_MAX`] items.
    LongList,
    Map,
}

/// An extracted value.
#[derive(Clone, Copy, Debug)]
pub enum JsonValue<'e> {
    /// The member does not exist.
    Missing,
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// Any number.
    Number(f64),
    /// A string without escapes; always UTF-8.
    Text(&'e [u8]),
    /// A list; its items are available if they are projected.
    List(ListItems<'e>),
    /// A list of more than [`ITEMS_MAX`] items.
    LongList,
    /// A map.
    Map,
}

/// The items of a list.
#[derive(Clone, Copy, Debug)]
pub struct ListItems<'e> {
    values: ProjectedValues<'e>,
    first: usize,
    len: usize,
    width: usize,
}

/// The extracted values of one event.
#[derive(Clone, Copy, Debug)]
pub struct ProjectedValues<'e> {
    projection: &'e Projection,
    buffer: &'e ProjectionBuffer,
    text: &'e [u8],
}

impl ProjectionBuffer {
    /// Extracts the values of `projection` from the scanned text.
    pub(super) fn read(&mut self, projection: &Projection, cursor: ScanCursor<'_>) {
        self.values.clear();
        self.values.resize(projection.fields.len(), StoredValue::Missing);
        self.items.clear();
        self.unescaped.clear();
        let at = cursor.token(0);
        Projector { projection, cursor, buffer: self }.value(at, FieldId::ROOT.0);
    }

    /// Returns the values that were extracted last with the same projection and from the same text.
    pub(super) fn view<'e>(
        &'e self,
        projection: &'e Projection,
        text: &'e [u8],
    ) -> ProjectedValues<'e> {
        ProjectedValues { projection, buffer: self, text }
    }
}

impl<'e> ProjectedValues<'e> {
    /// Returns the value of a field.
    #[must_use]
    #[inline]
    pub fn at(self, id: FieldId) -> JsonValue<'e> {
        debug_assert!(
            (id.0 as usize) < self.buffer.values.len(),
            "{id:?} is of another projection"
        );
        let value = self.buffer.values.get(id.0 as usize).copied().unwrap_or_default();
        let width = || self.projection.fields.get(id.0 as usize).map_or(0, |field| field.width);
        self.pick(value, width)
    }

    /// Returns the map that contains the field; `None` for the root.
    #[must_use]
    pub fn parent(self, id: FieldId) -> Option<FieldId> {
        let field = self.projection.fields.get(id.0 as usize)?;
        (id != FieldId::ROOT).then_some(field.parent)
    }

    #[inline]
    fn pick(self, value: StoredValue, width: impl FnOnce() -> u32) -> JsonValue<'e> {
        let part = |all: &'e [u8], start: u32, end: u32| {
            debug_assert!(start <= end && end as usize <= all.len(), "the text of this event");
            all.get(start as usize..end as usize).unwrap_or_default()
        };
        match value {
            StoredValue::Missing => JsonValue::Missing,
            StoredValue::Null => JsonValue::Null,
            StoredValue::Bool(truth) => JsonValue::Bool(truth),
            StoredValue::Number(number) => JsonValue::Number(number),
            StoredValue::Text { start, end } => JsonValue::Text(part(self.text, start, end)),
            StoredValue::Unescaped { start, end } => {
                JsonValue::Text(part(&self.buffer.unescaped, start, end))
            }
            StoredValue::List { first, len } => JsonValue::List(ListItems {
                values: self,
                first: first as usize,
                len: len as usize,
                width: width() as usize,
            }),
            StoredValue::LongList => JsonValue::LongList,
            StoredValue::Map => JsonValue::Map,
        }
    }
}

impl<'e> ListItems<'e> {
    /// Returns the number of items.
    #[must_use]
    pub fn len(self) -> usize {
        self.len
    }

    /// Whether there are no items.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Returns a value of item `at`, by the position that [`ProjectionBuilder::item_member`]
    /// returned; 0 is the item itself.
    #[must_use]
    pub fn get(self, at: usize, position: usize) -> JsonValue<'e> {
        let value = self.values.buffer.items.get(self.first + at * self.width + position);
        debug_assert!(at < self.len && position < self.width && value.is_some(), "an item");
        // Items of nested lists are never projected.
        self.values.pick(value.copied().unwrap_or_default(), || 0)
    }
}

/// One extraction pass. The recursion depth is bounded by the depth of the projection.
struct Projector<'e> {
    projection: &'e Projection,
    cursor: ScanCursor<'e>,
    buffer: &'e mut ProjectionBuffer,
}

impl Projector<'_> {
    /// Extracts the value at `at` into the field `id`.
    fn value(&mut self, at: usize, id: u32) {
        let first = self.cursor.byte(at);
        if matches!(first, b'{' | b'[') {
            self.cursor.next();
            return self.container(first, at, id);
        }
        let (value, _) = self.scalar(at);
        self.set(id, value);
    }

    /// Extracts the list or map whose opening bracket the cursor passed last.
    fn container(&mut self, bracket: u8, at: usize, id: u32) {
        let projection = self.projection;
        let Some(field) = projection.fields.get(id as usize) else { return };
        let value = match (bracket, field.items) {
            (b'{', _) => StoredValue::Map,
            (_, Some(names)) => self.items(at, names, field.width),
            (_, None) => {
                self.cursor.skip();
                StoredValue::List { first: 0, len: 0 }
            }
        };
        self.set(id, value);
        if value == StoredValue::Map {
            self.members(field.members, |projector, at, id| projector.value(at, id));
        }
    }

    /// Stores a value; the members of an earlier map of the same name are cleared.
    #[inline(always)]
    fn set(&mut self, id: u32, value: StoredValue) {
        let Some(kept) = self.buffer.values.get_mut(id as usize) else { return };
        if std::mem::replace(kept, value) == StoredValue::Map {
            self.forget_members(id);
        }
    }

    #[cold]
    fn forget_members(&mut self, id: u32) {
        if let Some(field) = self.projection.fields.get(id as usize) {
            for below in self.projection.names.targets(field.members) {
                self.set(below, StoredValue::Missing);
            }
        }
    }

    /// Calls `read` for each member of the map just opened whose name is in `names`. Returns the
    /// offset after the map.
    #[inline(always)]
    fn members(&mut self, names: TableId, mut read: impl FnMut(&mut Self, usize, u32)) -> usize {
        if self.projection.names.is_empty(names) {
            return self.cursor.skip();
        }
        let names = self.projection.names.of(names);
        // The filter compares the last bytes of a name, which an escape changes.
        let is_plain = !self.cursor.has_escaped_names();
        let filter = if is_plain { names.filter } else { NameFilter::ALL };
        self.cursor.enter();
        loop {
            let mark = self.cursor.next_candidate(|text, colon| filter.may_contain(text, colon));
            if self.cursor.byte(mark) != b':' {
                return mark + 1;
            }
            if let Some(target) = self.target(names, self.cursor.name(mark)) {
                let value = self.cursor.token(mark + 1);
                read(self, value, target);
            }
        }
    }

    #[inline(always)]
    fn target(&self, names: NameTable<'_>, name: (usize, usize)) -> Option<u32> {
        let found = names.get(self.cursor.text(), name.0, name.1);
        if found.is_none() && self.cursor.has_escaped_names() && self.cursor.has_escape(name) {
            return self.escaped_target(names, name);
        }
        found
    }

    #[cold]
    fn escaped_target(&self, names: NameTable<'_>, name: (usize, usize)) -> Option<u32> {
        let mut plain = Vec::new();
        unescape(self.cursor.part(name), &mut plain);
        names.get(&plain, 0, plain.len())
    }

    /// Extracts the items of the list that opened at `start`.
    fn items(&mut self, start: usize, names: TableId, width: u32) -> StoredValue {
        let span = self.cursor.enter();
        let first = self.buffer.items.len();
        let mut len = 0;
        let mut at = self.cursor.token(start + 1);
        while !matches!(self.cursor.byte(at), b']' | 0) {
            if len == ITEMS_MAX {
                self.cursor.leave(span);
                return StoredValue::LongList;
            }
            len += 1;
            let item = self.buffer.items.len();
            self.buffer.items.resize(item + width as usize, StoredValue::Missing);
            let end = self.item(names, at, item);
            at = self.cursor.token(end);
            if self.cursor.byte(at) == b',' {
                at = self.cursor.token(at + 1);
            }
        }
        // Skips the closing bracket.
        self.cursor.next();
        StoredValue::List { first: offset(first), len }
    }

    /// Extracts the item at `at` into the values from `item` on; returns the offset after it.
    fn item(&mut self, names: TableId, at: usize, item: usize) -> usize {
        if self.cursor.byte(at) != b'{' {
            return self.item_value(at, item);
        }
        self.cursor.next();
        self.keep(item, StoredValue::Map);
        self.members(names, |projector, at, position| {
            projector.item_value(at, item + position as usize);
        })
    }

    /// Extracts one value of an item; returns the offset after it.
    fn item_value(&mut self, at: usize, to: usize) -> usize {
        let (value, end) = match self.cursor.byte(at) {
            bracket @ (b'{' | b'[') => {
                self.cursor.next();
                let is_map = bracket == b'{';
                let value =
                    if is_map { StoredValue::Map } else { StoredValue::List { first: 0, len: 0 } };
                (value, self.cursor.skip())
            }
            _ => self.scalar(at),
        };
        self.keep(to, value);
        end
    }

    fn keep(&mut self, to: usize, value: StoredValue) {
        if let Some(kept) = self.buffer.items.get_mut(to) {
            *kept = value;
        }
    }

    /// Returns the string, number or literal at `at` and the offset after it.
    fn scalar(&mut self, at: usize) -> (StoredValue, usize) {
        match self.cursor.byte(at) {
            b'"' => {
                let inside = self.cursor.inside(at);
                (self.text(inside), inside.1 + 1)
            }
            b't' => (StoredValue::Bool(true), at + 4),
            b'f' => (StoredValue::Bool(false), at + 5),
            b'n' => (StoredValue::Null, at + 4),
            _ => {
                let end = self.cursor.scalar_end(at);
                // The scan accepted it, so it is a number.
                let number = parse_number(self.cursor.part((at, end)));
                debug_assert!(number.is_some(), "the scan accepted what is not a number");
                (number.map_or(StoredValue::Null, StoredValue::Number), end)
            }
        }
    }

    fn text(&mut self, inside: (usize, usize)) -> StoredValue {
        if self.cursor.has_escape(inside) {
            return self.unescaped(inside);
        }
        StoredValue::Text { start: offset(inside.0), end: offset(inside.1) }
    }

    fn unescaped(&mut self, inside: (usize, usize)) -> StoredValue {
        let start = offset(self.buffer.unescaped.len());
        unescape(self.cursor.part(inside), &mut self.buffer.unescaped);
        StoredValue::Unescaped { start, end: offset(self.buffer.unescaped.len()) }
    }
}

#[cfg(test)]
mod tests;
