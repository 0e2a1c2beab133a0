//! `getUTCMilliseconds()` of Date.

use crate::builtin::civil::{STEPS_PER_CALL, number_of};
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::text::civil_of;
use crate::value::Type;

/// `getUTCMilliseconds` of Date.
pub(super) struct GetUtcMilliseconds;

impl Builtin for GetUtcMilliseconds {
    type Receiver<'v> = i64;

    const SIGNATURE: Signature = Signature {
        name: "getUTCMilliseconds",
        returns: Returns::Always(Type::Number),
        doc: "The millisecond, in UTC.",
        steps: "8",
        case: "dates-015",
        examples: &[("new Date('2024-02-29T13:14:15.678Z').getUTCMilliseconds()", "678")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(machine: &mut M, ms: &i64, _: Arguments<'_, 'v>) -> EvalResult<'v> {
        machine.budget().charge(STEPS_PER_CALL)?;
        Ok(number_of(civil_of(*ms).millisecond().into()))
    }
}
