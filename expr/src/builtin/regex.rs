//! Regular expression methods, in linear time.
//!
//! Patterns are those of JavaScript without look-around and back-references. Syntax that means
//! something else in the `regex` crate is translated.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use crate::budget::Budget;
use crate::builtin::pattern::{CaptureSpans, Pattern, next_char};
use crate::builtin::{Arguments, EvalResult, Machine, call_back};
use crate::diagnostic::Code;
use crate::fault::Fault;
use crate::operator::{ListBuilder, build_list};
use crate::text::TextBuilder;
use crate::value::{Function, Value};

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

/// White space of JavaScript, as members of a character class.
const SPACES: &str = "\\t-\\r\\x20\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\
    \\x{202F}\\x{205F}\\x{3000}\\x{FEFF}";

/// Translates JavaScript syntax to that of the `regex` crate.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut in_class = false;
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('d') => out.push_str(if in_class { "0-9" } else { "[0-9]" }),
                Some('D') => out.push_str("[^0-9]"),
                Some('w') => out.push_str(if in_class { "0-9A-Za-z_" } else { "[0-9A-Za-z_]" }),
                Some('W') => out.push_str("[^0-9A-Za-z_]"),
                Some('b') if in_class => out.push_str("\\x08"),
                Some('b') => out.push_str("(?-u:\\b)"),
                Some('B') => out.push_str("(?-u:\\B)"),
                Some('s') => out.extend(["[", SPACES, "]"]),
                Some('S') => out.extend(["[^", SPACES, "]"]),
                Some(other) => out.extend(['\\', other]),
                None => out.push('\\'),
            },
            '[' if in_class => out.push_str("\\["),
            '[' => {
                in_class = true;
                out.push('[');
                if chars.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
            }
            ']' => {
                in_class = false;
                out.push(']');
            }
            // Doubled, these are set operations in the `regex` crate.
            '&' | '~' if in_class => out.extend(['\\', c]),
            // A literal hyphen must not form a set operation or a range.
            '-' if in_class && is_plain(&out) => out.push_str("\\-"),
            '.' if !in_class => out.push_str("[^\\n\\r\\x{2028}\\x{2029}]"),
            other => out.push(other),
        }
    }
    out
}

/// Whether a hyphen after this part of a class is a literal.
fn is_plain(class: &str) -> bool {
    let first = class.ends_with('[') && !class.ends_with("\\[") || class.ends_with("[^");
    first || class.ends_with('-') && !class.ends_with("\\-")
}

/// Returns the compiled pattern argument and charges its use.
fn pattern<'v, M: Machine<'v>>(
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
struct Matches<'t> {
    pattern: Arc<Pattern>,
    text: &'t str,
    /// Offset of the next search.
    at: usize,
}

impl<'t> Matches<'t> {
    fn new(pattern: Arc<Pattern>, text: &'t str) -> Matches<'t> {
        Matches { pattern, text, at: 0 }
    }

    fn next<'v>(
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

pub(super) fn first_match<'v, M: Machine<'v>>(
    machine: &mut M,
    text: &str,
    arguments: Arguments<'_, 'v>,
) -> EvalResult<'v> {
    let mut matches = Matches::new(pattern(machine, arguments)?, text);
    match matches.next(machine.budget())? {
        Some((_, captures)) => groups(text, &captures, machine.budget()),
        None => Ok(Value::Null),
    }
}

pub(super) fn all_matches<'v, M: Machine<'v>>(
    machine: &mut M,
    text: &str,
    arguments: Arguments<'_, 'v>,
) -> EvalResult<'v> {
    let mut matches = Matches::new(pattern(machine, arguments)?, text);
    let mut all = ListBuilder::default();
    while let Some((_, captures)) = matches.next(machine.budget())? {
        let groups = groups(text, &captures, machine.budget())?;
        all.push(groups, machine.budget())?;
    }
    all.finish(machine.budget())
}

/// The whole match and its groups; null for a group that did not participate.
fn groups<'v>(text: &str, captures: &CaptureSpans, budget: &mut Budget) -> EvalResult<'v> {
    let groups = group_values(text, captures, budget)?;
    build_list(groups, budget)
}

fn group_values<'v>(
    text: &str,
    captures: &CaptureSpans,
    budget: &mut Budget,
) -> Result<Vec<Value<'v>>, Fault<'v>> {
    budget.charge_allocation(size_of_val(captures.as_slice()))?;
    let mut values = Vec::with_capacity(captures.len());
    for place in captures {
        values.push(match place {
            Some(place) => {
                budget.charge_text_allocation(place.len())?;
                Value::text(Rc::from(text.get(place.clone()).unwrap_or_default()))
            }
            None => Value::Null,
        });
    }
    Ok(values)
}

/// Replaces every match, by text with `$` references or by what a function yields for the match
/// and its groups.
pub(super) fn replace<'v, M: Machine<'v>>(
    machine: &mut M,
    text: &str,
    arguments: Arguments<'_, 'v>,
) -> EvalResult<'v> {
    let mut matches = Matches::new(pattern(machine, arguments)?, text);
    let replacement = match arguments.value(1)? {
        Value::Function(function) => Replacement::Function(function),
        _ => Replacement::Text(arguments.text(1)?.as_str()),
    };
    let mut out = TextBuilder::new(machine.budget())?;
    let mut end = 0;
    while let Some((whole, captures)) = matches.next(machine.budget())? {
        out.push(text.get(end..whole.start).unwrap_or_default(), machine.budget())?;
        end = whole.end;
        match replacement {
            Replacement::Text(template) => {
                machine.budget().charge_text(template.len())?;
                expand(template, (text, &captures), &mut out, machine.budget())?;
            }
            Replacement::Function(function) => {
                let groups = group_values(text, &captures, machine.budget())?;
                let value = call_back(machine, function, &groups)?;
                let view = machine.view();
                out.push_value(&value, view, machine.budget())?;
            }
        }
    }
    out.push(text.get(end..).unwrap_or_default(), machine.budget())?;
    Ok(out.finish())
}

#[derive(Clone, Copy)]
enum Replacement<'a, 'v> {
    Text(&'a str),
    Function(&'a Function<'v>),
}

/// Resolves `$$`, `$&` and `$1` to `$99`, as in JavaScript; any other `$` stays.
fn expand<'v>(
    template: &str,
    (text, captures): (&str, &CaptureSpans),
    out: &mut TextBuilder,
    budget: &mut Budget,
) -> Result<(), Fault<'v>> {
    let group_text = |number: usize| {
        let place = captures.get(number).cloned().flatten();
        place.and_then(|place| text.get(place)).unwrap_or_default()
    };
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        out.push(rest.get(..at).unwrap_or_default(), budget)?;
        let tail = rest.get(at + 1..).unwrap_or_default();
        let group = |digits: usize| {
            let are_digits = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit());
            let number = tail.get(..digits).filter(are_digits);
            let number = number.and_then(|digits| digits.parse::<usize>().ok());
            number.filter(|number| (1..captures.len()).contains(number)).map(|n| (n, digits))
        };
        let taken = if tail.starts_with('$') {
            out.push("$", budget)?;
            1
        } else if tail.starts_with('&') {
            out.push(group_text(0), budget)?;
            1
        } else if let Some((number, digits)) = group(2).or_else(|| group(1)) {
            out.push(group_text(number), budget)?;
            digits
        } else {
            out.push("$", budget)?;
            0
        };
        rest = tail.get(taken..).unwrap_or_default();
    }
    out.push(rest, budget)
}

#[cfg(test)]
mod tests;
