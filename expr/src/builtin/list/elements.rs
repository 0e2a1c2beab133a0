//! Iteration over the elements of a list, shared by its methods.

use crate::budget::VALUE_BYTES;
use crate::builtin::machine::call_back;
use crate::builtin::number::from_count;
use crate::builtin::{Arguments, EvalResult, Machine};
use crate::fault::Fault;
use crate::limits::STEPS_PER_ELEMENT;
use crate::operator::{ListBuilder, equal};
use crate::value::{List, Value};

/// Copies the first `count` of `values`, with the memory charged first.
pub(super) fn copied<'v, M: Machine<'v>>(
    machine: &mut M,
    values: impl Iterator<Item = Value<'v>>,
    count: usize,
) -> Result<Vec<Value<'v>>, Fault<'v>> {
    machine.budget().charge_allocation(count * VALUE_BYTES)?;
    machine.budget().charge_each(2 * count)?;
    let mut copy = Vec::with_capacity(count);
    copy.extend(values.take(count));
    Ok(copy)
}

/// The results of a function for each element.
pub(super) fn map_elements<'v, M: Machine<'v>>(
    machine: &mut M,
    list: &List<'v>,
    arguments: Arguments<'_, 'v>,
) -> EvalResult<'v> {
    let function = arguments.function(0)?;
    let mut values = ListBuilder::default();
    for (at, value) in list.iter(machine.view()).enumerate() {
        let mapped = call_back(machine, function, &[value, from_count(at)])?;
        values.push(mapped, machine.budget())?;
    }
    values.finish(machine.budget())
}

/// Replaces each element that is a list by its elements, one level deep.
pub(super) fn flatten_elements<'v, M: Machine<'v>>(
    machine: &mut M,
    list: &List<'v>,
) -> EvalResult<'v> {
    let view = machine.view();
    let mut values = ListBuilder::default();
    for value in list.iter(view) {
        machine.budget().charge(STEPS_PER_ELEMENT)?;
        match value {
            Value::List(inner) => {
                for value in inner.iter(view) {
                    values.push(value, machine.budget())?;
                }
            }
            other => values.push(other, machine.budget())?,
        }
    }
    values.finish(machine.budget())
}

/// `some` stops at the first truthy result and returns true, `every` at the first falsy one and
/// returns false.
pub(super) fn search<'v, M: Machine<'v>>(
    machine: &mut M,
    list: &List<'v>,
    arguments: Arguments<'_, 'v>,
    wanted: bool,
) -> EvalResult<'v> {
    let function = arguments.function(0)?;
    for (at, value) in list.iter(machine.view()).enumerate() {
        if call_back(machine, function, &[value, from_count(at)])?.is_truthy() == wanted {
            return Ok(Value::Bool(wanted));
        }
    }
    Ok(Value::Bool(!wanted))
}

/// The position of the first element that equals the argument.
pub(super) fn position<'v, M: Machine<'v>>(
    machine: &mut M,
    list: &List<'v>,
    arguments: Arguments<'_, 'v>,
) -> Result<Option<usize>, Fault<'v>> {
    let wanted = arguments.value(0)?;
    let view = machine.view();
    for (at, value) in list.iter(view).enumerate() {
        machine.budget().charge(STEPS_PER_ELEMENT)?;
        if equal(&value, wanted, view, machine.budget())? {
            return Ok(Some(at));
        }
    }
    Ok(None)
}
