//! Exit codes of the command line.

/// Exit code: a negative result (invalid, false, failed cases).
pub const EXIT_NEGATIVE: u8 = 1;
/// Exit code: flags, files or configuration are wrong.
pub const EXIT_USAGE: u8 = 2;
/// Exit code: the router cannot be reached.
pub const EXIT_UNREACHABLE: u8 = 3;
/// Exit code: the router rejected the request.
pub const EXIT_REFUSED: u8 = 4;
/// Exit code: internal error.
pub const EXIT_INTERNAL: u8 = 5;

/// An error in flags, files or settings.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);
