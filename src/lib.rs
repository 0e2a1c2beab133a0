//! Switchyard routes Jira and Confluence events to the apps that registered triggers for them.
//!
//! ```text
//! register:  api -> registry: validate, compile filter -> store (KV) -> every replica -> matcher
//! event:     bus -> event: decode -> matcher: match -> delivery: attempt -> accounted for -> ack
//!                                                      |- retry later      -> parked, attempted again
//!                                                      `- attempts used up -> dead letter
//! ```
//!
//! Rust modules are declared from low layers to high ones, in groups. A module imports modules of
//! earlier groups and never one of a later group or of its own.

pub mod clock;
pub mod codes;
pub mod config;
pub mod domain;

pub mod audit;
pub mod jwt;
pub mod sessions;
pub mod telemetry;

pub mod event;

pub mod matcher;

pub mod registry;

pub mod delivery;
pub mod listener;

pub mod recovery;

pub mod api;
pub mod bus;
pub mod store;

pub mod console;
pub mod router;

pub mod lifecycle;

pub mod cli;
