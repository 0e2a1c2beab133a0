//! The interface between builtins and the evaluator that runs them.

use std::sync::Arc;

use super::regexp::Pattern;
use crate::budget::Budget;
use crate::fault::Fault;
use crate::limits::STEPS_PER_ENTRY;
use crate::value::{Function, Value};
use crate::view::View;

/// The value of an evaluation step, or the error that ends it.
pub(crate) type EvalResult<'v> = Result<Value<'v>, Fault<'v>>;

/// The services of an evaluator that builtins use.
pub(crate) trait Machine<'v> {
    /// The type of the event view.
    type View: View + 'v;

    fn view(&self) -> &'v Self::View;

    fn budget(&mut self) -> &mut Budget;

    /// The value of `new Date()`, in milliseconds since 1970.
    fn now_ms(&self) -> i64;

    /// The regular expression literals of the source.
    fn patterns(&self) -> &'v [(Box<str>, Arc<Pattern>)];

    /// Runs an arrow function; missing arguments are null, surplus ones are ignored.
    fn call_lambda(
        &mut self,
        function: &Function<'v>,
        arguments: &[Value<'v>],
    ) -> Result<Value<'v>, Fault<'v>>;

    /// Calls any other function. The evaluator passes the call to [`super::call()`].
    fn call_builtin(&mut self, function: &Function<'v>, arguments: &[Value<'v>]) -> EvalResult<'v>;
}

/// Enters an arrow function.
pub(super) fn enter<'v, M: Machine<'v>>(
    machine: &mut M,
    function: &Function<'v>,
    arguments: &[Value<'v>],
) -> EvalResult<'v> {
    machine.budget().charge(STEPS_PER_ENTRY)?;
    machine.call_lambda(function, arguments)
}

/// Calls a function argument of a builtin, for one step.
pub(super) fn call_back<'v, M: Machine<'v>>(
    machine: &mut M,
    function: &Function<'v>,
    arguments: &[Value<'v>],
) -> EvalResult<'v> {
    machine.budget().charge(1)?;
    match function {
        Function::Lambda { .. } => enter(machine, function, arguments),
        other => machine.call_builtin(other, arguments),
    }
}
