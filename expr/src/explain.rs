//! Why a filter says what it says about an event.
//!
//! The reference evaluator runs once more and is watched: each part of the source with what it
//! yields, the part that decided, the paths that were read, and what an index makes of the filter.
//! Slow, and for people; its verdict is the verdict.

mod recorder;
mod render;
mod tree;

use crate::eval::Verdict;
use crate::fault::EvalError;
use crate::naive::eval_observed;
use crate::parameter_slots::ParameterSlots;
use crate::parameters::Parameters;
use crate::predicate::{Facts, conjuncts_of};
use crate::span::Span;
use crate::typed::Typed;
use crate::value::Value;
use crate::view::View;
use crate::{CheckProfile, CompileError, Diagnostic, Env};

/// What a filter says about an event, and why.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The filter.
    pub source: String,
    /// What it says.
    pub verdict: Verdict,
    /// Steps that were used, and that there are.
    pub steps: u32,
    /// As [`Env::steps_max`].
    pub steps_max: u32,
    /// Declarations, then the body.
    pub parts: Vec<ExplainedPart>,
    /// What it can be found by, as `path = constant`.
    pub indexed: Vec<String>,
    /// The conjuncts that are left to decide for each candidate.
    pub residual: Vec<Span>,
    /// What is odd about it.
    pub warnings: Vec<Diagnostic>,
}

/// A part of a filter and what came of it.
#[derive(Clone, Debug)]
pub struct ExplainedPart {
    /// Where it stands.
    pub span: Span,
    /// What it yields.
    pub outcome: PartOutcome,
    /// Whether the verdict was settled here.
    pub decides: bool,
    /// The paths it read, unless its own parts did.
    pub reads: Vec<PathRead>,
    /// The parts it consists of; none for a comparison and the like.
    pub parts: Vec<ExplainedPart>,
    /// What the functions gave that stand in it, unless its own parts tell.
    pub functions: Vec<FunctionCalls>,
}

/// What a function gave for the elements of a list.
#[derive(Clone, Debug)]
pub struct FunctionCalls {
    /// The function.
    pub span: Span,
    /// How often it was called.
    pub count: usize,
    /// The first calls, and later ones that came out another way, in order.
    pub shown: Vec<FunctionCall>,
}

/// One call of a function.
#[derive(Clone, Debug)]
pub struct FunctionCall {
    /// Its number, from 0; for most methods of lists that of the element.
    pub index: usize,
    /// The first argument: the element.
    pub element: ValueSummary,
    /// What the function gave.
    pub outcome: PartOutcome,
    /// Its body: declarations, then what it yields.
    pub parts: Vec<ExplainedPart>,
}

/// What came of a part.
#[derive(Clone, Debug)]
pub enum PartOutcome {
    /// A value; long ones are cut.
    Value(ValueSummary),
    /// An error.
    Error(EvalError),
    /// It was never evaluated: the verdict was settled before.
    Skipped,
}

impl PartOutcome {
    /// Whether a condition would go the same way on both.
    fn is_like(&self, other: &PartOutcome) -> bool {
        match (self, other) {
            (PartOutcome::Value(a), PartOutcome::Value(b)) => a.is_truthy() == b.is_truthy(),
            (PartOutcome::Error(_), PartOutcome::Error(_))
            | (PartOutcome::Skipped, PartOutcome::Skipped) => true,
            _ => false,
        }
    }
}

/// A path that was read and the value it led to.
#[derive(Clone, Debug)]
pub struct PathRead {
    /// Where the path stands.
    pub span: Span,
    /// What is there.
    pub value: ValueSummary,
}

/// A value as explanations summarize it.
#[derive(Clone, PartialEq, Debug)]
pub enum ValueSummary {
    /// Null, a Boolean, a number or text, as JSON.
    Plain(serde_json::Value),
    /// Anything larger: its type and how many elements or members it has.
    Large(&'static str, usize),
}

impl ValueSummary {
    fn is_truthy(&self) -> bool {
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

/// Explains what a filter says about an event.
///
/// # Errors
/// The filter has mistakes.
pub fn explain<V: View>(source: &str, view: &V, env: &Env) -> Result<Explanation, CompileError> {
    let (typed, warnings) = crate::parse_and_check(source, CheckProfile::Filter)?;
    let mut recorder = recorder::Recorder::new(view);
    let (outcome, steps) = eval_observed(&typed, view, env, &mut recorder);
    let verdict = match outcome {
        Ok(Value::Bool(true)) => Verdict::Match,
        Ok(Value::Bool(false)) => Verdict::NoMatch,
        Ok(other) => Verdict::Failed(crate::eval::not_boolean(&other, source.len())),
        Err(error) => Verdict::Failed(error),
    };
    let parts = tree::parts(&typed, &recorder.finish());
    let (indexed, residual) = index_plan(&typed);
    let (source, steps_max) = (source.to_owned(), env.steps_max);
    Ok(Explanation { source, verdict, steps, steps_max, parts, indexed, residual, warnings })
}

/// What a filter is found by, and what that leaves to decide.
fn index_plan(typed: &Typed) -> (Vec<String>, Vec<Span>) {
    let slots = ParameterSlots::default();
    let facts = Facts::of(typed, &slots).with_parameters(&Parameters::default());
    let keys: Vec<_> = facts.indexed().collect();
    let operands = facts.condition.operands().iter().zip(conjuncts_of(typed));
    let left = operands.filter(|(operand, _)| {
        !(operand.is_settled_as_key() && keys.iter().any(|key| std::ptr::eq(*key, *operand)))
    });
    let left = left.map(|(_, expr)| expr.span).collect();
    (keys.iter().map(ToString::to_string).collect(), left)
}

/// The type that [`ValueSummary::Large`] names for functions.
const FUNCTION: &str = "Function";
/// Characters of text that are shown.
const TEXT_CHARS_MAX: usize = 80;

fn summarize<'v, V: View>(value: &Value<'v>, view: &'v V) -> ValueSummary {
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

#[cfg(test)]
mod tests;
