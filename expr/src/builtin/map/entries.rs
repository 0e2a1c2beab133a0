//! `entries()` of Map.

use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::operator::{ListBuilder, build_list, entries};
use crate::value::{Map, Value};

/// `entries` of Map.
pub(super) struct Entries;

impl Builtin for Entries {
    type Receiver<'v> = Map<'v>;

    const SIGNATURE: Signature = Signature {
        name: "entries",
        returns: Returns::Uninferred("List"),
        doc: "A list of lists of name and value, in order.",
        steps: "3 per entry, new lists",
        case: "doc-map-008",
        examples: &[("({a: 1}).entries()", "[[\"a\",1]]")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        map: &Map<'v>,
        _: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        let view = machine.view();
        let mut pairs = ListBuilder::default();
        for (name, value) in entries(map, view, machine.budget())? {
            let pair = build_list(vec![Value::String(name), value], machine.budget())?;
            pairs.push(pair, machine.budget())?;
        }
        pairs.finish(machine.budget())
    }
}
