//! Limits of a tape, and the errors of texts that are not events.

/// Limits of one event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TapeLimits {
    /// Nesting depth of lists and maps.
    pub depth: u32,
    /// Total number of values.
    pub nodes: u32,
}

impl Default for TapeLimits {
    fn default() -> TapeLimits {
        TapeLimits { depth: 512, nodes: 200_000 }
    }
}

/// The reason why a text is not an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TapeError {
    /// The bytes are not UTF-8.
    #[error("the text is not UTF-8 from byte {offset} on")]
    Utf8 {
        /// Number of valid bytes.
        offset: usize,
    },
    /// The text is not JSON.
    #[error("the text is not JSON at line {line}, column {column}")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// Column in bytes, from 1; 0 if the line ended first.
        column: usize,
    },
    /// A number is larger than a number of the language can be.
    #[error("a number is out of range at line {line}, column {column}")]
    Number {
        /// Line, from 1.
        line: usize,
        /// Column in bytes, from 1; 0 if the line ended first.
        column: usize,
    },
    /// Lists and maps nest deeper than the limit.
    #[error("the text nests too deep")]
    Depth,
    /// There are more values than the limit.
    #[error("the text holds too many values")]
    Nodes,
    /// The text is too long for 32-bit offsets.
    #[error("the text is too long")]
    Length,
}
