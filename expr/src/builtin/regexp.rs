//! Regular expressions, in linear time.
//!
//! Patterns are those of JavaScript without look-around and back-references. Syntax that means
//! something else in the `regex` crate is translated.

mod matches;
mod pattern;
mod syntax;

pub(super) use matches::{PatternMatches, compiled_pattern, group_values, groups};
pub(crate) use matches::{Patterns, compile};
pub(super) use pattern::CaptureSpans;
pub(crate) use pattern::Pattern;

#[cfg(test)]
mod tests;
