//! `replace()` of String.

use crate::budget::Budget;
use crate::builtin::machine::call_back;
use crate::builtin::regexp::{CaptureSpans, PatternMatches, compiled_pattern, group_values};
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::fault::Fault;
use crate::span::slice;
use crate::text::TextBuilder;
use crate::value::{Function, Text, Type, Value};

/// `replace` of String.
pub(super) struct Replace;

impl Builtin for Replace {
    type Receiver<'v> = Text<'v>;

    const SIGNATURE: Signature = Signature {
        name: "replace",
        parameters: "pattern: String, replacement: String or Function",
        returns: Returns::Always(Type::String),
        takes_pattern: true,
        doc: "Replaces every match, by text with `$&` and `$1` references, or by the result of a \
            function of the match and its groups.",
        steps: "search by pattern, new text",
        case: "doc-string-017",
        examples: &[
            ("'a1b2'.replace('[0-9]', '<$&>')", "\"a<1>b<2>\""),
            ("'ab'.replace('b', x => x.toUpperCase())", "\"aB\""),
        ],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        text: &Text<'v>,
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        let text = text.as_str();
        let mut matches = PatternMatches::new(compiled_pattern(machine, arguments)?, text);
        let replacement = match arguments.value(1)? {
            Value::Function(function) => Replacement::Function(function),
            _ => Replacement::Text(arguments.text(1)?.as_str()),
        };
        let mut out = TextBuilder::new(machine.budget())?;
        let mut end = 0;
        while let Some((whole, captures)) = matches.next(machine.budget())? {
            out.push(slice(text, end..whole.start), machine.budget())?;
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
        out.push(slice(text, end..), machine.budget())?;
        Ok(out.finish())
    }
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
        let range = captures.get(number).cloned().flatten();
        range.and_then(|range| text.get(range)).unwrap_or_default()
    };
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        out.push(slice(rest, ..at), budget)?;
        let tail = slice(rest, at + 1..);
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
        rest = slice(tail, taken..);
    }
    out.push(rest, budget)
}
