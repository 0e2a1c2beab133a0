//! The record of the signing keys that all replicas share.

use serde::{Deserialize, Serialize};

use super::document::Document;
use crate::domain::UnknownMembers;
use crate::jwt::KeyRecord;

/// Id of the single document of signing keys.
pub(crate) const SIGNING_KEYS: &str = "signing";

/// The signing keys of all replicas.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SigningKeysRecord {
    /// Format version of the document.
    pub(crate) format: u32,
    /// [`SIGNING_KEYS`].
    pub(crate) id: String,
    /// In signing order.
    pub(crate) keys: Vec<KeyRecord>,
    /// Members that this release does not know.
    #[serde(flatten)]
    pub(crate) unknown: UnknownMembers,
}

impl Document for SigningKeysRecord {
    const FAMILY: &'static str = "keys";

    fn format(&self) -> u32 {
        self.format
    }
}
