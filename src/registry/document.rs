//! What is stored: one document per app, per installation with its modules, and per OAuth client.
//!
//! Documents hold what was said, never what follows from it: whether a module is live depends on
//! the app's current version and is worked out when a document is applied. So a new app version is
//! one write, however many installations it has.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::connect_lifecycle::LifecycleCallbacks;
use super::discovery::DiscoveryStatus;
use super::module_fields::ModuleFields;
use super::notices::NoticeEndpoint;
use super::own_write_cache::CachedWrite;
use super::replay_guard::ReplayGuard;
use super::replica_state::ReplicaState;
use crate::domain::{AppId, CloudId, InstallationId, ModuleKey, Product, Profile, Secret, token};
use crate::jwt::KeyRecord;

/// Version of the document forms below; a replica refuses documents of a later one.
pub(super) const FORMAT: u32 = 1;

/// A stored document: which family of keys it lives under.
pub(super) trait Document: Serialize + DeserializeOwned + Clone + Send + Sync {
    /// First token of its keys.
    const FAMILY: &'static str;

    /// The key of the document with this id: `<family>.<token of the id>`.
    #[must_use]
    fn key(id: &str) -> String {
        format!("{}.{}", Self::FAMILY, token(id))
    }

    /// Version of the form it was written in.
    fn format(&self) -> u32;

    /// The document as applied here, with its revision, where that is kept as a whole.
    fn applied(_state: &ReplicaState, _id: &str) -> Option<(Self, u64)> {
        None
    }

    /// Spares this replica reading what it wrote itself, while the answer lives.
    fn cache_own_write<'l>(
        self: Box<Self>,
        _state: &'l ReplicaState,
        _key: &str,
        _value: &Bytes,
    ) -> Option<CachedWrite<'l>> {
        None
    }
}

/// Reads a stored document, unless it has the form of a later version of this program.
///
/// # Errors
/// Why it cannot be read, for the log.
pub(super) fn read<D: Document>(value: &[u8]) -> Result<D, String> {
    let document: D = serde_json::from_slice(value).map_err(|error| error.to_string())?;
    if document.format() > FORMAT {
        return Err(format!("its format is {}, known is {FORMAT}", document.format()));
    }
    Ok(document)
}

/// Which programming model an app follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AppKind {
    /// Forge: functions and endpoints, bearer tokens.
    Forge,
    /// Connect: a base URL, a shared secret per installation.
    Connect,
}

/// One app: what its current version offers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppRecord {
    /// See [`FORMAT`].
    pub format: u32,
    /// Forge ARI or Connect app key.
    pub id: AppId,
    /// Programming model.
    pub kind: AppKind,
    /// Name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Version of the app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Scopes it was granted; empty = not declared, and none is checked.
    pub scopes: Vec<String>,
    /// Functions that a trigger may name.
    pub functions: Vec<String>,
    /// Endpoints that a trigger may name.
    pub endpoints: Vec<Endpoint>,
    /// Base of the relative URLs of a Connect app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Modules of the app itself by type, live in every enabled installation.
    pub static_modules: BTreeMap<String, Vec<Map<String, Value>>>,
    /// Texts by locale and key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub translations: BTreeMap<String, BTreeMap<String, String>>,
    /// Where a Connect app is told of its installations.
    #[serde(default)]
    pub lifecycle: LifecycleCallbacks,
    /// Where the app is asked for its dynamic modules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovery: Option<DiscoveryConfig>,
    /// Where the app is told what it did not ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notices: Option<NoticeEndpoint>,
    /// Delivery options of the app, as given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Map<String, Value>>,
    /// First written, milliseconds since the epoch.
    pub created_ms: i64,
    /// Last written, milliseconds since the epoch.
    pub updated_ms: i64,
}

impl AppRecord {
    /// How deliveries to the app are made (`delivery`).
    ///
    /// # Errors
    /// It holds something unknown.
    pub fn delivery(&self) -> Result<DeliveryOptions, String> {
        let Some(given) = &self.delivery else { return Ok(DeliveryOptions::default()) };
        DeliveryOptions::deserialize(Value::Object(given.clone())).map_err(|e| e.to_string())
    }

    /// A text for people, `{value, i18n?}`: what its key stands for in English or else in any
    /// language of the app, and its `value` where no translation knows the key.
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

/// How deliveries to the endpoints of an app are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeliveryOptions {
    /// How failed ones are repeated; without it, as fits the style.
    pub profile: Option<Profile>,
    /// How requests are signed.
    #[serde(default)]
    pub style: RequestStyle,
    /// Where in the body the event stands; `forge_remote` alone.
    #[serde(default)]
    pub body: BodyLayout,
}

impl DeliveryOptions {
    /// How failed deliveries are repeated.
    #[must_use]
    pub fn profile(self) -> Profile {
        self.profile.unwrap_or(match self.style {
            RequestStyle::Switchyard => Profile::Router,
            RequestStyle::ForgeRemote => Profile::ForgeRemote,
        })
    }
}

/// How requests to an endpoint are signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestStyle {
    /// By the endpoint's secret alone.
    #[default]
    Switchyard,
    /// As the vendor calls remotes: with an invocation token as well.
    ForgeRemote,
}

/// Where in the body of a request the event stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BodyLayout {
    /// It is the body.
    #[default]
    Flat,
    /// It is the member `payload`.
    Wrapped,
}

/// An HTTP endpoint of an app.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Endpoint {
    /// What triggers call it.
    pub key: String,
    /// Where deliveries are posted.
    pub url: String,
    /// Signs them.
    #[serde(with = "clear")]
    pub secret: Secret,
    /// Which tokens it is handed.
    #[serde(default, skip_serializing_if = "EndpointAuth::is_empty")]
    pub auth: EndpointAuth,
}

