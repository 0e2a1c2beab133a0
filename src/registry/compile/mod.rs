//! Compilation: records become subscriptions of the matcher.
//!
//! [`ModuleCompiler`] turns the modules of one installation, with those of its app, into
//! [`AppliedModule`]s: each with its effective status, and with a subscription if it is active.

mod applied;
mod conditions;
mod handlers;
mod modules;

pub use applied::{AppliedApp, AppliedInstallation, AppliedModule};
pub(crate) use conditions::EventConditionsCache;
pub use handlers::function_subject;
pub(crate) use modules::ModuleCompiler;
pub(super) use modules::included;
