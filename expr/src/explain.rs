//! Why a filter says what it says about an event.
//!
//! The reference evaluator runs once more and is watched: each part of the source with what it
//! yields, the part that decided, the paths that were read, and what an index makes of the filter.
//! Slow, and for people; its verdict is the verdict.

mod render;
mod tree;

use std::collections::HashMap;

use crate::eval::Verdict;
use crate::fault::{EvalError, Fault};
use crate::naive::{Watch, eval_watched};
use crate::predicate::{Condition, Facts, conjuncts_of};
use crate::span::Span;
use crate::typed::Typed;
use crate::value::Value;
use crate::view::View;
use crate::{Diagnostic, Env, Profile, Rejected};

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
    pub parts: Vec<Part>,
    /// What an index can hold of it, as `path = constant`.
    pub indexed: Vec<String>,
    /// The conjuncts that are evaluated for each candidate.
    pub residual: Vec<Span>,
    /// What is odd about it.
    pub warnings: Vec<Diagnostic>,
}

/// A part of a filter and what came of it.
#[derive(Clone, Debug)]
pub struct Part {
    /// Where it stands.
    pub span: Span,
    /// What it yields.
    pub outcome: Outcome,
    /// Whether the verdict was settled here.
    pub decides: bool,
    /// The paths it read, unless its own parts did.
    pub reads: Vec<Reading>,
    /// The parts it consists of; none for a comparison and the like.
    pub parts: Vec<Part>,
}

/// What came of a part.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// A value; long ones are cut.
    Value(Shown),
    /// An error.
    Error(EvalError),
    /// It was never evaluated: the verdict was settled before.
    Skipped,
}

/// A path that was read and the value it led to.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Where the path stands.
    pub span: Span,
    /// What is there.
    pub value: Shown,
}

/// A value as explanations show it.
#[derive(Clone, PartialEq, Debug)]
pub enum Shown {
    /// Null, a Boolean, a number or text, as JSON.
    Plain(serde_json::Value),
    /// Anything larger: its type and how many elements or members it has.
    Large(&'static str, usize),
}

/// Explains what a filter says about an event.
///
/// # Errors
/// The filter has mistakes.
pub fn explain<V: View>(source: &str, view: &V, env: &Env) -> Result<Explanation, Rejected> {
    let (typed, warnings) = crate::read(source, Profile::Filter)?;
    let mut seen = Seen { at: HashMap::new(), functions: 0, view };
    let (outcome, steps) = eval_watched(&typed, view, env, &mut seen);
    let verdict = match outcome {
        Ok(Value::Bool(true)) => Verdict::Match,
        Ok(Value::Bool(false)) => Verdict::NoMatch,
        Ok(other) => Verdict::Failed(crate::eval::not_boolean(&other, source)),
        Err(error) => Verdict::Failed(error),
    };
    let parts = tree::parts(&typed, &seen.at);
    let (indexed, residual) = index_plan(&typed);
    let (source, steps_max) = (source.to_owned(), env.steps_max);
    Ok(Explanation { source, verdict, steps, steps_max, parts, indexed, residual, warnings })
}

/// What an index holds, and what it leaves to evaluation.
fn index_plan(typed: &Typed) -> (Vec<String>, Vec<Span>) {
    let facts = Facts::of(typed);
    let operands = facts.condition.operands().iter().zip(conjuncts_of(typed));
    let (held, left): (Vec<_>, Vec<_>) =
        operands.partition(|(operand, _)| !matches!(operand, Condition::Opaque { .. }));
    let held = held.into_iter().map(|(operand, _)| operand.to_string()).collect();
    (held, left.into_iter().map(|(_, expr)| expr.span).collect())
}

/// What was seen at each part of the source outside of functions; the first time counts.
struct Seen<'v, V> {
    at: HashMap<Span, Outcome>,
    functions: u32,
    view: &'v V,
}

impl<'v, V: View> Watch<'v> for Seen<'v, V> {
    fn seen(&mut self, span: Span, outcome: Result<&Value<'v>, &Fault<'v>>) {
        if self.functions > 0 {
            return;
        }
        let outcome = match outcome {
            Ok(value) => Outcome::Value(show(value, self.view)),
            Err(fault) => Outcome::Error(fault.clone().into()),
        };
        self.at.entry(span).or_insert(outcome);
    }

    fn in_function(&mut self, starts: bool) {
        self.functions = if starts { self.functions + 1 } else { self.functions.saturating_sub(1) };
    }
}

/// Characters of text that are shown.
const TEXT_CHARS_MAX: usize = 80;

fn show<'v, V: View>(value: &Value<'v>, view: &'v V) -> Shown {
    let text = |text: &str| {
        let mut shown: String = text.chars().take(TEXT_CHARS_MAX).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        Shown::Plain(shown.into())
    };
    match value {
        Value::String(value) | Value::RichText(value) => text(value.as_str()),
        Value::List(list) => Shown::Large("List", list.len()),
        Value::Map(map) => Shown::Large("Map", map.len()),
        Value::Function(_) => Shown::Large("Function", 0),
        other => Shown::Plain(crate::cases::to_json(other, view)),
    }
}

#[cfg(test)]
mod tests;
