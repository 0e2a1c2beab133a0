//! Calls of values and constructors.

use std::rc::Rc;

use super::machine::{EvalResult, Machine, enter};
use super::table::{call_constructor, call_method, call_native};
use crate::budget::{Budget, VALUE_BYTES};
use crate::diagnostic::Code;
use crate::fault::Fault;
use crate::value::{Captured, Constructor, Function, Value};

/// Creates an arrow function with the captured `values`.
pub(crate) fn close_over<'v>(
    id: u32,
    values: Vec<Value<'v>>,
    budget: &mut Budget,
) -> EvalResult<'v> {
    if values.is_empty() {
        return Ok(Value::Function(Function::Lambda { id, captured: None }));
    }
    budget.charge_allocation(values.len() * VALUE_BYTES)?;
    let deepest = values.iter().map(Value::depth).max().unwrap_or(0);
    let depth = budget.check_depth(deepest.saturating_add(1))?;
    let captured = Some(Rc::new(Captured { values, depth }));
    Ok(Value::Function(Function::Lambda { id, captured }))
}

/// Calls a value. `receiver` is used only by a [`Function::Method`].
pub(crate) fn call<'v, M: Machine<'v>>(
    machine: &mut M,
    callee: &Value<'v>,
    receiver: &Value<'v>,
    arguments: &[Value<'v>],
) -> EvalResult<'v> {
    match callee {
        Value::Function(function) => match function {
            Function::Lambda { .. } => enter(machine, function, arguments),
            Function::Native(native) => call_native(machine, *native, arguments),
            Function::Bound(bound) => call_method(machine, &bound.0, bound.1, arguments),
            Function::Method(member) => call_method(machine, receiver, *member, arguments),
        },
        Value::Null => Err(Fault::new(Code::NullAccess, "null cannot be called")),
        other => {
            let message = format!("{} is not a function", other.type_of().name());
            Err(Fault::new(Code::NotCallable, message))
        }
    }
}

/// Evaluates `new constructor(arguments)`.
pub(crate) fn construct<'v, M: Machine<'v>>(
    machine: &mut M,
    constructor: Constructor,
    arguments: &[Value<'v>],
) -> EvalResult<'v> {
    match constructor {
        Constructor::Builtin(index) => call_constructor(machine, index, arguments),
        Constructor::Loading => Err(Fault::new(
            Code::UnknownConstructor,
            "Jira entities cannot be loaded while an expression is evaluated",
        )),
        Constructor::Unknown => {
            Err(Fault::new(Code::UnknownConstructor, "There is no such constructor"))
        }
    }
}
