//! `reduce()` of List.

use crate::builtin::machine::call_back;
use crate::builtin::number::from_count;
use crate::builtin::{Arguments, Builtin, Callback, EvalResult, Machine, Returns, Signature};
use crate::diagnostic::Code;
use crate::fault::Fault;
use crate::value::List;

/// `reduce` of List.
pub(super) struct Reduce;

impl Builtin for Reduce {
    type Receiver<'v> = List<'v>;

    const SIGNATURE: Signature = Signature {
        name: "reduce",
        parameters: "f: (result, element, index) => any, initial?: any",
        returns: Returns::Uninferred("any"),
        callback: Callback::EachElement,
        doc: "Combines the elements from the left, from the initial value or the first element.",
        steps: "callback per element",
        case: "doc-list-018",
        examples: &[
            ("[1, 2, 3].reduce((a, b) => a + b)", "6"),
            ("[].reduce((a, b) => a + b, 0)", "0"),
        ],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        list: &List<'v>,
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        let function = arguments.function(0)?;
        let mut values = list.iter(machine.view()).enumerate();
        let first = match arguments.get(1) {
            Some(initial) => Some(initial.clone()),
            None => values.next().map(|(_, value)| value),
        };
        let Some(mut result) = first else {
            let message = "Reduce of an empty list needs an initial value";
            return Err(Fault::new(Code::EmptyReduce, message));
        };
        for (at, value) in values {
            result = call_back(machine, function, &[result, value, from_count(at)])?;
        }
        Ok(result)
    }
}
