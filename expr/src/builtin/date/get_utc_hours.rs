//! `getUTCHours()` of Date.

use crate::builtin::civil::{STEPS_PER_CALL, number_of};
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::text::civil_of;
use crate::value::Type;

/// `getUTCHours` of Date.
pub(super) struct GetUtcHours;

impl Builtin for GetUtcHours {
    type Receiver<'v> = i64;

    const SIGNATURE: Signature = Signature {
        name: "getUTCHours",
        returns: Returns::Always(Type::Number),
        doc: "The hour, in UTC.",
        steps: "8",
        case: "dates-014",
        examples: &[("new Date('2024-02-29T13:14:15.678Z').getUTCHours()", "13")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(machine: &mut M, ms: &i64, _: Arguments<'_, 'v>) -> EvalResult<'v> {
        machine.budget().charge(STEPS_PER_CALL)?;
        Ok(number_of(civil_of(*ms).hour().into()))
    }
}
