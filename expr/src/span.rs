//! Byte ranges in the source of an expression.

use std::slice::SliceIndex;

/// A half-open range of bytes in the source.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset after the last byte.
    pub end: u32,
}

impl Span {
    /// An unknown position; the evaluator replaces it by the position of the failing node.
    pub const NONE: Span = Span { start: u32::MAX, end: u32::MAX };

    /// The range of bytes from `start` to `end`. Sources are bounded by
    /// [`crate::limits::SOURCE_CHARS_MAX`], so an offset always fits.
    pub fn new(start: usize, end: usize) -> Span {
        Span { start: to_u32(start), end: to_u32(end) }
    }

    /// The smallest span that covers both.
    pub fn to(self, other: Span) -> Span {
        Span { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// The empty span after this one.
    pub fn after(self) -> Span {
        Span { start: self.end, end: self.end }
    }

    /// The covered part of `source`; empty if the span is out of its range.
    pub fn text(self, source: &str) -> &str {
        source.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// Converts an offset or index. Sources are bounded far below `u32::MAX`, and so are all counts of
/// their parts.
pub(crate) fn to_u32(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// The part of `text` in a range that the caller has computed from it.
pub(crate) fn slice(text: &str, range: impl SliceIndex<str, Output = str> + Clone) -> &str {
    debug_assert!(text.get(range.clone()).is_some(), "a range is computed from its own text");
    text.get(range).unwrap_or_default()
}
