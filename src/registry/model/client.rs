//! Records of OAuth clients.

use serde::{Deserialize, Serialize};

use super::document::Document;
use crate::domain::{InstallationId, UnknownMembers};

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
