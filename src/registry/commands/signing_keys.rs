//! Signing keys shared by all replicas: generation, rotation and removal, in one stored document.

use std::sync::Arc;

use tracing::info;

use crate::clock;
use crate::jwt::keys::{is_rotation_due, retired, rotate};
use crate::jwt::{KeyRecord, KeyRing, Rotation};
use crate::registry::model::document::{FORMAT, SIGNING_KEYS, SigningKeysRecord};
use crate::registry::registry::{Mutation, RegisterError, Registry};

impl Registry {
    /// Returns the keys as applied here.
    #[must_use]
    pub fn keys(&self) -> &Arc<KeyRing> {
        self.state.keyring()
    }

    /// Generates the first key, rotates keys when due and removes expired ones; called at the start
    /// and periodically. Concurrent calls of several replicas generate one key.
    ///
    /// # Errors
    /// The store is unavailable, or no key can be generated.
    pub async fn maintain_signing_keys(&self) -> Result<(), RegisterError> {
        let life_ms = self.settings.signing_key_life_ms;
        let stored = self.state.key_records();
        let now_ms = clock::now_ms();
        if !is_rotation_due(&stored, life_ms, now_ms) && retired(&stored, now_ms) == 0 {
            return Ok(());
        }
        self.change_signing_keys(|keys, fresh, now_ms| {
            keys.drain(..retired(keys, now_ms));
            if is_rotation_due(keys, life_ms, now_ms) {
                rotate(keys, fresh, Rotation::Gentle, now_ms);
            }
        })
        .await
    }

    /// Generates a new key now.
    ///
    /// # Errors
    /// As [`Registry::maintain_signing_keys`].
    pub async fn rotate_signing_keys(&self, how: Rotation) -> Result<(), RegisterError> {
        self.change_signing_keys(|keys, fresh, now_ms| rotate(keys, fresh, how, now_ms)).await
    }

    async fn change_signing_keys(
        &self,
        change: impl Fn(&mut Vec<KeyRecord>, KeyRecord, i64),
    ) -> Result<(), RegisterError> {
        let made = tokio::task::spawn_blocking(KeyRecord::generate).await;
        let fresh = made.ok().and_then(Result::ok).ok_or(RegisterError::NoKey)?;
        let names = self
            .update_document(SIGNING_KEYS, |current: Option<SigningKeysRecord>| {
                let before = current.unwrap_or_else(|| SigningKeysRecord {
                    format: FORMAT,
                    id: SIGNING_KEYS.to_owned(),
                    keys: Vec::new(),
                });
                let mut record = before.clone();
                change(&mut record.keys, fresh.clone(), clock::now_ms());
                let names: Vec<_> = record.keys.iter().map(|key| key.kid.clone()).collect();
                Ok(match record.keys == before.keys {
                    true => Mutation::Keep(names),
                    false => Mutation::Put(Box::new(record), names),
                })
            })
            .await?;
        info!(keys = names.join(" "), "signing keys changed");
        Ok(())
    }
}
