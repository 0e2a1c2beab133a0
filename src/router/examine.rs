//! Decodes and matches one message.
//!
//! A worker evaluates the filters of an event up to a number of steps. An event that needs more is
//! *unfinished*: the slow lane evaluates the rest, while the worker examines the next event.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::event_span::{self, Stages};
use super::live_events::{LiveEvents, MatchedEvent};
use crate::clock;
use crate::delivery::{DeadLetterReason, PreparedEvent, SubscriptionDirectory, UnmatchedFor};
use crate::domain::CloudId;
use crate::event::metrics::{InputMetrics, decode_error};
use crate::event::{DecodeError, Decoder, Event, Message, RoutingKey};
use crate::matcher::evaluation_share::{Charges, EventPart};
use crate::matcher::metrics::MatchMetrics;
use crate::matcher::{
    FilterFailure, LeftOut, Match, MatchLimits, Matcher, Matches, Owner, Scratch,
};
use crate::telemetry::traces::{Begun, EventSpan, Traces};
use crate::telemetry::{FilterOutcomes, LiveFeed, LogBudget};

/// Steps of one event after which a worker starts no further evaluation: with the last one, at most a
/// millisecond and a half.
const WORKER_STEPS: u64 = 100_000;
/// Steps of one event from which on its evaluations are charged.
pub(super) const CHARGED_MIN: u64 = 10_000;

/// Decodes and matches messages; shared by all workers.
pub(super) struct Examiner {
    matcher: Arc<Matcher>,
    directory: Arc<dyn SubscriptionDirectory>,
    live: LiveEvents,
    traces: Traces,
    failure_log: LogBudget,
    event_bytes_max: usize,
    trust_body_self: bool,
}

/// Buffers and counters that one worker reuses for every event.
pub(super) struct WorkerState {
    decoder: Decoder,
    scratch: Scratch,
    pub(super) metrics: InputMetrics,
    matching: MatchMetrics,
}

/// Result of decoding and matching one event.
pub(super) enum Examined {
    /// No subscription matches.
    Unmatched,
    /// There is work to do before the acknowledgement. The span of the event ends after it, if it is
    /// recorded.
    Work(Work, Option<EventSpan>),
}

/// What is done for an event before it is acknowledged.
pub(super) enum Work {
    Deliver {
        prepared: Arc<PreparedEvent>,
        matches: Vec<Match>,
    },
    Wait(Box<Wait>),
    DeadLetter {
        reason: DeadLetterReason,
        error: String,
    },
    /// The rest of its filters is evaluated first.
    Finish(Box<Unfinished>),
}

/// An event that is not matched for some installations of its site yet.
pub(super) struct Wait {
    pub(super) event: Event,
    /// Those that have a document that cannot be read.
    pub(super) waiting: Vec<UnmatchedFor>,
    /// Those that used more than their share of evaluation.
    pub(super) postponed: Vec<UnmatchedFor>,
    /// The matches of all others, if there are any.
    pub(super) matched: Option<Matched>,
}

/// An event of which some filters are not evaluated yet, with all that their evaluation needs.
pub(super) struct Unfinished {
    event: Event,
    decoder: Decoder,
    scratch: Scratch,
    waiting: Vec<UnmatchedFor>,
    left_out: Option<Arc<LeftOut>>,
    reserved: Reservation,
    /// Time that matching took so far.
    took: Duration,
}

/// What the rest of an event is expected to cost; counted until it is dropped.
struct Reservation {
    matcher: Arc<Matcher>,
    charges: Charges,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.matcher.shares().release(&self.charges);
    }
}

impl Unfinished {
    pub(super) fn site(&self) -> &CloudId {
        &self.event.envelope.cloud_id
    }

    /// Expected steps of the rest.
    pub(super) fn steps(&self) -> u64 {
        self.reserved.charges.iter().map(|(_, steps)| steps).sum()
    }
}

/// The matches of an event.
pub(super) type Matched = (Arc<PreparedEvent>, Vec<Match>);

impl Examined {
    /// Returns the work for an event that crashed routers.
    pub(super) fn poison(crashes: u32) -> Self {
        let reason = DeadLetterReason::Poison("crash");
        let error = format!("{crashes} crashes were recorded while it was processed");
        Self::from(Work::DeadLetter { reason, error })
    }

    /// Sets the span of the event, which ends now if there is no work.
    fn with_span(self, span: Option<EventSpan>) -> Self {
        match (self, span) {
            (Self::Work(work, _), span) => Self::Work(work, span),
            (Self::Unmatched, Some(span)) => {
                span.end();
                Self::Unmatched
            }
            (Self::Unmatched, None) => Self::Unmatched,
        }
    }

    fn unreadable(error: &DecodeError) -> Self {
        decode_error(error.label());
        let reason = DeadLetterReason::Poison(error.label());
        Self::from(Work::DeadLetter { reason, error: error.to_string() })
    }
}

