//! Compilation of records into what the matcher holds.

pub(crate) mod applied;
pub(crate) mod modules;
