//! The router over its public interfaces, against a real broker.

mod registration;
mod support;
