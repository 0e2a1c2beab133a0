//! `valueOf()` of Date.

use crate::builtin::civil::{STEPS_PER_CALL, number_of};
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};

/// `valueOf` of Date.
pub(super) struct ValueOf;

impl Builtin for ValueOf {
    type Receiver<'v> = i64;

    const SIGNATURE: Signature = Signature {
        name: "valueOf",
        returns: Returns::Uninferred("Number"),
        doc: "The milliseconds since 1970-01-01T00:00Z.",
        steps: "8",
        case: "dates-019",
        examples: &[("new Date(5).valueOf()", "5")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(machine: &mut M, ms: &i64, _: Arguments<'_, 'v>) -> EvalResult<'v> {
        machine.budget().charge(STEPS_PER_CALL)?;
        Ok(number_of(*ms))
    }
}
