//! `JSON.stringify()`.

use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::text::stringify;
use crate::value::Value;

/// `JSON.stringify`.
pub(super) struct JsonStringify;

impl Builtin for JsonStringify {
    type Receiver<'v> = ();

    const SIGNATURE: Signature = Signature {
        name: "JSON.stringify",
        parameters: "value: any",
        returns: Returns::Uninferred("String"),
        doc: "The value as compact JSON; dates become text, functions null.",
        steps: "formatting, new text",
        case: "doc-json-001",
        examples: &[("JSON.stringify({a: [1, 'x']})", "\"{\\\"a\\\":[1,\\\"x\\\"]}\"")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        _: &(),
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        let view = machine.view();
        stringify(arguments.value(0)?, view, machine.budget()).map(Value::text)
    }
}
