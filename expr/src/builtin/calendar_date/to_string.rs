//! `toString()` of CalendarDate.

use jiff::civil;

use crate::builtin::civil::{STEPS_PER_CALL, written};
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::text::iso_day;
use crate::value::Type;

/// `toString` of CalendarDate.
pub(super) struct ToString;

impl Builtin for ToString {
    type Receiver<'v> = civil::Date;

    const SIGNATURE: Signature = Signature {
        name: "toString",
        returns: Returns::Always(Type::String),
        doc: "The day in ISO 8601.",
        steps: "8, formatting",
        case: "dates-025",
        examples: &[("new CalendarDate('2024-02-29').toString()", "\"2024-02-29\"")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        day: &civil::Date,
        _: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        machine.budget().charge(STEPS_PER_CALL)?;
        written(iso_day(*day), machine.budget())
    }
}
