//! `padStart()` of String.

use super::pad::pad;
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::value::{Text, Type};

/// `padStart` of String.
pub(super) struct PadStart;

impl Builtin for PadStart {
    type Receiver<'v> = Text<'v>;

    const SIGNATURE: Signature = Signature {
        name: "padStart",
        parameters: "length: Number, fill?: String",
        returns: Returns::Always(Type::String),
        doc: "Adds fill (a space by default) at the start up to the length; 100 at most.",
        steps: "search, 2 per added unit, new text",
        case: "doc-string-009",
        examples: &[("'7'.padStart(3, '0')", "\"007\"")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        text: &Text<'v>,
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        pad(text.as_str(), arguments, machine.budget(), |text, fill| format!("{fill}{text}"))
    }
}
