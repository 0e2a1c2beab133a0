//! `repeat()` of String.

use super::count::repeat_count;
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::value::{Text, Type, Value};

/// `repeat` of String.
pub(super) struct Repeat;

impl Builtin for Repeat {
    type Receiver<'v> = Text<'v>;

    const SIGNATURE: Signature = Signature {
        name: "repeat",
        parameters: "count: Number",
        returns: Returns::Always(Type::String),
        doc: "Repeats the text; 100 times at most.",
        steps: "new text",
        case: "doc-string-006",
        examples: &[("'ab'.repeat(2)", "\"abab\"")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        text: &Text<'v>,
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        let (text, budget) = (text.as_str(), machine.budget());
        let count = repeat_count(arguments.number(0)?, "repeat")?;
        budget.charge_text_allocation(text.len() * count)?;
        Ok(Value::text(text.repeat(count)))
    }
}
