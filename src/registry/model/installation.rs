//! Installation records: one app in one site, with the modules it registered.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::client::ClientSecret;
use super::discovery::DiscoveryStatus;
use super::document::{Document, Secrets};
use super::encryption::StoredWith;
use super::module::ModuleRecord;
use super::notice::PendingNotice;
use super::replay_guard::ReplayGuard;
use super::retiring_secret::RetiringSecret;
use super::secret::plaintext_option;
use crate::domain::{AppId, CloudId, InstallationId, ModuleKey, Product, Secret, UnknownMembers};

/// Whether an installation is active.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum InstallationState {
    /// Its triggers receive events.
    #[default]
    Enabled,
    /// Stored; receives no events and may not register.
    Disabled,
    /// As disabled; a reinstall of a Connect app restores the modules.
    Uninstalled,
}

/// One app installed in one tenant, with the modules it registered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstallationRecord {
    /// Format version of the document.
    pub format: u32,
    /// Its id.
    pub id: InstallationId,
    /// The app.
    pub app: AppId,
    /// The site whose events it receives.
    pub cloud_id: CloudId,
    /// Product of the site.
    pub product: Product,
    /// Connect's key of the tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key: Option<String>,
    /// Secret shared with a Connect app.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "plaintext_option")]
    pub shared_secret: Option<Secret>,
    /// Also accepted in requests of the app, after `shared_secret` replaced it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_shared_secret: Option<RetiringSecret>,
    /// Whether it holds an active licence.
    pub licensed: bool,
    /// `PRODUCTION`, `STAGING` or `DEVELOPMENT`.
    pub environment: String,
    /// Whether it is enabled.
    pub state: InstallationState,
    /// Account of the app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_account_id: Option<String>,
    /// For how long bodies are kept; none = as configured for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// SHA-256 of its bearer token, in hex; the token itself is not stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_hash: Option<String>,
    /// Secrets that sign the webhooks of OAuth clients, by client.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub oauth_clients: BTreeMap<String, ClientSecret>,
    /// OAuth clients that were deleted or left for another installation, the oldest first: they
    /// register no webhooks, and none of theirs are delivered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ended_clients: Vec<String>,
    /// Discovery status; none before the first request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovery: Option<DiscoveryStatus>,
    /// Expiries up to this time were announced to the app, milliseconds since the epoch.
    #[serde(default)]
    pub warned_until_ms: i64,
    /// Modules last removed by a new version of the app; none before that happens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<DroppedModules>,
    /// Signed requests that were accepted.
    #[serde(rename = "spent", default, skip_serializing_if = "ReplayGuard::is_empty")]
    pub(crate) replay_guard: ReplayGuard,
    /// Notices that the app has not received yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<PendingNotice>,
    /// Registered modules, in the order of registration.
    pub modules: Vec<ModuleRecord>,
    /// Order number of the next module; never decreases, so that paging never skips one.
    pub next_order: u64,
    /// Creation time, milliseconds since the epoch.
    pub created_ms: i64,
    /// Last write, milliseconds since the epoch.
    pub updated_ms: i64,
    /// How its secrets are stored.
    #[serde(skip)]
    pub(crate) stored_with: StoredWith,
    /// Members that this release does not know.
    #[serde(flatten)]
    pub unknown: UnknownMembers,
}

/// For how long bodies of an installation are kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retention {
    /// Days, 0 to 90.
    pub bodies_days: u32,
    /// Members that this release does not know.
    #[serde(flatten)]
    pub unknown: UnknownMembers,
}

/// Modules removed by a new version of their app, for operators.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DroppedModules {
    /// Time of removal, milliseconds since the epoch.
    pub at_ms: i64,
    /// Version of the app, if it declares one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Their keys, in the order of registration; bounded by the module limit.
    pub keys: Vec<ModuleKey>,
    /// Members that this release does not know.
    #[serde(flatten)]
    pub unknown: UnknownMembers,
}

impl InstallationRecord {
    /// Returns the secrets that may sign requests of the app at a time, the newest first.
    pub fn accepted_secrets(&self, now_ms: i64) -> impl Iterator<Item = &Secret> {
        let previous = self.previous_shared_secret.iter();
        let valid = previous.filter(move |previous| previous.is_valid(now_ms));
        self.shared_secret.iter().chain(valid.map(|previous| &previous.secret))
    }

    /// Returns the module with this key.
    #[must_use]
    pub fn module(&self, key: &str) -> Option<&ModuleRecord> {
        self.modules.iter().find(|module| module.key.as_str() == key)
    }
}

impl Document for InstallationRecord {
    const FAMILY: &'static str = "inst";

    fn format(&self) -> u32 {
        self.format
    }

    fn set_format(&mut self, format: u32) {
        self.format = format;
    }

    fn secrets(&mut self) -> Option<Secrets<'_>> {
        let mut fields = Vec::new();
        fields.extend(self.shared_secret.as_mut().map(|it| ("sharedSecret".to_owned(), it)));
        let previous = self.previous_shared_secret.as_mut();
        let path = "previousSharedSecret";
        fields.extend(previous.map(|retiring| (path.to_owned(), &mut retiring.secret)));
        for (client, signing) in &mut self.oauth_clients {
            let path = |name: &str| format!("oauthClients.{client}.{name}");
            let (secret, previous) = (path("secret"), path("previousSecret"));
            fields.push((secret, &mut signing.secret));
            let old = signing.previous.as_mut();
            fields.extend(old.map(|retiring| (previous, &mut retiring.secret)));
        }
        Some(Secrets { stored_with: &mut self.stored_with, fields })
    }
}
