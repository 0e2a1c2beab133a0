//! `indexOf()` of List.

use super::elements::position;
use crate::builtin::number::from_count;
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::value::{List, Type, Value};

/// `indexOf` of List.
pub(super) struct IndexOf;

impl Builtin for IndexOf {
    type Receiver<'v> = List<'v>;

    const SIGNATURE: Signature = Signature {
        name: "indexOf",
        parameters: "value: any",
        returns: Returns::Always(Type::Number),
        doc: "The position of the first element that equals the value, or -1.",
        steps: "3 per element, comparison",
        case: "doc-list-010",
        examples: &[("[5, 6].indexOf(6)", "1"), ("[5].indexOf(7)", "-1")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        list: &List<'v>,
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        let found = position(machine, list, arguments)?;
        Ok(found.map_or(Value::Number(-1.0), from_count))
    }
}
