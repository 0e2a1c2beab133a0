//! Methods of List.

use crate::builtin::{
    Arguments, Machine, Outcome, call_back, from_count, slice_range, unknown_member,
};
use crate::diagnostic::Code;
use crate::fault::Fault;
use crate::limits::JOIN_UNITS_MAX;
use crate::operator::{VALUE_BYTES, build_list, equal};
use crate::text::TextBuilder;
use crate::value::{List, Member, Type, Value};

pub(super) fn call<'v, M: Machine<'v>>(
    machine: &mut M,
    list: &List<'v>,
    member: Member,
    arguments: Arguments<'_, 'v>,
) -> Outcome<'v> {
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
            machine.meter().read_elements(range.end)?;
            let view = machine.view();
            let values = copied(machine, list.iter(view).skip(range.start), range.len())?;
            build_list(values, machine.meter())
        }
        Member::Concat => concat(machine, list, arguments),
        Member::Reduce => reduce(machine, list, arguments),
        Member::Join => join(machine, list, arguments),
        Member::Sort => sort(machine, list, arguments),
        _ => Err(unknown_member(Type::List, member.name())),
    }
}

/// The first `count` of `values`, with memory charged before they are collected.
fn copied<'v, M: Machine<'v>>(
    machine: &mut M,
    values: impl Iterator<Item = Value<'v>>,
    count: usize,
) -> Result<Vec<Value<'v>>, Fault<'v>> {
    machine.meter().memory(count * VALUE_BYTES)?;
    Ok(values.take(count).collect())
}

fn map<'v, M: Machine<'v>>(
    machine: &mut M,
    list: &List<'v>,
    arguments: Arguments<'_, 'v>,
) -> Outcome<'v> {
    let function = arguments.function(0)?;
    let mut values = Vec::new();
    for (at, value) in list.iter(machine.view()).enumerate() {
        values.push(call_back(machine, function, &[value, from_count(at)])?);
    }
    build_list(values, machine.meter())
}

/// Replaces each element that is a list by its elements, one level deep.
fn flatten<'v, M: Machine<'v>>(machine: &mut M, list: &Value<'v>) -> Outcome<'v> {
    let Value::List(list) = list else { return Ok(list.clone()) };
    machine.meter().read_elements(list.len())?;
    let view = machine.view();
    let mut values = Vec::new();
    for value in list.iter(view) {
        match value {
            Value::List(inner) => {
                machine.meter().read_elements(inner.len())?;
                let copied = copied(machine, inner.iter(view), inner.len())?;
                values.extend(copied);
            }
            other => values.push(other),
        }
    }
    build_list(values, machine.meter())
}

fn filter<'v, M: Machine<'v>>(
    machine: &mut M,
    list: &List<'v>,
    arguments: Arguments<'_, 'v>,
) -> Outcome<'v> {
    let function = arguments.function(0)?;
    let mut values = Vec::new();
    for (at, value) in list.iter(machine.view()).enumerate() {
        if call_back(machine, function, &[value.clone(), from_count(at)])?.is_truthy() {
            values.push(value);
        }
    }
    build_list(values, machine.meter())
}

/// `some` stops at the first true and yields it, `every` at the first false.
fn search<'v, M: Machine<'v>>(
    machine: &mut M,
    list: &List<'v>,
    arguments: Arguments<'_, 'v>,
    wanted: bool,
) -> Outcome<'v> {
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
    machine.meter().read_elements(list.len())?;
    for (at, value) in list.iter(view).enumerate() {
        if equal(&value, wanted, view, machine.meter())? {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

fn concat<'v, M: Machine<'v>>(
    machine: &mut M,
    list: &List<'v>,
    arguments: Arguments<'_, 'v>,
) -> Outcome<'v> {
    let more = arguments.value(0)?;
    let view = machine.view();
    machine.meter().read_elements(list.len())?;
    let mut values = copied(machine, list.iter(view), list.len())?;
    match more {
        Value::List(more) => {
            machine.meter().read_elements(more.len())?;
            let more = copied(machine, more.iter(view), more.len())?;
            values.extend(more);
        }
        other => values.push(other.clone()),
    }
    build_list(values, machine.meter())
}

fn reduce<'v, M: Machine<'v>>(
    machine: &mut M,
    list: &List<'v>,
    arguments: Arguments<'_, 'v>,
) -> Outcome<'v> {
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
) -> Outcome<'v> {
    let separator = arguments.optional_text(0)?.map_or(",", |text| text.as_str());
    let view = machine.view();
    let mut text = TextBuilder::new();
    machine.meter().read_elements(list.len())?;
    for (at, value) in list.iter(view).enumerate() {
        if at > 0 {
            text.push(separator, machine.meter())?;
        }
        text.push_value(&value, view, machine.meter())?;
        // A unit takes at most three bytes, so that what is cut below has been collected.
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

/// A stable merge sort by a comparator of the expression. The comparator may fail and may lie,
/// which the standard sorts do not allow for.
fn sort<'v, M: Machine<'v>>(
    machine: &mut M,
    list: &List<'v>,
    arguments: Arguments<'_, 'v>,
) -> Outcome<'v> {
    let function = arguments.function(0)?;
    let view = machine.view();
    machine.meter().read_elements(list.len())?;
    let mut runs: Vec<Vec<Value<'v>>> = copied(machine, list.iter(view), list.len())?
        .into_iter()
        .map(|value| vec![value])
        .collect();
    while runs.len() > 1 {
        let mut merged = Vec::with_capacity(runs.len().div_ceil(2));
        let mut pairs = runs.into_iter();
        while let Some(left) = pairs.next() {
            merged.push(match pairs.next() {
                Some(right) => merge(machine, left, right, function)?,
                None => left,
            });
        }
        runs = merged;
    }
    build_list(runs.pop().unwrap_or_default(), machine.meter())
}

fn merge<'v, M: Machine<'v>>(
    machine: &mut M,
    left: Vec<Value<'v>>,
    right: Vec<Value<'v>>,
    function: &crate::value::Function<'v>,
) -> Result<Vec<Value<'v>>, Fault<'v>> {
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        let order = match call_back(machine, function, &[a.clone(), b.clone()])? {
            Value::Number(order) => order,
            other => {
                let found = other.type_of().name();
                let message = format!("The function of `sort` must yield a Number, found {found}");
                return Err(Fault::new(Code::BadArgument, message));
            }
        };
        // Equal elements keep their order.
        let next = if order > 0.0 { right.next() } else { left.next() };
        merged.extend(next);
    }
    merged.extend(left);
    merged.extend(right);
    Ok(merged)
}
