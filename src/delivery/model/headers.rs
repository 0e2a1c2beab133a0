//! Headers of requests and of stored messages.

/// Headers to send: lower-case names and their values.
pub type HeaderList = Vec<(&'static str, String)>;
