//! `plusMonths()` of CalendarDate.

use jiff::civil;

use crate::builtin::shift::{Unit, shift_day};
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::value::{Type, Value};

/// `plusMonths` of CalendarDate.
pub(super) struct PlusMonths;

impl Builtin for PlusMonths {
    type Receiver<'v> = civil::Date;

    const SIGNATURE: Signature = Signature {
        name: "plusMonths",
        parameters: "months: Number",
        returns: Returns::Always(Type::CalendarDate),
        doc: "Adds months; the day is clamped to the end of a shorter month.",
        steps: "8",
        case: "collections-050",
        examples: &[("new CalendarDate('2024-02-29').plusMonths(1)", "\"2024-03-29\"")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        day: &civil::Date,
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        shift_day(*day, (Unit::Months, 1), arguments, machine.budget()).map(Value::CalendarDate)
    }
}
