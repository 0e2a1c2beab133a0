//! `toCalendarDate()` of Date.

use crate::builtin::civil::STEPS_PER_CALL;
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::text::civil_of;
use crate::value::{Type, Value};

/// `toCalendarDate` of Date.
pub(super) struct ToCalendarDate;

impl Builtin for ToCalendarDate {
    type Receiver<'v> = i64;

    const SIGNATURE: Signature = Signature {
        name: "toCalendarDate",
        returns: Returns::Always(Type::CalendarDate),
        doc: "The day in UTC.",
        steps: "8",
        case: "doc-date-010",
        examples: &[("new Date('2024-02-29T13:14:15.678Z').toCalendarDate()", "\"2024-02-29\"")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(machine: &mut M, ms: &i64, _: Arguments<'_, 'v>) -> EvalResult<'v> {
        machine.budget().charge(STEPS_PER_CALL)?;
        Ok(Value::CalendarDate(civil_of(*ms).date()))
    }
}
