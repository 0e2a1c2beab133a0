//! Integration tests: the `switchyard` program or its parts against a real nats-server, real HTTP
//! handlers and the interfaces that users have. They wait for conditions, never for time.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod delivery;
mod support;
