//! Stored documents: one per app, per installation with its modules, and per OAuth client.
//!
//! Documents store submitted data, never derived data: whether a module is active depends on the
//! current version of its app and is computed when a document is applied. So a new app version is
//! one write, however many installations it has.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::{
    AppId, CloudId, InstallationId, ModuleKey, Product, RetryProfile, Secret, token,
};
use crate::jwt::KeyRecord;
use crate::registry::commands::connect_lifecycle::LifecycleCallbacks;
use crate::registry::commands::discovery::DiscoveryStatus;
use crate::registry::commands::notices::NoticeEndpoint;
use crate::registry::model::module_fields::ModuleFields;
use crate::registry::model::replay_guard::ReplayGuard;
use crate::registry::replica::own_write_cache::CachedWrite;
use crate::registry::replica::state::ReplicaState;

/// Version of the document formats below; a replica rejects documents of a later version.
pub(crate) const FORMAT: u32 = 1;

/// A stored document and the family of its keys.
pub(crate) trait Document: Serialize + DeserializeOwned + Clone + Send + Sync {
    /// First token of its keys.
    const FAMILY: &'static str;

    /// Returns the key of the document with this id: `<family>.<token of the id>`.
    #[must_use]
    fn key(id: &str) -> String {
        format!("{}.{}", Self::FAMILY, token(id))
    }

    /// Format version it was written in.
    fn format(&self) -> u32;

    /// The applied document with its revision, if the state keeps it whole.
    fn applied(_state: &ReplicaState, _id: &str) -> Option<(Self, u64)> {
        None
    }

    /// Caches a document that this replica is about to write, until the guard is dropped.
    fn cache_own_write<'l>(
        self: Box<Self>,
        _state: &'l ReplicaState,
        _key: &str,
        _value: &Bytes,
    ) -> Option<CachedWrite<'l>> {
        None
    }
}

/// Parses a stored document, unless its format is newer than [`FORMAT`].
///
/// # Errors
/// Why it cannot be read, for the log.
pub(crate) fn read<D: Document>(value: &[u8]) -> Result<D, String> {
    let document: D = serde_json::from_slice(value).map_err(|error| error.to_string())?;
    if document.format() > FORMAT {
        return Err(format!("its format is {}, known is {FORMAT}", document.format()));
    }
    Ok(document)
}

/// Programming model of an app.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AppKind {
    /// Forge: functions and endpoints, bearer tokens.
    Forge,
    /// Connect: a base URL, a shared secret per installation.
    Connect,
}

/// One app: what its current version declares.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppRecord {
    /// See [`FORMAT`].
    pub format: u32,
    /// Forge ARI or Connect app key.
    pub id: AppId,
    /// Programming model.
    pub kind: AppKind,
    /// Display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Version of the app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Granted scopes; empty = not declared, and none is checked.
    pub scopes: Vec<String>,
    /// Functions that a trigger may name.
    pub functions: Vec<String>,
    /// Endpoints that a trigger may name.
    pub endpoints: Vec<Endpoint>,
    /// Base of the relative URLs of a Connect app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Static modules by type, active in every enabled installation.
    pub static_modules: BTreeMap<String, Vec<Map<String, Value>>>,
    /// Texts by locale and key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub translations: BTreeMap<String, BTreeMap<String, String>>,
    /// Lifecycle callbacks of a Connect app.
    #[serde(default)]
    pub lifecycle: LifecycleCallbacks,
    /// Pull discovery of dynamic modules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovery: Option<DiscoveryConfig>,
    /// Address for notices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notices: Option<NoticeEndpoint>,
    /// Delivery options, as submitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Map<String, Value>>,
    /// Creation time, milliseconds since the epoch.
    pub created_ms: i64,
    /// Last write, milliseconds since the epoch.
    pub updated_ms: i64,
}

impl AppRecord {
    /// Parses the delivery options (`delivery`).
    ///
    /// # Errors
    /// They have an unknown member or value.
    pub fn delivery(&self) -> Result<DeliveryOptions, String> {
        let Some(given) = &self.delivery else { return Ok(DeliveryOptions::default()) };
        DeliveryOptions::deserialize(Value::Object(given.clone())).map_err(|e| e.to_string())
    }

    /// Resolves a localized text `{value, i18n?}`: the English translation of its key, else any
    /// translation, else its `value`.
    #[must_use]
    pub fn localized_text<'w>(&'w self, text: &'w Value) -> Option<&'w str> {
        let key = text.get("i18n").and_then(Value::as_str);
        let translated = key.and_then(|key| {
            let is_english =
                |locale: &str| locale.get(..2).is_some_and(|l| l.eq_ignore_ascii_case("en"));
            let english = self.translations.iter().filter(|(locale, _)| is_english(locale));
            english.chain(&self.translations).find_map(|(_, texts)| texts.get(key))
        });
        translated.map(String::as_str).or_else(|| text.get("value")?.as_str())
    }
}

