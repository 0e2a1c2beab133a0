//! JSON text as a [`crate::View`]: one pass into a flat node array, with buffers reused between
//! events.
//!
//! Text without escapes is not copied out of the tape's copy of the source. A tape that has read
//! its largest event does not allocate for the next one.

mod build;
mod document;
mod error;
mod node;
mod strict;

pub use document::Tape;
pub use error::{TapeError, TapeLimits};

#[cfg(test)]
mod tests;
