//! The spans of an event: its own, and those of decoding and matching it.
//!
//! They have ids, counts and sizes, and nothing of the body.

use std::time::Duration;

use crate::domain::TraceContext;
use crate::event::codec::{HeaderLookup, names};
use crate::event::{DecodeError, DecodedMessage, Event, Message};
use crate::matcher::{LateMatches, Matches};
use crate::telemetry::traces::{Begun, EventSpan, Traces, Value};

/// Name of the span of an event: from its arrival to its acknowledgement.
const EVENT: &str = "process event";
const DECODE: &str = "decode";
const MATCH: &str = "match";

/// When the parts of an event began, and how long they took.
#[derive(Clone, Copy)]
pub(super) struct Stages {
    pub(super) begun: Begun,
    pub(super) decoding: Duration,
    pub(super) matching: Duration,
}

/// Records that an event was decoded and matched; returns its span, which runs. None if it is not
/// recorded.
pub(super) fn matched<M: Message>(
    traces: &Traces,
    message: &M,
    decoded: &DecodedMessage<'_>,
    outcome: &Matches,
    stages: Stages,
) -> Option<EventSpan> {
    let (key, publisher) = (decoded.routing_key(), decoded.trace_context());
    let mut span = traces.event(EVENT, stages.begun, key.cloud_id, publisher)?;
    describe(&mut span, message);
    span.set("switchyard.site", Value::text(key.cloud_id));
    span.set("switchyard.event.type", Value::text(key.event_type));
    if let Some(decode) = traces.child(span.context(), DECODE, stages.begun) {
        decode.end_after(stages.decoding);
    }
    let began = stages.begun.later(stages.decoding);
    record_match(traces, span.context(), outcome, (began, stages.matching));
    Some(span)
}

/// Records that an event cannot be decoded; returns its span. None if it is not recorded.
pub(super) fn unreadable<M: Message>(
    traces: &Traces,
    message: &M,
    error: &DecodeError,
    begun: Begun,
) -> Option<EventSpan> {
    let publisher = message.headers().get(names::TRACEPARENT).and_then(TraceContext::parse);
    // The site cannot be trusted: all such events share a limit.
    let mut span = traces.event(EVENT, begun, "", publisher)?;
    describe(&mut span, message);
    span.fail(error.label());
    if let Some(mut decode) = traces.child(span.context(), DECODE, begun) {
        decode.fail(error.label());
        decode.end();
    }
    Some(span)
}

/// Records a part of the matching of an event.
pub(super) fn record_match(
    traces: &Traces,
    event: TraceContext,
    outcome: &Matches,
    (began, took): (Begun, Duration),
) {
    let Some(mut span) = traces.child(event, MATCH, began) else { return };
    span.set("switchyard.candidates", Value::count(outcome.candidates));
    span.set("switchyard.matches", Value::count(outcome.len()));
    span.set("switchyard.filter.steps", steps(outcome.steps));
    span.set("switchyard.filter.errors", Value::count(outcome.failures.len()));
    if outcome.unfinished > 0 {
        span.set("switchyard.filter.unfinished", Value::count(outcome.unfinished));
    }
    span.end_after(took);
}

/// Records that an event that waited was matched for one installation.
pub(super) fn record_late_match(
    traces: &Traces,
    event: &Event,
    late: &LateMatches,
    began: Option<Begun>,
) {
    let (Some(trace), Some(began)) = (event.envelope.trace, began) else { return };
    let Some(mut span) = traces.child(trace, MATCH, began) else { return };
    span.set("switchyard.matches", Value::count(late.matches.len()));
    span.set("switchyard.filter.steps", steps(late.steps));
    span.set("switchyard.filter.errors", Value::count(late.failures.len()));
    span.set("switchyard.late", Value::Flag(true));
    span.end();
}

/// **Source:** OpenTelemetry semantic conventions 1.37, messaging spans.
fn describe<M: Message>(span: &mut EventSpan, message: &M) {
    span.set("messaging.system", Value::Label("nats"));
    span.set("messaging.operation.name", Value::Label("process"));
    span.set("messaging.operation.type", Value::Label("process"));
    if let Some(id) = message.headers().get(names::EVENT_ID) {
        span.set("messaging.message.id", Value::text(id));
    }
    span.set("messaging.message.body.size", Value::count(message.payload().len()));
    let sequence = i64::try_from(message.sequence()).unwrap_or(i64::MAX);
    span.set("switchyard.event.sequence", Value::Number(sequence));
    span.set("switchyard.delivery_count", Value::Number(message.delivery_count()));
}

fn steps(steps: u64) -> Value {
    Value::Number(i64::try_from(steps).unwrap_or(i64::MAX))
}
