//! `flatMap()` of List.

use super::elements::{flatten_elements, map_elements};
use crate::builtin::{Arguments, Builtin, Callback, EvalResult, Machine, Returns, Signature};
use crate::value::{List, Type, Value};

/// `flatMap` of List.
pub(super) struct FlatMap;

impl Builtin for FlatMap {
    type Receiver<'v> = List<'v>;

    const SIGNATURE: Signature = Signature {
        name: "flatMap",
        parameters: "f: (element, index) => any",
        returns: Returns::Always(Type::List),
        callback: Callback::EachElement,
        doc: "The results of the function, with lists replaced by their elements.",
        steps: "callback per element, new lists",
        case: "doc-list-017",
        examples: &[("[1, 2].flatMap(x => [x, x])", "[1,1,2,2]")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        list: &List<'v>,
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        match map_elements(machine, list, arguments)? {
            Value::List(mapped) => flatten_elements(machine, &mapped),
            other => Ok(other),
        }
    }
}
