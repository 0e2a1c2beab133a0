//! Records every change of the operator API in the audit log: before it, without which it is not made, and after it.
//!
//! Design: `docs/design/audit.md`.

mod middleware;
mod redact;
mod routes;
#[cfg(test)]
mod tests;

pub(super) use middleware::recorded;
#[cfg(test)]
use routes::recorded_operations;
