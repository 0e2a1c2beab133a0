//! Classifies requests that got no response.

use std::error::Error as StdError;

use super::connector::{DialError, local_reason};
use crate::delivery::metrics;
use crate::delivery::model::{AttemptClass, AttemptOutcome};

/// Classifies a failed request by the cause inside its wrapped errors.
pub(super) fn classify(error: &(dyn StdError + 'static)) -> AttemptOutcome {
    for cause in causes(error) {
        if let Some(dial) = cause.downcast_ref::<DialError>() {
            let class = match dial {
                DialError::Dns(_) => AttemptClass::Dns,
                DialError::Blocked(_) => AttemptClass::Blocked,
                DialError::Connect(_) => AttemptClass::Connect,
                DialError::Local { .. } => AttemptClass::Local,
            };
            return AttemptOutcome::failed(class, dial.to_string());
        }
        // A send or a receive needs buffers, too.
        let io = cause.downcast_ref::<std::io::Error>();
        if let Some(reason) = io.and_then(|error| local_reason(error, false)) {
            metrics::local_failure(reason);
            return AttemptOutcome::failed(AttemptClass::Local, cause.to_string());
        }
        if cause.is::<rustls::Error>() {
            return AttemptOutcome::failed(AttemptClass::Tls, cause.to_string());
        }
    }
    let deepest = causes(error).last().unwrap_or(error);
    AttemptOutcome::failed(AttemptClass::Protocol, deepest.to_string())
}

/// Iterates over an error and its causes, outermost first. `source` of an I/O error skips the error
/// that it wraps.
fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| inside(*error))
}

fn inside<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref()) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    fn class_of(errno: Errno) -> AttemptClass {
        classify(&std::io::Error::from_raw_os_error(errno.raw_os_error())).class
    }

    #[test]
    fn want_of_buffers_during_an_exchange_is_ours() {
        for errno in [Errno::NOBUFS, Errno::NOMEM, Errno::MFILE] {
            assert_eq!(class_of(errno), AttemptClass::Local, "{errno}");
        }
        for errno in [Errno::CONNRESET, Errno::PIPE, Errno::TIMEDOUT] {
            assert_eq!(class_of(errno), AttemptClass::Protocol, "{errno}");
        }
    }
}
