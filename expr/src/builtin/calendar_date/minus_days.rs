//! `minusDays()` of CalendarDate.

use jiff::civil;

use crate::builtin::shift::{Unit, shift_day};
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::value::{Type, Value};

/// `minusDays` of CalendarDate.
pub(super) struct MinusDays;

impl Builtin for MinusDays {
    type Receiver<'v> = civil::Date;

    const SIGNATURE: Signature = Signature {
        name: "minusDays",
        parameters: "days: Number",
        returns: Returns::Always(Type::CalendarDate),
        doc: "Subtracts days.",
        steps: "8",
        case: "collections-051",
        examples: &[("new CalendarDate('2024-02-29').minusDays(1)", "\"2024-02-28\"")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        day: &civil::Date,
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        shift_day(*day, (Unit::Days, -1), arguments, machine.budget()).map(Value::CalendarDate)
    }
}
