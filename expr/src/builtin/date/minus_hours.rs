//! `minusHours()` of Date.

use crate::builtin::shift::{Unit, shift_instant};
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::value::{Type, Value};

/// `minusHours` of Date.
pub(super) struct MinusHours;

impl Builtin for MinusHours {
    type Receiver<'v> = i64;

    const SIGNATURE: Signature = Signature {
        name: "minusHours",
        parameters: "hours: Number",
        returns: Returns::Always(Type::Date),
        doc: "Subtracts hours.",
        steps: "8",
        case: "dates-022",
        examples: &[(
            "new Date('2024-02-29T13:14:15.678Z').minusHours(1)",
            "\"2024-02-29T12:14:15.678Z\"",
        )],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        ms: &i64,
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        shift_instant(*ms, (Unit::Hours, -1), arguments, machine.budget()).map(Value::Date)
    }
}
