//! `filter()` of List.

use crate::builtin::machine::call_back;
use crate::builtin::number::from_count;
use crate::builtin::{Arguments, Builtin, Callback, EvalResult, Machine, Returns, Signature};
use crate::operator::ListBuilder;
use crate::value::{List, Type};

/// `filter` of List.
pub(super) struct Filter;

impl Builtin for Filter {
    type Receiver<'v> = List<'v>;

    const SIGNATURE: Signature = Signature {
        name: "filter",
        parameters: "f: (element, index) => any",
        returns: Returns::Always(Type::List),
        callback: Callback::EachElement,
        doc: "The elements for which the function is truthy.",
        steps: "callback per element, new list",
        case: "doc-list-003",
        examples: &[("[1, 2, 3].filter(x => x > 1)", "[2,3]")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        list: &List<'v>,
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        let function = arguments.function(0)?;
        let mut values = ListBuilder::default();
        for (at, value) in list.iter(machine.view()).enumerate() {
            if call_back(machine, function, &[value.clone(), from_count(at)])?.is_truthy() {
                values.push(value, machine.budget())?;
            }
        }
        values.finish(machine.budget())
    }
}
