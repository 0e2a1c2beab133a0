//! App records: what the current version of an app declares.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::document::{Document, Secrets};
use super::encryption::StoredWith;
use super::module::{UNDELIVERED_WEBHOOKS, WEBHOOKS};
use super::retiring_secret::RetiringSecret;
use super::secret::plaintext;
use crate::domain::{AppId, RetryProfile, Secret, SigningSecrets, UnknownMembers};

/// Programming model of an app.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
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
    /// Format version of the document.
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
    /// Permissions in addition to scopes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<AppPermissions>,
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
    /// How its secrets are stored.
    #[serde(skip)]
    pub(crate) stored_with: StoredWith,
    /// Members that this release does not know.
    #[serde(flatten)]
    pub unknown: UnknownMembers,
}

impl AppRecord {
    /// Takes over the members of the previous version that this release does not know: a request
    /// cannot have set them.
    pub(crate) fn keep_unknown(&mut self, before: &Self) {
        self.unknown.clone_from(&before.unknown);
        self.lifecycle.unknown.clone_from(&before.lifecycle.unknown);
        for endpoint in &mut self.endpoints {
            if let Some(old) = before.endpoints.iter().find(|old| old.key == endpoint.key) {
                endpoint.unknown.clone_from(&old.unknown);
                endpoint.auth.unknown.clone_from(&old.auth.unknown);
            }
        }
        if let (Some(new), Some(old)) = (&mut self.discovery, &before.discovery) {
            new.unknown.clone_from(&old.unknown);
        }
        if let (Some(new), Some(old)) = (&mut self.permissions, &before.permissions) {
            new.unknown.clone_from(&old.unknown);
        }
        if let (Some(new), Some(old)) = (&mut self.notices, &before.notices) {
            new.unknown.clone_from(&old.unknown);
        }
    }

    /// Stores the webhooks with these keys as those that are never delivered.
    pub(crate) fn set_undelivered(&mut self, keys: &BTreeSet<String>) {
        let Some(webhooks) = self.static_modules.get_mut(WEBHOOKS) else { return };
        let key_of = |data: &Map<String, Value>| data.get("key")?.as_str().map(str::to_owned);
        let is_undelivered =
            |data: &mut Map<String, Value>| key_of(data).is_some_and(|key| keys.contains(&key));
        let undelivered: Vec<_> = webhooks.extract_if(.., is_undelivered).collect();
        if !undelivered.is_empty() {
            self.static_modules
                .entry(UNDELIVERED_WEBHOOKS.to_owned())
                .or_default()
                .extend(undelivered);
        }
    }

    /// Returns the static modules by the type that the app declares them with.
    #[must_use]
    pub fn declared_modules(&self) -> BTreeMap<&str, Vec<&Map<String, Value>>> {
        let mut declared: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for (stored_type, modules) in &self.static_modules {
            declared.entry(self.declared_type(stored_type)).or_default().extend(modules);
        }
        declared
    }

    /// Returns the type that static modules stored under `stored_type` are declared with.
    pub(crate) fn declared_type<'t>(&self, stored_type: &'t str) -> &'t str {
        match stored_type {
            UNDELIVERED_WEBHOOKS if self.kind == AppKind::Connect => WEBHOOKS,
            other => other,
        }
    }

    /// Returns the keys of the static modules.
    pub(crate) fn static_keys(&self) -> BTreeSet<&str> {
        let modules = self.static_modules.values().flatten();
        modules.filter_map(|data| data.get("key")?.as_str()).collect()
    }

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

impl Document for AppRecord {
    const FAMILY: &'static str = "app";

    fn format(&self) -> u32 {
        self.format
    }

    fn set_format(&mut self, format: u32) {
        self.format = format;
    }

