//! The thread of a backtest: decides on events, one after the other, with a low priority.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use switchyard_expr::EvalScratch;
use tokio::sync::{mpsc, watch};

use super::counts::BacktestCounts;
use super::progress::BacktestStatus;
use super::query::{BacktestQuery, TestedFilter, has_type};
use crate::clock;
use crate::event::{DecodeError, Decoder};
use crate::matcher::{EventSubscription, TriggerDecision, lower_priority};
use crate::recovery::explain::Deadline;
use crate::recovery::replay::{EventMessage, EventReader};

/// After so much time of work while live events wait, [`REST_FACTOR`] times as much passes without it.
const TURN: Duration = Duration::from_millis(5);
/// See [`TURN`].
const REST_FACTOR: u32 = 2;
/// Longest such rest.
const REST_MAX: Duration = Duration::from_millis(500);

/// What a thread of a backtest found.
#[derive(Debug, Default)]
pub(super) struct Finished {
    pub(super) counts: BacktestCounts,
    /// Sequence and time of the last event that was decided on; none if there is none.
    pub(super) last: Option<(u64, i64)>,
    /// Whether the time was used up before all events were decided on.
    pub(super) is_late: bool,
}

/// The decision on an event, its steps, and whether the current filter would deliver.
type Decided = (TriggerDecision, u64, Option<bool>);

/// Decides on events.
pub(super) struct Worker {
    reader: EventReader,
    query: Arc<BacktestQuery>,
    deadline: Deadline,
    /// What is seen of it; closed once no caller waits for the result.
    status: watch::Sender<BacktestStatus>,
    decoder: Decoder,
    scratch: EvalScratch,
    /// The filter as it is for the type of the last event.
    tried: Vec<EventSubscription>,
    found: Finished,
    turn_began: Instant,
}

impl Worker {
    pub(super) fn new(
        reader: EventReader,
        query: Arc<BacktestQuery>,
        deadline: Deadline,
        status: watch::Sender<BacktestStatus>,
    ) -> Self {
        let tried = match &query.tried {
            TestedFilter::OfTypes(events) => events.clone(),
            TestedFilter::OfAll(any) => vec![any.clone()],
        };
        Self {
            decoder: reader.decoder(),
            reader,
            query,
            deadline,
            status,
            scratch: EvalScratch::new(),
            tried,
            found: Finished::default(),
            turn_began: clock::tick(),
        }
    }

    /// Decides on all events of `batches`, until the deadline or until no caller waits.
    pub(super) fn run(mut self, mut batches: mpsc::Receiver<Vec<EventMessage>>) -> Finished {
        lower_priority("backtest");
        while let Some(events) = batches.blocking_recv() {
            self.turn_began = clock::tick();
            for event in events {
                if self.status.is_closed() {
                    return self.found;
                }
                if self.deadline.is_over() {
                    self.found.is_late = true;
                    return self.found;
                }
                self.examine(event);
                self.rest();
            }
            self.publish();
        }
        self.found
    }

    fn examine(&mut self, event: EventMessage) {
        let (sequence, stored_ms) = (event.sequence, event.stored_ms);
        self.found.last = Some((sequence, stored_ms));
        let decided = catch_unwind(AssertUnwindSafe(|| self.decide(&event)));
        let counts = &mut self.found.counts;
        match decided {
            Ok(Ok(Some((decision, steps, current)))) => {
                counts.add(sequence, (&decision, steps), current);
            }
            Ok(Ok(None)) => counts.add_of_other_site(),
            Ok(Err(error)) => {
                tracing::debug!(sequence, %error, "event of a backtest cannot be read");
                counts.add_unreadable();
            }
            Err(_) => {
                tracing::error!(sequence, "an event panicked in a backtest; not counted");
                self.decoder = self.reader.decoder();
                self.scratch = EvalScratch::new();
                counts.add_unreadable();
            }
        }
    }

    /// Returns the decision of the filter with its steps, and whether the current one would deliver; none
    /// for an event of another site.
    fn decide(&mut self, event: &EventMessage) -> Result<Option<Decided>, DecodeError> {
        let Self { query, decoder, scratch, tried, .. } = self;
        let current = query.current.as_deref();
        // A body is read only if one of both filters is for its type.
        let decoded = decoder.decode_if_subscribed(
            event.attributes()?,
            event.body.clone(),
            event.sequence,
            |key| {
                let is_current = current.is_some_and(|all| has_type(all, key.event_type));
                is_current || query.tried.is_of(key.event_type)
            },
        )?;
        let key = decoded.routing_key();
        if query.site.as_ref().is_some_and(|site| site.as_str() != key.cloud_id) {
            return Ok(None);
        }
        if !decoded.is_body_decoded() {
            return Ok(Some((TriggerDecision::NotSubscribed, 0, current.map(|_| false))));
        }
        if let TestedFilter::OfAll(_) = &query.tried
            && !has_type(tried, key.event_type)
        {
            *tried = query.tried.for_type(key.event_type);
        }
        let (matcher, subscriber) = (self.reader.matcher(), query.subscriber.borrowed());
        let (read, now_ms) = ((key, &*decoder), event.stored_ms);
        let current = current.map(|events| {
            let (decision, _) = matcher.decide(events, subscriber, read, now_ms, scratch);
            decision.is_delivered()
        });
        let (decision, steps) = matcher.decide(tried, subscriber, read, now_ms, scratch);
        Ok(Some((decision, steps, current)))
    }

    /// Leaves the processor to live events that wait, and shows how far it is.
    fn rest(&mut self) {
        let worked = clock::since(self.turn_began);
        if worked < TURN {
            return;
        }
        self.publish();
        if self.reader.matcher().shares().is_contended() {
            std::thread::sleep(worked.saturating_mul(REST_FACTOR).min(REST_MAX));
        }
        self.turn_began = clock::tick();
    }

    fn publish(&self) {
        let counts = &self.found.counts;
        let (events, delivered, failed) = (counts.events, counts.delivered(), counts.failed);
        self.status.send_replace(BacktestStatus { events, delivered, failed });
    }
}
