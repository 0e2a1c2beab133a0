//! Errors as values: `throw` and `catch`.

use std::rc::Rc;

use super::machine::EvalResult;
use crate::budget::Budget;
use crate::diagnostic::Code;
use crate::fault::Fault;
use crate::limits::STEPS_PER_ERROR;
use crate::text::TextBuilder;
use crate::value::{CaughtError, Value};
use crate::view::View;

/// Converts the value of a `throw` to an error. A caught error is raised again.
pub(crate) fn throw<'v, V: View>(value: Value<'v>, view: &'v V, budget: &mut Budget) -> Fault<'v> {
    if let Value::Error(error) = &value {
        let fault = Fault::new(error.code, error.message.clone()).at(error.span);
        return fault.throwing(value);
    }
    let message = TextBuilder::new(budget).and_then(|mut message| {
        message.push_value(&value, view, budget)?;
        Ok(message.into_string())
    });
    match message {
        Err(fault) if !fault.is_catchable() => fault,
        // A Function has no text, so its type name is used.
        Err(_) => Fault::new(Code::Thrown, "Function").throwing(value),
        Ok(message) => Fault::new(Code::Thrown, message).throwing(value),
    }
}

/// Returns the value that `catch (e)` binds.
pub(crate) fn caught<'v>(fault: Fault<'v>, source: &str, budget: &mut Budget) -> EvalResult<'v> {
    let fault = fault.into_error();
    if let Some(error @ Value::Error(_)) = fault.thrown {
        return Ok(error);
    }
    let location = match fault.thrown {
        None => Some(fault.span.text(source).into()),
        Some(_) => None,
    };
    budget.charge(STEPS_PER_ERROR)?;
    budget.charge_text_allocation(fault.message.len())?;
    // Included in the price of the error: steps must not depend on the layout of the source.
    budget.reserve_memory(location.as_deref().map_or(0, str::len))?;
    let (code, span, message) = (fault.code, fault.span, fault.message);
    Ok(Value::Error(Rc::new(CaughtError { code, span, message, location })))
}