impl From<Work> for Examined {
    fn from(work: Work) -> Self {
        Self::Work(work, None)
    }
}

impl Examiner {
    /// Creates an examiner of events of at most `event_bytes_max` bytes.
    pub(super) fn new(
        matcher: Arc<Matcher>,
        directory: Arc<dyn SubscriptionDirectory>,
        (live, traces): (LiveFeed, Traces),
        event_bytes_max: usize,
        trust_body_self: bool,
    ) -> Self {
        let (live, failure_log) = (LiveEvents::new(live), LogBudget::default());
        Self { matcher, directory, live, traces, failure_log, event_bytes_max, trust_body_self }
    }

    /// Creates the state of a worker.
    pub(super) fn new_worker(&self) -> WorkerState {
        WorkerState {
            decoder: Decoder::new(self.event_bytes_max, self.trust_body_self),
            scratch: Scratch::default(),
            metrics: InputMetrics::default(),
            matching: MatchMetrics::default(),
        }
    }

    /// Decodes and matches a message; returns none if that panicked. A panic costs the event one of its
    /// redeliveries and is contained.
    pub(super) fn examine<M: Message>(
        &self,
        worker: &mut WorkerState,
        message: &M,
    ) -> Option<Examined> {
        let examined = catch_unwind(AssertUnwindSafe(|| self.decode_and_match(worker, message)));
        if examined.is_err() {
            tracing::error!(
                sequence = message.sequence(),
                "decoding or matching panicked; event left for redelivery"
            );
            *worker = self.new_worker();
        }
        examined.ok()
    }

