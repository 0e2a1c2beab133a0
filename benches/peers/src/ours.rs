//! Switchyard, from the bytes and headers of an event to the ids of the matching subscriptions, or to
//! the event and the counted subscriptions that the router delivers.

use std::hint::black_box;

use bytes::Bytes;
use switchyard::domain::SubscriptionId;
use switchyard::event::{Attributes, Decoder, HeaderLookup, RoutingKey};
use switchyard::matcher::{Matcher, Scratch};

use crate::Peer;
use crate::workload::{EVENT_TYPE, FilterSpec, MODULES, subscriptions};

const SITE: &str = "site";

pub(crate) struct Ours {
    matcher: Matcher,
    decoder: Decoder,
    scratch: Scratch,
    to_deliveries: bool,
}

struct Binary;

impl HeaderLookup for Binary {
    fn get(&self, name: &str) -> Option<&str> {
        match name {
            "ce-cloudid" => Some(SITE),
            "ce-type" => Some(EVENT_TYPE),
            "ce-id" => Some("1"),
            _ => None,
        }
    }
}

impl Ours {
    pub(crate) fn new(filters: &[(u32, FilterSpec)], to_deliveries: bool) -> Self {
        let texts: Vec<String> = filters.iter().map(|(_, spec)| spec.filter()).collect();
        let matcher = Matcher::default();
        matcher.replace_many(subscriptions(SITE, &texts));
        let decoder = Decoder::new(1 << 20, false);
        Self { matcher, decoder, scratch: Scratch::default(), to_deliveries }
    }
}

impl Peer for Ours {
    fn matches(&mut self, event: &'static [u8], _: &mut Vec<u32>) {
        let has_subscribers =
            |routing_key: RoutingKey<'_>| self.matcher.has_subscriptions(routing_key);
        let body = Bytes::from_static(event);
        let attributes = Attributes::from_headers(&Binary).expect("attributes");
        let decoded = self
            .decoder
            .decode_if_subscribed(attributes, body, 1, has_subscribers)
            .expect("an event");
        let outcome = self.matcher.matches(decoded.routing_key(), &self.decoder, &mut self.scratch);
        if self.to_deliveries {
            black_box(outcome.take_matches(decoded.routing_key(), &self.decoder));
            black_box(decoded.into_event());
        } else {
            black_box(outcome);
        }
    }

    fn answers(&mut self, event: &'static [u8], found: &mut Vec<u32>) {
        let has_subscribers =
            |routing_key: RoutingKey<'_>| self.matcher.has_subscriptions(routing_key);
        let body = Bytes::from_static(event);
        let attributes = Attributes::from_headers(&Binary).expect("attributes");
        let decoded = self
            .decoder
            .decode_if_subscribed(attributes, body, 1, has_subscribers)
            .expect("an event");
        let outcome = self.matcher.matches(decoded.routing_key(), &self.decoder, &mut self.scratch);
        assert!(outcome.failures.is_empty(), "no filter of the mix fails");
        let matches = outcome.take_matches(decoded.routing_key(), &self.decoder);
        found.extend(matches.iter().map(|one| number(&one.subscription.id())));
    }
}

/// The number of a filter, from the names of its installation and module in the workload.
fn number(id: &SubscriptionId) -> u32 {
    let last = |name: &str| -> u32 {
        name.rsplit('-').next().and_then(|number| number.parse().ok()).expect("a number")
    };
    last(id.installation.as_str()) * MODULES as u32 + last(id.key.as_str())
}
