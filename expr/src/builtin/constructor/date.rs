//! `new Date()`.

use jiff::Timestamp;

use crate::builtin::civil::{bad_date, charge_reading, parse_instant};
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::text::number_text;
use crate::value::{Type, Value};

/// `new Date`.
pub(super) struct Date;

impl Builtin for Date {
    type Receiver<'v> = ();

    const SIGNATURE: Signature = Signature {
        name: "new Date",
        parameters: "value?: Number, String or Date",
        returns: Returns::Always(Type::Date),
        doc: "The given instant, or that of the evaluation. Text is ISO 8601; without an offset it \
            is UTC.",
        steps: "64 and search of a text",
        case: "doc-date-001",
        examples: &[
            ("new Date('2024-02-29T13:14:15+01:00')", "\"2024-02-29T12:14:15.000Z\""),
            ("new Date(0)", "\"1970-01-01T00:00:00.000Z\""),
        ],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        _: &(),
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        match arguments.get(0) {
            None => Ok(Value::Date(machine.now_ms())),
            Some(Value::Number(ms)) => {
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "`as` saturates; checked below"
                )]
                let whole = *ms as i64;
                if ms.is_nan() || Timestamp::from_millisecond(whole).is_err() {
                    return Err(bad_date(&number_text(*ms)));
                }
                Ok(Value::Date(whole))
            }
            Some(Value::Date(ms)) => Ok(Value::Date(*ms)),
            Some(_) => {
                let text = arguments.text(0)?.as_str();
                charge_reading(text, machine.budget())?;
                parse_instant(text).map(Value::Date).ok_or_else(|| bad_date(text))
            }
        }
    }
}
