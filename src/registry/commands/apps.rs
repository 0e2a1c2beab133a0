//! Operator commands on apps: provision, replace by a new version, delete.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value};
use tracing::info;
use url::Url;

use crate::clock;
use crate::domain::{AppId, ModuleKey, Product, Secret, SubscriptionId};
use crate::registry::commands::connect_lifecycle::LifecycleCallbacks;
use crate::registry::commands::notices::NoticeEndpoint;
use crate::registry::compile::modules::TRIGGER;
use crate::registry::credentials;
use crate::registry::model::document::{
    AppKind, AppRecord, DiscoveryConfig, DroppedModules, Endpoint, EndpointAuth, FORMAT,
    InstallationRecord, RegistrationApi,
};
use crate::registry::model::problem::{Problem, code};
use crate::registry::registry::{Mutation, RegisterError, Registry};
use crate::registry::validation::trigger_rules::{ValidationRules, key_problem};
use crate::registry::validation::webhook::{WEBHOOKS, WebhookDefinition, is_relative};

/// Returns whether deliveries may be sent to an address, or the reason why not.
pub type CheckUrl = dyn Fn(&Url) -> Result<(), String> + Send + Sync;

/// An app as an operator submits it; a new version replaces the old one completely.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppSpec {
    kind: AppKind,
    name: Option<String>,
    version: Option<String>,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    functions: Vec<String>,
    #[serde(default)]
    endpoints: Vec<EndpointSpec>,
    base_url: Option<String>,
    #[serde(default)]
    static_modules: BTreeMap<String, Vec<Map<String, Value>>>,
    #[serde(default)]
    translations: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(default)]
    lifecycle: LifecycleCallbacks,
    discovery: Option<DiscoverySpec>,
    notices: Option<NoticesSpec>,
    delivery: Option<Map<String, Value>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndpointSpec {
    key: String,
    url: String,
    /// Tokens sent to the endpoint.
    #[serde(default)]
    auth: EndpointAuth,
    /// Used unchanged; if absent, a known endpoint keeps its secret and a new one gets a generated
    /// one.
    secret: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DiscoverySpec {
    #[serde(rename = "use")]
    types: Vec<String>,
    url: String,
    /// As for an endpoint.
    secret: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoticesSpec {
    url: String,
    /// As for an endpoint.
    secret: Option<String>,
}

/// Result of [`Registry::put_app`].
#[derive(Clone, Debug)]
pub struct AppPut {
    /// Whether the app did not exist before.
    pub created: bool,
    /// The stored record.
    pub record: AppRecord,
    /// Endpoints that did not exist before; their secrets may be shown this once.
    pub new_endpoints: BTreeSet<String>,
    /// Whether the discovery secret is new and may be shown this once.
    pub new_discovery: bool,
    /// Whether the notice secret is new and may be shown this once.
    pub new_notices: bool,
    /// Dynamic modules removed because the new version declares one of their keys.
    pub dropped: Vec<SubscriptionId>,
}

impl Registry {
    /// Provisions an app or a new version of it.
    ///
    /// # Errors
    /// The app is invalid; the error lists every problem.
    pub async fn put_app(
        &self,
        id: &AppId,
        spec: AppSpec,
        check_url: &CheckUrl,
    ) -> Result<AppPut, RegisterError> {
        let problems = self.app_problems(id, &spec, check_url);
        if !problems.is_empty() {
            return Err(RegisterError::Invalid(problems));
        }
        let mut put = self
            .update_document(id.as_str(), |current: Option<AppRecord>| {
                let known = current.as_ref().map_or(&[] as &[Endpoint], |app| &app.endpoints);
                let mut record = record_of(id, spec.clone(), secrets(&spec, current.as_ref())?);
                let old = |key: &str| known.iter().any(|endpoint| endpoint.key == key);
                let keys = record.endpoints.iter().map(|endpoint| endpoint.key.clone());
                let new_endpoints = keys.filter(|key| !old(key)).collect();
                if let Some(current) = &current {
                    record.created_ms = current.created_ms;
                }
                let put = AppPut {
                    created: current.is_none(),
                    new_endpoints,
                    new_discovery: current.as_ref().is_none_or(|app| app.discovery.is_none()),
                    new_notices: current.as_ref().is_none_or(|app| app.notices.is_none()),
                    record,
                    dropped: Vec::new(),
                };
                Ok(Mutation::Put(Box::new(put.record.clone()), put))
            })
            .await?;
        put.dropped = self.drop_clashing(&put.record).await?;
        info!(app = %id, created = put.created, dropped = put.dropped.len(), "app provisioned");
        Ok(put)
    }

    /// Deletes an app with its installations, their modules and OAuth clients.
    ///
    /// # Errors
    /// The app does not exist.
    pub async fn delete_app(&self, id: &str) -> Result<(), RegisterError> {
        self.app(id).ok_or(RegisterError::NotFound)?;
        // The app is deleted after its installations, so that an interrupted deletion can be
        // repeated. The second round deletes installations created during the first.
        self.purge_installations_of(id).await?;
        self.update_document(id, |current: Option<AppRecord>| match current {
            Some(_) => Ok(Mutation::Delete(())),
            None => Ok(Mutation::Keep(())),
        })
        .await?;
        self.purge_installations_of(id).await?;
        info!(app = id, "app removed");
        Ok(())
    }

    async fn purge_installations_of(&self, app: &str) -> Result<(), RegisterError> {
        for id in self.state.installations_of(app) {
            self.purge_installation(id.as_str()).await?;
        }
        Ok(())
    }

    /// Connect: if a static module of the new version has the key of a registered one, removes all
    /// registered modules of that installation, so that the upgrade can proceed.
    async fn drop_clashing(&self, app: &AppRecord) -> Result<Vec<SubscriptionId>, RegisterError> {
        let mut dropped = Vec::new();
        if app.kind != AppKind::Connect {
            return Ok(dropped);
        }
        let keys = static_keys(&app.static_modules);
        for installation in self.state.installations_of(app.id.as_str()) {
            let gone = self
                .update_document(installation.as_str(), |current: Option<InstallationRecord>| {
                    let clashes = |record: &InstallationRecord| {
                        record.modules.iter().any(|m| keys.contains(m.key.as_str()))
                    };
                    let Some(mut record) = current.filter(clashes) else {
                        return Ok(Mutation::Keep(Vec::new()));
                    };
                    let modules = std::mem::take(&mut record.modules);
                    let (kept, gone): (Vec<_>, Vec<_>) = modules
                        .into_iter()
                        .partition(|module| module.api == RegistrationApi::Webhook);
                    let gone: Vec<ModuleKey> = gone.into_iter().map(|module| module.key).collect();
                    record.modules = kept;
                    record.dropped = Some(DroppedModules {
                        at_ms: clock::now_ms(),
                        version: app.version.clone(),
                        keys: gone.clone(),
                    });
                    Ok(Mutation::Put(Box::new(record), gone))
                })
                .await?;
            dropped.extend(
                gone.into_iter()
                    .map(|key| SubscriptionId { installation: installation.clone(), key }),
            );
        }
        Ok(dropped)
    }

    fn app_problems(&self, id: &AppId, spec: &AppSpec, check_url: &CheckUrl) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut keys = BTreeSet::new();
        for (index, endpoint) in spec.endpoints.iter().enumerate() {
            let path = format!("endpoints[{index}]");
            problems.extend(key_problem(&endpoint.key, &format!("{path}.key")));
            problems.extend(address_problem(&endpoint.url, &format!("{path}.url"), check_url));
            if !keys.insert(&endpoint.key) {
                let message = format!("two endpoints have the key `{}`", endpoint.key);
                problems.push(Problem::new(code::DUPLICATE, format!("{path}.key"), message));
            }
        }
        for (index, function) in spec.functions.iter().enumerate() {
            problems.extend(key_problem(function, &format!("functions[{index}]")));
        }
        match (&spec.base_url, spec.kind) {
            (Some(url), _) => problems.extend(address_problem(url, "baseUrl", check_url)),
            (None, AppKind::Connect) => {
                problems.push(Problem::new(code::MISSING, "baseUrl", "a Connect app has one"));
            }
            (None, AppKind::Forge) => {}
        }
        for (name, path) in spec.lifecycle.paths() {
            let path = path.filter(|path| !is_relative(path) || spec.kind != AppKind::Connect);
            problems.extend(path.map(|_| {
                let message = "a callback is a path behind the base URL of a Connect app";
                Problem::new(code::FORM, format!("lifecycle.{name}"), message)
            }));
        }
        if let Some(discovery) = &spec.discovery {
            problems.extend(address_problem(&discovery.url, "discovery.url", check_url));
            if spec.kind != AppKind::Forge {
                let message = "apps of kind forge alone are asked for their modules";
                problems.push(Problem::new(code::FORM, "discovery", message));
            }
        }
        if let Some(notices) = &spec.notices {
            problems.extend(address_problem(&notices.url, "notices.url", check_url));
        }
        problems.extend(self.static_problems(id, spec));
        problems
    }

    fn static_problems(&self, id: &AppId, spec: &AppSpec) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut keys = BTreeSet::new();
        let app = record_of(id, spec.clone(), Secrets::none_yet(spec));
        if let Err(reason) = app.delivery() {
            problems.push(Problem::new(code::FORM, "delivery", reason));
        }
        let rules = ValidationRules {
            app: Some(&app),
            allow_unknown_events: self.settings.allow_unknown_events,
            programs: self.state.programs(),
        };
        for (module_type, modules) in &spec.static_modules {
            for (index, data) in modules.iter().enumerate() {
                let path = format!("staticModules.{module_type}[{index}]");
                let key_path = format!("{path}.key");
                match data.get("key").and_then(Value::as_str) {
                    None => {
                        let message = "a module of an app has a key";
                        problems.push(Problem::new(code::MISSING, key_path, message));
                    }
                    Some(key) if !keys.insert(key) => {
                        let message = format!("two modules have the key `{key}`");
                        problems.push(Problem::new(code::DUPLICATE, key_path, message));
                    }
                    Some(key) => problems.extend(key_problem(key, &key_path)),
                }
                match (module_type.as_str(), spec.kind) {
                    (TRIGGER, AppKind::Forge) => {
                        problems.extend(rules.check(data, &path).err().into_iter().flatten());
                    }
                    (WEBHOOKS, AppKind::Connect) => {
                        problems.extend(self.static_webhook_problems(data, &path));
                    }
                    _ => {}
                }
            }
        }
        problems
    }

    /// The product is unknown here: an app may be installed in either, and Jira accepts more.
    fn static_webhook_problems(&self, data: &Map<String, Value>, path: &str) -> Vec<Problem> {
        let webhook = match WebhookDefinition::parse(data, path, Product::Jira) {
            Ok(webhook) => webhook,
            Err(problems) => return problems,
        };
        let filter = format!("{path}.filter");
        webhook.compile(self.state.programs(), Product::Jira, &filter).err().unwrap_or_default()
    }
}

