//! `plusDays()` of CalendarDate.

use jiff::civil;

use crate::builtin::shift::{Unit, shift_day};
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::value::{Type, Value};

/// `plusDays` of CalendarDate.
pub(super) struct PlusDays;

impl Builtin for PlusDays {
    type Receiver<'v> = civil::Date;

    const SIGNATURE: Signature = Signature {
        name: "plusDays",
        parameters: "days: Number",
        returns: Returns::Always(Type::CalendarDate),
        doc: "Adds days.",
        steps: "8",
        case: "doc-date-009",
        examples: &[("new CalendarDate('2024-02-29').plusDays(1)", "\"2024-03-01\"")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        day: &civil::Date,
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        shift_day(*day, (Unit::Days, 1), arguments, machine.budget()).map(Value::CalendarDate)
    }
}
