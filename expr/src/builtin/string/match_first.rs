//! `match()` of String.

use crate::builtin::regexp::{PatternMatches, compiled_pattern, groups};
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::value::{Text, Type, Value};

/// `match` of String.
pub(super) struct MatchFirst;

impl Builtin for MatchFirst {
    type Receiver<'v> = Text<'v>;

    const SIGNATURE: Signature = Signature {
        name: "match",
        parameters: "pattern: String",
        returns: Returns::Nullable(Type::List),
        takes_pattern: true,
        doc: "The first match and its groups, or null.",
        steps: "search by pattern, new list",
        case: "doc-string-020",
        examples: &[
            ("'a12'.match('([0-9])([0-9])')", "[\"12\",\"1\",\"2\"]"),
            ("'a'.match('b')", "null"),
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
        match matches.next(machine.budget())? {
            Some((_, captures)) => groups(text, &captures, machine.budget()),
            None => Ok(Value::Null),
        }
    }
}
