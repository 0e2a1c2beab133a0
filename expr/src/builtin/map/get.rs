//! `get()` of Map.

use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::operator::charge_map_lookup;
use crate::value::{Map, Value};

/// `get` of Map.
pub(super) struct Get;

impl Builtin for Get {
    type Receiver<'v> = Map<'v>;

    const SIGNATURE: Signature = Signature {
        name: "get",
        parameters: "name: String",
        returns: Returns::Uninferred("any"),
        doc: "The value of the name, or null.",
        steps: "lookup",
        case: "doc-map-004",
        examples: &[("({a: 1}).get('a')", "1")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        map: &Map<'v>,
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        let name = arguments.text(0)?;
        charge_map_lookup(map, name.as_str(), machine.budget())?;
        Ok(map.get(machine.view(), name.as_str()).unwrap_or(Value::Null))
    }
}
