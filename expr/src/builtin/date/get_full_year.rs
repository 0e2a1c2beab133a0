//! `getFullYear()` of Date.

use crate::builtin::civil::{STEPS_PER_CALL, full_year};
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::text::civil_of;
use crate::value::Type;

/// `getFullYear` of Date.
pub(super) struct GetFullYear;

impl Builtin for GetFullYear {
    type Receiver<'v> = i64;

    const SIGNATURE: Signature = Signature {
        name: "getFullYear",
        returns: Returns::Always(Type::Number),
        doc: "The year, in UTC.",
        steps: "8",
        case: "dates-003",
        examples: &[("new Date('2024-02-29T13:14:15.678Z').getFullYear()", "2024")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(machine: &mut M, ms: &i64, _: Arguments<'_, 'v>) -> EvalResult<'v> {
        machine.budget().charge(STEPS_PER_CALL)?;
        Ok(full_year(civil_of(*ms).date()))
    }
}
