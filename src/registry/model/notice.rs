//! Notices and lifecycle callbacks that an app has not received yet, in the record of its installation.
//!
//! A notice is stored by the change that causes it, so none is lost when a router ends, and one
//! replica at a time sends it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::UnknownMembers;

/// A notice that waits.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingNotice {
    /// Its id; repeats keep it.
    pub id: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its data; null if they are taken from the record when it is sent.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
    /// When it was caused, milliseconds since the epoch.
    pub at_ms: i64,
    /// Time of the next attempt, milliseconds since the epoch.
    pub due_ms: i64,
    /// Attempts so far.
    #[serde(default)]
    pub attempts: usize,
    /// Members that this release does not know.
    #[serde(flatten)]
    pub unknown: UnknownMembers,
}
