//! A finished span: plain data until it is encoded.

use std::num::NonZeroU64;

use crate::domain::TraceContext;

/// Longest text of an attribute, in bytes; a longer one is cut.
const TEXT_BYTES_MAX: usize = 256;

/// Role of a span, as OpenTelemetry names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpanKind {
    /// Work inside the router.
    Internal,
    /// A request to a handler.
    Client,
    /// Work on a message of the broker.
    Consumer,
}

/// Value of an attribute.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// A text of at most [`TEXT_BYTES_MAX`].
    Text(Box<str>),
    /// A text of a closed set.
    Label(&'static str),
    /// A number.
    Number(i64),
    /// Yes or no.
    Flag(bool),
}

impl Value {
    /// Returns a text, cut to the longest that an attribute has.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Text(text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or(text).into())
    }

    /// Returns a count.
    #[must_use]
    pub fn count(count: usize) -> Self {
        Self::Number(i64::try_from(count).unwrap_or(i64::MAX))
    }
}

/// A span that ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Span {
    pub(super) context: TraceContext,
    pub(super) parent: Option<Parent>,
    pub(super) name: &'static str,
    pub(super) kind: SpanKind,
    /// Nanoseconds since the epoch.
    pub(super) started_ns: u64,
    /// Nanoseconds since the epoch.
    pub(super) ended_ns: u64,
    pub(super) attributes: Vec<(&'static str, Value)>,
    /// Class of the error that ended it; none if there was none.
    pub(super) error: Option<Box<str>>,
}

/// The span that a span is part of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Parent {
    pub(super) span_id: NonZeroU64,
    /// Whether another process has it.
    pub(super) is_remote: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_between_characters() {
        let text = format!("{}é{}", "x".repeat(TEXT_BYTES_MAX - 1), "y".repeat(1000));
        assert_eq!(Value::text(&text), Value::Text("x".repeat(TEXT_BYTES_MAX - 1).into()));
        assert_eq!(Value::text("short"), Value::Text("short".into()));
    }
}
