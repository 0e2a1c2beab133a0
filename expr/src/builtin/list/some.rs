//! `some()` of List.

use super::elements::search;
use crate::builtin::{
    Arguments, Builtin, Callback, EvalResult, IndexTest, Machine, Returns, Signature,
};
use crate::value::{List, Type};

/// `some` of List.
pub(super) struct SomeElement;

impl Builtin for SomeElement {
    type Receiver<'v> = List<'v>;

    const SIGNATURE: Signature = Signature {
        name: "some",
        parameters: "f: (element, index) => any",
        returns: Returns::Always(Type::Boolean),
        callback: Callback::Until(true),
        index: Some(IndexTest::Some),
        doc: "Whether the function is truthy for an element; stops at the first truthy result.",
        steps: "callback per element",
        case: "doc-filter-015",
        examples: &[("[1, 2].some(x => x > 1)", "true"), ("[].some(x => true)", "false")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        list: &List<'v>,
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        search(machine, list, arguments, true)
    }
}
