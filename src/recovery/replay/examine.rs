//! Decodes stored events and matches them again, off the threads that route events.

use std::collections::{HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use switchyard_expr::Program;

use super::streams::EventMessage;
use crate::clock;
use crate::delivery::{PlannedDelivery, PreparedEvent, coalesce};
use crate::domain::ModuleKey;
use crate::event::{DecodeError, Decoder};
use crate::matcher::{MatchAgain, Matcher, Subscription};

/// Steps of filters after which no further event is examined at once: about 20 ms.
const STEPS_MAX: u64 = 1_000_000;
/// Part of a thread that examining takes: after so much time, twice as much passes without it. Live
/// events go first.
const REST_FACTOR: u32 = 2;
/// Longest such rest.
const REST_MAX: Duration = Duration::from_millis(500);

/// Events of one read of a scan while live events are routed, which wait for what this process and the broker do for it.
const LIVE_BATCH: usize = 16;
/// The same while none are.
const IDLE_BATCH: usize = 500;

/// Reads events as the router does.
#[derive(Clone, Debug)]
pub struct EventReader {
    matcher: Arc<Matcher>,
    event_bytes_max: usize,
    trust_body_self: bool,
}

/// What is asked about events.
#[derive(Clone, Debug)]
pub(super) struct EventQuery {
    /// The subscriptions that they are matched for.
    pub(super) subscriptions: Arc<[Arc<Subscription>]>,
    /// The only module whose deliveries count; none for all. The subscriptions have those that share
    /// deliveries with it.
    pub(super) key: Option<ModuleKey>,
    /// A further condition.
    pub(super) condition: Option<Arc<Program>>,
    /// Deliveries after which no further event is examined.
    pub(super) deliveries_max: usize,
}

/// What was found about an event.
#[derive(Debug)]
pub(super) enum Found {
    /// It matches nothing.
    Nothing,
    /// It cannot be read.
    Unreadable,
    /// It makes these deliveries.
    Matched(Arc<PreparedEvent>, Vec<PlannedDelivery>),
}

/// An event that was examined.
#[derive(Debug)]
pub(super) struct Examined {
    pub(super) sequence: u64,
    pub(super) stored_ms: i64,
    pub(super) found: Found,
    /// Matches that are none because the further condition ended in an error.
    pub(super) condition_errors: usize,
}

impl EventReader {
    /// Reads events of up to `event_bytes_max` bytes and matches them with the functions of `matcher`;
    /// `trust_body_self` as in [`Decoder::new`].
    #[must_use]
    pub fn new(matcher: Arc<Matcher>, event_bytes_max: usize, trust_body_self: bool) -> Self {
        Self { matcher, event_bytes_max, trust_body_self }
    }

    /// Returns a decoder of events.
    #[must_use]
    pub fn decoder(&self) -> Decoder {
        Decoder::new(self.event_bytes_max, self.trust_body_self)
    }

    /// Returns how many events a scan of the stream reads at once: few while live events are routed, which wait
    /// for the processor until then.
    #[must_use]
    pub fn scan_batch(&self) -> usize {
        if self.has_live_events() { LIVE_BATCH } else { IDLE_BATCH }
    }

    /// Whether live events were routed within the last moments.
    #[must_use]
    pub fn has_live_events(&self) -> bool {
        self.matcher.shares().has_live_events()
    }

    /// Leaves the processors to live events, if some are routed, for twice as long as work took that began at
    /// `started`.
    pub async fn rest_for_live_events(&self, started: Instant) {
        if self.has_live_events() {
            rest_after(started).await;
        }
    }

    /// Returns the matcher.
    #[must_use]
    pub fn matcher(&self) -> &Matcher {
        &self.matcher
    }

    /// Examines messages from the first one on, and removes those that were examined: at least one, and
    /// all unless they make many deliveries or cost many steps.
    pub(super) async fn examine(
        &self,
        messages: &mut VecDeque<EventMessage>,
        query: &EventQuery,
    ) -> Vec<Examined> {
        let taken = std::mem::take(messages);
        let (reader, query) = (self.clone(), query.clone());
        let started = clock::tick();
        let examined = tokio::task::spawn_blocking(move || reader.examine_now(taken, &query));
        // Fails only while the process ends.
        let Ok((examined, rest)) = examined.await else { return Vec::new() };
        *messages = rest;
        rest_after(started).await;
        examined
    }

    fn examine_now(
        &self,
        mut messages: VecDeque<EventMessage>,
        query: &EventQuery,
    ) -> (Vec<Examined>, VecDeque<EventMessage>) {
        let events = query.subscriptions.iter().flat_map(|one| &one.event_subscriptions);
        let types: HashSet<&str> = events.map(|e| e.conditions.event_type.as_str()).collect();
        let mut decoder = self.decoder();
        let (mut examined, mut deliveries, mut steps) = (Vec::new(), 0, 0);
        while let Some(message) = messages.pop_front() {
            let (sequence, stored_ms) = (message.sequence, message.stored_ms);
            let one = catch_unwind(AssertUnwindSafe(|| {
                self.examine_one(&mut decoder, message, &types, query)
            }));
            let (found, condition_errors, cost) = match one {
                Ok(Ok(one)) => one,
                Ok(Err(error)) => {
                    tracing::debug!(sequence, %error, "event cannot be read, and is not replayed");
                    (Found::Unreadable, 0, 0)
                }
                Err(_) => {
                    tracing::error!(sequence, "reading an event again panicked; not replayed");
                    decoder = self.decoder();
                    (Found::Unreadable, 0, 0)
                }
            };
            if let Found::Matched(_, planned) = &found {
                deliveries += planned.len();
            }
            steps += cost;
            examined.push(Examined { sequence, stored_ms, found, condition_errors });
            if deliveries >= query.deliveries_max || steps >= STEPS_MAX {
                break;
            }
        }
        (examined, messages)
    }

    fn examine_one(
        &self,
        decoder: &mut Decoder,
        message: EventMessage,
        types: &HashSet<&str>,
        query: &EventQuery,
    ) -> Result<(Found, usize, u64), DecodeError> {
        let (sequence, now_ms, body) = (message.sequence, message.stored_ms, message.body.clone());
        let attributes = message.attributes()?;
        let decoded = decoder.decode_if_subscribed(attributes, body, sequence, |routing_key| {
            types.contains(routing_key.event_type)
        })?;
        if !decoded.is_body_decoded() {
            return Ok((Found::Nothing, 0, 0));
        }
        let again = MatchAgain { now_ms, condition: query.condition.as_deref() };
        let routing_key = decoded.routing_key();
        let matched = self.matcher.match_again(&query.subscriptions, (routing_key, decoder), again);
        let (errors, steps) = (matched.condition_errors, matched.steps);
        let mut planned = coalesce(matched.matches);
        if let Some(key) = &query.key {
            planned.retain(|one| one.subscriptions().any(|subscription| subscription.key == *key));
        }
        if planned.is_empty() {
            return Ok((Found::Nothing, errors, steps));
        }
        let prepared = PreparedEvent::decoded(decoded.into_event(), decoder)
            .map_err(|error| DecodeError::Schema { reason: error.to_string() })?;
        Ok((Found::Matched(Arc::new(prepared), planned), errors, steps))
    }
}

/// Leaves the threads to live events, for twice as long as work took that began at `started`.
pub(in crate::recovery) async fn rest_after(started: Instant) {
    let rest = clock::since(started).saturating_mul(REST_FACTOR).min(REST_MAX);
    tokio::time::sleep(rest).await;
}
