//! The response: which events of a request were stored, and why others were not.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use serde::Serialize;

use crate::api::error::{ApiError, publish_code, publish_retry};
use crate::domain::CloudId;
use crate::event::{DecodeError, PublishError, Published};
use crate::registry::Problem;

/// Rejected lines listed in a response; further ones are only counted.
pub(super) const REJECTED_LISTED_MAX: usize = 1000;
/// Sequences listed in a response; `accepted` and `duplicates` count all.
pub(super) const SEQUENCES_LISTED_MAX: usize = 10_000;

/// Why a line was not stored.
pub(super) struct LineError {
    /// Site of the event, if the line names one.
    pub(super) site: Option<CloudId>,
    pub(super) code: &'static str,
    pub(super) message: String,
    /// For a line that can be sent again unchanged.
    pub(super) retry_after_s: Option<u64>,
    /// Whether the broker did not confirm it in time.
    pub(super) is_unconfirmed: bool,
}

impl LineError {
    /// Returns the error of a line that is not an event.
    pub(super) fn invalid(code: &'static str, message: String) -> Self {
        Self { site: None, code, message, retry_after_s: None, is_unconfirmed: false }
    }
}

impl From<DecodeError> for LineError {
    fn from(error: DecodeError) -> Self {
        Self::invalid(error.code(), error.to_string())
    }
}

impl From<PublishError> for LineError {
    fn from(error: PublishError) -> Self {
        let retry_after_s = publish_retry(&error).map(|delay| delay.as_secs());
        let is_unconfirmed = matches!(error, PublishError::Unconfirmed { .. });
        let invalid = Self::invalid(publish_code(&error), error.to_string());
        Self { retry_after_s, is_unconfirmed, ..invalid }
    }
}

/// Which events of a request were stored.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UploadReport {
    /// Events stored now.
    accepted: u64,
    /// Events whose id the stream already held.
    duplicates: u64,
    /// Stream sequence of each of the first 10,000 stored events, duplicates included, in the order sent.
    sequences: Vec<u64>,
    /// The first 1,000 lines that were not stored.
    rejected: Vec<RejectedLine>,
    /// All lines that were not stored.
    rejected_total: u64,
    /// When to send the file again, if the broker did not store some of its lines and may do so later.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_s: Option<u64>,
    /// The first line that was not read, because the broker did not confirm an earlier one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unread_from_line: Option<u64>,
    /// Why no app can receive some of the stored events.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) hints: Vec<Problem>,
    /// Code and message of the first line that can be sent again.
    #[serde(skip)]
    first_refused: Option<(&'static str, String)>,
}

#[derive(Debug, Serialize)]
struct RejectedLine {
    line: u64,
    code: &'static str,
    message: String,
}

impl UploadReport {
    pub(super) fn record(&mut self, line: u64, outcome: Result<Published, LineError>) {
        match outcome {
            Ok(published) => self.count(published),
            Err(LineError { code, message, retry_after_s, .. }) => {
                self.rejected_total += 1;
                if retry_after_s.is_some() && self.first_refused.is_none() {
                    self.first_refused = Some((code, message.clone()));
                }
                self.retry_after_s = self.retry_after_s.max(retry_after_s);
                if self.rejected.len() < REJECTED_LISTED_MAX {
                    self.rejected.push(RejectedLine { line, code, message });
                }
            }
        }
    }

    /// Returns the report, or the first refusal if nothing was stored and lines can be sent again.
    pub(super) fn unless_refused(mut self) -> Result<Self, ApiError> {
        let is_empty = self.accepted == 0 && self.duplicates == 0;
        match (is_empty, self.retry_after_s, self.first_refused.take()) {
            (true, Some(retry_after_s), Some((code, message))) => {
                Err(ApiError::RefusedFile { code, message, retry_after_s })
            }
            _ => Ok(self),
        }
    }

    pub(super) fn respond(self) -> Response {
        let retry_after = self.retry_after_s.map(|seconds| (header::RETRY_AFTER, seconds));
        let headers = AppendHeaders(retry_after.map(|(name, s)| (name, s.to_string())));
        (StatusCode::ACCEPTED, headers, Json(self)).into_response()
    }

    pub(super) fn count(&mut self, published: Published) {
        if self.sequences.len() < SEQUENCES_LISTED_MAX {
            self.sequences.push(published.sequence);
        }
        if published.duplicate {
            self.duplicates += 1;
        } else {
            self.accepted += 1;
        }
    }
}
