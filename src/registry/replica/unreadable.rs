//! Documents that this replica cannot read, and the installations whose events wait for them.
//!
//! An installation waits if its own document cannot be read, or that of its app. Its site is known
//! from the readable members of the document, or from the version that was applied before. If it is
//! not, events of every site wait for it: losing none is worth more than the room they take.
//!
//! Design: `docs/design/unreadable-documents.md`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::clock;
use crate::domain::{AppId, CloudId, InstallationId};
use crate::registry::metrics;
use crate::registry::model::{
    AccessTokenRecord, AppRecord, ClientRecord, Document, DocumentError, DocumentIdentity,
    InstallationRecord, KeyId, SigningKeysRecord, SiteRecord, family,
};

/// In place of the app of an installation whose app is unknown.
const UNKNOWN_APP: &str = "_unknown";
/// Families of documents, as labels of the gauge; others count as `other`.
const FAMILIES: [&str; 6] = [
    AppRecord::FAMILY,
    InstallationRecord::FAMILY,
    ClientRecord::FAMILY,
    AccessTokenRecord::FAMILY,
    SiteRecord::FAMILY,
    SigningKeysRecord::FAMILY,
];
const OTHER_FAMILY: &str = "other";

/// A stored document that this replica cannot read, or not completely.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnreadableDocument {
    /// Key in the bucket.
    pub key: String,
    /// Revision of the document.
    pub revision: u64,
    /// Why it cannot be read.
    pub reason: String,
    /// When this replica found it, milliseconds since the epoch.
    pub since_ms: i64,
    /// Id of the record, if it is known.
    pub id: Option<String>,
    /// App of an installation, if it is known.
    pub app: Option<AppId>,
    /// Site of an installation; none if unknown, then events of every site wait.
    pub site: Option<CloudId>,
    /// Whether the record was read and only a part of it is not supported.
    pub(super) is_partly_read: bool,
    /// The key that is missing here to decrypt a secret of it.
    pub missing_key: Option<KeyId>,
}

/// An installation whose events wait.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WaitingInstallation {
    /// Its app; `_unknown` if that is not known.
    pub app: AppId,
    /// Its id, or the token of its id if only that is known.
    pub id: InstallationId,
}

/// What readers see: replaced as a whole after each change.
#[derive(Debug, Default)]
pub(crate) struct Unreadable {
    /// All unreadable documents, sorted by key.
    pub(crate) documents: Vec<Arc<UnreadableDocument>>,
    by_site: HashMap<CloudId, Vec<WaitingInstallation>>,
    /// Installations of unknown sites.
    anywhere: Vec<WaitingInstallation>,
    /// Tokens of all waiting installations.
    tokens: HashSet<Box<str>>,
}

impl Unreadable {
    /// Returns the installations that events of a site wait for.
    pub(crate) fn waiting_at(&self, site: &str) -> Vec<WaitingInstallation> {
        if self.tokens.is_empty() {
            return Vec::new();
        }
        let known = self.by_site.get(site).into_iter().flatten();
        known.chain(&self.anywhere).cloned().collect()
    }

    /// Whether the document with this key cannot be read, so that the applied one is an earlier one, or none.
    pub(crate) fn is_unread(&self, key: &str) -> bool {
        let at = self.documents.binary_search_by(|document| document.key.as_str().cmp(key));
        let found = at.ok().and_then(|at| self.documents.get(at));
        found.is_some_and(|document| !document.is_partly_read)
    }

    /// Whether the events of an installation wait.
    pub(crate) fn is_waiting(&self, installation: &InstallationId) -> bool {
        !self.tokens.is_empty() && self.tokens.contains(&*installation.token())
    }

    fn add(&mut self, site: Option<&CloudId>, waiting: WaitingInstallation) {
        if !self.tokens.insert(waiting.id.token().into()) {
            return;
        }
        match site {
            Some(site) => self.by_site.entry(site.clone()).or_default().push(waiting),
            None => self.anywhere.push(waiting),
        }
    }
}

/// The unreadable documents, as the writer keeps them.
#[derive(Debug, Default)]
pub(super) struct UnreadableDocuments {
    by_key: BTreeMap<String, Arc<UnreadableDocument>>,
    is_changed: bool,
}

impl UnreadableDocuments {
    /// Returns the keys of all.
    pub(super) fn keys(&self) -> impl Iterator<Item = &String> {
        self.by_key.keys()
    }

