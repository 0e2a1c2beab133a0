//! Message headers of NATS.
//!
//! Names are compared case-insensitively. Values are printable ASCII; all other bytes are
//! percent-encoded on sending and decoded on reading.
//!
//! **Source:** CloudEvents NATS protocol binding 1.0.3, section 3.1.3.

use async_nats::HeaderMap;

use crate::event::codec::{self, HeaderList, HeaderLookup};

/// When a parked record fires: [`schedule_at`].
pub(super) const SCHEDULE: &str = "Nats-Schedule";
/// Subject of a parked record once it fires; its last token names the app.
pub(super) const SCHEDULE_TARGET: &str = "Nats-Schedule-Target";

/// Subject whose last sequence `Nats-Expected-Last-Subject-Sequence` means, instead of that of the message.
pub(super) const EXPECTED_SEQUENCE_SUBJECT: &str = "Nats-Expected-Last-Subject-Sequence-Subject";

/// Returns the schedule of a record that fires once, at a time.
pub(super) fn schedule_at(time: jiff::Timestamp) -> String {
    format!("@at {time:.3}")
}

/// The headers of a received message; values are not decoded.
#[derive(Debug)]
pub struct MessageHeaders(HeaderMap);

impl MessageHeaders {
    /// Wraps the headers of a message.
    #[must_use]
    pub fn new(headers: Option<HeaderMap>) -> Self {
        Self(headers.unwrap_or_default())
    }
}

impl HeaderLookup for MessageHeaders {
    fn get(&self, name: &str) -> Option<&str> {
        let is_it = |at: &str| at.eq_ignore_ascii_case(name);
        let (_, values) = self.0.iter().find(|(at, _)| is_it(at.as_ref()))?;
        values.first().map(async_nats::HeaderValue::as_str)
    }
}

/// Converts headers to NATS headers and percent-encodes their values.
#[must_use]
pub fn write(headers: &HeaderList) -> HeaderMap {
    let mut written = HeaderMap::new();
    for (name, value) in headers {
        written.insert(*name, codec::encoded(value).as_str());
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> MessageHeaders {
        let mut raw = HeaderMap::new();
        for (name, value) in pairs {
            raw.append(*name, *value);
        }
        MessageHeaders::new(Some(raw))
    }

    #[test]
    fn names_are_compared_case_insensitively() {
        let headers = headers(&[("CE-Id", "e1"), ("ce-id2", "x")]);
        assert_eq!(headers.get("ce-id"), Some("e1"));
        assert_eq!(headers.get("ce-type"), None);
    }

    #[test]
    fn written_values_decode_to_the_same_text() {
        let text = "a \"b\" 100% é\u{1F600}\r\nx: y";
        let written = write(&vec![("ce-subject", text.to_owned())]);
        let encoded = written.get("ce-subject").unwrap().as_str();
        assert!(encoded.bytes().all(|b| (0x21..=0x7e).contains(&b)), "{encoded}");
        let headers = MessageHeaders::new(Some(written));
        assert_eq!(codec::decoded(&headers, "ce-subject").unwrap().as_deref(), Some(text));
    }
}
