//! What operators do: apps, their installations, and OAuth clients.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value};
use tracing::info;
use url::Url;

use super::change::{Decision, RegisterError, Registry};
use super::compile::{LiveApp, TRIGGER};
use super::document::{
    AppKind, AppRecord, ClientRecord, Discovery, Endpoint, FORMAT, InstallationRecord,
    InstallationState,
};
use super::problem::{Problem, code};
use super::validate::key_problem;
use super::{Rules, token};
use crate::clock;
use crate::domain::{AppId, CloudId, InstallationId, Product, Secret, SubscriptionId};

/// Says whether deliveries may go to an address, and if not why.
pub type CheckUrl = dyn Fn(&Url) -> Result<(), String> + Send + Sync;

/// An app as an operator gives it; a new version replaces all of the old one.
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
    discovery: Option<Discovery>,
    delivery: Option<Map<String, Value>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndpointSpec {
    key: String,
    url: String,
    /// Used as it is; without one, a known endpoint keeps its secret and a new one gets its own.
    secret: Option<String>,
}

/// An installation as an operator gives it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InstallationSpec {
    app: AppId,
    cloud_id: CloudId,
    product: Product,
    client_key: Option<String>,
    shared_secret: Option<String>,
    #[serde(default = "licensed")]
    licensed: bool,
    #[serde(default = "production")]
    environment: String,
    #[serde(default)]
    state: InstallationState,
    app_account_id: Option<String>,
}

/// An OAuth client as an operator gives it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientSpec {
    token: String,
    user: String,
    installation: InstallationId,
}

fn licensed() -> bool {
    true
}

fn production() -> String {
    "PRODUCTION".into()
}

/// What putting an app did.
#[derive(Clone, Debug)]
pub struct AppPut {
    /// The app was not there before.
    pub created: bool,
    /// The record.
    pub record: AppRecord,
    /// Endpoints that were not there before, whose secrets may be shown this once.
    pub new_endpoints: BTreeSet<String>,
    /// Modules that gave way to the new version's own.
    pub dropped: Vec<SubscriptionId>,
}

/// What putting an installation did.
#[derive(Clone, Debug)]
pub struct InstallationPut {
    /// The installation was not there before.
    pub created: bool,
    /// The bearer token of a new Forge installation; it is not to be had again.
    pub token: Option<String>,
}

