//! Bytes to [`Event`]: size, text, depth and shape are checked before anything is matched.

use bytes::Bytes;
use thiserror::Error;

use super::{Event, Headers};

/// Why a message is no event. Each reason is one label value of the decode-error counter and one
/// dead-letter reason.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum DecodeError {
    /// The body is not UTF-8.
    #[error("the body is not UTF-8 text (byte {offset})")]
    Utf8 {
        /// First bad byte.
        offset: usize,
    },
    /// The body is not JSON.
    #[error("the body is not JSON: {reason}")]
    Json {
        /// What the parser met, and where.
        reason: String,
    },
    /// The body is nested too deeply.
    #[error("the body is nested deeper than {max} levels")]
    Depth {
        /// The bound.
        max: usize,
    },
    /// The body is too large.
    #[error("the body has {bytes} bytes, the limit is {max}")]
    Size {
        /// Its size.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// The body is JSON, but envelope and body do not make an event.
    #[error("{reason}")]
    Schema {
        /// What is missing or contradicts.
        reason: String,
    },
}

impl DecodeError {
    /// The reason as metric label: `utf8`, `json`, `depth`, `size` or `schema`.
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
}

/// Reads messages one after the other, reusing its buffers.
#[derive(Debug, Default)]
pub struct Decoder {}

impl Decoder {
    /// Decodes one message of the event stream; afterwards the decoder holds the body in the form
    /// that the matcher reads, until the next call.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(
        &mut self,
        _subject: &str,
        _headers: &impl Headers,
        _body: Bytes,
        _sequence: u64,
    ) -> Result<Event, DecodeError> {
        Err(DecodeError::Schema { reason: "not built yet".into() })
    }
}
