//! Confluence.

pub mod mapping;
