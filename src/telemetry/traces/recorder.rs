//! Records spans: the handle that stages use, and the spans that run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::limits::{Sampler, SpanLimits};
use super::metrics::dropped;
use super::span::{Parent, Span, SpanKind, Value};
use crate::clock;
use crate::domain::TraceContext;

/// Spans of an event whatever becomes of it: its own, those of decoding and of matching.
pub const EVENT_SPANS: u32 = 3;
/// Attributes of a span.
const ATTRIBUTES_MAX: usize = 32;

/// Records spans, or nothing while traces are off. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<Arc<Recorder>>);

#[derive(Debug)]
struct Recorder {
    sampler: Sampler,
    queue: mpsc::Sender<Span>,
}

/// When something began.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    wall_ns: u64,
    tick: Instant,
}

/// A span that runs. It is recorded when it ends, and not at all if it is dropped.
#[derive(Debug)]
pub struct ActiveSpan {
    recorder: Arc<Recorder>,
    begun: Begun,
    span: Span,
}

/// The span of an event, the parent of all others of the event.
pub type EventSpan = Box<ActiveSpan>;

impl Begun {
    /// Returns this moment.
    #[must_use]
    pub fn now() -> Self {
        let wall_ns = u64::try_from(clock::now().as_nanosecond()).unwrap_or(0);
        Self { wall_ns, tick: clock::tick() }
    }

    /// Returns the moment that is `after` later.
    #[must_use]
    pub fn later(self, after: Duration) -> Self {
        let wall_ns = self.wall_ns.saturating_add(nanoseconds(after));
        Self { wall_ns, tick: self.tick.checked_add(after).unwrap_or(self.tick) }
    }

    /// Returns the time since then.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        clock::since(self.tick)
    }

    fn elapsed_ns(self) -> u64 {
        self.wall_ns.saturating_add(nanoseconds(self.elapsed()))
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Traces {
    /// Creates a recorder that puts what is recorded within `limits` into `queue`.
    #[must_use]
    pub(super) fn new(limits: SpanLimits, queue: mpsc::Sender<Span>) -> Self {
        Self(Some(Arc::new(Recorder { sampler: Sampler::new(limits), queue })))
    }

    /// Returns this moment, for spans that begin before it is decided whether they are recorded; none
    /// while traces are off.
    #[must_use]
    pub fn begin(&self) -> Option<Begun> {
        self.0.as_ref().map(|_| Begun::now())
    }

    /// Returns the span of an event of a site, which began at `begun`; none if the event is not recorded.
    /// It is part of the trace of the publisher if there is one, else of a new one.
    #[must_use]
    pub fn event(
        &self,
        name: &'static str,
        begun: Begun,
        site: &str,
        publisher: Option<TraceContext>,
    ) -> Option<EventSpan> {
        let recorder = self.0.as_ref()?;
        if !recorder.sampler.samples(publisher) || !recorder.admits(site, EVENT_SPANS) {
            return None;
        }
        let span_id = recorder.sampler.span_id();
        let context = match publisher {
            Some(publisher) => publisher.child(span_id),
            None => TraceContext::recorded(recorder.sampler.trace_id(), span_id),
        };
        let parent =
            publisher.map(|publisher| Parent { span_id: publisher.span_id, is_remote: true });
        let span = recorder.begin(context, parent, (name, SpanKind::Consumer), begun);
        Some(Box::new(span))
    }

    /// Returns a further span of an event of a site that is recorded; none if the limits do not allow it
    /// now.
    #[must_use]
    pub fn limited_child(
        &self,
        parent: TraceContext,
        site: &str,
        name: &'static str,
        kind: SpanKind,
    ) -> Option<ActiveSpan> {
        let recorder = self.0.as_ref()?;
        if !recorder.admits(site, 1) {
            return None;
        }
        Some(recorder.child(parent, (name, kind), Begun::now()))
    }

    /// Returns an internal span of an event that is recorded; none while traces are off. For spans of
    /// which an event has a few, without a limit of their own.
    #[must_use]
    pub fn child(
        &self,
        parent: TraceContext,
        name: &'static str,
        begun: Begun,
    ) -> Option<ActiveSpan> {
        let recorder = self.0.as_ref()?;
        Some(recorder.child(parent, (name, SpanKind::Internal), begun))
    }
}

impl Recorder {
    fn admits(&self, site: &str, spans: u32) -> bool {
        let now_s = u32::try_from(clock::uptime_ms() / 1000).unwrap_or(u32::MAX);
        let admits = self.sampler.admits(site, spans, now_s);
        if !admits {
            dropped("limit", usize::try_from(spans).unwrap_or(usize::MAX));
        }
        admits
    }

    fn begin(
        self: &Arc<Self>,
        context: TraceContext,
        parent: Option<Parent>,
        (name, kind): (&'static str, SpanKind),
        begun: Begun,
    ) -> ActiveSpan {
        let started_ns = begun.wall_ns;
        let (attributes, error) = (Vec::new(), None);
        let ended_ns = started_ns;
        let span = Span { context, parent, name, kind, started_ns, ended_ns, attributes, error };
        ActiveSpan { recorder: Arc::clone(self), begun, span }
    }

    fn child(
        self: &Arc<Self>,
        parent: TraceContext,
        named: (&'static str, SpanKind),
        begun: Begun,
    ) -> ActiveSpan {
        let context = parent.child(self.sampler.span_id());
        let parent = Parent { span_id: parent.span_id, is_remote: false };
        self.begin(context, Some(parent), named, begun)
    }
}

impl ActiveSpan {
    /// Returns its context.
    #[must_use]
    pub fn context(&self) -> TraceContext {
        self.span.context
    }

    /// Adds an attribute, unless it has 32.
    pub fn set(&mut self, name: &'static str, value: Value) {
        if self.span.attributes.len() < ATTRIBUTES_MAX {
            self.span.attributes.push((name, value));
        }
    }

    /// Marks it as failed, with the class of the error.
    pub fn fail(&mut self, class: &str) {
        self.set("error.type", Value::text(class));
        self.span.error = Some(class.into());
    }

    /// Records it, ended now.
    pub fn end(self) {
        let ended_ns = self.begun.elapsed_ns();
        self.end_at(ended_ns);
    }

    /// Records it, ended when it has run for `took`.
    pub fn end_after(self, took: Duration) {
        let ended_ns = self.begun.wall_ns.saturating_add(nanoseconds(took));
        self.end_at(ended_ns);
    }

    fn end_at(self, ended_ns: u64) {
        if self.recorder.queue.try_send(Span { ended_ns, ..self.span }).is_err() {
            dropped("queue", 1);
        }
    }
}