    fn secrets(&mut self) -> Option<Secrets<'_>> {
        let mut fields = Vec::new();
        for endpoint in &mut self.endpoints {
            let path = |name: &str| format!("endpoints.{}.{name}", endpoint.key);
            let (secret, previous) = (path("secret"), path("previousSecret"));
            fields.push((secret, &mut endpoint.secret));
            let old = endpoint.previous.as_mut();
            fields.extend(old.map(|retiring| (previous, &mut retiring.secret)));
        }
        let discovery = self.discovery.as_mut();
        fields.extend(discovery.map(|part| ("discovery.secret".to_owned(), &mut part.secret)));
        let notices = self.notices.as_mut();
        fields.extend(notices.map(|part| ("notices.secret".to_owned(), &mut part.secret)));
        Some(Secrets { stored_with: &mut self.stored_with, fields })
    }
}

/// Permissions of an app in addition to its scopes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct AppPermissions {
    /// What the app may call and load, as in a Forge manifest: `{"fetch": {"backend": [..]}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<Map<String, Value>>,
    /// Members that this release does not know.
    #[schema(ignore)]
    #[serde(flatten)]
    pub unknown: UnknownMembers,
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
    #[serde(with = "plaintext")]
    pub secret: Secret,
    /// Signs deliveries in addition, after `secret` replaced it.
    #[serde(rename = "previousSecret", default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<RetiringSecret>,
    /// Tokens sent to it.
    #[serde(default, skip_serializing_if = "EndpointAuth::is_empty")]
    pub auth: EndpointAuth,
    /// Members that this release does not know.
    #[serde(flatten)]
    pub unknown: UnknownMembers,
}

/// Tokens sent to an endpoint in addition to the invocation token.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointAuth {
    /// A system token to call back with as the app.
    #[serde(default)]
    pub app_system_token: bool,
    /// Members that this release does not know.
    #[schema(ignore)]
    #[serde(flatten)]
    pub unknown: UnknownMembers,
}

impl Endpoint {
    /// Returns the secrets that sign deliveries.
    #[must_use]
    pub fn secrets(&self) -> SigningSecrets {
        let previous = self.previous.as_ref();
        let previous = previous.map(|previous| (previous.secret.clone(), previous.until_ms));
        SigningSecrets { current: self.secret.clone(), previous }
    }
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
    #[serde(with = "plaintext")]
    pub secret: Secret,
    /// Members that this release does not know.
    #[serde(flatten)]
    pub unknown: UnknownMembers,
}

/// Paths of the lifecycle callbacks under the base URL; an absent callback is not called.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct LifecycleCallbacks {
    /// Called before an installation is stored; the app must accept it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed: Option<String>,
    /// Called when an installation becomes enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<String>,
    /// Called when an installation becomes disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<String>,
    /// Called when an installation is uninstalled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uninstalled: Option<String>,
    /// Called by the vendor when a site moves to another region; stored and never called.
    #[serde(rename = "dare-migration", default, skip_serializing_if = "Option::is_none")]
    pub dare_migration: Option<String>,
    /// Members that this release does not know.
    #[schema(ignore)]
    #[serde(flatten)]
    pub unknown: UnknownMembers,
}

impl LifecycleCallbacks {
    /// Callbacks by name.
    pub(crate) fn paths(&self) -> [(&'static str, Option<&str>); 5] {
        [
            ("installed", self.installed.as_deref()),
            ("enabled", self.enabled.as_deref()),
            ("disabled", self.disabled.as_deref()),
            ("uninstalled", self.uninstalled.as_deref()),
            ("dare-migration", self.dare_migration.as_deref()),
        ]
    }

    pub(crate) fn path(&self, event: &str) -> Option<&str> {
        self.paths().into_iter().find(|(name, _)| *name == event)?.1
    }
}

/// Address for notices to an app.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NoticeEndpoint {
    /// The address.
    pub url: String,
    /// Signs the notices.
    #[serde(with = "plaintext")]
    pub secret: Secret,
    /// Members that this release does not know.
    #[serde(flatten)]
    pub unknown: UnknownMembers,
}

#[cfg(test)]
mod tests {
    use super::*;

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
            previous: None,
            auth: EndpointAuth::default(),
            unknown: UnknownMembers::default(),
        };
        let stored = serde_json::to_string(&endpoint).unwrap();
        let read: Endpoint = serde_json::from_str(&stored).unwrap();
        assert_eq!(read.secret.reveal(), "whsec_abc");
        assert!(!format!("{read:?}").contains("abc"));
    }
}
