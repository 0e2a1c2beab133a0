//! `sort()` of List.

use super::elements::copied;
use crate::builtin::machine::call_back;
use crate::builtin::{Arguments, Builtin, Callback, EvalResult, Machine, Returns, Signature};
use crate::diagnostic::Code;
use crate::fault::Fault;
use crate::operator::shared_list;
use crate::value::{Function, List, Type, Value};

/// `sort` of List.
pub(super) struct Sort;

impl Builtin for Sort {
    type Receiver<'v> = List<'v>;

    const SIGNATURE: Signature = Signature {
        name: "sort",
        parameters: "f: (a, b) => Number",
        returns: Returns::Always(Type::List),
        callback: Callback::EachElement,
        doc: "Sorts by a comparator; elements that compare equal keep their order.",
        steps: "callback per comparison, 4 per element, 1 per element and pass, 2 new lists",
        case: "doc-list-022",
        examples: &[("[3, 1, 2].sort((a, b) => a - b)", "[1,2,3]")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        list: &List<'v>,
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        // A stable merge sort. The comparator may fail or be inconsistent, which the standard sorts
        // do not support.
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
}

fn merge<'v, M: Machine<'v>>(
    machine: &mut M,
    mut left: &[Value<'v>],
    mut right: &[Value<'v>],
    function: &Function<'v>,
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
