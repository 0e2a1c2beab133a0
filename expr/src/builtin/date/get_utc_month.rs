//! `getUTCMonth()` of Date.

use crate::builtin::civil::{STEPS_PER_CALL, month};
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::text::civil_of;
use crate::value::Type;

/// `getUTCMonth` of Date.
pub(super) struct GetUtcMonth;

impl Builtin for GetUtcMonth {
    type Receiver<'v> = i64;

    const SIGNATURE: Signature = Signature {
        name: "getUTCMonth",
        returns: Returns::Always(Type::Number),
        doc: "The month, from 0, in UTC.",
        steps: "8",
        case: "dates-017",
        examples: &[("new Date('2024-02-29T13:14:15.678Z').getUTCMonth()", "1")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(machine: &mut M, ms: &i64, _: Arguments<'_, 'v>) -> EvalResult<'v> {
        machine.budget().charge(STEPS_PER_CALL)?;
        Ok(month(civil_of(*ms).date()))
    }
}
