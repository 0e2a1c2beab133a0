//! Records an evaluation: the first result of each part of the source, and a bounded number of
//! function calls.

use std::collections::HashMap;

use super::model::{PartOutcome, ValueSummary, summarize};
use crate::fault::Fault;
use crate::naive::EvalObserver;
use crate::span::Span;
use crate::value::{Function, Value};
use crate::view::View;

/// Calls of one function that are kept from the first on.
const FIRST_CALLS: usize = 5;
/// Later calls of one function that are kept because their result differs.
const OTHER_CALLS: usize = 5;
/// Calls that are kept in total: nested functions multiply.
const CALLS_MAX: usize = 200;

/// The results recorded in one run of the filter or in one call of a function.
#[derive(Debug, Default)]
pub(super) struct Trace {
    /// The first result of each part of the source.
    pub(super) at: HashMap<Span, PartOutcome>,
    /// The calls of functions, by the span of the caller: a name may be called in several places.
    pub(super) calls: HashMap<Span, TracedCalls>,
}

/// The calls of one function by one part of the source.
#[derive(Debug)]
pub(super) struct TracedCalls {
    /// Index of the function in the program.
    pub(super) lambda: u32,
    /// The span of the function.
    pub(super) span: Span,
    pub(super) count: usize,
    pub(super) kept: Vec<TracedCall>,
}

/// One call.
#[derive(Debug)]
pub(super) struct TracedCall {
    pub(super) index: usize,
    pub(super) element: ValueSummary,
    pub(super) outcome: PartOutcome,
    pub(super) inside: Trace,
}

/// A call that has not returned.
struct OpenCall {
    lambda: u32,
    /// The span of the caller.
    caller: Span,
    element: ValueSummary,
    inside: Trace,
}

pub(super) struct Recorder<'v, V> {
    view: &'v V,
    filter: Trace,
    running: Vec<OpenCall>,
    room: usize,
    /// The span of the caller of the next calls.
    caller: Span,
    /// The spans of the created functions, by index.
    made: HashMap<u32, Span>,
}

impl<'v, V: View> Recorder<'v, V> {
    pub(super) fn new(view: &'v V) -> Self {
        Recorder {
            view,
            filter: Trace::default(),
            running: Vec::new(),
            room: CALLS_MAX,
            caller: Span::new(0, 0),
            made: HashMap::new(),
        }
    }

    pub(super) fn finish(self) -> Trace {
        self.filter
    }

    fn here(&mut self) -> &mut Trace {
        self.running.last_mut().map_or(&mut self.filter, |call| &mut call.inside)
    }

    fn outcome(&self, outcome: Result<&Value<'v>, &Fault<'v>>) -> PartOutcome {
        match outcome {
            Ok(value) => PartOutcome::Value(summarize(value, self.view)),
            Err(fault) => PartOutcome::Error(fault.clone().into()),
        }
    }
}

impl<'v, V: View> EvalObserver<'v> for Recorder<'v, V> {
    fn on_value(&mut self, span: Span, outcome: Result<&Value<'v>, &Fault<'v>>) {
        // A function is created before it is read by name, so the first span is that of its source.
        if let Ok(Value::Function(Function::Lambda { id, .. })) = outcome {
            self.made.entry(*id).or_insert(span);
        }
        let outcome = self.outcome(outcome);
        self.here().at.entry(span).or_insert(outcome);
    }

    fn on_call(&mut self, span: Span) {
        self.caller = span;
    }

    fn on_enter(&mut self, lambda: u32, arguments: &[Value<'v>]) {
        let null = Value::Null;
        let element = summarize(arguments.first().unwrap_or(&null), self.view);
        let caller = self.caller;
        self.running.push(OpenCall { lambda, caller, element, inside: Trace::default() });
    }

    fn on_leave(&mut self, outcome: Result<&Value<'v>, &Fault<'v>>) {
        let outcome = self.outcome(outcome);
        let Some(running) = self.running.pop() else { return };
        let OpenCall { lambda, caller, element, inside } = running;
        self.caller = caller;
        let span = self.made.get(&lambda).copied().unwrap_or(caller);
        let room = self.room;
        let new = TracedCalls { lambda, span, count: 0, kept: Vec::new() };
        let calls = self.here().calls.entry(caller).or_insert(new);
        let index = calls.count;
        calls.count += 1;
        let is_kept = room > 0
            && (index < FIRST_CALLS
                || calls.kept.len() < FIRST_CALLS + OTHER_CALLS
                    && calls.kept.first().is_some_and(|first| !first.outcome.is_like(&outcome)));
        if is_kept {
            calls.kept.push(TracedCall { index, element, outcome, inside });
            self.room = room - 1;
        }
    }
}
