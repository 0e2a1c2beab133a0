//! Sample events from a file or a request, for trying filters.

use bytes::Bytes;
use serde_json::Value;

use super::codec::{AddressAttributes, Attributes, HeaderLookup};
use super::decode::Decoder;
use super::decode_error::DecodeError;
use super::envelope::Event;
use super::view::EventView;

/// Maximum sample size in bytes; the router's default.
const SAMPLE_BYTES_MAX: usize = 1 << 20;

/// A decoded sample event.
#[derive(Debug)]
pub struct Sample {
    decoder: Decoder,
    event: Event,
}

impl Sample {
    /// Parses an event, or the `data` of an envelope around it.
    ///
    /// # Errors
    /// It is not an event.
    pub fn read(mut event: Value) -> Result<Self, DecodeError> {
        let is_envelope = event.get("headers").is_some() || event.get("subject").is_some();
        if is_envelope && let Some(data) = event.get_mut("data") {
            event = data.take();
        }
        let event_type = event.get("eventType").and_then(Value::as_str).unwrap_or("event");
        let event_type = event_type.to_owned();
        let address = AddressAttributes { cloud_id: Some("site"), event_type: Some(&event_type) };
        let body: Bytes = event.to_string().into();
        let mut decoder = Decoder::new(SAMPLE_BYTES_MAX, true);
        let attributes = Attributes::read(&NoHeaders, address)?;
        let event = decoder.decode(attributes, body, 0)?;
        Ok(Self { decoder, event })
    }

    /// Returns the event with its envelope. A body without a type gets the type `event`.
    #[must_use]
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// Returns the decoder that holds the event.
    #[must_use]
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// Returns the event as filters see it.
    #[must_use]
    pub fn view(&self) -> EventView<'_> {
        self.decoder.view(self.decoder.says_self_generated())
    }
}

struct NoHeaders;

impl HeaderLookup for NoHeaders {
    fn get(&self, _name: &str) -> Option<&str> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn samples_are_events_of_any_type_or_envelopes_around_them() {
        for event in [
            json!({"eventType": "avi:jira:created:issue", "issue": {}}),
            json!({"issue": {}}),
            json!({"subject": "x", "headers": {}, "data": {"eventType": "a", "issue": {}}}),
        ] {
            assert!(Sample::read(event.clone()).is_ok(), "{event}");
        }
        assert!(Sample::read(json!([1])).is_err());
    }
}
