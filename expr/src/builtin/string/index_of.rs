//! `indexOf()` of String.

use super::search::search_argument;
use crate::builtin::number::from_count;
use crate::builtin::units::units;
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::span::slice;
use crate::value::{Text, Type, Value};

/// `indexOf` of String.
pub(super) struct IndexOf;

impl Builtin for IndexOf {
    type Receiver<'v> = Text<'v>;

    const SIGNATURE: Signature = Signature {
        name: "indexOf",
        parameters: "part: String",
        returns: Returns::Always(Type::Number),
        doc: "The position of the first occurrence in units, or -1.",
        steps: "search of both",
        case: "doc-string-015",
        examples: &[("'abc'.indexOf('c')", "2"), ("'abc'.indexOf('x')", "-1")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        text: &Text<'v>,
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        let (text, budget) = (text.as_str(), machine.budget());
        Ok(match text.find(search_argument(text, arguments, budget)?) {
            Some(at) => from_count(units(slice(text, ..at))),
            None => Value::Number(-1.0),
        })
    }
}
