//! `getUTCDate()` of Date.

use crate::builtin::civil::{STEPS_PER_CALL, day_of_month};
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::text::civil_of;
use crate::value::Type;

/// `getUTCDate` of Date.
pub(super) struct GetUtcDate;

impl Builtin for GetUtcDate {
    type Receiver<'v> = i64;

    const SIGNATURE: Signature = Signature {
        name: "getUTCDate",
        returns: Returns::Always(Type::Number),
        doc: "The day of the month, from 1, in UTC.",
        steps: "8",
        case: "dates-011",
        examples: &[("new Date('2024-02-29T13:14:15.678Z').getUTCDate()", "29")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(machine: &mut M, ms: &i64, _: Arguments<'_, 'v>) -> EvalResult<'v> {
        machine.budget().charge(STEPS_PER_CALL)?;
        Ok(day_of_month(civil_of(*ms).date()))
    }
}
