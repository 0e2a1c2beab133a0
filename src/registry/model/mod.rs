//! Records of the registry and their stored format.

pub(crate) mod document;
pub(crate) mod module_fields;
pub(crate) mod problem;
pub(crate) mod replay_guard;
