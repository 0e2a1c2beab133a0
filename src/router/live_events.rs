//! Reports to the live feed how an event was matched, and why filters failed.

use crate::clock;
use crate::event::{Decoder, Event};
use crate::matcher::{FilterFailure, Match, Matcher, Matches, Subscriber};
use crate::telemetry::{LiveEvent, LiveFailure, LiveFeed, LogBudget};

/// Failed filters of one event that are named with their reason.
const FAILURES_MAX: usize = 3;

/// Publishes live events.
pub(super) struct LiveEvents {
    feed: LiveFeed,
    /// Explaining takes longer than evaluating: beyond 10 in a second, the error alone is said.
    explanations: LogBudget,
}

/// An event that was matched, as it is reported.
#[derive(Clone, Copy)]
pub(super) struct MatchedEvent<'e> {
    pub(super) event: &'e Event,
    /// Holds the event.
    pub(super) decoder: &'e Decoder,
    pub(super) matches: &'e [Match],
    pub(super) outcome: &'e Matches,
    /// Whether it is not matched for all installations yet.
    pub(super) waits: bool,
}

impl LiveEvents {
    pub(super) fn new(feed: LiveFeed) -> Self {
        Self { feed, explanations: LogBudget::default() }
    }

    pub(super) fn has_subscribers(&self) -> bool {
        self.feed.has_subscribers()
    }

    /// Reports a matched event, if there are subscribers.
    pub(super) fn publish(&self, matcher: &Matcher, matched: MatchedEvent<'_>) {
        self.feed.publish(|| {
            let MatchedEvent { event, matches, outcome, .. } = matched;
            let id = |failure: &FilterFailure| failure.subscription.id().to_string();
            let failures = outcome.failures.iter().take(FAILURES_MAX);
            LiveEvent::Routed {
                site: event.envelope.cloud_id.to_string(),
                event_id: event.envelope.event_id.to_string(),
                event_type: event.envelope.event_type.to_string(),
                entity: event.envelope.entity.as_deref().map(str::to_owned),
                matches: matches.iter().map(|one| one.subscription.id().to_string()).collect(),
                errors: outcome.failures.iter().map(id).collect(),
                failures: failures.map(|one| self.failure(matcher, matched, one)).collect(),
                ignored: outcome.ignored,
                unmatched: unmatched(matched),
            }
        });
    }

    fn failure(
        &self,
        matcher: &Matcher,
        matched: MatchedEvent<'_>,
        failure: &FilterFailure,
    ) -> LiveFailure {
        let subscription = &failure.subscription;
        let explained = self.explanations.take().and_then(|_suppressed| {
            let event = (matched.event.envelope.routing_key(), matched.decoder);
            let subscriber = Subscriber::from(&**subscription);
            let now_ms = clock::broker_now_ms();
            matcher.dry_run(&subscription.event_subscriptions, subscriber, event, now_ms).because()
        });
        LiveFailure {
            subscription: subscription.id().to_string(),
            because: explained.unwrap_or_else(|| failure.error.message.clone()),
            delivered: failure.on_error.delivers(),
        }
    }
}

/// Says why an event has no matches.
fn unmatched(matched: MatchedEvent<'_>) -> Option<&'static str> {
    let MatchedEvent { matches, outcome, waits, .. } = matched;
    if !matches.is_empty() {
        return None;
    }
    Some(match (outcome.failures.is_empty(), waits, outcome.ignored) {
        (false, ..) => "a filter failed",
        (true, true, _) => "not matched for all installations yet",
        (true, false, 0) => "no filter matches",
        (true, false, _) => "left out by ignoreSelf or a missing licence",
    })
}
