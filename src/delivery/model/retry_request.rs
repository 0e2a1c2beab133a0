//! Requests of handlers to attempt a delivery again later.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Longest delay that a handler can request in its response body, in seconds.
const REQUESTED_DELAY_S_MAX: f64 = 900.0;
/// Shortest such delay, also without a number.
const REQUESTED_DELAY_S_MIN: f64 = 1.0;
/// Largest `retryData` that is kept for the next attempt, in bytes.
pub(super) const RETRY_DATA_BYTES_MAX: usize = 4096;

/// Parses `Retry-After`: seconds, or a date relative to `now`.
pub(super) fn parse_retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO))
}

/// A retry delay requested by the handler.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestedDelay {
    /// Requested by the header `Retry-After`.
    RetryAfter(Duration),
    /// Requested by a retry request in the response body.
    InBody {
        /// The delay, within the bounds of such requests.
        delay: Duration,
        /// Whether it is the one that the handler wrote.
        is_exact: bool,
    },
}

/// Retry request in the body of a successful response.
pub(super) struct RetryRequest {
    /// Delay until the next attempt.
    pub(super) requested: RequestedDelay,
    /// `retryContext.retryReason` of the next attempt.
    pub(super) reason: Box<str>,
    /// `retryContext.retryData` of the next attempt, JSON.
    pub(super) data: Option<Box<str>>,
}

/// A response body as the vendor's `InvocationError` serialises.
#[derive(Deserialize)]
struct ResponseBody<'a> {
    #[serde(rename = "_retry")]
    retry: bool,
    #[serde(borrow, default, rename = "retryOptions")]
    options: Option<RetryOptions<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct RetryOptions<'a> {
    retry_after: Option<f64>,
    retry_reason: Option<String>,
    #[serde(borrow)]
    retry_data: Option<&'a RawValue>,
}

impl RetryRequest {
    /// Parses a response body; none if it requests no retry.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let response: ResponseBody<'_> = serde_json::from_slice(body).ok()?;
        if !response.retry {
            return None;
        }
        let options = response.options.unwrap_or_default();
        let wanted_s = options.retry_after.unwrap_or_default();
        let delay_s = wanted_s.clamp(REQUESTED_DELAY_S_MIN, REQUESTED_DELAY_S_MAX);
        let reason = options.retry_reason.unwrap_or_else(|| "FUNCTION_RETRY_REQUEST".into());
        let data = options.retry_data.map(RawValue::get);
        Some(Self {
            requested: RequestedDelay::InBody {
                delay: Duration::from_secs_f64(delay_s),
                is_exact: delay_s.total_cmp(&wanted_s).is_eq(),
            },
            reason: reason.into(),
            data: data.filter(|data| data.len() <= RETRY_DATA_BYTES_MAX).map(Into::into),
        })
    }
}
