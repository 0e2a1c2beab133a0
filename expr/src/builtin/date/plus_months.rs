//! `plusMonths()` of Date.

use crate::builtin::shift::{Unit, shift_instant};
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::value::{Type, Value};

/// `plusMonths` of Date.
pub(super) struct PlusMonths;

impl Builtin for PlusMonths {
    type Receiver<'v> = i64;

    const SIGNATURE: Signature = Signature {
        name: "plusMonths",
        parameters: "months: Number",
        returns: Returns::Always(Type::Date),
        doc: "Adds months; the day is clamped to the end of a shorter month.",
        steps: "8",
        case: "doc-date-007",
        examples: &[(
            "new Date('2024-02-29T13:14:15.678Z').plusMonths(1)",
            "\"2024-03-29T13:14:15.678Z\"",
        )],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        ms: &i64,
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        shift_instant(*ms, (Unit::Months, 1), arguments, machine.budget()).map(Value::Date)
    }
}
