//! Records of OAuth clients, and the secrets that sign their webhooks.

use serde::{Deserialize, Serialize};

use super::document::Document;
use super::retiring_secret::RetiringSecret;
use super::secret::plaintext;
use crate::domain::{InstallationId, Secret, SigningSecrets, UnknownMembers};

/// An OAuth client of the dynamic webhook API.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientRecord {
    /// Format version of the document.
    pub format: u32,
    /// Its id.
    pub id: String,
    /// SHA-256 of its bearer token, in hex.
    pub token_hash: String,
    /// The user it acts for.
    pub user: String,
    /// The installation it belongs to.
    pub installation: InstallationId,
    /// Members that this release does not know.
    #[serde(flatten)]
    pub unknown: UnknownMembers,
}

impl Document for ClientRecord {
    const FAMILY: &'static str = "client";

    fn format(&self) -> u32 {
        self.format
    }

    fn set_format(&mut self, format: u32) {
        self.format = format;
    }
}

/// An OAuth client with the user that it acts for: the owner of dynamic webhooks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientUser {
    /// Id of the client.
    pub client: String,
    /// The user.
    pub user: String,
}

/// The secret that signs the webhooks of an OAuth client. It is stored in the record of the
/// installation, so that one document has everything that a delivery needs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClientSecret {
    /// Signs webhooks.
    #[serde(with = "plaintext")]
    pub secret: Secret,
    /// Signs again what the receiver rejects, after `secret` replaced it.
    #[serde(rename = "previousSecret", default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<RetiringSecret>,
    /// Members that this release does not know.
    #[serde(flatten)]
    pub unknown: UnknownMembers,
}

impl ClientSecret {
    /// Returns the state after `new` is submitted at `now_ms`; `before` is the state before, if there
    /// is one.
    #[must_use]
    pub fn replaced(before: Option<&Self>, new: &Secret, now_ms: i64) -> Self {
        let Some(before) = before else {
            let unknown = UnknownMembers::default();
            return Self { secret: new.clone(), previous: None, unknown };
        };
        let retiring = before.previous.as_ref();
        let previous = RetiringSecret::after(&before.secret, retiring, new, now_ms);
        Self { secret: new.clone(), previous, unknown: before.unknown.clone() }
    }

    /// Returns the secrets that sign webhooks.
    #[must_use]
    pub fn secrets(&self) -> SigningSecrets {
        let previous = self.previous.as_ref();
        let previous = previous.map(|previous| (previous.secret.clone(), previous.until_ms));
        SigningSecrets { current: self.secret.clone(), previous }
    }
}
