//! `join()` of List.

use crate::builtin::units::byte_of_unit;
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::limits::{JOIN_UNITS_MAX, STEPS_PER_ELEMENT};
use crate::span::slice;
use crate::text::TextBuilder;
use crate::value::{List, Type, Value};

/// `join` of List.
pub(super) struct Join;

impl Builtin for Join {
    type Receiver<'v> = List<'v>;

    const SIGNATURE: Signature = Signature {
        name: "join",
        parameters: "separator?: String",
        returns: Returns::Always(Type::String),
        doc: "The elements as text, separated by `,` by default; truncated at 10,000 units with \
            `...` appended.",
        steps: "3 per element, formatting, new text",
        case: "doc-list-021",
        examples: &[("[1, 'a'].join('-')", "\"1-a\""), ("[1, 2].join()", "\"1,2\"")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        list: &List<'v>,
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        let separator = arguments.optional_text(0)?.map_or(",", |text| text.as_str());
        let view = machine.view();
        let mut text = TextBuilder::new(machine.budget())?;
        for (at, value) in list.iter(view).enumerate() {
            machine.budget().charge(STEPS_PER_ELEMENT)?;
            if at > 0 {
                text.push(separator, machine.budget())?;
            }
            text.push_value(&value, view, machine.budget())?;
            // A unit takes at most three bytes, so the text is longer than the limit at this point.
            if text.len() > 3 * JOIN_UNITS_MAX {
                break;
            }
        }
        let text = text.into_string();
        Ok(match byte_of_unit(&text, JOIN_UNITS_MAX) {
            Some(end) if end < text.len() => Value::text(format!("{}...", slice(&text, ..end))),
            _ => Value::text(text),
        })
    }
}
