//! Decides on stored events for a filter and its shadow, off the threads that route events.

use std::collections::{HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::tally::{Compared, Tally};
use crate::domain::{CloudId, SubscriptionId};
use crate::event::{DecodeError, Decoder};
use crate::matcher::Subscription;
use crate::recovery::replay::{EventMessage, EventReader};

/// Steps of filters after which no further event is decided on at once: about 20 ms.
const STEPS_MAX: u64 = 1_000_000;

/// A filter and its shadow.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The subscription.
    pub id: SubscriptionId,
    /// Its site.
    pub site: CloudId,
    /// Names what is compared: another filter, another shadow or another begin has another name.
    pub name: String,
    /// Revision of the registry that the module has here.
    pub revision: u64,
    /// Events that are stored after this sequence are compared.
    pub after: u64,
    /// When the stream with this sequence was created, milliseconds since the epoch: of another one all
    /// events are compared.
    pub stream_ms: i64,
    /// The subscription with its filter.
    pub filter: Arc<Subscription>,
    /// The subscription as it would be with the shadow.
    pub shadow: Arc<Subscription>,
}

impl Comparison {
    /// Returns its count before the first event.
    pub(super) fn begin(&self) -> Tally {
        Tally::new(&self.name, self.after, self.stream_ms)
    }

    /// Whether an event with this sequence of the stream that was created at `stream_ms`, milliseconds since
    /// the epoch, is compared if it is of the site.
    #[must_use]
    pub fn is_after(&self, sequence: u64, stream_ms: i64) -> bool {
        stream_ms != self.stream_ms || sequence > self.after
    }

    fn event_types(&self) -> HashSet<&str> {
        let both = [&self.filter, &self.shadow].into_iter();
        let events = both.flat_map(|one| &one.event_subscriptions);
        events.map(|event| event.conditions.event_type.as_str()).collect()
    }

    /// Counts messages from the first one on, and removes those that were counted: at least one, and all
    /// unless they cost many steps. Blocks.
    pub(super) fn count(
        &self,
        reader: &EventReader,
        messages: &mut VecDeque<EventMessage>,
        tally: &mut Tally,
    ) {
        let types = self.event_types();
        let mut decoder = reader.decoder();
        let steps_before = tally.steps;
        while let Some(message) = messages.pop_front() {
            let sequence = message.sequence;
            let one = catch_unwind(AssertUnwindSafe(|| {
                self.compare(reader, &mut decoder, message, &types)
            }));
            match one {
                Ok(Ok(Some(compared))) => tally.add(compared),
                Ok(Ok(None)) => {}
                Ok(Err(error)) => {
                    tracing::debug!(sequence, %error, "event cannot be read, and is not compared");
                    tally.unreadable += 1;
                }
                Err(_) => {
                    tracing::error!(sequence, "comparing filters on an event panicked");
                    decoder = reader.decoder();
                    tally.unreadable += 1;
                }
            }
            tally.counted = sequence;
            if tally.steps - steps_before >= STEPS_MAX {
                break;
            }
        }
    }

    /// Decides on one event; none if it is of another site or type.
    fn compare(
        &self,
        reader: &EventReader,
        decoder: &mut Decoder,
        message: EventMessage,
        types: &HashSet<&str>,
    ) -> Result<Option<Compared>, DecodeError> {
        let (sequence, stored_ms, body) =
            (message.sequence, message.stored_ms, message.body.clone());
        let attributes = message.attributes()?;
        let decoded = decoder.decode_if_subscribed(attributes, body, sequence, |routing_key| {
            types.contains(routing_key.event_type)
        })?;
        let routing_key = decoded.routing_key();
        if !decoded.is_body_decoded() || routing_key.cloud_id != self.site.as_str() {
            return Ok(None);
        }
        let decide = |subscription: &Subscription| {
            reader.matcher().decide_again(subscription, (routing_key, &*decoder), stored_ms)
        };
        let (filter, shadow) = (decide(&self.filter), decide(&self.shadow));
        let envelope = decoded.into_event().envelope;
        Ok(Some(Compared {
            sequence,
            stored_ms,
            event_type: envelope.event_type.to_string(),
            filter,
            shadow,
        }))
    }
}
