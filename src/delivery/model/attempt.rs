//! Outcome of an attempt and the next step that follows from it. No I/O, no clock.

use std::borrow::Cow;

use jiff::Timestamp;

use super::evidence::AttemptEvidence;
use super::outcome::DeadLetterReason;
use super::retry_request::{RequestedDelay, RetryRequest, parse_retry_after};
use crate::domain::RetryProfile;

/// Transport of an attempt; a closed set of metric labels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// A request over HTTP.
    Http,
    /// A request over the broker.
    Nats,
}

/// Class of one attempt; a closed set of metric labels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttemptClass {
    /// 2xx, or a reply of a function.
    Success,
    /// 3xx; redirects are never followed.
    Redirect,
    /// 4xx other than 410 and 429.
    ClientError,
    /// HTTP 410: the endpoint was removed for good.
    Gone,
    /// 429.
    TooManyRequests,
    /// 5xx.
    ServerError,
    /// No complete response before the deadline.
    Timeout,
    /// No connection, or the function's subject has no subscriber.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// The host name did not resolve.
    Dns,
    /// The egress guard rejected the address.
    Blocked,
    /// The response is not HTTP.
    Protocol,
    /// The body is larger than allowed.
    TooLarge,
    /// This machine had no descriptor, port or buffer for a connection; no attempt was made.
    Local,
    /// Anything else.
    Other,
}

impl AttemptClass {
    /// All classes.
    pub const ALL: [Self; 15] = [
        Self::Success,
        Self::Redirect,
        Self::ClientError,
        Self::Gone,
        Self::TooManyRequests,
        Self::ServerError,
        Self::Timeout,
        Self::Connect,
        Self::Tls,
        Self::Dns,
        Self::Blocked,
        Self::Protocol,
        Self::TooLarge,
        Self::Local,
        Self::Other,
    ];

    /// Returns the metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Success => "2xx",
            Self::Redirect => "3xx",
            Self::ClientError => "4xx",
            Self::Gone => "410",
            Self::TooManyRequests => "429",
            Self::ServerError => "5xx",
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Dns => "dns",
            Self::Blocked => "blocked",
            Self::Protocol => "protocol",
            Self::TooLarge => "too_large",
            Self::Local => "local",
            Self::Other => "other",
        }
    }

    /// Returns who caused a failure, as metric label.
    #[must_use]
    pub fn blame(self) -> &'static str {
        match self {
            Self::Success => "none",
            Self::Connect | Self::Tls | Self::Dns => "network",
            Self::Blocked | Self::TooLarge => "policy",
            Self::Local | Self::Other => "router",
            _ => "handler",
        }
    }

    /// Returns whether a handler was attempted, or at least its name or address.
    #[must_use]
    pub fn is_attempt(self) -> bool {
        !matches!(self, Self::Local | Self::TooLarge | Self::Blocked | Self::Other)
    }

    /// Returns the `retryReason` that the vendor's remotes expect.
    #[must_use]
    pub fn retry_reason(self) -> &'static str {
        match self {
            Self::Timeout => "TIMEOUT_ERROR",
            _ => "INVALID_REMOTE_INVOCATION_ERROR",
        }
    }
}

/// What follows from an attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NextStep {
    /// The delivery is done.
    Done,
    /// Attempt the delivery later: no attempt was made.
    Wait,
    /// Attempt the delivery again.
    Retry {
        /// The delay requested by the handler.
        requested: Option<RequestedDelay>,
        /// `retryContext.retryReason` of the next attempt.
        reason: Box<str>,
        /// `retryContext.retryData` of the next attempt, JSON.
        data: Option<Box<str>>,
    },
    /// Dead-letter the delivery: a retry cannot succeed.
    DeadLetter(DeadLetterReason),
}

/// Outcome of one attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttemptOutcome {
    /// Its class.
    pub class: AttemptClass,
    /// One sentence for operators; empty on success.
    pub detail: Cow<'static, str>,
    /// What follows from it.
    pub next: NextStep,
    /// What was observed; none if there was nothing to observe.
    pub evidence: Option<Box<AttemptEvidence>>,
}

impl AttemptOutcome {
    /// Creates the outcome of an attempt without a response.
    #[must_use]
    pub fn failed(class: AttemptClass, detail: impl Into<Cow<'static, str>>) -> Self {
        let next = match class {
            AttemptClass::Blocked => NextStep::DeadLetter(DeadLetterReason::BlockedAddress),
            AttemptClass::TooLarge => NextStep::DeadLetter(DeadLetterReason::TooLarge),
            AttemptClass::Local => NextStep::Wait,
            _ => {
                NextStep::Retry { requested: None, reason: class.retry_reason().into(), data: None }
            }
        };
        Self { class, detail: detail.into(), next, evidence: None }
    }

