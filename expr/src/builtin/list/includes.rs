//! `includes()` of List.

use super::elements::position;
use crate::builtin::{
    Arguments, Builtin, EvalResult, IndexTest, Machine, MethodTest, Returns, Signature,
};
use crate::limits::STEPS_PER_ELEMENT;
use crate::value::{List, Type, Value};

/// `includes` of List.
pub(super) struct Includes;

impl Builtin for Includes {
    type Receiver<'v> = List<'v>;

    const SIGNATURE: Signature = Signature {
        name: "includes",
        parameters: "value: any",
        returns: Returns::Always(Type::Boolean),
        index: Some(IndexTest::Method(MethodTest::Includes)),
        doc: "Whether an element equals the value.",
        steps: "3 per element, comparison; of constants 3, comparison",
        case: "equality-021",
        examples: &[("[1, 2].includes(2)", "true")],
        ..Signature::CALL
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        list: &List<'v>,
        arguments: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        let wanted = arguments.value(0)?;
        if list.len() == 0 {
            return Ok(Value::Bool(false));
        }
        let Some(lookup) = list.lookup(wanted) else {
            let found = position(machine, list, arguments)?;
            return Ok(Value::Bool(found.is_some()));
        };
        machine.budget().charge(STEPS_PER_ELEMENT)?;
        if let (Value::String(text), true) = (wanted, lookup.is_compared) {
            machine.budget().charge_text(text.as_str().len())?;
        }
        Ok(Value::Bool(lookup.is_found))
    }
}
