//! `minusMinutes()` of Date.

use crate::builtin::shift::{Unit, shift_instant};
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::value::{Type, Value};

/// `minusMinutes` of Date.
pub(super) struct MinusMinutes;

impl Builtin for MinusMinutes {
    type Receiver<'v> = i64;

    const SIGNATURE: Signature = Signature {
        name: "minusMinutes",
        parameters: "minutes: Number",
        returns: Returns::Always(Type::Date),
        doc: "Subtracts minutes.",
        steps: "8",
        case: "doc-date-006",
        examples: &[(
            "new Date('2024-02-29T13:14:15.678Z').minusMinutes(1)",
            "\"2024-02-29T13:13:15.678Z\"",
        )],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        ms: &i64,
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        shift_instant(*ms, (Unit::Minutes, -1), arguments, machine.budget()).map(Value::Date)
    }
}
