//! Positions in the units of editors and APIs.

use crate::span::Span;

/// A span in the units of editors and APIs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// UTF-8 bytes before the span.
    pub offset: usize,
    /// UTF-16 units before the span.
    pub offset16: usize,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in Unicode scalar values.
    pub column: usize,
    /// Length of the span in Unicode scalar values.
    pub length: usize,
}

impl Position {
    /// Converts `span`; a span outside of `source` is moved to its end.
    pub fn of(span: Span, source: &str) -> Position {
        let offset = (span.start as usize).min(source.len());
        let before = source.get(..offset).unwrap_or(source);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Position {
            offset,
            offset16: before.encode_utf16().count(),
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
            length: span.text(source).chars().count(),
        }
    }
}
