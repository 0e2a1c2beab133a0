//! `getTime()` of Date.

use crate::builtin::civil::{STEPS_PER_CALL, number_of};
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::value::Type;

/// `getTime` of Date.
pub(super) struct GetTime;

impl Builtin for GetTime {
    type Receiver<'v> = i64;

    const SIGNATURE: Signature = Signature {
        name: "getTime",
        returns: Returns::Always(Type::Number),
        doc: "The milliseconds since 1970-01-01T00:00Z.",
        steps: "8",
        case: "dates-009",
        examples: &[("new Date(5).getTime()", "5")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(machine: &mut M, ms: &i64, _: Arguments<'_, 'v>) -> EvalResult<'v> {
        machine.budget().charge(STEPS_PER_CALL)?;
        Ok(number_of(*ms))
    }
}
