//! Why a message is not an event.

use thiserror::Error;

/// Why a message is not an event. Each reason is one label value of the decode-error counter and
/// one dead-letter reason.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum DecodeError {
    /// The body is not UTF-8.
    #[error("the body is not UTF-8 text (byte {offset})")]
    Utf8 {
        /// Offset of the first invalid byte.
        offset: usize,
    },
    /// The body is not JSON.
    #[error("the body is not JSON: {reason}")]
    Json {
        /// The parser's message with the position.
        reason: String,
    },
    /// The body is nested too deeply.
    #[error("the body is nested deeper than {max} levels")]
    Depth {
        /// The limit.
        max: u32,
    },
    /// The body is too large.
    #[error("the body has {size}, the limit is {max}")]
    Size {
        /// Its size, with unit.
        size: String,
        /// The limit.
        max: usize,
    },
    /// The body is JSON, but envelope and body do not form an event.
    #[error("{reason}")]
    Schema {
        /// What is missing or contradictory.
        reason: String,
    },
}

impl DecodeError {
    /// Returns the reason as metric label: `utf8`, `json`, `depth`, `size` or `schema`.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Utf8 { .. } => "utf8",
            Self::Json { .. } => "json",
            Self::Depth { .. } => "depth",
            Self::Size { .. } => "size",
            Self::Schema { .. } => "schema",
        }
    }

    /// Returns the stable code that operators and API clients see.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Utf8 { .. } => "SY-1001",
            Self::Json { .. } => "SY-1002",
            Self::Depth { .. } => "SY-1003",
            Self::Size { .. } => "SY-1004",
            Self::Schema { .. } => "SY-1005",
        }
    }

    pub(super) fn schema(reason: impl Into<String>) -> Self {
        Self::Schema { reason: reason.into() }
    }
}
