//! Explains a filter: evaluates it with a recorder and collects its index keys.

use super::model::Explanation;
use super::recorder::Recorder;
use super::tree;
use crate::diagnostic::CompileError;
use crate::env::Env;
use crate::eval::{Verdict, not_boolean};
use crate::frontend::parse_and_check;
use crate::naive::eval_observed;
use crate::parameter_slots::ParameterSlots;
use crate::parameters::Parameters;
use crate::predicate::{Facts, conjuncts_of};
use crate::profile::CheckProfile;
use crate::span::Span;
use crate::typed::Typed;
use crate::value::Value;
use crate::view::View;

/// Explains the verdict of a filter on an event.
///
/// # Errors
/// The filter does not compile.
pub fn explain<V: View>(source: &str, view: &V, env: &Env) -> Result<Explanation, CompileError> {
    let (typed, warnings) = parse_and_check(source, CheckProfile::Filter)?;
    let mut recorder = Recorder::new(view);
    let (outcome, steps) = eval_observed(&typed, view, env, &mut recorder);
    let verdict = match outcome {
        Ok(Value::Bool(true)) => Verdict::Match,
        Ok(Value::Bool(false)) => Verdict::NoMatch,
        Ok(other) => Verdict::Failed(not_boolean(&other, source.len())),
        Err(error) => Verdict::Failed(error),
    };
    let parts = tree::parts(&typed, &recorder.finish());
    let (indexed, residual) = index_plan(&typed);
    let (source, steps_max) = (source.to_owned(), env.steps_max);
    Ok(Explanation { source, verdict, steps, steps_max, parts, indexed, residual, warnings })
}

/// The index keys of a filter, and the spans of the conjuncts that remain to be evaluated.
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