impl Registry {
    /// Provisions an app, or a new version of it.
    ///
    /// # Errors
    /// The app is invalid; everything that is wrong with it.
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
            .edit(id.as_str(), |current: Option<AppRecord>| {
                let known = current.as_ref().map_or(&[] as &[Endpoint], |app| &app.endpoints);
                let mut record = record_of(id, spec.clone(), endpoints(&spec, known)?);
                let old = |key: &str| known.iter().any(|endpoint| endpoint.key == key);
                let keys = record.endpoints.iter().map(|endpoint| endpoint.key.clone());
                let new_endpoints = keys.filter(|key| !old(key)).collect();
                if let Some(current) = &current {
                    record.created_ms = current.created_ms;
                }
                let created = current.is_none();
                let put = AppPut { created, record, new_endpoints, dropped: Vec::new() };
                Ok(Decision::Put(Box::new(put.record.clone()), put))
            })
            .await?;
        put.dropped = self.drop_clashing(&put.record).await?;
        info!(app = %id, created = put.created, dropped = put.dropped.len(), "app provisioned");
        Ok(put)
    }

    /// Removes an app with its installations, their modules and OAuth clients.
    ///
    /// # Errors
    /// There is no such app.
    pub async fn delete_app(&self, id: &str) -> Result<(), RegisterError> {
        self.app(id).ok_or(RegisterError::NotFound)?;
        // The app goes last, so that a deletion that stops half-way can be repeated; the second
        // round takes what was installed during the first.
        self.purge_installations_of(id).await?;
        self.edit(id, |current: Option<AppRecord>| match current {
            Some(_) => Ok(Decision::Delete(())),
            None => Ok(Decision::Keep(())),
        })
        .await?;
        self.purge_installations_of(id).await?;
        info!(app = id, "app removed");
        Ok(())
    }

    /// Provisions an installation, or changes one; its modules stay.
    ///
    /// # Errors
    /// The installation is invalid, or there is no such app.
    pub async fn put_installation(
        &self,
        id: &InstallationId,
        spec: InstallationSpec,
    ) -> Result<InstallationPut, RegisterError> {
        let app = self.app(spec.app.as_str());
        let app = app.ok_or_else(|| not_provisioned("app", spec.app.as_str()))?;
        let problems = installation_problems(&app, &spec);
        if !problems.is_empty() {
            return Err(RegisterError::Invalid(problems));
        }
        let new_token = match app.record.kind {
            AppKind::Forge => Some(token::new_token()?),
            AppKind::Connect => None,
        };
        let put = self
            .edit(id.as_str(), |current: Option<InstallationRecord>| {
                let Some(current) = current else {
                    let token = new_token.clone();
                    let record = new_installation(id, &spec, token.as_deref());
                    return Ok(Decision::Put(
                        Box::new(record),
                        InstallationPut { created: true, token },
                    ));
                };
                check_fixed(&current, &spec)?;
                let record = changed_installation(current, &spec);
                Ok(Decision::Put(Box::new(record), InstallationPut { created: false, token: None }))
            })
            .await?;
        info!(installation = %id, app = %spec.app, created = put.created, "installation provisioned");
        Ok(put)
    }

    /// Gives an installation a new bearer token; the old one is refused from then on.
    ///
    /// # Errors
    /// There is no such installation.
    pub async fn rotate_token(&self, id: &str) -> Result<String, RegisterError> {
        let new = token::new_token()?;
        self.edit(id, |current: Option<InstallationRecord>| {
            let mut record = current.ok_or(RegisterError::NotFound)?;
            record.token_hash = Some(token::digest(&new));
            record.updated_ms = clock::now_ms();
            Ok(Decision::Put(Box::new(record), ()))
        })
        .await?;
        info!(installation = id, "token rotated");
        Ok(new)
    }

    /// Uninstalls. A Forge installation is gone with its modules; a Connect installation keeps
    /// them for a reinstall.
    ///
    /// # Errors
    /// There is no such installation.
    pub async fn delete_installation(&self, id: &str) -> Result<(), RegisterError> {
        let live = self.installation(id).ok_or(RegisterError::NotFound)?;
        let app = self.app(live.record.app.as_str());
        if !app.is_some_and(|app| app.record.kind == AppKind::Connect) {
            return self.purge_installation(id).await;
        }
        self.edit(id, |current: Option<InstallationRecord>| {
            let mut record = current.ok_or(RegisterError::NotFound)?;
            record.state = InstallationState::Uninstalled;
            record.updated_ms = clock::now_ms();
            Ok(Decision::Put(Box::new(record), ()))
        })
        .await?;
        info!(installation = id, "installation uninstalled, its modules are kept");
        Ok(())
    }

    /// Provisions an OAuth client; true when it was not there before.
    ///
    /// # Errors
    /// The client is invalid, or there is no such installation.
    pub async fn put_client(&self, id: &str, spec: ClientSpec) -> Result<bool, RegisterError> {
        let installation = spec.installation.as_str();
        self.installation(installation)
            .ok_or_else(|| not_provisioned("installation", installation))?;
        if spec.token.is_empty() {
            let problem = Problem::new(code::FORM, "token", "a token is a non-empty string");
            return Err(RegisterError::invalid(problem));
        }
        let token_hash = token::digest(&spec.token);
        if self.client_by_token(&token_hash).is_some_and(|other| other.id != id) {
            let problem = Problem::new(code::DUPLICATE, "token", "another client has this token");
            return Err(RegisterError::invalid(problem));
        }
        let (user, installation) = (spec.user, spec.installation);
        let record =
            ClientRecord { format: FORMAT, id: id.to_owned(), token_hash, user, installation };
        self.edit(id, |current: Option<ClientRecord>| {
            Ok(Decision::Put(Box::new(record.clone()), current.is_none()))
        })
        .await
    }

    async fn purge_installations_of(&self, app: &str) -> Result<(), RegisterError> {
        for id in self.live.installations_of(app) {
            self.purge_installation(id.as_str()).await?;
        }
        Ok(())
    }

    async fn purge_installation(&self, id: &str) -> Result<(), RegisterError> {
        for client in self.live.clients_of(id) {
            self.edit(&client, |current: Option<ClientRecord>| {
                Ok(current.map_or(Decision::Keep(()), |_| Decision::Delete(())))
            })
            .await?;
        }
        self.edit(id, |current: Option<InstallationRecord>| {
            Ok(current.map_or(Decision::Keep(()), |_| Decision::Delete(())))
        })
        .await
    }

    /// Connect: when a module of the new version has the key of a registered one, all registered
    /// modules of that installation give way, so that the upgrade can proceed.
    async fn drop_clashing(&self, app: &AppRecord) -> Result<Vec<SubscriptionId>, RegisterError> {
        let mut dropped = Vec::new();
        if app.kind != AppKind::Connect {
            return Ok(dropped);
        }
        let keys = static_keys(&app.static_modules);
        for installation in self.live.installations_of(app.id.as_str()) {
            let gone = self
                .edit(installation.as_str(), |current: Option<InstallationRecord>| {
                    let clashes = |record: &InstallationRecord| {
                        record.modules.iter().any(|m| keys.contains(m.key.as_str()))
                    };
                    let Some(mut record) = current.filter(clashes) else {
                        return Ok(Decision::Keep(Vec::new()));
                    };
                    let gone = std::mem::take(&mut record.modules);
                    Ok(Decision::Put(Box::new(record), gone))
                })
                .await?;
            dropped.extend(gone.into_iter().map(|module| SubscriptionId {
                installation: installation.clone(),
                key: module.key,
            }));
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
        if let Some(discovery) = &spec.discovery {
            problems.extend(address_problem(&discovery.url, "discovery.url", check_url));
        }
        problems.extend(self.static_problems(id, spec));
        problems
    }

    fn static_problems(&self, id: &AppId, spec: &AppSpec) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut keys = BTreeSet::new();
        let app = record_of(id, spec.clone(), without_secrets(spec));
        let rules = Rules {
            app: &app,
            allow_unknown_events: self.settings.allow_unknown_events,
            programs: self.live.programs(),
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
                if module_type == TRIGGER && spec.kind == AppKind::Forge {
                    problems.extend(rules.check(data, &path).err().into_iter().flatten());
                }
            }
        }
        problems
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

