//! `location` of Error.

use std::rc::Rc;

use crate::builtin::{Arguments, Builtin, EvalResult, Machine, Returns, Signature};
use crate::value::{CaughtError, Value};

/// `location` of Error.
pub(super) struct Location;

impl Builtin for Location {
    type Receiver<'v> = Rc<CaughtError>;

    const SIGNATURE: Signature = Signature {
        name: "location",
        returns: Returns::Uninferred("String or null"),
        doc: "The failing part of the source; null for a thrown value.",
        steps: "new text",
        case: "functions-030",
        examples: &[("try { null.a } catch (e) { e.location }", "\"null.a\"")],
        ..Signature::PROPERTY
    };

    fn call<'v, M: Machine<'v>>(
        machine: &mut M,
        raised: &Rc<CaughtError>,
        _: Arguments<'_, 'v>,
    ) -> EvalResult<'v> {
        machine.budget().charge_text_allocation(raised.location.as_deref().map_or(0, str::len))?;
        Ok(raised.location.as_deref().map_or(Value::Null, Value::text))
    }
}