    /// Adds a document, or its newer revision.
    pub(super) fn insert(&mut self, mut document: UnreadableDocument) {
        if let Some(known) = self.by_key.get(&document.key) {
            document.since_ms = known.since_ms;
            // Derived from an older version than the one that cannot be read.
            let is_older = document.is_partly_read && !known.is_partly_read;
            if is_older || **known == document {
                return;
            }
        }
        self.by_key.insert(document.key.clone(), Arc::new(document));
        self.is_changed = true;
    }

    /// Forgets a document that was read or deleted; returns whether it was unreadable.
    pub(super) fn remove(&mut self, key: &str) -> bool {
        let is_known = self.by_key.remove(key).is_some();
        self.is_changed |= is_known;
        is_known
    }

    /// Forgets a document of which a part was not supported.
    pub(super) fn remove_partly_read(&mut self, key: &str) {
        if self.by_key.get(key).is_some_and(|known| known.is_partly_read) {
            self.remove(key);
        }
    }

    /// Notes that an installation of this app changed: it waits if its app is unreadable.
    pub(super) fn installation_changed(&mut self, app: &AppId) {
        self.is_changed |=
            !self.by_key.is_empty() && self.by_key.contains_key(&AppRecord::key(app.as_str()));
    }

    /// Returns what readers see, if it changed; `of_app` returns the enabled installations of the app
    /// with a key. To be published after the matcher has the subscriptions of what was read, so that
    /// an event either waits or is matched with them.
    pub(super) fn changed(
        &mut self,
        of_app: impl Fn(&str) -> Vec<(CloudId, WaitingInstallation)>,
    ) -> Option<Unreadable> {
        if !std::mem::take(&mut self.is_changed) {
            return None;
        }
        let mut published = Unreadable::default();
        for (key, document) in &self.by_key {
            published.documents.push(Arc::clone(document));
            match family(key) {
                InstallationRecord::FAMILY => {
                    let token = key.split_once('.').map_or("", |(_, token)| token);
                    published.add(document.site.as_ref(), document.installation(token));
                }
                AppRecord::FAMILY => {
                    for (site, waiting) in of_app(key) {
                        published.add(Some(&site), waiting);
                    }
                }
                _ => {}
            }
        }
        self.count();
        Some(published)
    }

    /// Sets the gauge of each family.
    pub(super) fn count(&self) {
        let label = |key: &str| {
            let found = FAMILIES.into_iter().find(|name| *name == family(key));
            found.unwrap_or(OTHER_FAMILY)
        };
        for name in FAMILIES.into_iter().chain([OTHER_FAMILY]) {
            let count = self.by_key.keys().filter(|key| label(key) == name).count();
            metrics::unreadable_documents(name, count);
        }
        let mut by_key: BTreeMap<&KeyId, usize> = BTreeMap::new();
        for id in self.by_key.values().filter_map(|document| document.missing_key.as_ref()) {
            *by_key.entry(id).or_default() += 1;
        }
        metrics::missing_keys(by_key.into_iter().map(|(id, count)| (id.as_str(), count)));
    }
}

impl UnreadableDocument {
    /// Describes the stored `value`; what it does not say is taken from the version `before` that
    /// was applied.
    pub(super) fn new(
        key: &str,
        value: &[u8],
        revision: u64,
        error: &DocumentError,
        before: Option<&InstallationRecord>,
    ) -> Self {
        let DocumentIdentity { id, app, site, .. } = DocumentIdentity::of(value);
        // An id that is not that of the key says nothing.
        let is_own = |id: &String| key.ends_with(&format!(".{}", crate::domain::token(id)));
        Self {
            key: key.to_owned(),
            revision,
            reason: error.to_string(),
            since_ms: clock::now_ms(),
            id: id.filter(is_own).or_else(|| before.map(|known| known.id.to_string())),
            app: app.or_else(|| before.map(|known| known.app.clone())),
            site: site.or_else(|| before.map(|known| known.cloud_id.clone())),
            is_partly_read: false,
            missing_key: error.missing_key().cloned(),
        }
    }

    /// Describes a record of which a part is not supported.
    pub(super) fn partly_read(
        key: String,
        revision: u64,
        reason: String,
        record: Option<&InstallationRecord>,
    ) -> Self {
        Self {
            key,
            revision,
            reason,
            since_ms: clock::now_ms(),
            id: record.map(|record| record.id.to_string()),
            app: record.map(|record| record.app.clone()),
            site: record.map(|record| record.cloud_id.clone()),
            is_partly_read: true,
            missing_key: None,
        }
    }

    fn installation(&self, token: &str) -> WaitingInstallation {
        WaitingInstallation {
            app: self.app.clone().unwrap_or_else(|| UNKNOWN_APP.into()),
            id: self.id.as_deref().unwrap_or(token).into(),
        }
    }
}
