//! `Number()`.

use crate::builtin::units::is_space;
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::limits::STEPS_PER_NUMBER_TEXT;
use crate::value::Value;

/// `Number`.
pub(super) struct Number;

impl Builtin for Number {
    type Receiver<'v> = ();

    const SIGNATURE: Signature = Signature {
        name: "Number",
        parameters: "value: any",
        returns: Returns::Uninferred("Number"),
        doc: "Converts text or a Boolean to a number; NaN for other values.",
        steps: "32 and search of a text",
        case: "doc-string-019",
        examples: &[("Number(' 4.5 ')", "4.5"), ("Number('0x10') == Number('0x10')", "false")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        _: &(),
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        let budget = machine.budget();
        Ok(Value::Number(match arguments.value(0)? {
            Value::Number(number) => *number,
            Value::Bool(value) => f64::from(u8::from(*value)),
            Value::String(text) => {
                budget.charge(STEPS_PER_NUMBER_TEXT)?;
                budget.charge_search(text.as_str().len())?;
                read_number(text.as_str().trim_matches(is_space))
            }
            _ => f64::NAN,
        }))
    }
}

/// Parses a decimal number or `Infinity`; NaN otherwise.
fn read_number(text: &str) -> f64 {
    match text.strip_prefix(['+', '-']).unwrap_or(text) {
        "Infinity" if text.starts_with('-') => return f64::NEG_INFINITY,
        "Infinity" => return f64::INFINITY,
        _ => {}
    }
    // Rust's parser also accepts words such as `inf`.
    let decimal = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    if decimal { text.parse().unwrap_or(f64::NAN) } else { f64::NAN }
}