/// Which tokens an endpoint is handed beside the invocation token.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EndpointAuth {
    /// One to call back with as the app.
    #[serde(default)]
    pub app_system_token: bool,
}

impl EndpointAuth {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Pull discovery: the app is asked for its modules.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DiscoveryConfig {
    /// Module types that are taken from the answer.
    #[serde(rename = "use")]
    pub types: Vec<String>,
    /// Whom to ask.
    pub url: String,
    /// Signs the question.
    #[serde(with = "clear")]
    pub secret: Secret,
}

/// Whether an installation is in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InstallationState {
    /// Its triggers are live.
    #[default]
    Enabled,
    /// Kept, hears nothing, may not register.
    Disabled,
    /// As disabled; a Connect installation can come back with its modules.
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
    /// The site whose events it hears.
    pub cloud_id: CloudId,
    /// What the site runs.
    pub product: Product,
    /// Connect's name of the tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key: Option<String>,
    /// Connect's secret shared with the app.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "clear_option")]
    pub shared_secret: Option<Secret>,
    /// Whether it holds an active licence.
    pub licensed: bool,
    /// `PRODUCTION`, `STAGING` or `DEVELOPMENT`.
    pub environment: String,
    /// Whether it is in use.
    pub state: InstallationState,
    /// The account the app acts with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_account_id: Option<String>,
    /// SHA-256 of its bearer token, in hex; the token itself is stored nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_hash: Option<String>,
    /// What is known of its discovery; none while its app was never asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovery: Option<DiscoveryStatus>,
    /// The app was warned of webhooks that expire until then, milliseconds since the epoch.
    #[serde(default)]
    pub warned_until_ms: i64,
    /// The modules that last gave way to a new version of the app; none while none had to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<DroppedModules>,
    /// Which of its requests cannot be made again.
    #[serde(rename = "spent", default, skip_serializing_if = "ReplayGuard::is_empty")]
    pub(super) replay_guard: ReplayGuard,
    /// What it registered, in the order of registration.
    pub modules: Vec<ModuleRecord>,
    /// Order number that the next module gets; never falls, so that paging never skips.
    pub next_order: u64,
    /// First written, milliseconds since the epoch.
    pub created_ms: i64,
    /// Last written, milliseconds since the epoch.
    pub updated_ms: i64,
}

/// Modules that gave way to a new version of their app, for operators to see.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DroppedModules {
    /// When, milliseconds since the epoch.
    pub at_ms: i64,
    /// The app's version, where it says one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Their keys, in the order of registration; never more than an installation may have.
    pub keys: Vec<ModuleKey>,
}

impl InstallationRecord {
    /// The module with this key.
    #[must_use]
    pub fn module(&self, key: &str) -> Option<&ModuleRecord> {
        self.modules.iter().find(|module| module.key.as_str() == key)
    }
}

/// Which door a module came in by.
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
    /// The answer to a discovery call.
    Discovery,
}

/// Whether a module is in use, as its app or an operator set it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModuleStatus {
    /// It hears events and gets them.
    #[default]
    On,
    /// It hears events, which wait until it is on again.
    Paused,
    /// It hears nothing.
    Off,
    /// Its handler said again and again that it is gone; it hears nothing until it is on again.
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
    /// Unique inside its installation.
    pub key: ModuleKey,
    /// Module type, such as `trigger`.
    #[serde(rename = "type")]
    pub module_type: String,
    /// What was registered, with `key` inside.
    pub data: ModuleFields,
    /// The door it came in by.
    #[serde(rename = "door")]
    pub api: RegistrationApi,
    /// Whether it is in use.
    #[serde(rename = "switch", default, skip_serializing_if = "ModuleStatus::is_on")]
    pub status: ModuleStatus,
    /// Registered, milliseconds since the epoch.
    pub created_ms: i64,
    /// Last changed, milliseconds since the epoch.
    pub updated_ms: i64,
    /// Rises by one with each change of this module; its `ETag`.
    pub revision: u64,
    /// Place in the order of registration.
    pub order: u64,
}

/// An OAuth client of the dynamic webhook door.
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
    /// The one installation it belongs to.
    pub installation: InstallationId,
}

/// What is counted per site.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SiteRecord {
    /// See [`FORMAT`].
    pub(super) format: u32,
    /// The site.
    pub(super) id: CloudId,
    /// Id of the next dynamic webhook; never falls, so that none is used twice.
    pub(super) next_webhook: u64,
}

/// Id of the one document of signing keys.
pub(super) const SIGNING_KEYS: &str = "signing";

/// The keys that we sign with.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SigningKeysRecord {
    /// See [`FORMAT`].
    pub(super) format: u32,
    /// [`SIGNING_KEYS`].
    pub(super) id: String,
    /// In the order in which they sign.
    pub(super) keys: Vec<KeyRecord>,
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

/// Secrets are stored in clear: they sign deliveries and verify tokens, so a hash would not do.
pub(super) mod clear {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::domain::Secret;

    pub(in crate::registry) fn serialize<S: Serializer>(
        secret: &Secret,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(secret.reveal())
    }

    pub(in crate::registry) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Secret, D::Error> {
        String::deserialize(from).map(Secret::new)
    }
}

/// As [`clear`], for a secret that may be absent.
mod clear_option {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::domain::Secret;

    pub(super) fn serialize<S: Serializer>(
        secret: &Option<Secret>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        secret.as_ref().map(Secret::reveal).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
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
    fn words_come_from_english_then_any_translation_then_the_value() {
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
