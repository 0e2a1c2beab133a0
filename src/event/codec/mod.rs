//! The envelope codec: the header names and values of events, parked records and dead letters.
//!
//! Items: [`names`] lists every header name, [`Attributes`] are read from an incoming message,
//! [`EnvelopeFormat`] writes an [`Envelope`](super::Envelope) to headers and reads it back.
//!
//! Guarantee: these names and spellings are a stored format. A record written by an older version
//! is read by this one and the other way round.
//!
//! Design: `docs/design/sources.md`.

mod attributes;
mod format;
mod headers;
pub mod names;

pub(super) use attributes::AttributeMode;
pub use attributes::{AddressAttributes, Attributes, is_structured};
pub use format::{EnvelopeFormat, event_headers, forwarded_headers};
pub use headers::{
    HeaderList, HeaderLookup, InvalidHeader, decoded, decoded_text, encoded, optional, parsed,
    required,
};

#[cfg(test)]
mod tests;
