//! Switchyard routes Jira and Confluence events to the apps that registered triggers for them.
//!
//! ```text
//! register:  api -> registry: validate, check + compile filter -> store (KV) -> every replica ->
//! matcher event:     bus -> event: decode -> matcher: match -> delivery: attempt -> accounted for
//! -> ack
//!                                                        |- retry later       -> parked, attempted again
//!                                                        `- attempts used up  -> dead letter
//! ```
//!
//! Rust modules are declared in reading order; a later one may name an earlier one, never back.

pub mod clock;
pub mod codes;
pub mod domain;
pub mod jwt;
pub mod telemetry;

pub mod config;

pub mod event;
pub mod matcher;
pub mod registry;

pub mod delivery;

pub mod api;
pub mod bus;
pub mod store;

pub mod router;

pub mod cli;
pub mod console;
pub mod lifecycle;
