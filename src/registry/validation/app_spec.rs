//! Apps as operators submit them, and their validation.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use url::Url;
use utoipa::ToSchema;

use super::app_parts::{AppSecrets, DiscoverySpec, EndpointSpec, NoticesSpec, refuse_unknown};
use super::module_key::{key_problem, stored_key_problem};
use super::program_cache::ProgramCache;
use super::quotas::static_path_problem;
use super::secrets::signing_secret_problem;
use super::static_modules::StaticModules;
use super::static_webhook::StaticWebhook;
use super::suggestions::Suggestions;
use super::trigger_rules::ValidationRules;
use super::webhook::is_relative;
use super::webhook_review::WebhookReview;
use crate::clock;
use crate::domain::{AppId, Product, Secret, UnknownMembers};
use crate::registry::model::{
    AppKind, AppPermissions, AppRecord, FORMAT, LifecycleCallbacks, Problem, StoredWith, TRIGGER,
    UNDELIVERED_WEBHOOKS, WEBHOOKS, code,
};

/// Largest scopes and permissions of an app, in bytes of JSON.
const PERMISSIONS_BYTES_MAX: usize = 64 * 1024;

/// Returns whether deliveries may be sent to an address, or the reason why not.
pub type CheckUrl = dyn Fn(&Url) -> Result<(), String> + Send + Sync;

/// An app as an operator submits it; a new version replaces the old one completely.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppSpec {
    kind: AppKind,
    name: Option<String>,
    version: Option<String>,
    /// Granted scopes; without any, none is checked.
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default, deserialize_with = "known_permissions")]
    permissions: Option<AppPermissions>,
    /// Functions that a trigger may name.
    #[serde(default)]
    functions: Vec<String>,
    /// Endpoints that a trigger may name.
    #[serde(default)]
    pub(crate) endpoints: Vec<EndpointSpec>,
    /// Base of the relative addresses of a Connect app, which has one.
    base_url: Option<String>,
    /// Modules of the app itself, by type: a list, or a single one.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, Value>)]
    static_modules: StaticModules,
    /// Texts by locale and key.
    #[serde(default)]
    translations: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(default, deserialize_with = "known_lifecycle")]
    lifecycle: LifecycleCallbacks,
    pub(crate) discovery: Option<DiscoverySpec>,
    pub(crate) notices: Option<NoticesSpec>,
    /// Delivery options.
    delivery: Option<Map<String, Value>>,
}

fn known_permissions<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<AppPermissions>, D::Error> {
    let permissions = Option::<AppPermissions>::deserialize(from)?;
    let unknown = permissions.as_ref().map_or(Ok(()), |known| refuse_unknown(&known.unknown));
    unknown.map(|()| permissions)
}

fn known_lifecycle<'de, D: Deserializer<'de>>(from: D) -> Result<LifecycleCallbacks, D::Error> {
    let lifecycle = LifecycleCallbacks::deserialize(from)?;
    refuse_unknown(&lifecycle.unknown).map(|()| lifecycle)
}

