//! `every()` of List.

use super::elements::search;
use crate::builtin::{Arguments, Builtin, Callback, EvalResult, Machine, Returns, Signature};
use crate::value::{List, Type};

/// `every` of List.
pub(super) struct Every;

impl Builtin for Every {
    type Receiver<'v> = List<'v>;

    const SIGNATURE: Signature = Signature {
        name: "every",
        parameters: "f: (element, index) => any",
        returns: Returns::Always(Type::Boolean),
        callback: Callback::Until(false),
        doc: "Whether the function is truthy for all elements; stops at the first falsy result.",
        steps: "callback per element",
        case: "doc-list-006",
        examples: &[("[1, 2].every(x => x > 1)", "false"), ("[].every(x => false)", "true")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        list: &List<'v>,
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        search(machine, list, arguments, false)
    }
}
