//! Extraction: one pass over a scanned text that stores the values of a projection.

use super::definition::{FieldId, Projection};
use super::names::{NameFilter, NameTable, TableId};
use super::unescape::unescape;
use super::values::{ITEMS_MAX, ProjectionBuffer, StoredValue};
use crate::event::scan::{ScanCursor, offset, parse_number};

/// Extracts the values of `projection` from the scanned text into `buffer`.
pub(in crate::event) fn extract(
    projection: &Projection,
    cursor: ScanCursor<'_>,
    buffer: &mut ProjectionBuffer,
) {
    buffer.reset(projection.fields.len());
    let at = cursor.token(0);
    Projector { projection, cursor, buffer }.value(at, FieldId::ROOT.0);
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
