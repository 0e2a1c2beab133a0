//! Decodes and matches one message.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::clock;
use crate::delivery::{DeadLetterReason, PreparedEvent, SubscriptionDirectory, UnmatchedFor};
use crate::event::metrics::{InputMetrics, decode_error};
use crate::event::{DecodeError, Decoder, Event, Message, RoutingKey};
use crate::matcher::metrics::MatchMetrics;
use crate::matcher::{FilterFailure, Match, Matcher, Matches, Scratch};
use crate::telemetry::{LiveEvent, LiveFeed, LogBudget};

/// Decodes and matches messages; shared by all workers.
pub(super) struct Examiner {
    matcher: Arc<Matcher>,
    directory: Arc<dyn SubscriptionDirectory>,
    live: LiveFeed,
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
    /// There is work to do before the acknowledgement.
    Work(Work),
    /// Decoding or matching panicked.
    Crashed,
}

/// What is done for an event before it is acknowledged.
pub(super) enum Work {
    Deliver { prepared: Arc<PreparedEvent>, matches: Vec<Match> },
    Wait(Box<Wait>),
    DeadLetter { reason: DeadLetterReason, error: String },
}

/// An event of a site in which some installations have a document that cannot be read.
pub(super) struct Wait {
    pub(super) event: Event,
    /// Those installations.
    pub(super) waiting: Vec<UnmatchedFor>,
    /// The matches of all others, if there are any.
    pub(super) matched: Option<Matched>,
}

/// The matches of an event.
pub(super) type Matched = (Arc<PreparedEvent>, Vec<Match>);

impl Examined {
    /// Returns the work for an event that crashed routers.
    pub(super) fn poison(crashes: u32) -> Self {
        let reason = DeadLetterReason::Poison("crash");
        let error = format!("{crashes} crashes were recorded while it was processed");
        Self::Work(Work::DeadLetter { reason, error })
    }

    fn unreadable(error: &DecodeError) -> Self {
        decode_error(error.label());
        let reason = DeadLetterReason::Poison(error.label());
        Self::Work(Work::DeadLetter { reason, error: error.to_string() })
    }
}

impl Examiner {
    /// Creates an examiner of events of at most `event_bytes_max` bytes.
    pub(super) fn new(
        matcher: Arc<Matcher>,
        directory: Arc<dyn SubscriptionDirectory>,
        live: LiveFeed,
        event_bytes_max: usize,
        trust_body_self: bool,
    ) -> Self {
        let failure_log = LogBudget::default();
        Self { matcher, directory, live, failure_log, event_bytes_max, trust_body_self }
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

    /// Decodes and matches a message. A panic costs the event one of its redeliveries and is
    /// contained.
    pub(super) fn examine<M: Message>(&self, worker: &mut WorkerState, message: &M) -> Examined {
        let examined = catch_unwind(AssertUnwindSafe(|| self.decode_and_match(worker, message)));
        examined.unwrap_or_else(|_| {
            tracing::error!(
                sequence = message.sequence(),
                "decoding or matching panicked; event left for redelivery"
            );
            *worker = self.new_worker();
            Examined::Crashed
        })
    }

    fn decode_and_match<M: Message>(&self, worker: &mut WorkerState, message: &M) -> Examined {
        let attributes = match message.attributes() {
            Ok(attributes) => attributes,
            Err(error) => return Examined::unreadable(&error),
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
            Err(error) => return Examined::unreadable(&error),
        };
        let routing_key = decoded.routing_key();
        let waiting = waiting.unwrap_or_else(|| self.directory.waiting_at(routing_key.cloud_id));
        let is_repeated = message.delivery_count() > 1;
        if !is_repeated {
            worker.metrics.count_type(routing_key.event_type);
        }
        let started = clock::tick();
        let mut nothing = Matches::default();
        let outcome = match decoded.is_body_decoded() {
            true => self.matcher.matches(routing_key, &worker.decoder, &mut worker.scratch),
            false => &mut nothing,
        };
        let took = clock::since(started);
        worker.matching.count(routing_key.event_type, outcome, took, is_repeated);
        let is_empty = outcome.is_empty() && outcome.failures.is_empty() && waiting.is_empty();
        if is_empty && !self.live.has_subscribers() {
            return Examined::Unmatched;
        }
        let mut matches = outcome.take_matches(routing_key, &worker.decoder);
        // Matched by the version of the document that was read last.
        matches.retain(|found| {
            !waiting.iter().any(|one| one.installation == found.subscription.owner.id)
        });
        let event = decoded.into_event();
        self.live.publish(|| routed(&event, &matches, outcome));
        for failure in &outcome.failures {
            self.record_failure(&event, failure);
        }
        let kept = (!waiting.is_empty()).then(|| event.clone());
        let matched = match matches.is_empty() {
            true => None,
            false => match PreparedEvent::decoded(event, &worker.decoder) {
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
                Examined::Work(Work::Wait(Box::new(Wait { event, waiting, matched })))
            }
            (None, Some((prepared, matches))) => {
                Examined::Work(Work::Deliver { prepared, matches })
            }
            (None, None) => Examined::Unmatched,
        }
    }

    fn record_failure(&self, event: &Event, failure: &FilterFailure) {
        let (subscription, error) = (&failure.subscription, &failure.error);
        let logs = failure.on_error.logs();
        if let Some(suppressed) = logs.then(|| self.failure_log.take()).flatten() {
            tracing::warn!(
                installation = %subscription.owner.id,
                key = %subscription.key,
                event_id = %event.envelope.event_id,
                kind = error.kind,
                error = error.message,
                delivered = failure.on_error.delivers(),
                suppressed,
                "filter evaluation failed"
            );
        }
    }
}

fn routed(event: &Event, matches: &[Match], outcome: &Matches) -> LiveEvent {
    LiveEvent::Routed {
        event_id: event.envelope.event_id.to_string(),
        event_type: event.envelope.event_type.to_string(),
        entity: event.envelope.entity.as_deref().map(str::to_owned),
        matches: matches.iter().map(|found| found.subscription.id().to_string()).collect(),
        errors: outcome.failures.iter().map(|fail| fail.subscription.id().to_string()).collect(),
        ignored: outcome.ignored,
    }
}
