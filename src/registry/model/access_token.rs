//! Records of access tokens: who besides the owner of the configuration may call the operator API, and how much
//! of it.

use serde::{Deserialize, Serialize};

use super::document::Document;
use crate::domain::{InstallationId, Scope, UnknownMembers};

/// Most access tokens.
pub const ACCESS_TOKENS_MAX: usize = 1_000;
/// Requests per second of a token, unless it says another number.
pub const ACCESS_RATE_DEFAULT: u32 = 50;
/// Most requests per second of a token.
pub const ACCESS_RATE_MAX: u32 = 1_000;

/// An access token of the operator API.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessTokenRecord {
    /// Format version of the document.
    pub format: u32,
    /// Its id, the name of its caller.
    pub id: String,
    /// SHA-256 of the token, in hex.
    pub token_hash: String,
    /// What its caller may do.
    pub scope: Scope,
    /// The only installation whose data its caller sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installation: Option<BoundInstallation>,
    /// When it ends, milliseconds since the epoch; none = never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<i64>,
    /// Requests per second that it may send to one replica.
    pub requests_per_second: u32,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// When it was created, milliseconds since the epoch.
    pub created_ms: i64,
    /// When it was changed or rotated last, milliseconds since the epoch.
    pub updated_ms: i64,
    /// Members that this release does not know.
    #[serde(flatten)]
    pub unknown: UnknownMembers,
}

/// The installation of an access token.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BoundInstallation {
    /// Its id.
    pub id: InstallationId,
    /// When it was created, milliseconds since the epoch: the token is not one of a later installation with this id.
    pub created_ms: i64,
    /// Members that this release does not know.
    #[serde(flatten)]
    pub unknown: UnknownMembers,
}

impl AccessTokenRecord {
    /// Whether it has ended at a time.
    #[must_use]
    pub fn has_expired(&self, now_ms: i64) -> bool {
        self.expires_ms.is_some_and(|expires_ms| now_ms >= expires_ms)
    }

    /// Returns the id of the installation that it is bound to.
    #[must_use]
    pub fn installation_id(&self) -> Option<&InstallationId> {
        self.installation.as_ref().map(|bound| &bound.id)
    }
}

impl Document for AccessTokenRecord {
    const FAMILY: &'static str = "token";

    fn format(&self) -> u32 {
        self.format
    }

    fn set_format(&mut self, format: u32) {
        self.format = format;
    }
}