impl AppSpec {
    /// Returns every problem of the app.
    pub(crate) fn problems(
        &self,
        id: &AppId,
        check_url: &CheckUrl,
        allow_unknown_events: bool,
        property_paths_max: usize,
        programs: &ProgramCache,
    ) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut keys = BTreeSet::new();
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            let path = format!("endpoints[{index}]");
            problems.extend(key_problem(&endpoint.key, &format!("{path}.key")));
            problems.extend(address_problem(&endpoint.url, &format!("{path}.url"), check_url));
            let secret = endpoint.secret.as_ref();
            problems.extend(signing_secret_problem(secret, &format!("{path}.secret")));
            if !keys.insert(&endpoint.key) {
                let message = format!("two endpoints have the key `{}`", endpoint.key);
                problems.push(Problem::new(code::DUPLICATE, format!("{path}.key"), message));
            }
        }
        for (index, function) in self.functions.iter().enumerate() {
            problems.extend(key_problem(function, &format!("functions[{index}]")));
        }
        match (&self.base_url, self.kind) {
            (Some(url), _) => problems.extend(address_problem(url, "baseUrl", check_url)),
            (None, AppKind::Connect) => {
                problems.push(Problem::new(code::MISSING, "baseUrl", "a Connect app has one"));
            }
            (None, AppKind::Forge) => {}
        }
        for (name, path) in self.lifecycle.paths() {
            let path = path.filter(|path| !is_relative(path) || self.kind != AppKind::Connect);
            problems.extend(path.map(|_| {
                let message = "a callback is a path behind the base URL of a Connect app";
                Problem::new(code::FORM, format!("lifecycle.{name}"), message)
            }));
        }
        if let Some(discovery) = &self.discovery {
            problems.extend(address_problem(&discovery.url, "discovery.url", check_url));
            let secret = discovery.secret.as_ref();
            problems.extend(signing_secret_problem(secret, "discovery.secret"));
            if self.kind != AppKind::Forge {
                let message = "apps of kind forge alone are asked for their modules";
                problems.push(Problem::new(code::FORM, "discovery", message));
            }
        }
        if let Some(notices) = &self.notices {
            problems.extend(address_problem(&notices.url, "notices.url", check_url));
            problems.extend(signing_secret_problem(notices.secret.as_ref(), "notices.secret"));
        }
        problems.extend(self.permissions_problem());
        problems.extend(self.static_problems(id, allow_unknown_events, programs));
        let stored = self.static_modules.stored(self.kind);
        let triggers = stored.get(TRIGGER).map_or(&[][..], Vec::as_slice);
        let path = format!("staticModules.{TRIGGER}");
        problems.extend(static_path_problem(triggers, &path, programs, property_paths_max));
        problems
    }

    /// Filters of every event may read the permissions, so they have a bound of their own.
    fn permissions_problem(&self) -> Option<Problem> {
        let external = self.permissions.as_ref().and_then(|known| known.external.as_ref());
        let bytes = |value: &Value| value.to_string().len();
        let size = bytes(&Value::from(self.scopes.as_slice()))
            + external.map_or(0, |external| bytes(&Value::Object(external.clone())));
        (size > PERMISSIONS_BYTES_MAX).then(|| {
            let message = format!(
                "scopes and permissions have {size} bytes of JSON, the limit is {PERMISSIONS_BYTES_MAX}"
            );
            Problem::new(code::FORM, "permissions", message)
        })
    }

    /// Returns the warnings about the static modules of a valid app.
    pub(crate) fn warnings(
        &self,
        id: &AppId,
        allow_unknown_events: bool,
        epic_fields: &[String],
        programs: &ProgramCache,
    ) -> Vec<Problem> {
        let app = self.without_secrets(id);
        let suggestions = &Suggestions::default();
        let rules = ValidationRules {
            app: Some(&app),
            product: None,
            allow_unknown_events,
            programs,
            suggestions,
        };
        let mut warnings = Vec::new();
        for (module_type, modules) in &app.static_modules {
            for (index, data) in modules.iter().enumerate() {
                let path = self.static_modules.path(module_type, index);
                match (module_type.as_str(), self.kind) {
                    (TRIGGER, AppKind::Forge) => {
                        warnings
                            .extend(rules.check(data, &path).into_iter().flat_map(|v| v.warnings));
                    }
                    (WEBHOOKS, AppKind::Connect) => {
                        // An app may be installed in either product.
                        let products = &Product::ALL;
                        let path = path.as_str();
                        let review = WebhookReview { products, epic_fields, path, suggestions };
                        let webhook = static_webhook(data, path, programs);
                        warnings.extend(webhook.into_iter().flat_map(|w| review.of_static(w)));
                    }
                    _ => {}
                }
            }
        }
        warnings
    }

    /// Returns the keys of the webhooks of a valid app that are never delivered.
    pub(crate) fn undelivered_keys(&self, programs: &ProgramCache) -> BTreeSet<String> {
        if self.kind != AppKind::Connect {
            return BTreeSet::new();
        }
        let stored = self.static_modules.stored(self.kind);
        let webhooks = stored.get(WEBHOOKS).into_iter().flatten();
        let undelivered = webhooks.filter(|data| {
            matches!(static_webhook(data, "", programs), Ok(StaticWebhook::Undelivered(_)))
        });
        undelivered.filter_map(|data| data.get("key")?.as_str().map(str::to_owned)).collect()
    }

    /// Returns a Connect app that declares nothing but static modules.
    pub(crate) fn connect(static_modules: StaticModules) -> Self {
        Self {
            kind: AppKind::Connect,
            name: None,
            version: None,
            scopes: Vec::new(),
            permissions: None,
            functions: Vec::new(),
            endpoints: Vec::new(),
            base_url: Some("https://app.invalid/".to_owned()),
            static_modules,
            translations: BTreeMap::new(),
            lifecycle: LifecycleCallbacks::default(),
            discovery: None,
            notices: None,
            delivery: None,
        }
    }

    /// Returns the record of the app with empty secrets, to validate modules against it.
    pub(crate) fn without_secrets(&self, id: &AppId) -> AppRecord {
        self.clone().record(id, AppSecrets::empty(self))
    }

    fn static_problems(
        &self,
        id: &AppId,
        allow_unknown_events: bool,
        programs: &ProgramCache,
    ) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut keys = BTreeSet::new();
        let app = self.without_secrets(id);
        if let Err(reason) = app.delivery() {
            problems.push(Problem::new(code::FORM, "delivery", reason));
        }
        let suggestions = &Suggestions::default();
        let rules = ValidationRules {
            app: Some(&app),
            product: None,
            allow_unknown_events,
            programs,
            suggestions,
        };
        for (module_type, modules) in &app.static_modules {
            if module_type == UNDELIVERED_WEBHOOKS && self.kind == AppKind::Connect {
                let path = format!("staticModules.{module_type}");
                let message = "the name of this module type is reserved";
                problems.push(Problem::new(code::MODULE_TYPE, path, message));
            }
            for (index, data) in modules.iter().enumerate() {
                let path = self.static_modules.path(module_type, index);
                let key_path = format!("{path}.key");
                match data.get("key") {
                    None => {
                        let message = "a module of an app has a key";
                        problems.push(Problem::new(code::MISSING, key_path, message));
                    }
                    Some(Value::String(key)) if !keys.insert(key.as_str()) => {
                        let message = format!("two modules have the key `{key}`");
                        problems.push(Problem::new(code::DUPLICATE, key_path, message));
                    }
                    Some(Value::String(key))
                        if self.kind == AppKind::Connect && module_type != WEBHOOKS =>
                    {
                        problems.extend(stored_key_problem(key, &key_path));
                    }
                    Some(Value::String(key)) => problems.extend(key_problem(key, &key_path)),
                    Some(_) => {
                        problems.push(Problem::new(code::FORM, key_path, "a key is a string"))
                    }
                }
                match (module_type.as_str(), self.kind) {
                    (TRIGGER, AppKind::Forge) => {
                        problems.extend(rules.check(data, &path).err().into_iter().flatten());
                    }
                    (WEBHOOKS, AppKind::Connect) => {
                        let webhook = static_webhook(data, &path, programs);
                        problems.extend(webhook.err().into_iter().flatten());
                    }
                    _ => {}
                }
            }
        }
        problems
    }

    /// Builds the record of the app.
    pub(crate) fn record(self, id: &AppId, secrets: AppSecrets) -> AppRecord {
        let now_ms = clock::now_ms();
        let AppSecrets { endpoints, discovery, notices } = secrets;
        AppRecord {
            format: FORMAT,
            id: id.clone(),
            kind: self.kind,
            name: self.name,
            version: self.version,
            scopes: self.scopes,
            permissions: self.permissions,
            functions: self.functions,
            endpoints,
            base_url: self.base_url,
            static_modules: self.static_modules.stored(self.kind),
            translations: self.translations,
            lifecycle: self.lifecycle,
            discovery,
            notices,
            delivery: self.delivery,
            created_ms: now_ms,
            updated_ms: now_ms,
            stored_with: StoredWith::default(),
            unknown: UnknownMembers::default(),
        }
    }
}

