//! `getUTCDay()` of Date.

use crate::builtin::civil::{STEPS_PER_CALL, day_of_week};
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::text::civil_of;
use crate::value::Type;

/// `getUTCDay` of Date.
pub(super) struct GetUtcDay;

impl Builtin for GetUtcDay {
    type Receiver<'v> = i64;

    const SIGNATURE: Signature = Signature {
        name: "getUTCDay",
        returns: Returns::Always(Type::Number),
        doc: "The day of the week, from 0 for Sunday, in UTC.",
        steps: "8",
        case: "dates-012",
        examples: &[("new Date('2024-02-29T13:14:15.678Z').getUTCDay()", "4")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(machine: &mut M, ms: &i64, _: Arguments<'_, 'v>) -> EvalResult<'v> {
        machine.budget().charge(STEPS_PER_CALL)?;
        Ok(day_of_week(civil_of(*ms).date()))
    }
}
