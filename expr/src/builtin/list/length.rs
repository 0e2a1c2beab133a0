//! `length` of List.

use crate::builtin::number::from_count;
use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::value::{List, Type};

/// `length` of List.
pub(super) struct Length;

impl Builtin for Length {
    type Receiver<'v> = List<'v>;

    const SIGNATURE: Signature = Signature {
        name: "length",
        returns: Returns::Always(Type::Number),
        doc: "The number of elements.",
        case: "doc-list-001",
        examples: &[("[1, 2].length", "2")],
        ..Signature::PROPERTY
    };

    fn call<'v, M: Machine<'v>>(
        _: &mut M,
        list: &List<'v>,
        _: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        Ok(from_count(list.len()))
    }
}
