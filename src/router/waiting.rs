//! Events that wait for the document of an installation: parked, and matched once it is readable.
//!
//! Design: `docs/design/unreadable-documents.md`.

use std::sync::Arc;

use futures_util::{StreamExt, future, stream};

use crate::clock;
use crate::delivery::{
    Dispatcher, ParkedDelivery, PreparedEvent, SubscriptionDirectory, UnmatchedFor,
};
use crate::event::{DecodeError, Decoder, Event};
use crate::matcher::{Match, Matcher};

/// Concurrent parkings of one event.
const PARKINGS_MAX: usize = 64;

/// Parks and matches events that wait.
pub(super) struct WaitingEvents {
    dispatcher: Arc<Dispatcher>,
    directory: Arc<dyn SubscriptionDirectory>,
    matcher: Arc<Matcher>,
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
}

impl WaitingEvents {
    pub(super) fn new(
        dispatcher: Arc<Dispatcher>,
        directory: Arc<dyn SubscriptionDirectory>,
        matcher: Arc<Matcher>,
        event_bytes_max: usize,
        trust_body_self: bool,
    ) -> Self {
        Self { dispatcher, directory, matcher, event_bytes_max, trust_body_self }
    }

    /// Completes once the event is accounted for, for each of these installations.
    pub(super) async fn park(&self, event: &Event, waiting: Vec<UnmatchedFor>) {
        let now = clock::broker_now();
        let park = async |waiting: UnmatchedFor| {
            let app = waiting.app.clone();
            let parked = ParkedDelivery::unmatched(event.clone(), waiting, now);
            self.dispatcher.wait_for_document(parked, &app).await;
        };
        stream::iter(waiting)
            .map(park)
            .buffer_unordered(PARKINGS_MAX)
            .for_each(|()| future::ready(()))
            .await;
    }

    /// Matches an event for the installation that it waited for, and for no other.
    ///
    /// # Errors
    /// The body is not an event.
    pub(super) fn match_late(&self, parked: &ParkedDelivery) -> Result<LateMatch, DecodeError> {
        let subscriptions = self.directory.subscriptions_of(&parked.installation);
        if subscriptions.is_empty() {
            return Ok(LateMatch::NoSubscription);
        }
        let event = parked.event();
        let mut decoder = Decoder::new(self.event_bytes_max, self.trust_body_self);
        decoder.decode_body(&event.body)?;
        let routing_key = event.envelope.routing_key();
        let matches = self.matcher.match_one_by_one(&subscriptions, routing_key, &decoder);
        if matches.is_empty() {
            return Ok(LateMatch::Unmatched);
        }
        let prepared = PreparedEvent::decoded(event.clone(), &decoder)
            .map_err(|error| DecodeError::Schema { reason: error.to_string() })?;
        Ok(LateMatch::Matched(Arc::new(prepared), matches))
    }
}
