//! `match`, `matchAll` and `replace`: regular expressions in linear time.
//!
//! Patterns are those of JavaScript without look-around and back-references. The few places where
//! the syntax of the `regex` crate means something else are translated.

use regex::{Captures, Regex, RegexBuilder};

use crate::builtin::{Arguments, Machine, Outcome, call_back};
use crate::diagnostic::Code;
use crate::fault::Fault;
use crate::limits::REGEX_BYTES_MAX;
use crate::meter::Meter;
use crate::operator::{VALUE_BYTES, build_list};
use crate::text::TextBuilder;
use crate::value::{Function, Value};

/// Steps for one use of a pattern, compiled or not.
const STEPS_PER_USE: u32 = 32;

/// How much dearer a byte is to match than to read.
const STEPS_PER_TEXT: usize = 16;

/// Compiles a pattern.
///
/// # Errors
/// What is wrong with the pattern, in one line.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(&translate(pattern))
        .size_limit(REGEX_BYTES_MAX)
        .dfa_size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "the pattern is too large".into(),
            // The last line of the parser's drawing says what is wrong.
            other => other
                .to_string()
                .lines()
                .last()
                .map_or_else(String::new, |line| line.trim_start_matches("error: ").into()),
        })
}

/// JavaScript syntax to that of the `regex` crate.
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
            // Doubled, these would be set operations.
            '&' | '~' if in_class => out.extend(['\\', c]),
            '.' if !in_class => out.push_str("[^\\n\\r\\x{2028}\\x{2029}]"),
            other => out.push(other),
        }
    }
    out
}

/// The pattern argument, compiled, with its use charged.
fn pattern<'v, M: Machine<'v>>(
    machine: &mut M,
    text: &str,
    arguments: Arguments<'_, 'v>,
) -> Result<Regex, Fault<'v>> {
    let pattern = arguments.text(0)?.as_str();
    machine.meter().step(STEPS_PER_USE)?;
    machine.meter().read_text(text.len().saturating_mul(STEPS_PER_TEXT))?;
    machine.meter().read_text(pattern.len().saturating_mul(STEPS_PER_TEXT))?;
    machine
        .regex(pattern)
        .map_err(|why| Fault::new(Code::BadPattern, format!("The pattern is not supported: {why}")))
}

pub(super) fn first_match<'v, M: Machine<'v>>(
    machine: &mut M,
    text: &str,
    arguments: Arguments<'_, 'v>,
) -> Outcome<'v> {
    let regex = pattern(machine, text, arguments)?;
    match regex.captures(text) {
        Some(captures) => groups(&captures, machine.meter()),
        None => Ok(Value::Null),
    }
}

pub(super) fn all_matches<'v, M: Machine<'v>>(
    machine: &mut M,
    text: &str,
    arguments: Arguments<'_, 'v>,
) -> Outcome<'v> {
    let regex = pattern(machine, text, arguments)?;
    let mut matches = Vec::new();
    for captures in regex.captures_iter(text) {
        matches.push(groups(&captures, machine.meter())?);
    }
    build_list(matches, machine.meter())
}

/// The whole match and its groups; a group that took no part is null.
fn groups<'v>(captures: &Captures<'_>, meter: &mut Meter) -> Outcome<'v> {
    let groups = group_values(captures, meter)?;
    build_list(groups, meter)
}

fn group_values<'v>(
    captures: &Captures<'_>,
    meter: &mut Meter,
) -> Result<Vec<Value<'v>>, Fault<'v>> {
    let mut values = Vec::with_capacity(captures.len());
    meter.step(1)?;
    meter.memory(captures.len() * VALUE_BYTES)?;
    for group in captures.iter() {
        values.push(match group {
            Some(group) => {
                meter.memory(group.len())?;
                Value::text(group.as_str())
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
) -> Outcome<'v> {
    let regex = pattern(machine, text, arguments)?;
    let replacement = match arguments.value(1)? {
        Value::Function(function) => Replacement::Function(function),
        _ => Replacement::Text(arguments.text(1)?.as_str()),
    };
    let mut out = TextBuilder::new();
    let mut end = 0;
    for captures in regex.captures_iter(text) {
        let Some(whole) = captures.get(0) else { continue };
        out.push(text.get(end..whole.start()).unwrap_or_default(), machine.meter())?;
        end = whole.end();
        match replacement {
            Replacement::Text(template) => {
                machine.meter().step(1)?;
                expand(template, &captures, &mut out, machine.meter())?;
            }
            Replacement::Function(function) => {
                let groups = group_values(&captures, machine.meter())?;
                let value = call_back(machine, function, &groups)?;
                let view = machine.view();
                out.push_value(&value, view, machine.meter())?;
            }
        }
    }
    out.push(text.get(end..).unwrap_or_default(), machine.meter())?;
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
    captures: &Captures<'_>,
    out: &mut TextBuilder,
    meter: &mut Meter,
) -> Result<(), Fault<'v>> {
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        out.push(rest.get(..at).unwrap_or_default(), meter)?;
        let tail = rest.get(at + 1..).unwrap_or_default();
        let group = |digits: usize| {
            let number = tail.get(..digits).and_then(|digits| digits.parse::<usize>().ok());
            number.filter(|number| (1..captures.len()).contains(number)).map(|n| (n, digits))
        };
        let taken = if tail.starts_with('$') {
            out.push("$", meter)?;
            1
        } else if tail.starts_with('&') {
            out.push(captures.get(0).map_or("", |whole| whole.as_str()), meter)?;
            1
        } else if let Some((number, digits)) = group(2).or_else(|| group(1)) {
            out.push(captures.get(number).map_or("", |group| group.as_str()), meter)?;
            digits
        } else {
            out.push("$", meter)?;
            0
        };
        rest = tail.get(taken..).unwrap_or_default();
    }
    out.push(rest, meter)
}
