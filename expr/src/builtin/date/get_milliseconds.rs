//! `getMilliseconds()` of Date.

use crate::builtin::civil::{STEPS_PER_CALL, number_of};
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::text::civil_of;
use crate::value::Type;

/// `getMilliseconds` of Date.
pub(super) struct GetMilliseconds;

impl Builtin for GetMilliseconds {
    type Receiver<'v> = i64;

    const SIGNATURE: Signature = Signature {
        name: "getMilliseconds",
        returns: Returns::Always(Type::Number),
        doc: "The millisecond, in UTC.",
        steps: "8",
        case: "dates-005",
        examples: &[("new Date('2024-02-29T13:14:15.678Z').getMilliseconds()", "678")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(machine: &mut M, ms: &i64, _: Arguments<'_, 'v>) -> EvalResult<'v> {
        machine.budget().charge(STEPS_PER_CALL)?;
        Ok(number_of(civil_of(*ms).millisecond().into()))
    }
}
