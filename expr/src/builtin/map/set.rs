//! `set()` of Map.

use std::rc::Rc;

use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::operator::{charge_map_lookup, entries};
use crate::value::BuiltMap;
use crate::value::{Map, Value};

/// `set` of Map.
pub(super) struct Set;

impl Builtin for Set {
    type Receiver<'v> = Map<'v>;

    const SIGNATURE: Signature = Signature {
        name: "set",
        parameters: "name: String, value: any",
        returns: Returns::Uninferred("Map"),
        doc: "A copy of the map with the name set to the value.",
        steps: "lookup, copies the map",
        case: "doc-list-023",
        examples: &[("new Map().set('a', 1)", "{\"a\":1}")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        map: &Map<'v>,
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        let (name, value) = (arguments.text(0)?.clone(), arguments.value(1)?.clone());
        charge_map_lookup(map, name.as_str(), machine.budget())?;
        let old_depth = Value::Map(map.clone()).depth();
        let depth =
            machine.budget().check_depth(value.depth().saturating_add(1).max(old_depth).max(1))?;
        let view = machine.view();
        let mut copy = BuiltMap { entries: entries(map, view, machine.budget())?, depth };
        copy.set(name, value);
        Ok(Value::Map(Map::Built(Rc::new(copy))))
    }
}
