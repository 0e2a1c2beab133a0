//! `new CalendarDate()`.

use crate::builtin::civil::{bad_date, charge_reading};
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::text::civil_of;
use crate::value::{Type, Value};

/// `new CalendarDate`.
pub(super) struct CalendarDate;

impl Builtin for CalendarDate {
    type Receiver<'v> = ();

    const SIGNATURE: Signature = Signature {
        name: "new CalendarDate",
        parameters: "text?: String",
        returns: Returns::Always(Type::CalendarDate),
        doc: "The given day, or that of the evaluation in UTC.",
        steps: "64 and search of a text",
        case: "doc-date-008",
        examples: &[("new CalendarDate('2024-02-29')", "\"2024-02-29\"")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        _: &(),
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        if arguments.get(0).is_none() {
            return Ok(Value::CalendarDate(civil_of(machine.now_ms()).date()));
        }
        let text = arguments.text(0)?.as_str();
        charge_reading(text, machine.budget())?;
        match text.parse() {
            Ok(day) if text.len() == "2008-09-15".len() => Ok(Value::CalendarDate(day)),
            _ => Err(bad_date(text)),
        }
    }
}
