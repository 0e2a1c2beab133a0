//! Which fields are extracted: projections and their builder.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::names::{NameTables, NameTablesBuilder, TableId};
use crate::event::scan::offset;

/// Id of a field in a projection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FieldId(pub(super) u32);

impl FieldId {
    /// The event itself.
    pub const ROOT: Self = Self(0);
}

/// The set of fields to extract. Immutable.
#[derive(Debug, Default)]
pub struct Projection {
    pub(super) fields: Box<[ProjectedField]>,
    pub(super) names: NameTables,
}

/// One field of a projection.
#[derive(Debug, Default)]
pub(super) struct ProjectedField {
    /// The map that this field is a member of; the root is its own parent.
    pub(super) parent: FieldId,
    /// If it is a map: the name table of its projected members, whose targets are field ids.
    pub(super) members: TableId,
    /// If it is a list whose items are projected: the name table of the projected item members.
    pub(super) items: Option<TableId>,
    /// Number of values stored for each item: the item itself and its projected members.
    pub(super) width: u32,
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
    members: Targets,
    items: Option<Targets>,
}

/// Names with their targets, which rise in the order of addition.
type Targets = HashMap<Box<str>, u32, RandomState>;

/// Returns the names in the order of addition.
fn in_order(names: Targets) -> Vec<(Box<str>, u32)> {
    let mut names: Vec<_> = names.into_iter().collect();
    names.sort_unstable_by_key(|(_, target)| *target);
    names
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
        let field = |field: &ProjectedField| FieldBuilder {
            parent: field.parent,
            members: base.names.entries(field.members).collect(),
            items: field.items.map(|row| base.names.entries(row).collect()),
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
        if let Some(known) = field.members.get(name) {
            return FieldId(*known);
        }
        field.members.insert(name.into(), fresh);
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
        let fresh = offset(names.len() + 1);
        let position = match names.get(name) {
            Some(known) => *known,
            None => *names.entry(name.into()).or_insert(fresh),
        };
        position as usize
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
            ProjectedField {
                parent: field.parent,
                members: names.row(in_order(field.members)),
                width,
                items: field.items.map(|items| names.row(in_order(items))),
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
