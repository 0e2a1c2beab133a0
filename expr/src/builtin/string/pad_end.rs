//! `padEnd()` of String.

use super::pad::pad;
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::value::{Text, Type};

/// `padEnd` of String.
pub(super) struct PadEnd;

impl Builtin for PadEnd {
    type Receiver<'v> = Text<'v>;

    const SIGNATURE: Signature = Signature {
        name: "padEnd",
        parameters: "length: Number, fill?: String",
        returns: Returns::Always(Type::String),
        doc: "Adds fill (a space by default) at the end up to the length; 100 at most.",
        steps: "search, 2 per added unit, new text",
        case: "doc-string-007",
        examples: &[("'a'.padEnd(3, 'xy')", "\"axy\"")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        text: &Text<'v>,
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        pad(text.as_str(), arguments, machine.budget(), |text, fill| format!("{text}{fill}"))
    }
}
