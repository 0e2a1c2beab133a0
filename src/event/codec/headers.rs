//! Header values: reading and writing them, percent-encoded.
//!
//! **Source:** CloudEvents NATS protocol binding 1.0.3, section 3.1.3: space, `"`, `%` and all
//! outside U+0021..U+007E are percent-encoded UTF-8.

use std::borrow::Cow;
use std::str::FromStr;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use thiserror::Error;

/// The ASCII characters that are encoded in a header value.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// A list of headers to send: lower-case names with values that are not encoded yet.
pub type HeaderList = Vec<(&'static str, String)>;

/// Read access to message headers. Names are compared case-insensitively.
pub trait HeaderLookup {
    /// Returns the first value of the header `name` (lower case), without decoding it.
    fn get(&self, name: &str) -> Option<&str>;
}

/// A header is missing, does not decode to UTF-8 text or has an invalid value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("no valid header `{0}`")]
pub struct InvalidHeader(pub &'static str);

/// Percent-encodes a header value.
#[must_use]
pub fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// Returns a header value, percent-decoded once; `None` if it is missing or empty.
///
/// # Errors
/// The value does not decode to UTF-8 text.
pub fn decoded<'h>(
    headers: &'h impl HeaderLookup,
    name: &'static str,
) -> Result<Option<Cow<'h, str>>, InvalidHeader> {
    let Some(raw) = headers.get(name).filter(|raw| !raw.is_empty()) else { return Ok(None) };
    if !raw.contains('%') {
        return Ok(Some(Cow::Borrowed(raw)));
    }
    percent_decode_str(raw).decode_utf8().map(Some).map_err(|_| InvalidHeader(name))
}

/// Returns a text percent-decoded, or as it is if it does not decode.
#[must_use]
pub fn decoded_text(text: &str) -> String {
    percent_decode_str(text).decode_utf8().map_or_else(|_| text.to_owned(), Cow::into_owned)
}

/// Returns a decoded header value.
///
/// # Errors
/// It is missing or does not decode.
pub fn required<'h>(
    headers: &'h impl HeaderLookup,
    name: &'static str,
) -> Result<Cow<'h, str>, InvalidHeader> {
    decoded(headers, name)?.ok_or(InvalidHeader(name))
}

/// Returns an owned decoded header value; `None` if it is missing or empty.
///
/// # Errors
/// It does not decode.
pub fn optional(
    headers: &impl HeaderLookup,
    name: &'static str,
) -> Result<Option<Box<str>>, InvalidHeader> {
    Ok(decoded(headers, name)?.map(Into::into))
}

/// Returns a decoded and parsed header value.
///
/// # Errors
/// It is missing, does not decode or does not parse.
pub fn parsed<T: FromStr>(
    headers: &impl HeaderLookup,
    name: &'static str,
) -> Result<T, InvalidHeader> {
    required(headers, name)?.parse().map_err(|_| InvalidHeader(name))
}
