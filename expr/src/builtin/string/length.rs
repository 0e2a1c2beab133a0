//! `length` of String.

use crate::builtin::number::from_count;
use crate::builtin::units::units;
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::value::{Text, Type};

/// `length` of String.
pub(super) struct Length;

impl Builtin for Length {
    type Receiver<'v> = Text<'v>;

    const SIGNATURE: Signature = Signature {
        name: "length",
        returns: Returns::Always(Type::Number),
        doc: "The number of UTF-16 units.",
        steps: "search",
        case: "doc-string-001",
        examples: &[("'abc'.length", "3"), ("'x😀'.length", "3")],
        ..Signature::PROPERTY
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        text: &Text<'v>,
        _: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        machine.budget().charge_search(text.as_str().len())?;
        Ok(from_count(units(text.as_str())))
    }
}