fn without_secrets(spec: &AppSpec) -> Vec<Endpoint> {
    let bare = |endpoint: &EndpointSpec| Endpoint {
        key: endpoint.key.clone(),
        url: endpoint.url.clone(),
        secret: Secret::new(""),
    };
    spec.endpoints.iter().map(bare).collect()
}

fn endpoints(spec: &AppSpec, known: &[Endpoint]) -> Result<Vec<Endpoint>, RegisterError> {
    let endpoint = |endpoint: &EndpointSpec| {
        let old = known.iter().find(|known| known.key == endpoint.key);
        let secret = match (&endpoint.secret, old) {
            (Some(given), _) => Secret::new(given.as_str()),
            (None, Some(old)) => old.secret.clone(),
            (None, None) => token::new_secret()?,
        };
        Ok(Endpoint { key: endpoint.key.clone(), url: endpoint.url.clone(), secret })
    };
    spec.endpoints.iter().map(endpoint).collect()
}

fn record_of(id: &AppId, spec: AppSpec, endpoints: Vec<Endpoint>) -> AppRecord {
    let now_ms = clock::now_ms();
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
        discovery: spec.discovery,
        delivery: spec.delivery,
        created_ms: now_ms,
        updated_ms: now_ms,
    }
}

fn installation_problems(app: &LiveApp, spec: &InstallationSpec) -> Vec<Problem> {
    let mut problems = Vec::new();
    if spec.cloud_id.as_str().is_empty() {
        problems.push(Problem::new(code::FORM, "cloudId", "a site has a non-empty id"));
    }
    if app.record.kind == AppKind::Connect {
        let required = [("clientKey", &spec.client_key), ("sharedSecret", &spec.shared_secret)];
        for (name, _) in required.iter().filter(|(_, value)| value.is_none()) {
            let message = "an installation of a Connect app has one";
            problems.push(Problem::new(code::MISSING, *name, message));
        }
    }
    problems
}

fn not_provisioned(what: &str, id: &str) -> RegisterError {
    let message = format!("there is no {what} `{id}`");
    RegisterError::invalid(Problem::new(code::NOT_PROVISIONED, what, message))
}

/// What an installation belongs to is its identity: its modules were checked against that app and
/// hear that site.
fn check_fixed(current: &InstallationRecord, spec: &InstallationSpec) -> Result<(), RegisterError> {
    let mut problems = Vec::new();
    for (path, same) in
        [("app", current.app == spec.app), ("cloudId", current.cloud_id == spec.cloud_id)]
    {
        if !same {
            let message = "an installation keeps its app and its site";
            problems.push(Problem::new(code::FIXED, path, message));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(RegisterError::Invalid(problems)) }
}

fn new_installation(
    id: &InstallationId,
    spec: &InstallationSpec,
    token: Option<&str>,
) -> InstallationRecord {
    let now_ms = clock::now_ms();
    let empty = InstallationRecord {
        format: FORMAT,
        id: id.clone(),
        app: spec.app.clone(),
        cloud_id: spec.cloud_id.clone(),
        product: spec.product,
        client_key: None,
        shared_secret: None,
        licensed: spec.licensed,
        environment: String::new(),
        state: spec.state,
        app_account_id: None,
        token_hash: token.map(token::digest),
        modules: Vec::new(),
        next_order: 1,
        created_ms: now_ms,
        updated_ms: now_ms,
    };
    changed_installation(empty, spec)
}

fn changed_installation(
    mut record: InstallationRecord,
    spec: &InstallationSpec,
) -> InstallationRecord {
    record.product = spec.product;
    record.client_key.clone_from(&spec.client_key);
    record.shared_secret = spec.shared_secret.as_deref().map(Secret::new);
    record.licensed = spec.licensed;
    record.environment.clone_from(&spec.environment);
    record.state = spec.state;
    record.app_account_id.clone_from(&spec.app_account_id);
    record.updated_ms = clock::now_ms();
    record
}
