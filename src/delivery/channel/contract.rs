//! Contract between the dispatcher and a kind of handler.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use url::Url;

use super::ports::ChannelPorts;
use crate::delivery::http_client::HttpClient;
use crate::delivery::model::{AttemptOutcome, Delivery, Transport};
use crate::domain::TraceContext;
use crate::event::codec::HeaderList;

/// A kind of handler, implemented by the payload of each variant of
/// [`Handler`](crate::domain::Handler).
pub trait Channel: Send + Sync {
    /// Transport of its attempts, a metric label.
    fn transport(&self) -> Transport;

    /// Identifies the endpoint within its installation: deliveries to the same endpoint share a
    /// lane and a circuit breaker.
    fn endpoint(&self) -> &str;

    /// Identifies the host of the endpoint: all endpoints at it share permits, those of one app a
    /// circuit breaker as well. By default the endpoint is its own host.
    fn host(&self) -> Cow<'_, str> {
        self.endpoint().into()
    }

    /// Describes the handler to operators.
    fn describe(&self) -> HandlerDescription;

    /// Makes one attempt. Completes within its deadline, whatever the handler does.
    fn attempt<'a>(&'a self, attempt: Attempt<'a>) -> BoxFuture<'a, AttemptOutcome>;

    /// Renders the body of the next attempt of `delivery`; by default the event object.
    fn body(&self, delivery: &Delivery) -> Bytes {
        delivery.event_body()
    }

    /// Headers that the dead letter of `delivery` stores in addition to those of every dead letter.
    fn dead_letter_headers(&self, _delivery: &Delivery) -> HeaderList {
        HeaderList::new()
    }

    /// Key by which matches of one installation are coalesced into one delivery; none by default.
    fn coalesce_key(&self) -> Option<CoalesceKey<'_>> {
        None
    }

    /// Whether nothing waits for the handler: a delivery that an attempt does not settle, or that gets no
    /// attempt, is dropped by the policy `listener_failed`, and no breaker opens.
    fn is_ephemeral(&self) -> bool {
        false
    }

    /// Names by which the app subscribed to events, where they differ from event types.
    fn event_names(&self) -> &[Box<str>] {
        &[]
    }
}

/// Returns scheme, host and port of a URL. With the scheme, because `https` to a port that speaks
/// `http` fails in the handshake, which counts for all apps at the host.
pub(super) fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// One attempt of a delivery: what is sent, and what it is sent with.
#[derive(Clone)]
pub struct Attempt<'a> {
    /// The delivery.
    pub delivery: &'a Delivery,
    /// Its body, as [`Channel::body`] rendered it.
    pub body: Bytes,
    /// When the attempt starts.
    pub now: Timestamp,
    /// Longest time that the attempt may take.
    pub timeout: Duration,
    /// Context of the span of the attempt; none if it is not recorded.
    pub trace: Option<TraceContext>,
    /// Connections of the endpoint's lane.
    pub http: &'a HttpClient,
    /// Connections that all lanes share, and signing keys.
    pub ports: &'a ChannelPorts,
}

/// A handler as operators see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HandlerDescription {
    /// Where it is, for lists.
    pub address: String,
    /// Its members in the operator API.
    pub members: Vec<(&'static str, String)>,
}

/// Key by which matches are coalesced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CoalesceKey<'a> {
    /// Matches of one installation with the same group make one delivery.
    pub group: &'a str,
    /// Order inside the group: the delivery is sent to the lowest.
    pub rank: u64,
    /// Module key that the delivery id is derived from, since it must not depend on which of the
    /// group match.
    pub module_key: &'a str,
}
