//! `plusDays()` of Date.

use crate::builtin::shift::{Unit, shift_instant};
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::value::{Type, Value};

/// `plusDays` of Date.
pub(super) struct PlusDays;

impl Builtin for PlusDays {
    type Receiver<'v> = i64;

    const SIGNATURE: Signature = Signature {
        name: "plusDays",
        parameters: "days: Number",
        returns: Returns::Always(Type::Date),
        doc: "Adds days.",
        steps: "8",
        case: "dates-024",
        examples: &[(
            "new Date('2024-02-29T13:14:15.678Z').plusDays(1)",
            "\"2024-03-01T13:14:15.678Z\"",
        )],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        ms: &i64,
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        shift_instant(*ms, (Unit::Days, 1), arguments, machine.budget()).map(Value::Date)
    }
}
