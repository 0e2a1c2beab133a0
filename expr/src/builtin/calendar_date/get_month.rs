//! `getMonth()` of CalendarDate.

use jiff::civil;

use crate::builtin::civil::{STEPS_PER_CALL, month};
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::value::Type;

/// `getMonth` of CalendarDate.
pub(super) struct GetMonth;

impl Builtin for GetMonth {
    type Receiver<'v> = civil::Date;

    const SIGNATURE: Signature = Signature {
        name: "getMonth",
        returns: Returns::Always(Type::Number),
        doc: "The month, from 0.",
        steps: "8",
        case: "doc-date-014",
        examples: &[("new CalendarDate('2024-02-29').getMonth()", "1")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        day: &civil::Date,
        _: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        machine.budget().charge(STEPS_PER_CALL)?;
        Ok(month(*day))
    }
}
