//! `getFullYear()` of CalendarDate.

use jiff::civil;

use crate::builtin::civil::{STEPS_PER_CALL, full_year};
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::value::Type;

/// `getFullYear` of CalendarDate.
pub(super) struct GetFullYear;

impl Builtin for GetFullYear {
    type Receiver<'v> = civil::Date;

    const SIGNATURE: Signature = Signature {
        name: "getFullYear",
        returns: Returns::Always(Type::Number),
        doc: "The year.",
        steps: "8",
        case: "doc-date-015",
        examples: &[("new CalendarDate('2024-02-29').getFullYear()", "2024")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        day: &civil::Date,
        _: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        machine.budget().charge(STEPS_PER_CALL)?;
        Ok(full_year(*day))
    }
}
