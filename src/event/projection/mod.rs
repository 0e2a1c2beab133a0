//! Projections: extracts the values of an event that filters compare, in one pass that skips all
//! others.
//!
//! A [`Projection`] is a tree of member names; a [`ProjectionBuffer`] holds the values of one event.
//! Strings are compared as bytes and unescaped only if they have an escape; of a repeated name the
//! last value counts, as on the tape. Long lists are not expanded.
//!
//! Design: `docs/design/json-scan.md`.

mod definition;
mod extract;
mod names;
#[cfg(test)]
mod tests;
mod unescape;
mod values;

pub use definition::{FieldId, Projection, ProjectionBuilder};
pub(super) use extract::extract;
pub use values::{ITEMS_MAX, JsonValue, ListItems, ProjectedValues, ProjectionBuffer};