/// The product is unknown here: an app may be installed in either, and Jira accepts more.
fn static_webhook(
    data: &Map<String, Value>,
    path: &str,
    programs: &ProgramCache,
) -> Result<StaticWebhook, Vec<Problem>> {
    StaticWebhook::read(data, path, Product::Jira, programs)
}

impl AppSecrets {
    /// Returns the parts with empty secrets, to validate an app before secrets exist.
    fn empty(spec: &AppSpec) -> Self {
        let empty = || Secret::new("");
        let endpoint = |endpoint: &EndpointSpec| endpoint.with(empty(), None);
        Self {
            endpoints: spec.endpoints.iter().map(endpoint).collect(),
            discovery: spec.discovery.as_ref().map(|discovery| discovery.with(empty())),
            notices: spec.notices.as_ref().map(|notices| notices.with(empty())),
        }
    }
}

fn address_problem(text: &str, path: &str, check_url: &CheckUrl) -> Option<Problem> {
    let refused = match Url::parse(text) {
        Ok(url) if url.has_host() && matches!(url.scheme(), "http" | "https") => {
            check_url(&url).err()?
        }
        Ok(_) => "an address starts with https:// and a host name".to_owned(),
        Err(error) => format!("`{text}` is no address: {error}"),
    };
    Some(Problem::new(code::ADDRESS, path, refused))
}
