//! Payload schemas: the paths and types of an event, by which the checker finds misspelt names.
//!
//! A payload may contain more than is documented, so the schemas only cause warnings. Custom fields
//! and entity properties are open, and so are events of unknown type.
//!
//! **Source:** the product event references of Jira, Jira Software, Jira Service Management and
//! Confluence, and the REST shape of an issue.

mod confluence;
mod event;
mod jira;
mod nearest;
mod shape;

pub(crate) use event::{
    body_of, change_title, is_known, is_top_level, missing_field_hint, product_of,
};
pub use nearest::nearest;
pub(crate) use shape::{FieldLookup, MapShape, Shape, UnlistedMembers};

#[cfg(test)]
mod tests;
