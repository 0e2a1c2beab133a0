//! The Jira expressions language: text in, verdict out. No I/O, no clock, no async.

/// A compiled filter.
#[derive(Debug)]
pub struct Program;