    /// Classifies an HTTP response.
    #[must_use]
    pub fn of_http(status: u16, retry_after: Option<&str>, body: &[u8], now: Timestamp) -> Self {
        let mut outcome = Self::of_status(status, retry_after, body, now);
        outcome.observed().status = Some(status);
        outcome
    }

    fn of_status(status: u16, retry_after: Option<&str>, body: &[u8], now: Timestamp) -> Self {
        match status {
            200..300 => Self::of_reply(body),
            410 => Self::dead(AttemptClass::Gone, status, DeadLetterReason::Gone),
            408 | 409 | 425 => Self::retried(AttemptClass::ClientError, status, retry_after, now),
            429 => Self::retried(AttemptClass::TooManyRequests, status, retry_after, now),
            500.. => Self::retried(AttemptClass::ServerError, status, retry_after, now),
            400..500 => {
                Self::dead(AttemptClass::ClientError, status, DeadLetterReason::Rejected(status))
            }
            300..400 => {
                Self::dead(AttemptClass::Redirect, status, DeadLetterReason::Rejected(status))
            }
            _ => Self::failed(AttemptClass::Protocol, format!("unexpected status {status}")),
        }
    }

    /// Classifies a successful response: its body may still request a retry.
    #[must_use]
    pub fn of_reply(body: &[u8]) -> Self {
        let next = match RetryRequest::parse(body) {
            Some(RetryRequest { requested, reason, data }) => {
                NextStep::Retry { requested: Some(requested), reason, data }
            }
            None => NextStep::Done,
        };
        let detail = if next == NextStep::Done { "" } else { "the handler asked for a retry" };
        Self { class: AttemptClass::Success, detail: detail.into(), next, evidence: None }
    }

    /// Applies a retry profile: the vendor's remotes retry whatever is not a success.
    #[must_use]
    pub fn for_profile(self, profile: RetryProfile) -> Self {
        let reason = match (&self.next, profile) {
            (NextStep::DeadLetter(DeadLetterReason::Rejected(401)), RetryProfile::ForgeRemote) => {
                "INVALID_FORGE_INVOCATION_TOKEN"
            }
            (
                NextStep::DeadLetter(DeadLetterReason::Rejected(_) | DeadLetterReason::Gone),
                RetryProfile::ForgeRemote,
            ) => self.class.retry_reason(),
            _ => return self,
        };
        Self {
            next: NextStep::Retry { requested: None, reason: reason.into(), data: None },
            ..self
        }
    }

    /// Returns what was observed, to add to it.
    pub fn observed(&mut self) -> &mut AttemptEvidence {
        self.evidence.get_or_insert_default()
    }

