//! Events that wait for an installation: parked, and matched for it alone when they are due.
//!
//! They wait for a document that cannot be read, or because the installation used more than its share
//! of evaluation.
//!
//! Design: `docs/design/unreadable-documents.md`, `docs/design/evaluation-share.md`.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, future, stream};

use super::event_span;
use super::examine::CHARGED_MIN;
use super::slow_lane::SlowLane;
use crate::clock;
use crate::delivery::{
    Dispatcher, ParkedDelivery, PreparedEvent, SubscriptionDirectory, UnmatchedFor,
};
use crate::event::{DecodeError, Decoder, Event};
use crate::matcher::evaluation_share::EventPart;
use crate::matcher::metrics::MatchMetrics;
use crate::matcher::{LateMatches, Match, Matcher};

/// Concurrent parkings of one event.
const PARKINGS_MAX: usize = 64;

/// Parks and matches events that wait.
pub(super) struct WaitingEvents {
    dispatcher: Arc<Dispatcher>,
    directory: Arc<dyn SubscriptionDirectory>,
    matcher: Arc<Matcher>,
    lane: Arc<SlowLane>,
    event_bytes_max: usize,
    trust_body_self: bool,
}

/// Result of matching an event that waited.
pub(super) enum LateMatch {
    /// The installation has no live subscription: it was removed, or disabled.
    NoSubscription,
    /// No subscription matches.
    Unmatched,
    /// These match.
    Matched(Arc<PreparedEvent>, Vec<Match>),
    /// Others have their turn first: it is parked again for so long.
    Postponed(Box<ParkedDelivery>, Duration),
}

impl WaitingEvents {
    pub(super) fn new(
        dispatcher: Arc<Dispatcher>,
        directory: Arc<dyn SubscriptionDirectory>,
        (matcher, lane): (Arc<Matcher>, Arc<SlowLane>),
        event_bytes_max: usize,
        trust_body_self: bool,
    ) -> Self {
        Self { dispatcher, directory, matcher, lane, event_bytes_max, trust_body_self }
    }

    /// Completes once the event is accounted for, for each of the installations that it waits for.
    pub(super) async fn park(
        &self,
        event: &Event,
        stored_ms: Option<i64>,
        unreadable: Vec<UnmatchedFor>,
        postponed: Vec<UnmatchedFor>,
    ) {
        let now = clock::broker_now();
        let park = async |(waiting, is_postponed): (UnmatchedFor, bool)| {
            let UnmatchedFor { app, installation } = waiting.clone();
            let parked =
                ParkedDelivery::unmatched(event.clone(), waiting, now).stored_at(stored_ms);
            if is_postponed {
                let delay = self.matcher.shares().postpone(&installation);
                self.dispatcher.wait_for_share(parked, &app, delay).await;
            } else {
                self.dispatcher.wait_for_document(parked, &app).await;
            }
        };
        let unreadable = unreadable.into_iter().map(|one| (one, false));
        stream::iter(unreadable.chain(postponed.into_iter().map(|one| (one, true))))
            .map(park)
            .buffer_unordered(PARKINGS_MAX)
            .for_each(|()| future::ready(()))
            .await;
    }

    /// Matches an event for the installation that it waited for, and for no other, when it is the
    /// turn of the installation in the slow lane.
    ///
    /// # Errors
    /// The body is not an event.
    pub(super) async fn match_late(
        self: &Arc<Self>,
        parked: Box<ParkedDelivery>,
    ) -> Result<LateMatch, DecodeError> {
        let (shares, installation) = (self.matcher.shares(), parked.installation.clone());
        let name = installation.as_str();
        if !shares.may_evaluate(&installation) || self.lane.is_full_for(name) {
            let delay = shares.postpone_again(&installation);
            return Ok(LateMatch::Postponed(parked, delay));
        }
        let (matching, steps) = (Arc::clone(self), shares.cost(&installation));
        self.lane.run(name, steps, move || matching.match_now(&parked)).await
    }

    fn match_now(&self, parked: &ParkedDelivery) -> Result<LateMatch, DecodeError> {
        let subscriptions = self.directory.subscriptions_of(&parked.installation);
        let Some(owner) = subscriptions.first().map(|one| Arc::clone(&one.owner)) else {
            return Ok(LateMatch::NoSubscription);
        };
        let event = parked.event();
        let mut decoder = Decoder::new(self.event_bytes_max, self.trust_body_self);
        let body = decoder.decode_body(&event.body)?;
        let routing_key = event.envelope.routing_key();
        let traces = self.dispatcher.traces();
        let (started, begun) = (clock::tick(), traces.begin());
        let late = self.matcher.match_one_by_one(&subscriptions, routing_key, &decoder);
        MatchMetrics::default().count_late(routing_key, &late);
        event_span::record_late_match(traces, event, &late, begun);
        let LateMatches { matches, steps, .. } = late;
        if steps >= CHARGED_MIN {
            let took = clock::since(started);
            self.matcher.shares().charge(
                &vec![(owner, steps)],
                EventPart::Postponed,
                (steps, took),
            );
        }
        if matches.is_empty() {
            return Ok(LateMatch::Unmatched);
        }
        let prepared = PreparedEvent::decoded(Event { body, ..event.clone() }, &decoder)
            .map_err(|error| DecodeError::Schema { reason: error.to_string() })?;
        Ok(LateMatch::Matched(Arc::new(prepared), matches))
    }
}