    fn decode_and_match<M: Message>(&self, worker: &mut WorkerState, message: &M) -> Examined {
        let begun = self.traces.begin();
        let attributes = match message.attributes() {
            Ok(attributes) => attributes,
            Err(error) => return self.unreadable(message, &error, begun),
        };
        // Asked before the matcher: an installation that waits no longer is in the matcher already.
        let mut waiting = None;
        let has_subscribers = |routing_key: RoutingKey<'_>| {
            waiting = Some(self.directory.waiting_at(routing_key.cloud_id));
            self.matcher.has_subscriptions(routing_key)
        };
        let (body, sequence) = (message.payload(), message.sequence());
        let decoded = match worker.decoder.decode_if_subscribed(
            attributes,
            body,
            sequence,
            has_subscribers,
        ) {
            Ok(decoded) => decoded,
            Err(error) => return self.unreadable(message, &error, begun),
        };
        let decoding = begun.map(|begun| (begun, begun.elapsed()));
        let routing_key = decoded.routing_key();
        let waiting = waiting.unwrap_or_else(|| self.directory.waiting_at(routing_key.cloud_id));
        let is_repeated = message.delivery_count() > 1;
        if !is_repeated {
            worker.metrics.count_type(routing_key.event_type);
        }
        let left_out = self.matcher.shares().left_out();
        // An event that was redelivered is marked only while it is examined here.
        let steps = if is_repeated { u64::MAX } else { WORKER_STEPS };
        let limits = MatchLimits { steps, left_out: left_out.as_deref() };
        let started = clock::tick();
        let mut nothing = Matches::default();
        let outcome = match decoded.is_body_decoded() {
            true => {
                let (decoder, scratch) = (&worker.decoder, &mut worker.scratch);
                self.matcher.matches_within(limits, routing_key, decoder, scratch)
            }
            false => &mut nothing,
        };
        let took = clock::since(started);
        if outcome.steps >= CHARGED_MIN {
            let charges = outcome.take_charges(left_out.as_deref());
            self.matcher.shares().charge(&charges, EventPart::First, (outcome.steps, took));
        }
        let stages = decoding.filter(|_| decoded.is_body_decoded());
        let span = stages.and_then(|(begun, decoding)| {
            let stages = Stages { begun, decoding, matching: took };
            event_span::matched(&self.traces, message, &decoded, outcome, stages)
        });
        if outcome.unfinished > 0 {
            let event = traced(decoded.into_event(), span.as_ref());
            return self.hand_over(worker, event, waiting, (left_out, took)).with_span(span);
        }
        worker.matching.count(routing_key, outcome, took, is_repeated);
        let is_empty = outcome.is_empty()
            && outcome.failures.is_empty()
            && outcome.postponed.is_empty()
            && waiting.is_empty();
        if is_empty && !self.live.has_subscribers() {
            return Examined::Unmatched.with_span(span);
        }
        let event = traced(decoded.into_event(), span.as_ref());
        self.conclude(event, &worker.decoder, outcome, waiting).with_span(span)
    }

    /// Returns the work for an event that cannot be decoded.
    fn unreadable<M: Message>(
        &self,
        message: &M,
        error: &DecodeError,
        begun: Option<Begun>,
    ) -> Examined {
        let span = |begun| event_span::unreadable(&self.traces, message, error, begun);
        Examined::unreadable(error).with_span(begun.and_then(span))
    }

    /// Takes an event out of the hands of a worker.
    fn hand_over(
        &self,
        worker: &mut WorkerState,
        event: Event,
        waiting: Vec<UnmatchedFor>,
        (left_out, took): (Option<Arc<LeftOut>>, Duration),
    ) -> Examined {
        let fresh = Decoder::new(self.event_bytes_max, self.trust_body_self);
        let decoder = std::mem::replace(&mut worker.decoder, fresh);
        let scratch = std::mem::take(&mut worker.scratch);
        let charges = scratch.expected_charges(left_out.as_deref());
        self.matcher.shares().reserve(&charges);
        let reserved = Reservation { matcher: Arc::clone(&self.matcher), charges };
        let unfinished = Unfinished { event, decoder, scratch, waiting, left_out, reserved, took };
        Work::Finish(Box::new(unfinished)).into()
    }

    /// Evaluates the rest of the filters of an event.
    pub(super) fn finish(&self, unfinished: Unfinished) -> Examined {
        let Unfinished { event, decoder, mut scratch, waiting, left_out, reserved, took } =
            unfinished;
        let (started, steps_before) = (clock::tick(), scratch.steps());
        let begun = event.envelope.trace.and_then(|trace| Some((trace, self.traces.begin()?)));
        let routing_key = event.envelope.routing_key();
        let outcome = self.matcher.resume(routing_key, &decoder, &mut scratch);
        let rest_took = clock::since(started);
        let charges = outcome.take_charges(left_out.as_deref());
        let steps = outcome.steps.saturating_sub(steps_before);
        self.matcher.shares().charge(&charges, EventPart::Rest, (steps, rest_took));
        drop(reserved);
        if let Some((trace, begun)) = begun {
            event_span::record_match(&self.traces, trace, outcome, (begun, rest_took));
        }
        MatchMetrics::default().count(routing_key, outcome, took + rest_took, false);
        self.conclude(event, &decoder, outcome, waiting)
    }

    /// Returns what is to be done for an event that was matched.
    fn conclude(
        &self,
        event: Event,
        decoder: &Decoder,
        outcome: &mut Matches,
        waiting: Vec<UnmatchedFor>,
    ) -> Examined {
        let mut matches = outcome.take_matches(event.envelope.routing_key(), decoder);
        // Matched by the version of the document that was read last.
        matches.retain(|found| {
            !waiting.iter().any(|one| one.installation == found.subscription.owner.id)
        });
        let mut postponed: Vec<_> = outcome.postponed.drain(..).map(unmatched_for).collect();
        postponed.retain(|one| !waiting.contains(one));
        let waits = !waiting.is_empty() || !postponed.is_empty();
        let matched = MatchedEvent { event: &event, decoder, matches: &matches, outcome, waits };
        self.live.publish(&self.matcher, matched);
        for failure in &outcome.failures {
            self.record_failure(&event, failure);
        }
        let kept = waits.then(|| event.clone());
        let matched = match matches.is_empty() {
            true => None,
            false => match PreparedEvent::decoded(event, decoder) {
                Ok(prepared) => Some((Arc::new(prepared), matches)),
                Err(error) => {
                    return Examined::unreadable(&DecodeError::Schema {
                        reason: error.to_string(),
                    });
                }
            },
        };
        match (kept, matched) {
            (Some(event), matched) => {
                Work::Wait(Box::new(Wait { event, waiting, postponed, matched })).into()
            }
            (None, Some((prepared, matches))) => Work::Deliver { prepared, matches }.into(),
            (None, None) => Examined::Unmatched,
        }
    }

    /// Logs a failed filter, a line a minute for each subscription.
    fn record_failure(&self, event: &Event, failure: &FilterFailure) {
        let (subscription, error) = (&failure.subscription, &failure.error);
        if !failure.on_error.logs() {
            return;
        }
        let stats = &subscription.stats;
        let Some(suppressed) = stats.log_limits().filter.take_of(&self.failure_log) else {
            return;
        };
        let not_matched = self.matcher.not_matched(&subscription.id()).unwrap_or_default();
        let FilterOutcomes { events, errors } = stats.outcomes_since(not_matched);
        let what = match (FilterOutcomes { events, errors }).mostly_fail() {
            true => "filter fails for half of its events or more",
            false => "filter evaluation failed",
        };
        tracing::warn!(
            app = %subscription.owner.app,
            installation = %subscription.owner.id,
            key = %subscription.key,
            event_id = %event.envelope.event_id,
            kind = error.kind,
            error = error.describe(),
            delivered = failure.on_error.delivers(),
            events,
            errors,
            suppressed,
            "{what}"
        );
    }
}

/// Sets the context that the spans of an event have as their parent.
fn traced(mut event: Event, span: Option<&EventSpan>) -> Event {
    event.envelope.trace = span.map(|span| span.context());
    event
}

fn unmatched_for(owner: Arc<Owner>) -> UnmatchedFor {
    UnmatchedFor { app: owner.app.clone(), installation: owner.id.clone() }
}