    /// Returns whether the handler accepted the delivery.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.next == NextStep::Done
    }

    fn dead(class: AttemptClass, status: u16, reason: DeadLetterReason) -> Self {
        Self {
            class,
            detail: format!("status {status}").into(),
            next: NextStep::DeadLetter(reason),
            evidence: None,
        }
    }

    fn retried(
        class: AttemptClass,
        status: u16,
        retry_after: Option<&str>,
        now: Timestamp,
    ) -> Self {
        let requested = retry_after.and_then(|text| parse_retry_after(text, now));
        let next = NextStep::Retry {
            requested: requested.map(RequestedDelay::RetryAfter),
            reason: class.retry_reason().into(),
            data: None,
        };
        Self { class, detail: format!("status {status}").into(), next, evidence: None }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::retry_request::RETRY_DATA_BYTES_MAX;
    use super::RequestedDelay::InBody;
    use super::*;

    fn http(status: u16) -> AttemptOutcome {
        AttemptOutcome::of_http(status, None, b"", Timestamp::UNIX_EPOCH)
    }

    fn requested(text: &str) -> Option<RequestedDelay> {
        let now = "2026-11-21T08:00:00Z".parse().unwrap();
        match AttemptOutcome::of_http(503, Some(text), b"", now).next {
            NextStep::Retry { requested, .. } => requested,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_2xx_is_success() {
        for status in [200, 201, 202, 204, 299] {
            assert!(http(status).is_done(), "{status}");
        }
    }

    #[test]
    fn overload_and_server_errors_are_retried() {
        for status in [408, 409, 425, 429, 500, 502, 503, 504, 599] {
            assert!(matches!(http(status).next, NextStep::Retry { .. }), "{status}");
        }
        for class in [
            AttemptClass::Connect,
            AttemptClass::Tls,
            AttemptClass::Dns,
            AttemptClass::Timeout,
            AttemptClass::Protocol,
        ] {
            assert!(
                matches!(AttemptOutcome::failed(class, "").next, NextStep::Retry { .. }),
                "{class:?}"
            );
        }
    }

    #[test]
    fn other_4xx_and_redirects_are_dead_lettered_at_once() {
        for status in [301, 302, 308, 400, 401, 403, 404, 405, 413, 422, 451] {
            let NextStep::DeadLetter(reason) = http(status).next else {
                panic!("{status} was retried")
            };
            assert_eq!(reason.text(), format!("rejected_{status}"));
        }
        assert_eq!(http(410).next, NextStep::DeadLetter(DeadLetterReason::Gone));
    }

    #[test]
    fn forbidden_address_and_oversized_body_are_dead_lettered_at_once() {
        let next = |class| AttemptOutcome::failed(class, "").next;
        assert_eq!(
            next(AttemptClass::Blocked),
            NextStep::DeadLetter(DeadLetterReason::BlockedAddress)
        );
        assert_eq!(next(AttemptClass::TooLarge), NextStep::DeadLetter(DeadLetterReason::TooLarge));
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_date() {
        let secs = |n| Some(RequestedDelay::RetryAfter(Duration::from_secs(n)));
        assert_eq!(requested("120"), secs(120));
        assert_eq!(requested("Sat, 21 Nov 2026 08:01:30 GMT"), secs(90));
        assert_eq!(requested("Sat, 21 Nov 2026 07:00:00 GMT"), secs(0));
        assert_eq!(requested("soon"), None);
        assert_eq!(requested("-5"), None);
    }

    #[test]
    fn response_can_request_a_retry() {
        let body = br#"{"_retry":true,"retryOptions":{"retryAfter":30,"retryReason":"BUSY","retryData":{"n":1}}}"#;
        let NextStep::Retry { requested, reason, data } = AttemptOutcome::of_reply(body).next
        else {
            panic!("not retried")
        };
        let expected = RequestedDelay::InBody { delay: Duration::from_secs(30), is_exact: true };
        assert_eq!(requested, Some(expected));
        assert_eq!((&*reason, data.as_deref()), ("BUSY", Some(r#"{"n":1}"#)));
    }

    #[test]
    fn requested_delay_and_data_are_bounded() {
        let delay = |after: &str| {
            let body = format!(r#"{{"_retry":true,"retryOptions":{{{after}}}}}"#);
            match AttemptOutcome::of_reply(body.as_bytes()).next {
                NextStep::Retry { requested: Some(InBody { delay, is_exact }), .. } => {
                    (delay.as_secs(), is_exact)
                }
                other => panic!("{other:?}"),
            }
        };
        for (after, expected) in [
            (r#""retryAfter":0"#, (1, false)),
            (r#""retryAfter":-3"#, (1, false)),
            (r#""retryAfter":1e9"#, (900, false)),
            (r#""retryAfter":900"#, (900, true)),
            ("", (1, false)),
        ] {
            assert_eq!(delay(after), expected, "{after}");
        }
        let big = format!(
            r#"{{"_retry":true,"retryOptions":{{"retryData":"{}"}}}}"#,
            "x".repeat(RETRY_DATA_BYTES_MAX)
        );
        assert!(matches!(
            AttemptOutcome::of_reply(big.as_bytes()).next,
            NextStep::Retry { data: None, .. }
        ));
    }

    /// Outcome of a response as the recorded cases write it.
    fn recorded(response: &serde_json::Value) -> AttemptOutcome {
        match (response.as_u64(), response.as_str()) {
            (Some(status), _) => http(u16::try_from(status).unwrap()),
            (_, Some("timeout")) => AttemptOutcome::failed(AttemptClass::Timeout, ""),
            (_, Some("connect")) => AttemptOutcome::failed(AttemptClass::Connect, ""),
            (_, Some("dns")) => AttemptOutcome::failed(AttemptClass::Dns, ""),
            _ => AttemptOutcome::of_reply(response.to_string().as_bytes()),
        }
    }

    #[test]
    fn responses_are_classified_as_recorded_for_each_profile() {
        let text = include_str!("../../../tests/cases/registration/delivery-classification.json");
        let document: serde_json::Value = serde_json::from_str(text).unwrap();
        for case in document["cases"].as_array().unwrap() {
            let profile: RetryProfile = serde_json::from_value(case["profile"].clone()).unwrap();
            let outcome = recorded(&case["answer"]).for_profile(profile);
            let class = match &outcome.next {
                NextStep::Done => "ok",
                NextStep::Wait => "wait",
                NextStep::Retry { .. } => "retry",
                NextStep::DeadLetter(_) => "permanent",
            };
            assert_eq!(class, case["class"], "{case}");
            if let NextStep::Retry { reason, requested, .. } = &outcome.next {
                assert!(case["retryReason"].as_str().is_none_or(|r| *r == **reason), "{case}");
                if let Some(seconds) = case["delay_s"].as_u64() {
                    let Some(InBody { delay, .. }) = *requested else { panic!("{case}") };
                    assert_eq!(delay, Duration::from_secs(seconds), "{case}");
                }
            }
        }
    }

    #[test]
    fn any_other_response_body_is_plain_success() {
        for body in [&b""[..], b"ok", b"[]", b"{}", br#"{"_retry":false}"#, b"\xff"] {
            assert!(AttemptOutcome::of_reply(body).is_done(), "{body:?}");
        }
    }
}
