//! The extracted values: how they are stored, and how the index reads them.

use super::definition::{FieldId, Projection};

/// Maximum number of items of a list that is expanded.
pub const ITEMS_MAX: u32 = 256;

/// The extracted values of one event; reused from event to event.
#[derive(Debug, Default)]
pub struct ProjectionBuffer {
    /// Indexed by field id.
    pub(super) values: Vec<StoredValue>,
    /// The values of list items, item by item.
    pub(super) items: Vec<StoredValue>,
    /// Unescaped strings, concatenated.
    pub(super) unescaped: Vec<u8>,
}

/// An extracted value as offsets into the body or the buffer.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) enum StoredValue {
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
    /// Empties the buffer for the values of `fields` fields.
    #[inline]
    pub(super) fn reset(&mut self, fields: usize) {
        self.values.clear();
        self.values.resize(fields, StoredValue::Missing);
        self.items.clear();
        self.unescaped.clear();
    }

    /// Returns the values that were extracted last with the same projection and from the same text.
    pub(in crate::event) fn view<'e>(
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
