//! What is observed of an attempt: times of its phases, and the response.

use std::time::Duration;

use super::excerpt::ResponseExcerpt;

/// What was observed of an attempt; every part may be missing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AttemptEvidence {
    /// Status of the response.
    pub status: Option<u16>,
    /// Times of its phases.
    pub phases: Phases,
    /// An excerpt of the response.
    pub response: Option<Box<ResponseExcerpt>>,
}

/// Times of the phases of an attempt. A request over an existing connection has no time of its name, its
/// connection and its handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Phases {
    /// Resolving the name.
    pub dns: Option<Duration>,
    /// Opening the TCP connection.
    pub connect: Option<Duration>,
    /// The TLS handshake.
    pub tls: Option<Duration>,
    /// From the request to the headers of the response.
    pub first_byte: Option<Duration>,
    /// Reading the body of the response.
    pub body: Option<Duration>,
}
