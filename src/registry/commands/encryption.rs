//! Encryption of stored documents: its state, and the rewriting of documents that are not encrypted
//! with the key of this replica.

use std::collections::BTreeMap;

use tracing::{info, warn};

use super::context::Context;
use super::rewriting::Rewriting;
use crate::registry::error::RegisterError;
use crate::registry::metrics;
use crate::registry::model::{
    AppRecord, EncryptionKeys, InstallationRecord, KeyId, SIGNING_KEYS, SigningKeysRecord,
    StoredWith,
};
use crate::registry::transaction::{is_outdated, is_rewritable};

/// Documents with secrets, by how they are stored.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EncryptionStatus {
    /// Ids of the keys of this replica, the newest first.
    pub keys: Vec<KeyId>,
    /// The key that this replica writes with; none = in clear.
    pub writes_with: Option<KeyId>,
    /// Documents with a secret in clear.
    pub in_clear: usize,
    /// Documents by key.
    pub with_key: BTreeMap<KeyId, usize>,
    /// Documents that are not encrypted with the newest key of this replica.
    pub outdated: usize,
    /// Documents that this replica cannot decrypt.
    pub unreadable: usize,
    /// The rewriting that runs, or the last one.
    pub rewriting: Rewriting,
}

/// A document that is to be rewritten.
enum Outdated {
    App(String),
    Installation(String),
    SigningKeys,
}

/// Commands on the encryption of stored documents.
#[derive(Clone, Copy)]
pub struct DocumentEncryption<'a> {
    context: &'a Context,
}

impl<'a> DocumentEncryption<'a> {
    pub(crate) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    fn keys(&self) -> &EncryptionKeys {
        &self.context.settings.encryption
    }

    /// Returns how the documents that this replica has applied are stored.
    #[must_use]
    pub fn status(self) -> EncryptionStatus {
        let mut status = EncryptionStatus {
            keys: self.keys().ids().cloned().collect(),
            writes_with: self.keys().writes_with().cloned(),
            rewriting: self.context.rewriting.lock().clone(),
            ..EncryptionStatus::default()
        };
        self.each(|stored, _| {
            status.outdated += usize::from(is_outdated(stored, self.keys()));
            match stored {
                StoredWith::NoSecret | StoredWith::SeveralKeys => {}
                StoredWith::InClear => status.in_clear += 1,
                StoredWith::Key(id) => *status.with_key.entry(id.clone()).or_default() += 1,
            }
        });
        let unreadable = self.context.state().unreadable();
        let missing = unreadable.documents.iter().filter(|one| one.missing_key.is_some());
        status.unreadable = missing.count();
        metrics::outdated_documents(status.outdated);
        status
    }

    /// Calls `visit` with each document that may have a secret.
    fn each(&self, mut visit: impl FnMut(&StoredWith, &dyn Fn() -> Outdated)) {
        let state = self.context.state();
        for app in state.app_ids().into_iter().filter_map(|id| state.app(id.as_str())) {
            let record = &app.record;
            visit(&record.stored_with, &|| Outdated::App(record.id.to_string()));
        }
        let installations = state.installation_ids().into_iter();
        for known in installations.filter_map(|id| state.installation(id.as_str())) {
            let record = &known.record;
            visit(&record.stored_with, &|| Outdated::Installation(record.id.to_string()));
        }
        visit(&state.keys_stored_with(), &|| Outdated::SigningKeys);
    }

    /// Rewrites the documents that are not encrypted with the key of this replica, one after the
    /// other. It may be interrupted and repeated, and run on several replicas at once; a second call
    /// on this replica returns at once.
    pub async fn rewrite(self) {
        let mut outdated = Vec::new();
        self.each(|stored, name| {
            if is_rewritable(stored, self.keys()) {
                outdated.push(name());
            }
        });
        if outdated.is_empty() {
            return;
        }
        if !self.context.rewriting.begin(outdated.len()) {
            return;
        }
        let total = outdated.len();
        for document in outdated {
            let rewritten = self.rewrite_one(&document).await;
            let mut progress = self.context.rewriting.lock();
            progress.done += 1;
            if let Err(error) = rewritten {
                progress.failed += 1;
                progress.error = Some(error.to_string());
                warn!(%error, "document not encrypted again");
            }
        }
        let outdated = self.status().outdated;
        let mut progress = self.context.rewriting.lock();
        progress.is_running = false;
        let key = self.keys().writes_with().map(ToString::to_string);
        info!(documents = total, failed = progress.failed, outdated, key, "documents encrypted");
    }

    async fn rewrite_one(&self, document: &Outdated) -> Result<bool, RegisterError> {
        let transactions = &self.context.transactions;
        match document {
            Outdated::App(id) => transactions.encrypt_again::<AppRecord>(id).await,
            Outdated::Installation(id) => {
                transactions.encrypt_again::<InstallationRecord>(id).await
            }
            Outdated::SigningKeys => {
                transactions.encrypt_again::<SigningKeysRecord>(SIGNING_KEYS).await
            }
        }
    }
}
