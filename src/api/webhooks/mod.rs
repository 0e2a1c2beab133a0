//! The API of Jira's dynamic webhooks, for Connect apps (JWT) and OAuth 2.0 apps (bearer token).
//!
//! **Source:** Jira Cloud platform REST API, "Webhooks"; versions 2 and 3 are the same. Added to it:
//! `PUT /rest/api/3/webhook/{id}` changes a webhook in place.

mod auth;
mod error;
mod failed;
mod paths;
mod registration;
mod routes;

pub(crate) use registration::elements;
pub(super) use routes::routes;