fn static_keys(modules: &BTreeMap<String, Vec<Map<String, Value>>>) -> BTreeSet<&str> {
    modules.values().flatten().filter_map(|data| data.get("key")?.as_str()).collect()
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

/// The parts of an app that carry a secret.
struct Secrets {
    endpoints: Vec<Endpoint>,
    discovery: Option<DiscoveryConfig>,
    notices: Option<NoticeEndpoint>,
}

impl Secrets {
    /// The same parts with empty secrets, to validate an app before secrets exist.
    fn none_yet(spec: &AppSpec) -> Self {
        let empty = || Secret::new("");
        let endpoint = |endpoint: &EndpointSpec| endpoint.with(empty());
        Self {
            endpoints: spec.endpoints.iter().map(endpoint).collect(),
            discovery: spec.discovery.as_ref().map(|discovery| discovery.with(empty())),
            notices: spec.notices.as_ref().map(|notices| notices.with(empty())),
        }
    }
}

/// Each part with the submitted secret, else its stored one, else a generated one.
fn secrets(spec: &AppSpec, current: Option<&AppRecord>) -> Result<Secrets, RegisterError> {
    let secret = |given: Option<&String>, old: Option<&Secret>| match (given, old) {
        (Some(given), _) => Ok(Secret::new(given.as_str())),
        (None, Some(old)) => Ok(old.clone()),
        (None, None) => credentials::new_secret(),
    };
    let known = current.map_or(&[] as &[Endpoint], |app| &app.endpoints);
    let endpoint = |endpoint: &EndpointSpec| {
        let old = known.iter().find(|known| known.key == endpoint.key);
        Ok(endpoint.with(secret(endpoint.secret.as_ref(), old.map(|old| &old.secret))?))
    };
    let endpoints = spec.endpoints.iter().map(endpoint).collect::<Result<_, RegisterError>>()?;
    let old = current.and_then(|app| app.discovery.as_ref()).map(|old| &old.secret);
    let discovery = spec.discovery.as_ref().map(|discovery| {
        Ok::<_, RegisterError>(discovery.with(secret(discovery.secret.as_ref(), old)?))
    });
    let old = current.and_then(|app| app.notices.as_ref()).map(|old| &old.secret);
    let notices = spec
        .notices
        .as_ref()
        .map(|notices| Ok::<_, RegisterError>(notices.with(secret(notices.secret.as_ref(), old)?)));
    let (discovery, notices) = (discovery.transpose()?, notices.transpose()?);
    Ok(Secrets { endpoints, discovery, notices })
}

impl EndpointSpec {
    fn with(&self, secret: Secret) -> Endpoint {
        Endpoint { key: self.key.clone(), url: self.url.clone(), secret, auth: self.auth }
    }
}

impl DiscoverySpec {
    fn with(&self, secret: Secret) -> DiscoveryConfig {
        DiscoveryConfig { types: self.types.clone(), url: self.url.clone(), secret }
    }
}

impl NoticesSpec {
    fn with(&self, secret: Secret) -> NoticeEndpoint {
        NoticeEndpoint { url: self.url.clone(), secret }
    }
}

fn record_of(id: &AppId, spec: AppSpec, secrets: Secrets) -> AppRecord {
    let now_ms = clock::now_ms();
    let Secrets { endpoints, discovery, notices } = secrets;
    AppRecord {
        format: FORMAT,
        id: id.clone(),
        kind: spec.kind,
        name: spec.name,
        version: spec.version,
        scopes: spec.scopes,
        functions: spec.functions,
        endpoints,
        base_url: spec.base_url,
        static_modules: spec.static_modules,
        translations: spec.translations,
        lifecycle: spec.lifecycle,
        discovery,
        notices,
        delivery: spec.delivery,
        created_ms: now_ms,
        updated_ms: now_ms,
    }
}
