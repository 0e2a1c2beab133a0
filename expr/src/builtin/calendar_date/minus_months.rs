//! `minusMonths()` of CalendarDate.

use jiff::civil;

use crate::builtin::shift::{Unit, shift_day};
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::value::{Type, Value};

/// `minusMonths` of CalendarDate.
pub(super) struct MinusMonths;

impl Builtin for MinusMonths {
    type Receiver<'v> = civil::Date;

    const SIGNATURE: Signature = Signature {
        name: "minusMonths",
        parameters: "months: Number",
        returns: Returns::Always(Type::CalendarDate),
        doc: "Subtracts months; the day is clamped to the end of a shorter month.",
        steps: "8",
        case: "dates-026",
        examples: &[("new CalendarDate('2024-02-29').minusMonths(1)", "\"2024-01-29\"")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        day: &civil::Date,
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        shift_day(*day, (Unit::Months, -1), arguments, machine.budget()).map(Value::CalendarDate)
    }
}
