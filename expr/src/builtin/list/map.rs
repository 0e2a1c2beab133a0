//! `map()` of List.

use super::elements::map_elements;
use crate::builtin::{Arguments, Builtin, Callback, EvalResult, Machine, Returns, Signature};
use crate::value::{List, Type};

/// `map` of List.
pub(super) struct MapElements;

impl Builtin for MapElements {
    type Receiver<'v> = List<'v>;

    const SIGNATURE: Signature = Signature {
        name: "map",
        parameters: "f: (element, index) => any",
        returns: Returns::Always(Type::List),
        callback: Callback::EachElement,
        doc: "The results of the function for each element.",
        steps: "callback per element, new list",
        case: "doc-list-002",
        examples: &[("[1, 2].map(x => x * 2)", "[2,4]")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        list: &List<'v>,
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        map_elements(machine, list, arguments)
    }
}
