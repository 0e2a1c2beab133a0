//! `plusMinutes()` of Date.

use crate::builtin::shift::{Unit, shift_instant};
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::value::{Type, Value};

/// `plusMinutes` of Date.
pub(super) struct PlusMinutes;

impl Builtin for PlusMinutes {
    type Receiver<'v> = i64;

    const SIGNATURE: Signature = Signature {
        name: "plusMinutes",
        parameters: "minutes: Number",
        returns: Returns::Always(Type::Date),
        doc: "Adds minutes.",
        steps: "8",
        case: "dates-023",
        examples: &[(
            "new Date('2024-02-29T13:14:15.678Z').plusMinutes(1)",
            "\"2024-02-29T13:15:15.678Z\"",
        )],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        ms: &i64,
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        shift_instant(*ms, (Unit::Minutes, 1), arguments, machine.budget()).map(Value::Date)
    }
}
