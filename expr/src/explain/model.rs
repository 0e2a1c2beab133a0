//! The parts of an explanation.

use crate::diagnostic::Diagnostic;
use crate::eval::Verdict;
use crate::fault::EvalError;
use crate::span::Span;
use crate::value::Value;
use crate::view::View;

/// The verdict of a filter on an event, with its reasons.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The source of the filter.
    pub source: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Steps that were used.
    pub steps: u32,
    /// As [`crate::Env::steps_max`].
    pub steps_max: u32,
    /// Declarations, then the body.
    pub parts: Vec<ExplainedPart>,
    /// The index keys, as `path = constant`.
    pub indexed: Vec<String>,
    /// The conjuncts that are evaluated for each candidate.
    pub residual: Vec<Span>,
    /// The warnings of the checker.
    pub warnings: Vec<Diagnostic>,
}

/// A part of a filter, with its result.
#[derive(Clone, Debug)]
pub struct ExplainedPart {
    /// The span of the part.
    pub span: Span,
    /// The result of the part.
    pub outcome: PartOutcome,
    /// Whether this part decided the verdict.
    pub decides: bool,
    /// The paths it read; those read by its own parts are listed there.
    pub reads: Vec<PathRead>,
    /// Its own parts; empty for comparisons and similar expressions.
    pub parts: Vec<ExplainedPart>,
    /// The calls of functions in it; those in its own parts are listed there.
    pub functions: Vec<FunctionCalls>,
}

/// The calls of a function, usually one for each element of a list.
#[derive(Clone, Debug)]
pub struct FunctionCalls {
    /// The function.
    pub span: Span,
    /// Number of calls.
    pub count: usize,
    /// The first calls, and later ones with a different result, in order.
    pub shown: Vec<FunctionCall>,
}

/// A call of a function.
#[derive(Clone, Debug)]
pub struct FunctionCall {
    /// Number of the call from 0; for most list methods the index of the element.
    pub index: usize,
    /// The first argument: the element.
    pub element: ValueSummary,
    /// The result of the function.
    pub outcome: PartOutcome,
    /// The parts of its body: declarations, then the value.
    pub parts: Vec<ExplainedPart>,
}

/// The result of a part.
#[derive(Clone, Debug)]
pub enum PartOutcome {
    /// A value; a long one is truncated.
    Value(ValueSummary),
    /// An error.
    Error(EvalError),
    /// Not evaluated, because the verdict was decided before.
    Skipped,
}

impl PartOutcome {
    /// Whether a condition would take the same branch for both.
    pub(super) fn is_like(&self, other: &PartOutcome) -> bool {
        match (self, other) {
            (PartOutcome::Value(a), PartOutcome::Value(b)) => a.is_truthy() == b.is_truthy(),
            (PartOutcome::Error(_), PartOutcome::Error(_))
            | (PartOutcome::Skipped, PartOutcome::Skipped) => true,
            _ => false,
        }
    }
}

/// A path that was read, with its value.
#[derive(Clone, Debug)]
pub struct PathRead {
    /// The span of the path.
    pub span: Span,
    /// The value at the path.
    pub value: ValueSummary,
}

/// A value as explanations show it.
#[derive(Clone, PartialEq, Debug)]
pub enum ValueSummary {
    /// Null, a Boolean, a number or text, as JSON.
    Plain(serde_json::Value),
    /// Any other value: its type and its number of elements or members.
    Large(&'static str, usize),
}

impl ValueSummary {
    pub(super) fn is_truthy(&self) -> bool {
        match self {
            ValueSummary::Large(..) => true,
            ValueSummary::Plain(value) => match value {
                serde_json::Value::Null => false,
                serde_json::Value::Bool(value) => *value,
                serde_json::Value::Number(number) => number.as_f64().is_some_and(|n| n != 0.0),
                serde_json::Value::String(text) => !text.is_empty(),
                _ => true,
            },
        }
    }
}

/// The type name of functions in [`ValueSummary::Large`].
pub(super) const FUNCTION: &str = "Function";
/// Characters of text that are shown.
const TEXT_CHARS_MAX: usize = 80;

pub(super) fn summarize<'v, V: View>(value: &Value<'v>, view: &'v V) -> ValueSummary {
    let text = |text: &str| {
        let mut shown: String = text.chars().take(TEXT_CHARS_MAX).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        ValueSummary::Plain(shown.into())
    };
    match value {
        Value::String(value) | Value::RichText(value) => text(value.as_str()),
        Value::List(list) => ValueSummary::Large("List", list.len()),
        Value::Map(map) => ValueSummary::Large("Map", map.len()),
        Value::Function(_) => ValueSummary::Large(FUNCTION, 0),
        other => ValueSummary::Plain(crate::cases::to_json(other, view)),
    }
}
