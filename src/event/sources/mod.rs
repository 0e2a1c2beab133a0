//! The products whose events are routed: everything that is special to Jira or to Confluence.
//!
//! Items: [`ProductSource`] is what the router needs of a product; each folder implements it for one
//! product (names, webhook to event, event to webhook); [`SOURCES`] lists them.
//!
//! A further product is a folder here, a line in `table.rs` and a variant of
//! [`Product`](crate::domain::Product), see `docs/design/sources.md`. Mappings are pure functions
//! over JSON objects; they know neither envelopes nor the broker.

pub mod confluence;
pub mod jira;
mod product_source;
mod table;

pub use product_source::{
    MappedEvent, ProductSource, SubscribedEvent, WebhookNameError, WebhookRequest,
    unknown_event_type,
};
pub use table::{SOURCES, source_of, source_of_event_type, source_of_path};
