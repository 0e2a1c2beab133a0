//! One call of a router, and the errors that say what was called, how long it took and what to do next.

use std::error::Error as StdError;
use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::header::{HeaderMap, RETRY_AFTER};
use hyper::{Method, StatusCode};
use hyper_util::client::legacy;
use serde_json::Value;
use thiserror::Error;

use crate::clock;

/// Next step when no program has the port.
const NO_ROUTER: &str = "is a router running there? `switchyard dev` starts one; --server or SWITCHYARD_SERVER names another address";
/// Next step when another program has the port.
const OTHER_SERVER: &str =
    "check the address: routers have port 8089 unless configured, brokers 4222";

/// The router cannot be reached, or does not answer.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct Unreachable(String);

impl Unreachable {
    /// Returns the error of a router at an address that is known not to answer.
    #[must_use]
    pub fn new(base: &str, reason: String) -> Self {
        Self(format!("cannot reach {base}: {reason}"))
    }
}

/// The router answered with an error status.
#[derive(Debug, Error)]
#[error("{text}")]
pub struct ErrorStatus {
    /// HTTP status.
    pub status: u16,
    text: String,
}

impl ErrorStatus {
    /// Returns the error of an answer that began well, and ended with the error `said`.
    #[must_use]
    pub fn late(status: u16, said: &Value) -> Self {
        let message = said.get("message").and_then(Value::as_str).unwrap_or("an error");
        Self { status, text: format!("{status}: {message}") }
    }
}

/// A call that was sent.
#[derive(Debug)]
pub(super) struct Call {
    base: String,
    /// Method and path.
    name: String,
    started: Instant,
}

/// Writes method and path.
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Call {
    /// Begins a call of the router at `base`.
    pub(super) fn new(base: &str, method: &Method, path: &str) -> Self {
        let path = path.split('?').next().unwrap_or(path);
        Self { base: base.to_owned(), name: format!("{method} {path}"), started: clock::tick() }
    }

    /// Returns the error of a request that has no answer.
    pub(super) fn failed(&self, error: &legacy::Error) -> Unreachable {
        let (Self { base, name, .. }, reason) = (self, innermost(error));
        Unreachable(match () {
            () if error.is_connect() => {
                format!("cannot reach {base} for {name}: {reason}; {NO_ROUTER}")
            }
            () if is_other_protocol(error) => {
                format!("{base} answers {name}, but not in HTTP; {OTHER_SERVER}")
            }
            () => format!("the connection to {base} ended during {name}: {reason}"),
        })
    }

    /// Returns the error of an answer that ended early.
    pub(super) fn broke_off(&self, error: &(dyn StdError + 'static)) -> Unreachable {
        let (Self { base, name, .. }, waited) = (self, self.waited());
        Unreachable(format!(
            "the answer of {base} to {name} ended early after {waited}: {}",
            innermost(error)
        ))
    }

    /// Returns the error of a call without an answer in time.
    pub(super) fn unanswered(&self, timeout: Duration) -> Unreachable {
        let Self { base, name, .. } = self;
        Unreachable(format!(
            "{base} gave no answer to {name} within {} s; {base}/healthz/ready says whether the router waits for \
             its broker",
            timeout.as_secs()
        ))
    }

    /// Returns the error of an answer with an error status.
    pub(super) fn refused(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> ErrorStatus {
        let Self { base, name, .. } = self;
        let said = serde_json::from_slice::<Value>(body).ok();
        let message = said.as_ref().and_then(|said| said.get("message")).and_then(Value::as_str);
        let mut text = match message {
            Some(message) => format!("{name}: {status}: {message}"),
            None => format!(
                "{name}: {status}, and the answer is not one of a Switchyard router: check the address {base}"
            ),
        };
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let again = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let again =
                again.map(|seconds| format!("; try again in {seconds} s")).unwrap_or_default();
            text.push_str(&format!(
                " ({base} answered after {}{again}; {base}/healthz/ready says what fails)",
                self.waited()
            ));
        }
        ErrorStatus { status: status.as_u16(), text }
    }

    fn waited(&self) -> String {
        format!("{:.1} s", clock::since(self.started).as_secs_f64())
    }
}

/// Whether a server sent something else than HTTP.
fn is_other_protocol(error: &(dyn StdError + 'static)) -> bool {
    match error.downcast_ref::<hyper::Error>() {
        Some(error) if error.is_parse() => true,
        // A server that speaks first, such as a broker.
        Some(error) if error.to_string().contains("unexpected message") => true,
        _ => error.source().is_some_and(is_other_protocol),
    }
}

/// Returns the text of the innermost cause, since outer errors repeat it.
pub(super) fn innermost(error: &dyn StdError) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}
