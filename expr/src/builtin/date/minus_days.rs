//! `minusDays()` of Date.

use crate::builtin::shift::{Unit, shift_instant};
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::value::{Type, Value};

/// `minusDays` of Date.
pub(super) struct MinusDays;

impl Builtin for MinusDays {
    type Receiver<'v> = i64;

    const SIGNATURE: Signature = Signature {
        name: "minusDays",
        parameters: "days: Number",
        returns: Returns::Always(Type::Date),
        doc: "Subtracts days.",
        steps: "8",
        case: "doc-date-004",
        examples: &[(
            "new Date('2024-02-29T13:14:15.678Z').minusDays(1)",
            "\"2024-02-28T13:14:15.678Z\"",
        )],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        ms: &i64,
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        shift_instant(*ms, (Unit::Days, -1), arguments, machine.budget()).map(Value::Date)
    }
}
