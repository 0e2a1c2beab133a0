//! `trim()` of String.

use crate::builtin::units::{is_space, part};
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::value::{Text, Type};

/// `trim` of String.
pub(super) struct Trim;

impl Builtin for Trim {
    type Receiver<'v> = Text<'v>;

    const SIGNATURE: Signature = Signature {
        name: "trim",
        returns: Returns::Always(Type::String),
        doc: "Removes white space at both ends.",
        steps: "search",
        case: "doc-string-002",
        examples: &[("'  a b '.trim()", "\"a b\"")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        text: &Text<'v>,
        _: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        let budget = machine.budget();
        budget.charge_search(text.as_str().len())?;
        part(text, text.as_str().trim_matches(is_space), budget)
    }
}
