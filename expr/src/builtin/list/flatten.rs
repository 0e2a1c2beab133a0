//! `flatten()` of List.

use super::elements::flatten_elements;
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::value::{List, Type};

/// `flatten` of List.
pub(super) struct Flatten;

impl Builtin for Flatten {
    type Receiver<'v> = List<'v>;

    const SIGNATURE: Signature = Signature {
        name: "flatten",
        returns: Returns::Always(Type::List),
        doc: "Replaces each element that is a list by its elements, one level deep.",
        steps: "3 per element, new list",
        case: "doc-list-016",
        examples: &[("[1, [2, [3]]].flatten()", "[1,2,[3]]")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        list: &List<'v>,
        _: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        flatten_elements(machine, list)
    }
}
