//! Shapes: what a payload schema states about a value.

use super::nearest::nearest;
use crate::value::Type;

/// The shape of a value in a payload.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// Anything, or a value of more than one type.
    Any,
    /// A document of Atlassian's editor; text if the event was a webhook.
    Document,
    Boolean,
    Number,
    String,
    /// A list with elements of one shape.
    List(&'static Shape),
    Map(&'static MapShape),
}

/// The members of a map.
#[derive(Debug)]
pub(crate) struct MapShape {
    /// The name of the map in messages.
    pub(crate) title: &'static str,
    pub(crate) fields: &'static [Field],
    pub(crate) others: UnlistedMembers,
}

/// A documented member.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    /// Whether it is missing or null in some events.
    pub(crate) may_be_missing: bool,
}

/// How a map treats members that are not listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum UnlistedMembers {
    /// There are no other members.
    None,
    /// There are custom fields, `customfield_10010`.
    CustomFields,
    /// There may be others; only a name similar to a listed one is reported.
    Some,
    /// Any name is valid.
    Free,
}

/// The result of looking up a member in a map.
#[derive(Clone, Copy)]
pub(crate) enum FieldLookup {
    Field(&'static Field),
    /// Valid, but its shape is unknown.
    Open,
    Unknown {
        /// The listed name that was probably intended.
        nearest: Option<&'static str>,
    },
}

impl Shape {
    /// The type of the value, if there is only one.
    pub(crate) fn ty(self) -> Option<Type> {
        match self {
            Shape::Any | Shape::Document => None,
            Shape::Boolean => Some(Type::Boolean),
            Shape::Number => Some(Type::Number),
            Shape::String => Some(Type::String),
            Shape::List(_) => Some(Type::List),
            Shape::Map(_) => Some(Type::Map),
        }
    }
}

impl MapShape {
    pub(crate) fn find(&self, name: &str) -> FieldLookup {
        if let Some(field) = self.fields.iter().find(|field| field.name == name) {
            return FieldLookup::Field(field);
        }
        let custom =
            self.others == UnlistedMembers::CustomFields && name.starts_with("customfield_");
        if custom || self.others == UnlistedMembers::Free {
            return FieldLookup::Open;
        }
        let nearest = nearest(name, self.fields.iter().map(|field| field.name));
        match self.others {
            UnlistedMembers::Some if nearest.is_none() => FieldLookup::Open,
            _ => FieldLookup::Unknown { nearest },
        }
    }
}

impl MapShape {
    /// The path of a member of that name one or two levels below: `fields.project` for `project`.
    pub(crate) fn find_nested(&self, name: &str) -> Option<String> {
        let maps = || {
            self.fields.iter().filter_map(|field| match field.shape {
                // Entity properties are not fields.
                Shape::Map(inner) if field.name != "runtime" => Some((field.name, inner)),
                _ => None,
            })
        };
        let has = |(_, inner): &(&str, &'static MapShape)| {
            inner.fields.iter().any(|field| field.name == name)
        };
        maps().find(has).map(|(outer, _)| format!("{outer}.{name}")).or_else(|| {
            let (outer, inner) = maps().find(|(outer, _)| *outer == "issue")?;
            let (middle, _) = inner.fields.iter().find_map(|field| match field.shape {
                Shape::Map(deep) => Some((field.name, deep)).filter(has),
                _ => None,
            })?;
            Some(format!("{outer}.{middle}.{name}"))
        })
    }
}

pub(super) const fn always(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, may_be_missing: false }
}

pub(super) const fn maybe(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, may_be_missing: true }
}

pub(super) const fn closed(title: &'static str, fields: &'static [Field]) -> MapShape {
    MapShape { title, fields, others: UnlistedMembers::None }
}

/// The permissions of the app, which the router supplies.
///
/// **Source:** Forge, "App-managed permissions".
pub(super) static PERMISSIONS: MapShape = closed(
    "the permissions",
    &[always("scopes", Shape::List(&Shape::String)), maybe("external", Shape::Map(&FREE))],
);

/// A map whose members are not documented.
pub(super) static FREE: MapShape =
    MapShape { title: "it", fields: &[], others: UnlistedMembers::Free };