/// Delivery options of the endpoints of an app.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeliveryOptions {
    /// Retry profile; the default depends on the style.
    pub profile: Option<RetryProfile>,
    /// How requests are signed.
    #[serde(default)]
    pub style: RequestStyle,
    /// Position of the event in the body; only for `forge_remote`.
    #[serde(default)]
    pub body: BodyLayout,
}

impl DeliveryOptions {
    /// Retry profile of deliveries.
    #[must_use]
    pub fn profile(self) -> RetryProfile {
        self.profile.unwrap_or(match self.style {
            RequestStyle::Switchyard => RetryProfile::Router,
            RequestStyle::ForgeRemote => RetryProfile::ForgeRemote,
        })
    }
}

/// How requests to an endpoint are signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestStyle {
    /// With the endpoint's secret only.
    #[default]
    Switchyard,
    /// Like the vendor's calls of remotes: with an invocation token in addition.
    ForgeRemote,
}

/// Position of the event in a request body.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BodyLayout {
    /// The body is the event.
    #[default]
    Flat,
    /// The event is the member `payload`.
    Wrapped,
}

/// An HTTP endpoint of an app.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Endpoint {
    /// Key by which triggers name it.
    pub key: String,
    /// Where deliveries are posted.
    pub url: String,
    /// Signs deliveries.
    #[serde(with = "clear")]
    pub secret: Secret,
    /// Tokens sent to it.
    #[serde(default, skip_serializing_if = "EndpointAuth::is_empty")]
    pub auth: EndpointAuth,
}

/// Tokens sent to an endpoint in addition to the invocation token.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EndpointAuth {
    /// A system token to call back with as the app.
    #[serde(default)]
    pub app_system_token: bool,
}

impl EndpointAuth {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Pull discovery configuration.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DiscoveryConfig {
    /// Module types accepted from the response.
    #[serde(rename = "use")]
    pub types: Vec<String>,
    /// Address of the request.
    pub url: String,
    /// Signs the request.
    #[serde(with = "clear")]
    pub secret: Secret,
}

/// Whether an installation is active.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
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
    /// See [`FORMAT`].
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
    #[serde(default, skip_serializing_if = "Option::is_none", with = "clear_option")]
    pub shared_secret: Option<Secret>,
    /// Whether it holds an active licence.
    pub licensed: bool,
    /// `PRODUCTION`, `STAGING` or `DEVELOPMENT`.
    pub environment: String,
    /// Whether it is enabled.
    pub state: InstallationState,
    /// Account of the app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_account_id: Option<String>,
    /// SHA-256 of its bearer token, in hex; the token itself is not stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_hash: Option<String>,
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
    /// Registered modules, in the order of registration.
    pub modules: Vec<ModuleRecord>,
    /// Order number of the next module; never decreases, so that paging never skips one.
    pub next_order: u64,
    /// Creation time, milliseconds since the epoch.
    pub created_ms: i64,
    /// Last write, milliseconds since the epoch.
    pub updated_ms: i64,
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
}

impl InstallationRecord {
    /// Returns the module with this key.
    #[must_use]
    pub fn module(&self, key: &str) -> Option<&ModuleRecord> {
        self.modules.iter().find(|module| module.key.as_str() == key)
    }
}

/// API that registered a module.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegistrationApi {
    /// Forge dynamic modules, version 1.
    ForgeV1,
    /// Forge dynamic modules, version 2.
    ForgeV2,
    /// Connect dynamic modules.
    Connect,
    /// Jira dynamic webhooks.
    Webhook,
    /// Response to a discovery request.
    Discovery,
}

/// Status of a module, set by its app or an operator.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModuleStatus {
    /// It receives events.
    #[default]
    On,
    /// Its events are parked until it is on.
    Paused,
    /// It receives no events.
    Off,
    /// Its endpoint returned HTTP 410 repeatedly; it receives no events until it is switched on.
    #[serde(rename = "gone")]
    EndpointGone,
}

impl ModuleStatus {
    fn is_on(&self) -> bool {
        *self == Self::On
    }
}

/// One registered module.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModuleRecord {
    /// Key, unique in its installation.
    pub key: ModuleKey,
    /// Module type, such as `trigger`.
    #[serde(rename = "type")]
    pub module_type: String,
    /// Submitted data, including `key`.
    pub data: ModuleFields,
    /// API that registered it.
    #[serde(rename = "door")]
    pub api: RegistrationApi,
    /// Status set by its app or an operator.
    #[serde(rename = "switch", default, skip_serializing_if = "ModuleStatus::is_on")]
    pub status: ModuleStatus,
    /// Registration time, milliseconds since the epoch.
    pub created_ms: i64,
    /// Last change, milliseconds since the epoch.
    pub updated_ms: i64,
    /// Number of the last change, from 1; its `ETag`.
    pub revision: u64,
    /// Position in the order of registration.
    pub order: u64,
}

