//! Signing keys shared by all replicas: generation, rotation and removal, in one stored document.

use tracing::info;

use super::context::Context;
use crate::clock;
use crate::domain::UnknownMembers;
use crate::jwt::keys::{self, is_rotation_due, retired};
use crate::jwt::{KeyRecord, Rotation};
use crate::registry::error::RegisterError;
use crate::registry::model::{FORMAT, SIGNING_KEYS, SigningKeysRecord, StoredWith};
use crate::registry::transaction::Mutation;

/// Commands on the signing keys.
#[derive(Clone, Copy)]
pub struct SigningKeys<'a> {
    context: &'a Context,
}

impl<'a> SigningKeys<'a> {
    pub(crate) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    /// Generates the first key, rotates keys when due and removes expired ones; called at the start
    /// and periodically. Concurrent calls of several replicas generate one key.
    ///
    /// # Errors
    /// The store is unavailable, or no key can be generated.
    pub async fn maintain(self) -> Result<(), RegisterError> {
        let life_ms = self.context.settings.registry.signing_key_life_ms();
        let stored = self.context.state().key_records();
        let now_ms = clock::now_ms();
        if !is_rotation_due(&stored, life_ms, now_ms) && retired(&stored, now_ms) == 0 {
            return Ok(());
        }
        self.change(|keys, fresh, now_ms| {
            keys.drain(..retired(keys, now_ms));
            if is_rotation_due(keys, life_ms, now_ms) {
                keys::rotate(keys, fresh, Rotation::Gentle, now_ms);
            }
        })
        .await
    }

    /// Generates a new key now.
    ///
    /// # Errors
    /// As [`SigningKeys::maintain`].
    pub async fn rotate(self, how: Rotation) -> Result<(), RegisterError> {
        self.change(|keys, fresh, now_ms| keys::rotate(keys, fresh, how, now_ms)).await
    }

    async fn change(
        &self,
        change: impl Fn(&mut Vec<KeyRecord>, KeyRecord, i64),
    ) -> Result<(), RegisterError> {
        let made = tokio::task::spawn_blocking(KeyRecord::generate).await;
        let fresh = made.ok().and_then(Result::ok).ok_or(RegisterError::NoKey)?;
        let names = self
            .context
            .transactions
            .update_document(SIGNING_KEYS, |current: Option<SigningKeysRecord>| {
                let before = current.unwrap_or_else(|| SigningKeysRecord {
                    format: FORMAT,
                    id: SIGNING_KEYS.to_owned(),
                    keys: Vec::new(),
                    stored_with: StoredWith::default(),
                    unknown: UnknownMembers::default(),
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
