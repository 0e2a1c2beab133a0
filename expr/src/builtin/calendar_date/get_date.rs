//! `getDate()` of CalendarDate.

use jiff::civil;

use crate::builtin::civil::{STEPS_PER_CALL, day_of_month};
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::value::Type;

/// `getDate` of CalendarDate.
pub(super) struct GetDate;

impl Builtin for GetDate {
    type Receiver<'v> = civil::Date;

    const SIGNATURE: Signature = Signature {
        name: "getDate",
        returns: Returns::Always(Type::Number),
        doc: "The day of the month, from 1.",
        steps: "8",
        case: "doc-date-016",
        examples: &[("new CalendarDate('2024-02-29').getDate()", "29")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        day: &civil::Date,
        _: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        machine.budget().charge(STEPS_PER_CALL)?;
        Ok(day_of_month(*day))
    }
}
