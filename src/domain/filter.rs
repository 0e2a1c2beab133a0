//! Filters that fail: what the app chose to happen, and the error that its handler receives.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the router does with an event whose filter could not be evaluated.
///
/// **Source:** Forge trigger module, `filter.onError`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OnError {
    /// Not delivered, not logged.
    Ignore,
    /// Not delivered, logged.
    #[default]
    IgnoreAndLog,
    /// Delivered with the error, not logged.
    Receive,
    /// Delivered with the error, logged.
    ReceiveAndLog,
}

impl OnError {
    /// Returns whether the event is delivered although its filter failed.
    #[must_use]
    pub fn delivers(self) -> bool {
        matches!(self, Self::Receive | Self::ReceiveAndLog)
    }

    /// Returns whether the failure is written to the log.
    #[must_use]
    pub fn logs(self) -> bool {
        matches!(self, Self::IgnoreAndLog | Self::ReceiveAndLog)
    }
}

/// Why a filter could not be evaluated on an event; sent to handlers that asked for it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FilterError {
    /// `type`, `runtime` or `limit`.
    pub kind: String,
    /// One sentence.
    pub message: String,
    /// Position in the expression, UTF-8 bytes from its start.
    pub offset: u32,
    /// Line, from 1.
    pub line: u32,
    /// Column in Unicode scalar values, from 1.
    pub column: u32,
    /// The failing part of the expression, for operators; neither stored nor sent.
    #[serde(skip)]
    pub part: String,
}

impl FilterError {
    /// Returns what failed and where, for operators.
    #[must_use]
    pub fn describe(&self) -> String {
        match self.part.as_str() {
            "" => self.message.clone(),
            part => format!("{} at `{part}`", self.message),
        }
    }

    /// Returns the error as a JSON object.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| {
            debug_assert!(false, "numbers and strings are JSON: {error}");
            "null".into()
        })
    }
}