/// An OAuth client of the dynamic webhook API.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientRecord {
    /// See [`FORMAT`].
    pub format: u32,
    /// Its id.
    pub id: String,
    /// SHA-256 of its bearer token, in hex.
    pub token_hash: String,
    /// The user it acts for.
    pub user: String,
    /// The installation it belongs to.
    pub installation: InstallationId,
}

/// Counters of a site.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SiteRecord {
    /// See [`FORMAT`].
    pub(crate) format: u32,
    /// The site.
    pub(crate) id: CloudId,
    /// Id of the next dynamic webhook; never decreases, so that no id is reused.
    pub(crate) next_webhook: u64,
}

/// Id of the single document of signing keys.
pub(crate) const SIGNING_KEYS: &str = "signing";

/// The signing keys of all replicas.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SigningKeysRecord {
    /// See [`FORMAT`].
    pub(crate) format: u32,
    /// [`SIGNING_KEYS`].
    pub(crate) id: String,
    /// In signing order.
    pub(crate) keys: Vec<KeyRecord>,
}

impl Document for SigningKeysRecord {
    const FAMILY: &'static str = "keys";

    fn format(&self) -> u32 {
        self.format
    }
}

impl Document for SiteRecord {
    const FAMILY: &'static str = "site";

    fn format(&self) -> u32 {
        self.format
    }
}

impl Document for AppRecord {
    const FAMILY: &'static str = "app";

    fn format(&self) -> u32 {
        self.format
    }
}

impl Document for InstallationRecord {
    const FAMILY: &'static str = "inst";

    fn format(&self) -> u32 {
        self.format
    }

    fn applied(state: &ReplicaState, id: &str) -> Option<(Self, u64)> {
        let known = state.installation(id)?;
        Some((Self::clone(&known.record), known.revision))
    }

    fn cache_own_write<'l>(
        self: Box<Self>,
        state: &'l ReplicaState,
        key: &str,
        value: &Bytes,
    ) -> Option<CachedWrite<'l>> {
        Some(state.own_writes().insert(key, value, *self))
    }
}

impl Document for ClientRecord {
    const FAMILY: &'static str = "client";

    fn format(&self) -> u32 {
        self.format
    }
}

/// Serde adapter that stores a secret in clear: it signs deliveries and verifies tokens, so a hash
/// is not enough.
pub(crate) mod clear {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::domain::Secret;

    pub(crate) fn serialize<S: Serializer>(secret: &Secret, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(secret.reveal())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
        String::deserialize(from).map(Secret::new)
    }
}

/// As [`clear`], for an optional secret.
mod clear_option {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::domain::Secret;

    pub(crate) fn serialize<S: Serializer>(
        secret: &Option<Secret>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        secret.as_ref().map(Secret::reveal).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Secret>, D::Error> {
        Ok(Option::<String>::deserialize(from)?.map(Secret::new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_of_an_ari_is_one_legal_token_behind_the_family() {
        let key = AppRecord::key("ari:cloud:ecosystem::app/1");
        assert!(key.starts_with("app.") && key.len() == 30, "{key}");
        assert_eq!(InstallationRecord::key("inst-a"), "inst.inst-a");
    }

    #[test]
    fn localized_text_prefers_english_then_any_translation_then_the_value() {
        let mut app = crate::registry::testing::forge_app();
        let texts = |value: &str| BTreeMap::from([("title".to_owned(), value.to_owned())]);
        let text = serde_json::json!({"value": "Plain", "i18n": "title"});
        assert_eq!(app.localized_text(&text), Some("Plain"));
        app.translations.insert("de-DE".into(), texts("Titel"));
        assert_eq!(app.localized_text(&text), Some("Titel"));
        app.translations.insert("en_US".into(), texts("Title"));
        assert_eq!(app.localized_text(&text), Some("Title"));
        assert_eq!(
            app.localized_text(&serde_json::json!({"value": "Plain", "i18n": "other"})),
            Some("Plain")
        );
        assert_eq!(app.localized_text(&serde_json::json!("bare")), None);
    }

    #[test]
    fn secrets_survive_storage_and_stay_out_of_debug_output() {
        let endpoint = Endpoint {
            key: "k".into(),
            url: "u".into(),
            secret: Secret::new("whsec_abc"),
            auth: EndpointAuth::default(),
        };
        let stored = serde_json::to_string(&endpoint).unwrap();
        let read: Endpoint = serde_json::from_str(&stored).unwrap();
        assert_eq!(read.secret.reveal(), "whsec_abc");
        assert!(!format!("{read:?}").contains("abc"));
    }
}
