//! The Connect API: dynamic modules of Connect apps in Jira and, below `/wiki`, in Confluence.

mod auth;
mod error;
mod modules;

pub(super) use auth::{connect_installation, verified};
pub(super) use modules::routes;
pub(crate) use modules::submitted;
