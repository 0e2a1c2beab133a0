//! `getMonth()` of Date.

use crate::builtin::civil::{STEPS_PER_CALL, month};
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::text::civil_of;
use crate::value::Type;

/// `getMonth` of Date.
pub(super) struct GetMonth;

impl Builtin for GetMonth {
    type Receiver<'v> = i64;

    const SIGNATURE: Signature = Signature {
        name: "getMonth",
        returns: Returns::Always(Type::Number),
        doc: "The month, from 0, in UTC.",
        steps: "8",
        case: "collections-044",
        examples: &[("new Date('2024-02-29T13:14:15.678Z').getMonth()", "1")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(machine: &mut M, ms: &i64, _: Arguments<'_, 'v>) -> EvalResult<'v> {
        machine.budget().charge(STEPS_PER_CALL)?;
        Ok(month(civil_of(*ms).date()))
    }
}
