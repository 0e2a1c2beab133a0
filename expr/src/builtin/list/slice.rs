//! `slice()` of List.

use super::elements::copied;
use crate::builtin::number::slice_range;
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::operator::shared_list;
use crate::value::{List, Type};

/// `slice` of List.
pub(super) struct Slice;

impl Builtin for Slice {
    type Receiver<'v> = List<'v>;

    const SIGNATURE: Signature = Signature {
        name: "slice",
        parameters: "start: Number, end?: Number",
        returns: Returns::Always(Type::List),
        doc: "The elements from start to end; negative positions count from the end.",
        steps: "1 per element up to end, 2 per copied element, new list",
        case: "doc-list-012",
        examples: &[("[1, 2, 3].slice(1)", "[2,3]"), ("[1, 2, 3].slice(0, -1)", "[1,2]")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        list: &List<'v>,
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        let range = slice_range(arguments.number(0)?, arguments.optional_number(1)?, list.len());
        machine.budget().charge_each(range.end)?;
        let view = machine.view();
        let values = copied(machine, list.iter(view).skip(range.start), range.len())?;
        shared_list(values, machine.budget())
    }
}
