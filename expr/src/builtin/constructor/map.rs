//! `new Map()`.

use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::operator::build_map;
use crate::value::Type;

/// `new Map`.
pub(super) struct NewMap;

impl Builtin for NewMap {
    type Receiver<'v> = ();

    const SIGNATURE: Signature = Signature {
        name: "new Map",
        returns: Returns::Always(Type::Map),
        doc: "An empty map.",
        steps: "8",
        case: "doc-list-023",
        examples: &[("new Map()", "{}")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(machine: &mut M, _: &(), _: Arguments<'_, 'v>) -> EvalResult<'v> {
        build_map(std::iter::empty(), machine.budget())
    }
}
