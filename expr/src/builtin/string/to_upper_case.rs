//! `toUpperCase()` of String.

use super::case::charge_case;
use crate::builtin::units::built;
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::value::{Text, Type};

/// `toUpperCase` of String.
pub(super) struct ToUpperCase;

impl Builtin for ToUpperCase {
    type Receiver<'v> = Text<'v>;

    const SIGNATURE: Signature = Signature {
        name: "toUpperCase",
        returns: Returns::Always(Type::String),
        doc: "Converts to upper case.",
        steps: "new text; 1 per byte if not ASCII",
        case: "doc-string-004",
        examples: &[("'aß'.toUpperCase()", "\"ASS\"")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        text: &Text<'v>,
        _: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        let (text, budget) = (text.as_str(), machine.budget());
        charge_case(text, budget)?;
        built(&text.to_uppercase(), budget)
    }
}
