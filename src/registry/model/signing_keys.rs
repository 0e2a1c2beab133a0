//! The record of the signing keys that all replicas share.

use serde::{Deserialize, Serialize};

use super::document::{Document, Secrets};
use super::encryption::StoredWith;
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
    /// How they are stored.
    #[serde(skip)]
    pub(crate) stored_with: StoredWith,
    /// Members that this release does not know.
    #[serde(flatten)]
    pub(crate) unknown: UnknownMembers,
}

impl Document for SigningKeysRecord {
    const FAMILY: &'static str = "keys";

    fn format(&self) -> u32 {
        self.format
    }

    fn set_format(&mut self, format: u32) {
        self.format = format;
    }

    fn secrets(&mut self) -> Option<Secrets<'_>> {
        let fields = self.keys.iter_mut().map(|key| {
            let path = format!("keys.{}", key.kid);
            (path, key.private_half())
        });
        let fields = fields.collect();
        Some(Secrets { stored_with: &mut self.stored_with, fields })
    }
}
