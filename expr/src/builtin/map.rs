//! Methods of Map.

use std::rc::Rc;

use crate::builtin::{Arguments, EvalResult, Machine, unknown_member};
use crate::operator::{ListBuilder, build_list, charge_map_lookup, entries as entries_of};
use crate::value::{BuiltMap, Map, Member, Type, Value};

pub(super) fn call<'v, M: Machine<'v>>(
    machine: &mut M,
    map: &Map<'v>,
    member: Member,
    arguments: Arguments<'_, 'v>,
) -> EvalResult<'v> {
    match member {
        Member::Get => {
            let name = arguments.text(0)?;
            charge_map_lookup(map, name.as_str(), machine.budget())?;
            Ok(map.get(machine.view(), name.as_str()).unwrap_or(Value::Null))
        }
        Member::Set => set(machine, map, arguments),
        Member::Entries => entries(machine, map),
        _ => Err(unknown_member(Type::Map, member.name())),
    }
}

fn set<'v, M: Machine<'v>>(
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
    let mut copy = BuiltMap { entries: entries_of(map, view, machine.budget())?, depth };
    copy.set(name, value);
    Ok(Value::Map(Map::Built(Rc::new(copy))))
}

fn entries<'v, M: Machine<'v>>(machine: &mut M, map: &Map<'v>) -> EvalResult<'v> {
    let view = machine.view();
    let mut pairs = ListBuilder::default();
    for (name, value) in entries_of(map, view, machine.budget())? {
        let pair = build_list(vec![Value::String(name), value], machine.budget())?;
        pairs.push(pair, machine.budget())?;
    }
    pairs.finish(machine.budget())
}
