//! Methods of List.

use crate::budget::VALUE_BYTES;
use crate::builtin::{
    Arguments, EvalResult, Machine, call_back, from_count, slice_range, unknown_member,
};
use crate::diagnostic::Code;
use crate::fault::Fault;
use crate::limits::{JOIN_UNITS_MAX, STEPS_PER_ELEMENT};
use crate::operator::{ListBuilder, equal, shared_list};
use crate::text::TextBuilder;
use crate::value::{List, Member, Type, Value};

pub(super) fn call<'v, M: Machine<'v>>(
    machine: &mut M,
    list: &List<'v>,
    member: Member,
    arguments: Arguments<'_, 'v>,
) -> EvalResult<'v> {
    match member {
        Member::Map => map(machine, list, arguments),
        Member::FlatMap => {
            let mapped = map(machine, list, arguments)?;
            flatten(machine, &mapped)
        }
        Member::Flatten => flatten(machine, &Value::List(list.clone())),
        Member::Filter => filter(machine, list, arguments),
        Member::Some => search(machine, list, arguments, true),
        Member::Every => search(machine, list, arguments, false),
        Member::Includes => {
            position(machine, list, arguments).map(|found| Value::Bool(found.is_some()))
        }
        Member::IndexOf => position(machine, list, arguments)
            .map(|found| found.map_or(Value::Number(-1.0), from_count)),
        Member::Slice => {
            let range =
                slice_range(arguments.number(0)?, arguments.optional_number(1)?, list.len());
            machine.budget().charge_each(range.end)?;
            let view = machine.view();
            let values = copied(machine, list.iter(view).skip(range.start), range.len())?;
            shared_list(values, machine.budget())
        }
        Member::Concat => concat(machine, list, arguments),
        Member::Reduce => reduce(machine, list, arguments),
        Member::Join => join(machine, list, arguments),
        Member::Sort => sort(machine, list, arguments),
        _ => Err(unknown_member(Type::List, member.name())),
    }
}

/// Copies the first `count` of `values`, with the memory charged first.
fn copied<'v, M: Machine<'v>>(
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

fn map<'v, M: Machine<'v>>(
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
fn flatten<'v, M: Machine<'v>>(machine: &mut M, list: &Value<'v>) -> EvalResult<'v> {
    let Value::List(list) = list else { return Ok(list.clone()) };
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

fn filter<'v, M: Machine<'v>>(
    machine: &mut M,
    list: &List<'v>,
    arguments: Arguments<'_, 'v>,
) -> EvalResult<'v> {
    let function = arguments.function(0)?;
    let mut values = ListBuilder::default();
    for (at, value) in list.iter(machine.view()).enumerate() {
        if call_back(machine, function, &[value.clone(), from_count(at)])?.is_truthy() {
            values.push(value, machine.budget())?;
        }
    }
    values.finish(machine.budget())
}

/// `some` stops at the first truthy result and returns true, `every` at the first falsy one and
/// returns false.
fn search<'v, M: Machine<'v>>(
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

fn position<'v, M: Machine<'v>>(
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

fn concat<'v, M: Machine<'v>>(
    machine: &mut M,
    list: &List<'v>,
    arguments: Arguments<'_, 'v>,
) -> EvalResult<'v> {
    let more = arguments.value(0)?;
    let view = machine.view();
    match more {
        Value::List(more) => {
            let count = list.len() + more.len();
            let both = copied(machine, list.iter(view).chain(more.iter(view)), count)?;
            shared_list(both, machine.budget())
        }
        other => {
            let last = std::iter::once(other.clone());
            let values = copied(machine, list.iter(view).chain(last), list.len() + 1)?;
            shared_list(values, machine.budget())
        }
    }
}

fn reduce<'v, M: Machine<'v>>(
    machine: &mut M,
    list: &List<'v>,
    arguments: Arguments<'_, 'v>,
) -> EvalResult<'v> {
    let function = arguments.function(0)?;
    let mut values = list.iter(machine.view()).enumerate();
    let first = match arguments.get(1) {
        Some(initial) => Some(initial.clone()),
        None => values.next().map(|(_, value)| value),
    };
    let Some(mut result) = first else {
        let message = "Reduce of an empty list needs an initial value";
        return Err(Fault::new(Code::EmptyReduce, message));
    };
    for (at, value) in values {
        result = call_back(machine, function, &[result, value, from_count(at)])?;
    }
    Ok(result)
}

fn join<'v, M: Machine<'v>>(
    machine: &mut M,
    list: &List<'v>,
    arguments: Arguments<'_, 'v>,
) -> EvalResult<'v> {
    let separator = arguments.optional_text(0)?.map_or(",", |text| text.as_str());
    let view = machine.view();
    let mut text = TextBuilder::new(machine.budget())?;
    for (at, value) in list.iter(view).enumerate() {
        machine.budget().charge(STEPS_PER_ELEMENT)?;
        if at > 0 {
            text.push(separator, machine.budget())?;
        }
        text.push_value(&value, view, machine.budget())?;
        // A unit takes at most three bytes, so the text is longer than the limit at this point.
        if text.len() > 3 * JOIN_UNITS_MAX {
            break;
        }
    }
    let text = text.into_string();
    Ok(match super::string::byte_of_unit(&text, JOIN_UNITS_MAX) {
        Some(end) if end < text.len() => {
            Value::text(format!("{}...", text.get(..end).unwrap_or_default()))
        }
        _ => Value::text(text),
    })
}

/// A stable merge sort with a comparator of the expression. The comparator may fail or be
/// inconsistent, which the standard sorts do not support.
fn sort<'v, M: Machine<'v>>(
    machine: &mut M,
    list: &List<'v>,
    arguments: Arguments<'_, 'v>,
) -> EvalResult<'v> {
    let function = arguments.function(0)?;
    let view = machine.view();
    let mut sorted = copied(machine, list.iter(view), list.len())?;
    let mut merged = copied(machine, std::iter::empty(), list.len())?;
    let mut width = 1;
    while width < sorted.len() {
        for run in sorted.chunks(2 * width) {
            machine.budget().charge_each(run.len())?;
            let (left, right) = run.split_at(width.min(run.len()));
            merge(machine, left, right, function, &mut merged)?;
        }
        std::mem::swap(&mut sorted, &mut merged);
        merged.clear();
        width *= 2;
    }
    shared_list(sorted, machine.budget())
}

fn merge<'v, M: Machine<'v>>(
    machine: &mut M,
    mut left: &[Value<'v>],
    mut right: &[Value<'v>],
    function: &crate::value::Function<'v>,
    merged: &mut Vec<Value<'v>>,
) -> Result<(), Fault<'v>> {
    while let ([a, after_a @ ..], [b, after_b @ ..]) = (left, right) {
        let order = match call_back(machine, function, &[a.clone(), b.clone()])? {
            Value::Number(order) => order,
            other => {
                let found = other.type_of().name();
                let message = format!("The function of `sort` must yield a Number, found {found}");
                return Err(Fault::new(Code::BadArgument, message));
            }
        };
        // Equal elements keep their order.
        if order > 0.0 {
            merged.push(b.clone());
            right = after_b;
        } else {
            merged.push(a.clone());
            left = after_a;
        }
    }
    merged.extend_from_slice(left);
    merged.extend_from_slice(right);
    Ok(())
}
