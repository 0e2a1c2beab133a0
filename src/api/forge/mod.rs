//! The Forge API: dynamic modules of Forge apps.

pub(in crate::api) mod auth;
mod extensions;
pub(in crate::api) mod modules;
