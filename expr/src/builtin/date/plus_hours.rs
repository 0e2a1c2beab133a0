//! `plusHours()` of Date.

use crate::builtin::shift::{Unit, shift_instant};
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::value::{Type, Value};

/// `plusHours` of Date.
pub(super) struct PlusHours;

impl Builtin for PlusHours {
    type Receiver<'v> = i64;

    const SIGNATURE: Signature = Signature {
        name: "plusHours",
        parameters: "hours: Number",
        returns: Returns::Always(Type::Date),
        doc: "Adds hours.",
        steps: "8",
        case: "dates-021",
        examples: &[(
            "new Date('2024-02-29T13:14:15.678Z').plusHours(1)",
            "\"2024-02-29T14:14:15.678Z\"",
        )],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        ms: &i64,
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        shift_instant(*ms, (Unit::Hours, 1), arguments, machine.budget()).map(Value::Date)
    }
}
