//! `toString()` of Date.

use crate::builtin::civil::{STEPS_PER_CALL, written};
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::text::iso_instant;
use crate::value::Type;

/// `toString` of Date.
pub(super) struct ToString;

impl Builtin for ToString {
    type Receiver<'v> = i64;

    const SIGNATURE: Signature = Signature {
        name: "toString",
        returns: Returns::Always(Type::String),
        doc: "The instant in ISO 8601, in UTC.",
        steps: "8, formatting",
        case: "dates-020",
        examples: &[(
            "new Date('2024-02-29T13:14:15.678Z').toString()",
            "\"2024-02-29T13:14:15.678Z\"",
        )],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(machine: &mut M, ms: &i64, _: Arguments<'_, 'v>) -> EvalResult<'v> {
        machine.budget().charge(STEPS_PER_CALL)?;
        written(iso_instant(*ms), machine.budget())
    }
}
