//! Member lookup: own keys, elements, builtin properties and methods.

use std::rc::Rc;

use super::machine::{EvalResult, Machine};
use super::number::element_index;
use super::signature::Form;
use super::table::{Member, call_method, members_of, signature};
use super::units::{sliced, units};
use crate::budget::{Budget, VALUE_BYTES};
use crate::diagnostic::Code;
use crate::fault::Fault;
use crate::limits::STEPS_PER_ERROR;
use crate::operator::charge_map_lookup;
use crate::value::{Function, List, MethodId, Text, Type, Value};
use crate::view::View;

/// The result of a member lookup.
pub(crate) enum MemberLookup<'v> {
    /// A property, an own key or an element.
    Value(Value<'v>),
    /// A method of the receiver's type.
    Method(MethodId),
    /// Not found. Null on maps, lists and by index on text; otherwise the error.
    Missing(Option<Fault<'v>>),
}

/// Looks up `receiver.name`. `member` are the builtins of that name, if there are any.
///
/// # Errors
/// The receiver is null. The evaluator handles `?.` before the lookup.
pub(crate) fn lookup<'v, M: Machine<'v>>(
    machine: &mut M,
    receiver: &Value<'v>,
    name: &str,
    member: Option<Member>,
) -> Result<MemberLookup<'v>, Fault<'v>> {
    if let Value::Map(map) = receiver {
        charge_map_lookup(map, name, machine.budget())?;
        if let Some(value) = map.get(machine.view(), name) {
            return Ok(MemberLookup::Value(value));
        }
    }
    let ty = receiver.type_of();
    match member.and_then(|member| member.on(ty)) {
        Some(method) => match signature(method).map(|signature| signature.form) {
            Some(Form::Property) => {
                call_method(machine, receiver, method, &[]).map(MemberLookup::Value)
            }
            _ => Ok(MemberLookup::Method(method)),
        },
        None => match ty {
            Type::Map => Ok(MemberLookup::Missing(None)),
            Type::Null => Err(Fault::null_access()),
            _ => {
                machine.budget().charge(STEPS_PER_ERROR)?;
                Ok(MemberLookup::Missing(Some(unknown_member(ty, name))))
            }
        },
    }
}

/// Looks up `receiver[index]`.
pub(crate) fn lookup_index<'v, M: Machine<'v>>(
    machine: &mut M,
    receiver: &Value<'v>,
    index: &Value<'v>,
) -> Result<MemberLookup<'v>, Fault<'v>> {
    match (receiver, index) {
        (Value::Null, _) => Err(Fault::null_access()),
        (_, Value::String(name)) => {
            let name = name.as_str();
            lookup(machine, receiver, name, Member::named(name))
        }
        (Value::List(list), Value::Number(number)) => {
            let Some(at) = element_index(*number, list.len()) else {
                return Ok(MemberLookup::Missing(None));
            };
            let view = machine.view();
            let element = element(list, at, view, machine.budget())?;
            Ok(element.map_or(MemberLookup::Missing(None), MemberLookup::Value))
        }
        (Value::String(text), Value::Number(number)) => unit_at(text, *number, machine.budget()),
        (receiver, index) => {
            let (receiver, index) = (receiver.type_of().name(), index.type_of().name());
            let message = format!("{receiver} cannot be indexed with {index}");
            Err(Fault::new(Code::BadOperand, message))
        }
    }
}

/// Returns the element at `at`. Event lists are walked from their first element.
fn element<'v, V: View>(
    list: &List<'v>,
    at: usize,
    view: &'v V,
    budget: &mut Budget,
) -> Result<Option<Value<'v>>, Fault<'v>> {
    Ok(match list {
        List::Node { node, .. } => {
            budget.charge_each(at / ELEMENTS_SKIPPED_PER_STEP)?;
            let mut children =
                std::iter::successors(view.first_child(*node), |node| view.next_sibling(*node));
            children.nth(at).map(|node| Value::of_node(view, node))
        }
        List::Literal(literals) => literals.get(at).map(Value::of_literal),
        List::Constants(list) => list.literals.get(at).map(Value::of_literal),
        List::Parameters(constants) => constants.get(at).map(Value::of_parameter),
        List::Built(built) => built.values.get(at).cloned(),
    })
}

/// Elements that are skipped for one step.
const ELEMENTS_SKIPPED_PER_STEP: usize = 2;

/// Looks up `text[number]`.
fn unit_at<'v>(
    text: &Text<'v>,
    number: f64,
    budget: &mut Budget,
) -> Result<MemberLookup<'v>, Fault<'v>> {
    budget.charge_search(text.as_str().len())?;
    let Some(at) = element_index(number, units(text.as_str())) else {
        return Ok(MemberLookup::Missing(None));
    };
    Ok(MemberLookup::Value(sliced(text, at..at + 1, budget)?))
}

/// The vendor's message for an unknown member. **Source:** REST v3, Jira expressions.
pub(crate) fn unknown_member<'v>(ty: Type, name: &str) -> Fault<'v> {
    let mut message = format!("Unrecognized property of {}: \"{name}\".", ty.name());
    let members: Vec<&str> = members_of(ty).iter().map(|member| member.name).collect();
    if !members.is_empty() {
        message.push_str(&format!(
            " Available properties of type '{}' are: {}",
            ty.name(),
            members.join(", ")
        ));
    }
    Fault::new(Code::UnknownMember, message)
}

/// Reads a member without a call: a method becomes a function bound to its receiver.
pub(crate) fn read_member<'v>(
    found: MemberLookup<'v>,
    receiver: &Value<'v>,
    budget: &mut Budget,
) -> EvalResult<'v> {
    match found {
        MemberLookup::Value(value) => Ok(value),
        MemberLookup::Missing(None) => Ok(Value::Null),
        MemberLookup::Missing(Some(fault)) => Err(fault),
        MemberLookup::Method(member) => {
            budget.charge_allocation(2 * VALUE_BYTES)?;
            budget.check_depth(receiver.depth().saturating_add(1))?;
            Ok(Value::Function(Function::Bound(Rc::new((receiver.clone(), member)))))
        }
    }
}
