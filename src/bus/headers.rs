//! Message headers, in and out.
//!
//! Names are compared without regard to case. Values hold printable ASCII; anything else is
//! percent-encoded.
//!
//! **Source:** CloudEvents NATS protocol binding 1.0.3, section 3.1.3.

use async_nats::HeaderMap;

use crate::delivery::Fields;
use crate::event::Headers;

/// The headers of a received message.
#[derive(Debug)]
pub struct MessageHeaders {
    raw: HeaderMap,
    /// Values that were encoded; most messages have none.
    decoded: Vec<(Box<str>, String)>,
}

impl MessageHeaders {
    /// Takes over the headers of a message, decoding values once.
    #[must_use]
    pub fn new(raw: Option<HeaderMap>) -> Self {
        let raw = raw.unwrap_or_default();
        let mut decoded = Vec::new();
        for (name, values) in raw.iter() {
            if let Some(value) = values.first().and_then(|value| decode(value.as_str())) {
                let name: &str = name.as_ref();
                decoded.push((name.into(), value));
            }
        }
        Self { raw, decoded }
    }
}

impl Headers for MessageHeaders {
    fn get(&self, name: &str) -> Option<&str> {
        let encoded = self.decoded.iter().find(|(at, _)| at.eq_ignore_ascii_case(name));
        if let Some((_, value)) = encoded {
            return Some(value);
        }
        let is_it = |at: &str| at.eq_ignore_ascii_case(name);
        let (_, values) = self.raw.iter().find(|(at, _)| is_it(at.as_ref()))?;
        values.first().map(async_nats::HeaderValue::as_str)
    }
}

/// Writes headers, encoding values.
#[must_use]
pub fn write(fields: &Fields) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.insert(*name, encode(value).as_str());
    }
    headers
}

/// Percent-encodes what a header value must not hold as it is.
pub(super) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'"' | b'%' => push_encoded(&mut out, byte),
            0x21..=0x7e => out.push(char::from(byte)),
            _ => push_encoded(&mut out, byte),
        }
    }
    out
}

fn push_encoded(out: &mut String, byte: u8) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or('0');
    out.push('%');
    out.push(digit(byte >> 4));
    out.push(digit(byte & 15));
}

/// Undoes [`encode`]; none if there is nothing to undo or the result would be no text.
fn decode(text: &str) -> Option<String> {
    if !text.contains('%') {
        return None;
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        match (byte, after) {
            (b'%', [high, low, after @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                out.push(hex(*high)? << 4 | hex(*low)?);
                rest = after;
            }
            _ => {
                out.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8(out).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
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
    fn names_are_found_whatever_their_case() {
        let headers = headers(&[("CE-Id", "e1"), ("ce-id2", "x")]);
        assert_eq!(headers.get("ce-id"), Some("e1"));
        assert_eq!(headers.get("ce-type"), None);
    }

    #[test]
    fn values_are_decoded_once() {
        let headers =
            headers(&[("ce-subject", "caf%C3%A9%20%2541"), ("ce-id", "50%"), ("x", "%zz")]);
        assert_eq!(headers.get("ce-subject"), Some("café %41"));
        assert_eq!(headers.get("ce-id"), Some("50%"));
        assert_eq!(headers.get("X"), Some("%zz"));
    }

    #[test]
    fn what_is_written_reads_back() {
        let text = "a \"b\" 100% é\u{1F600}\r\nx: y";
        let written = write(&vec![("ce-subject", text.to_owned())]);
        let encoded = written.get("ce-subject").unwrap().as_str();
        assert!(encoded.bytes().all(|b| (0x21..=0x7e).contains(&b)), "{encoded}");
        assert_eq!(MessageHeaders::new(Some(written)).get("ce-subject"), Some(text));
    }

    #[test]
    fn bytes_that_are_no_text_stay_encoded() {
        assert_eq!(headers(&[("a", "%ff")]).get("a"), Some("%ff"));
    }
}
