//! Uses of a pattern: compiling it, iterating over its matches, and the values of its groups.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use super::pattern::{CaptureSpans, Pattern, next_char};
use super::syntax::translate;
use crate::budget::Budget;
use crate::builtin::{Arguments, EvalResult, Machine};
use crate::diagnostic::Code;
use crate::fault::Fault;
use crate::operator::build_list;
use crate::span::slice;
use crate::value::Value;

/// Steps for one use of a pattern, compiled or not.
const STEPS_PER_USE: u32 = 32;
/// Steps for one search, whatever the text.
const STEPS_PER_SEARCH: u32 = 8;
/// Steps for compiling a pattern that is not a literal of the source, and for each of its bytes.
const STEPS_PER_PATTERN: u32 = 4096;
const STEPS_PER_PATTERN_BYTE: usize = 256;

/// The regular expression literals of a source, each once.
pub(crate) type Patterns = Vec<(Box<str>, Arc<Pattern>)>;

/// Compiles a regular expression literal.
///
/// # Errors
/// What is wrong with the pattern, in one line.
pub(crate) fn compile(pattern: &str) -> Result<Pattern, String> {
    Pattern::with_dfa(&translate(pattern))
}

/// Returns the compiled pattern argument and charges its use.
pub(in crate::builtin) fn compiled_pattern<'v, M: Machine<'v>>(
    machine: &mut M,
    arguments: Arguments<'_, 'v>,
) -> Result<Arc<Pattern>, Fault<'v>> {
    let pattern = arguments.text(0)?.as_str();
    machine.budget().charge(STEPS_PER_USE)?;
    machine.budget().charge_text(pattern.len())?;
    let known = machine.patterns().iter().find(|(known, _)| &**known == pattern);
    if let Some((_, known)) = known {
        return Ok(Arc::clone(known));
    }
    machine.budget().charge(STEPS_PER_PATTERN)?;
    machine.budget().charge_each(pattern.len().saturating_mul(STEPS_PER_PATTERN_BYTE))?;
    Pattern::without_dfa(&translate(pattern))
        .map(Arc::new)
        .map_err(|why| Fault::new(Code::BadPattern, format!("The pattern is not supported: {why}")))
}

/// Iterates over the matches of a pattern.
pub(in crate::builtin) struct PatternMatches<'t> {
    pattern: Arc<Pattern>,
    text: &'t str,
    /// Offset of the next search.
    at: usize,
}

impl<'t> PatternMatches<'t> {
    pub(in crate::builtin) fn new(pattern: Arc<Pattern>, text: &'t str) -> PatternMatches<'t> {
        PatternMatches { pattern, text, at: 0 }
    }

    pub(in crate::builtin) fn next<'v>(
        &mut self,
        budget: &mut Budget,
    ) -> Result<Option<(Range<usize>, CaptureSpans)>, Fault<'v>> {
        if self.at > self.text.len() {
            return Ok(None);
        }
        budget.charge(STEPS_PER_SEARCH)?;
        let Some(captures) = self.pattern.find(self.text, self.at, budget)? else {
            return Ok(None);
        };
        let Some(whole) = captures.first().cloned().flatten() else { return Ok(None) };
        // As in JavaScript, an empty match directly after a match counts.
        self.at = if whole.is_empty() { next_char(self.text, whole.end) } else { whole.end };
        Ok(Some((whole, captures)))
    }
}

/// The whole match and its groups; null for a group that did not participate.
pub(in crate::builtin) fn groups<'v>(
    text: &str,
    captures: &CaptureSpans,
    budget: &mut Budget,
) -> EvalResult<'v> {
    let groups = group_values(text, captures, budget)?;
    build_list(groups, budget)
}

pub(in crate::builtin) fn group_values<'v>(
    text: &str,
    captures: &CaptureSpans,
    budget: &mut Budget,
) -> Result<Vec<Value<'v>>, Fault<'v>> {
    budget.charge_allocation(size_of_val(captures.as_slice()))?;
    let mut values = Vec::with_capacity(captures.len());
    for range in captures {
        values.push(match range {
            Some(range) => {
                budget.charge_text_allocation(range.len())?;
                Value::text(Rc::from(slice(text, range.clone())))
            }
            None => Value::Null,
        });
    }
    Ok(values)
}
