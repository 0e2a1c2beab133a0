//! `concat()` of List.

use super::elements::copied;
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::operator::shared_list;
use crate::value::{List, Type, Value};

/// `concat` of List.
pub(super) struct Concat;

impl Builtin for Concat {
    type Receiver<'v> = List<'v>;

    const SIGNATURE: Signature = Signature {
        name: "concat",
        parameters: "other: any",
        returns: Returns::Always(Type::List),
        doc: "The elements of both lists; a value that is no list becomes the last element.",
        steps: "2 per element, new list",
        case: "doc-list-014",
        examples: &[("[1].concat([2, 3])", "[1,2,3]"), ("[1].concat(2)", "[1,2]")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        list: &List<'v>,
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        let view = machine.view();
        let values = match arguments.value(0)? {
            Value::List(more) => {
                let count = list.len() + more.len();
                copied(machine, list.iter(view).chain(more.iter(view)), count)?
            }
            other => {
                let last = std::iter::once(other.clone());
                copied(machine, list.iter(view).chain(last), list.len() + 1)?
            }
        };
        shared_list(values, machine.budget())
    }
}
