//! `getDay()` of CalendarDate.

use jiff::civil;

use crate::builtin::civil::{STEPS_PER_CALL, day_of_week};
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::value::Type;

/// `getDay` of CalendarDate.
pub(super) struct GetDay;

impl Builtin for GetDay {
    type Receiver<'v> = civil::Date;

    const SIGNATURE: Signature = Signature {
        name: "getDay",
        returns: Returns::Always(Type::Number),
        doc: "The day of the week, from 0 for Sunday.",
        steps: "8",
        case: "collections-052",
        examples: &[("new CalendarDate('2024-02-29').getDay()", "4")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        day: &civil::Date,
        _: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        machine.budget().charge(STEPS_PER_CALL)?;
        Ok(day_of_week(*day))
    }
}
