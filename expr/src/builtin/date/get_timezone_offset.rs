//! `getTimezoneOffset()` of Date.

use crate::builtin::civil::{STEPS_PER_CALL, number_of};
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::value::Type;

/// `getTimezoneOffset` of Date.
pub(super) struct GetTimezoneOffset;

impl Builtin for GetTimezoneOffset {
    type Receiver<'v> = i64;

    const SIGNATURE: Signature = Signature {
        name: "getTimezoneOffset",
        returns: Returns::Always(Type::Number),
        doc: "Always 0: there is no time zone but UTC.",
        steps: "8",
        case: "dates-010",
        examples: &[("new Date(5).getTimezoneOffset()", "0")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(machine: &mut M, _: &i64, _: Arguments<'_, 'v>) -> EvalResult<'v> {
        machine.budget().charge(STEPS_PER_CALL)?;
        Ok(number_of(0))
    }
}
