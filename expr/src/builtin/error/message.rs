//! `message` of Error.

use std::rc::Rc;

use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::value::{CaughtError, Type, Value};

/// `message` of Error.
pub(super) struct ErrorMessage;

impl Builtin for ErrorMessage {
    type Receiver<'v> = Rc<CaughtError>;

    const SIGNATURE: Signature = Signature {
        name: "message",
        returns: Returns::Always(Type::String),
        doc: "The message.",
        steps: "new text",
        case: "doc-grammar-042",
        examples: &[("try { throw 'no' } catch (e) { e.message }", "\"no\"")],
        ..Signature::PROPERTY
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        raised: &Rc<CaughtError>,
        _: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        machine.budget().charge_text_allocation(raised.message.len())?;
        Ok(Value::text(raised.message.as_ref()))
    }
}
