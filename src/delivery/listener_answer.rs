//! The answer of a listening client to a delivery, as it is sent over the broker.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What became of a delivery at the handler of a client.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum ListenerAnswer {
    /// The handler responded.
    Response {
        /// Its status.
        status: u16,
        /// Begin of its body.
        body: String,
    },
    /// The handler did not respond.
    NoResponse {
        /// Why, in a few words.
        reason: String,
    },
    /// The client has too many unanswered deliveries.
    Busy,
    /// The client disconnected.
    Disconnected,
}

impl ListenerAnswer {
    /// Longest part of a response that is returned, in bytes.
    pub const BYTES_MAX: usize = 4096;

    /// Parses an answer; none if it is malformed.
    #[must_use]
    pub fn read(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    /// Returns the answer as text.
    #[must_use]
    pub fn write(&self) -> Bytes {
        match serde_json::to_vec(self) {
            Ok(text) => text.into(),
            Err(error) => {
                debug_assert!(false, "an answer is JSON: {error}");
                Bytes::new()
            }
        }
    }
}
