//! Validation of what apps and operators submit.

pub mod catalog;
pub(crate) mod language;
pub(crate) mod trigger;
pub(crate) mod trigger_rules;
pub(crate) mod webhook;
