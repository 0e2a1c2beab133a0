//! Discovery status of an installation, as stored in its record.

use serde::{Deserialize, Serialize};

use crate::domain::UnknownMembers;

/// Discovery status of an installation.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DiscoveryStatus {
    /// Time at which the requested version of the app was stored, milliseconds since the epoch.
    pub app_updated_ms: i64,
    /// Time of the last usable response, milliseconds since the epoch; 0 = none yet.
    pub fetched_ms: i64,
    /// Time of the next request, milliseconds since the epoch.
    pub due_ms: i64,
    /// End of the claim of the replica that sends the request, milliseconds since the epoch; 0 =
    /// none.
    #[serde(rename = "askingUntilMs")]
    pub claimed_until_ms: i64,
    /// Consecutive failed requests.
    pub failures: u32,
    /// Why the last request failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Ignored modules of the last response.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignored: Vec<IgnoredModule>,
    /// Members that this release does not know.
    #[serde(flatten)]
    pub unknown: UnknownMembers,
}

/// A module of a response that is not registered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IgnoredModule {
    /// Its key, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Its type, if it has one.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub module_type: Option<String>,
    /// The violated rule.
    pub rule: IgnoreRule,
    /// The reason, one sentence.
    pub reason: String,
    /// Members that this release does not know.
    #[serde(flatten)]
    pub unknown: UnknownMembers,
}

/// Rules by which modules are ignored; a closed set of metric labels.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IgnoreRule {
    /// A static module of the app has the key.
    StaticKey,
    /// Two modules of the response have the key.
    DuplicateKey,
    /// The response has more modules than an installation may have.
    TooMany,
    /// The app does not declare the type.
    Undeclared,
    /// The module is invalid.
    Invalid,
}

impl IgnoreRule {
    /// Value of the metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::StaticKey => "static_key",
            Self::DuplicateKey => "duplicate_key",
            Self::TooMany => "too_many",
            Self::Undeclared => "undeclared",
            Self::Invalid => "invalid",
        }
    }
}
