//! `getHours()` of Date.

use crate::builtin::civil::{STEPS_PER_CALL, number_of};
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::text::civil_of;
use crate::value::Type;

/// `getHours` of Date.
pub(super) struct GetHours;

impl Builtin for GetHours {
    type Receiver<'v> = i64;

    const SIGNATURE: Signature = Signature {
        name: "getHours",
        returns: Returns::Always(Type::Number),
        doc: "The hour, in UTC.",
        steps: "8",
        case: "dates-004",
        examples: &[("new Date('2024-02-29T13:14:15.678Z').getHours()", "13")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(machine: &mut M, ms: &i64, _: Arguments<'_, 'v>) -> EvalResult<'v> {
        machine.budget().charge(STEPS_PER_CALL)?;
        Ok(number_of(civil_of(*ms).hour().into()))
    }
}
