//! Pull discovery: requests the modules of an installation from its app and caches the response.
//!
//! One replica sends the request: the one that claims the installation first. The response is
//! stored in the installation's document, so neither events nor other replicas repeat the request.
//! An unusable response changes nothing: the last valid set stays.
//!
//! **Source:** Forge RFC-98, dynamic modules: keys of the manifest have priority; two dynamic
//! modules with one key are both ignored; more modules than the limit ignores all; undeclared types
//! are ignored. Extension: every ignored module is stored with its reason.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{info, warn};
use url::Url;
use uuid::Uuid;

use crate::clock;
use crate::domain::{InstallationId, ModuleKey};
use crate::registry::app_calls::{AppCall, CallAuth};
use crate::registry::commands::forge_modules::{ModuleSpec, require_enabled};
use crate::registry::compile::applied::AppliedApp;
use crate::registry::metrics;
use crate::registry::model::document::{
    InstallationRecord, InstallationState, ModuleRecord, RegistrationApi,
};
use crate::registry::model::problem::summary;
use crate::registry::registry::{Mutation, RegisterError, Registry};
use crate::registry::validation::trigger_rules::key_problem;

/// Interval at which due installations are polled.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Installations processed concurrently.
const RUNNING_MAX: usize = 8;
/// Duration of a claim, in milliseconds; after it another replica may send the request.
const CLAIM_MS: i64 = 60_000;
/// Longest wait for the response of an app, whatever the delivery timeout is; well within the
/// claim.
const ANSWER_MAX: Duration = Duration::from_secs(45);
/// Pause after the first failed request, in milliseconds; doubles up to the lifetime of a response.
const RETRY_MS: i64 = 15_000;
/// Pause before a retry after the store was unavailable.
const STORE_PAUSE_MS: i64 = 1_000;
/// Maximum number of ignored modules stored with their reason.
const IGNORED_MAX: usize = 200;
/// Longest stored reason, in characters.
const REASON_CHARS_MAX: usize = 500;

/// Discovery status of an installation.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DiscoveryStatus {
    /// Time at which the requested version of the app was stored, milliseconds since the epoch.
    pub app_updated_ms: i64,
    /// Time of the last usable response, milliseconds since the epoch; 0 = none yet.
    pub fetched_ms: i64,
    /// Time of the next request, milliseconds since the epoch.
    pub due_ms: i64,
    /// End of the claim of the replica that sends the request, milliseconds since the epoch; 0 =
    /// none.
    pub asking_until_ms: i64,
    /// Consecutive failed requests.
    pub failures: u32,
    /// Why the last request failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Ignored modules of the last response.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignored: Vec<IgnoredModule>,
}

/// A module of a response that is not registered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IgnoredModule {
    /// Its key, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Its type, if it has one.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub module_type: Option<String>,
    /// The violated rule.
    pub rule: IgnoreRule,
    /// The reason, one sentence.
    pub reason: String,
}

/// Rules by which modules are ignored; a closed set of metric labels.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IgnoreRule {
    /// A static module of the app has the key.
    StaticKey,
    /// Two modules of the response have the key.
    DuplicateKey,
    /// The response has more modules than an installation may have.
    TooMany,
    /// The app does not declare the type.
    Undeclared,
    /// The module is invalid.
    Invalid,
}

impl IgnoreRule {
    /// Value of the metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::StaticKey => "static_key",
            Self::DuplicateKey => "duplicate_key",
            Self::TooMany => "too_many",
            Self::Undeclared => "undeclared",
            Self::Invalid => "invalid",
        }
    }
}

/// Time at which the app is asked next, milliseconds since the epoch; none = never.
pub(crate) fn due_ms(app: &AppliedApp, record: &InstallationRecord) -> Option<i64> {
    app.record.discovery.as_ref()?;
    if record.state != InstallationState::Enabled {
        return None;
    }
    let Some(known) = &record.discovery else { return Some(0) };
    let due_ms = if known.app_updated_ms == app.record.updated_ms { known.due_ms } else { 0 };
    Some(due_ms.max(known.asking_until_ms))
}

#[derive(Deserialize)]
struct Answer {
    modules: Vec<Value>,
}

/// A well-formed module of a response.
struct DiscoveredModule {
    key: ModuleKey,
    module_type: String,
    data: Map<String, Value>,
}

/// The modules of a response, classified.
#[derive(Default)]
struct ClassifiedModules {
    discovered: Vec<DiscoveredModule>,
    ignored: Vec<IgnoredModule>,
    /// Why the whole response is unusable.
    refused: Option<String>,
}

impl Registry {
    /// Runs due work of installations until the future is dropped: discovery requests and warnings
    /// of expiring webhooks.
    pub async fn run_background_tasks(self: Arc<Self>) {
        let mut running = JoinSet::new();
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        loop {
            look.tick().await;
            while running.try_join_next().is_some() {}
            while running.len() < RUNNING_MAX {
                let Some(id) = self.state.pop_due(clock::now_ms()) else { break };
                let registry = Arc::clone(&self);
                running.spawn(async move { registry.run_due_tasks(&id).await });
            }
        }
    }

    async fn run_due_tasks(&self, id: &InstallationId) {
        let mut done = self.warn_of_expiring_webhooks(id).await;
        if done.is_ok() {
            done = self.discover(id, DiscoveryMode::WhenDue).await.map(|_| ());
        }
        if let Err(error) = done {
            warn!(installation = %id, %error, "background task of the installation failed, retrying");
            self.state.wake_at(id, clock::now_ms().saturating_add(STORE_PAUSE_MS));
        }
    }

    /// Requests the modules of an installation now, unless a replica already does, and returns the
    /// resulting status.
    ///
    /// # Errors
    /// The installation does not exist, its app declares no discovery, or the store is unavailable.
    pub async fn refresh_discovery(
        &self,
        id: &InstallationId,
    ) -> Result<DiscoveryStatus, RegisterError> {
        self.discover(id, DiscoveryMode::Now).await?;
        let live = self.installation(id.as_str()).ok_or(RegisterError::NotFound)?;
        live.record.discovery.clone().ok_or(RegisterError::NotFound)
    }

    async fn discover(
        &self,
        id: &InstallationId,
        when: DiscoveryMode,
    ) -> Result<(), RegisterError> {
        let Some(live) = self.installation(id.as_str()) else { return Ok(()) };
        let Some(app) = self.app(live.record.app.as_str()) else { return Ok(()) };
        let Some(call) = self.discovery_request(&app, &live.record) else { return Ok(()) };
        if !self.claim(id, &app, when).await? {
            return Ok(());
        }
        let refused = |reason: String| ClassifiedModules {
            refused: Some(reason),
            ..ClassifiedModules::default()
        };
        let classified = match timeout(ANSWER_MAX, self.calls.call(call)).await {
            Ok(Ok(body)) => self.classify(&app, &body),
            Ok(Err(error)) => refused(error.to_string()),
            Err(_) => refused(format!("no answer within {ANSWER_MAX:?}")),
        };
        self.store_outcome(id, &app, classified).await
    }

    /// Claims the installation; true if this replica sends the request.
    async fn claim(
        &self,
        id: &InstallationId,
        app: &AppliedApp,
        when: DiscoveryMode,
    ) -> Result<bool, RegisterError> {
        self.update_document(id.as_str(), |current: Option<InstallationRecord>| {
            let Ok(mut record) = require_enabled(current) else { return Ok(Mutation::Keep(false)) };
            let now_ms = clock::now_ms();
            let is_due = due_ms(app, &record).is_some_and(|due_ms| due_ms <= now_ms);
            let known = record.discovery.get_or_insert_default();
            let is_free = known.asking_until_ms <= now_ms;
            if !is_free || (when == DiscoveryMode::WhenDue && !is_due) {
                return Ok(Mutation::Keep(false));
            }
            known.asking_until_ms = now_ms.saturating_add(CLAIM_MS);
            Ok(Mutation::Put(record, true))
        })
        .await
    }

    fn discovery_request(&self, app: &AppliedApp, record: &InstallationRecord) -> Option<AppCall> {
        let discovery = app.record.discovery.as_ref()?;
        let body = json!({
            "installationId": record.id, "cloudId": record.cloud_id, "product": record.product,
        });
        Some(AppCall {
            kind: "discovery",
            id: Uuid::new_v4().to_string(),
            url: Url::parse(&discovery.url).ok()?,
            proof: CallAuth::Signature(discovery.secret.clone()),
            body: Bytes::from(body.to_string()),
        })
    }

    /// Applies the rules that need only the response and the app.
    fn classify(&self, app: &AppliedApp, body: &[u8]) -> ClassifiedModules {
        let answer: Answer = match serde_json::from_slice(body) {
            Ok(answer) => answer,
            Err(error) => {
                let refused = Some(format!("the answer is not {{\"modules\": [..]}}: {error}"));
                return ClassifiedModules { refused, ..ClassifiedModules::default() };
            }
        };
        let (count, max) = (answer.modules.len(), self.settings.modules_max);
        if count > max {
            let reason = format!("the answer has {count} modules, the limit is {max}");
            let ignored = answer.modules.iter().take(IGNORED_MAX);
            let ignored =
                ignored.map(|module| ignored_module(module, IgnoreRule::TooMany, &reason));
            return ClassifiedModules {
                ignored: ignored.collect(),
                refused: Some(reason),
                ..ClassifiedModules::default()
            };
        }
        let mut uses: HashMap<&str, usize> = HashMap::new();
        for key in answer.modules.iter().filter_map(key_of) {
            *uses.entry(key).or_default() += 1;
        }
        let types = app.record.discovery.as_ref().map_or(&[] as &[String], |d| &d.types);
        let mut classified = ClassifiedModules::default();
        for module in &answer.modules {
            let is_repeated = key_of(module).and_then(|key| uses.get(key)).is_some_and(|n| *n > 1);
            match parse_module(module) {
                Err(reason) => classified.ignore(module, IgnoreRule::Invalid, &reason),
                Ok(_) if is_repeated => {
                    classified.ignore(
                        module,
                        IgnoreRule::DuplicateKey,
                        "two modules have this key",
                    );
                }
                Ok(discovered) if app.has_static_key(discovered.key.as_str()) => {
                    let reason = "a module of the app itself has this key";
                    classified.ignore(module, IgnoreRule::StaticKey, reason);
                }
                Ok(discovered) if !types.contains(&discovered.module_type) => {
                    let reason = format!("the app declares no use of `{}`", discovered.module_type);
                    classified.ignore(module, IgnoreRule::Undeclared, &reason);
                }
                Ok(discovered) => classified.discovered.push(discovered),
            }
        }
        classified
    }

    /// Stores the result of a request.
    async fn store_outcome(
        &self,
        id: &InstallationId,
        app: &AppliedApp,
        classified: ClassifiedModules,
    ) -> Result<(), RegisterError> {
        // Validated before the document is read, because compiling filters takes time.
        let mut ignored = classified.ignored;
        let mut accepted = Vec::with_capacity(classified.discovered.len());
        for DiscoveredModule { key, module_type, data } in classified.discovered {
            let spec = ModuleSpec { module_type, data, api: RegistrationApi::Discovery };
            match self.validate_spec(id, &spec) {
                Ok(found) => accepted.push((spec.record(Some(key)), found)),
                Err(error) => ignored.push(rejected_module(&key, &spec.module_type, error)?),
            }
        }
        let changed = self
            .update_document(id.as_str(), |current: Option<InstallationRecord>| {
                let Ok(mut record) = require_enabled(current) else {
                    return Ok(Mutation::Keep(None));
                };
                let before = record.discovery.take().unwrap_or_default();
                let mut ignored = ignored.clone();
                if classified.refused.is_none() {
                    let (kept, old): (Vec<_>, Vec<_>) = std::mem::take(&mut record.modules)
                        .into_iter()
                        .partition(|module| module.api != RegistrationApi::Discovery);
                    record.modules = kept;
                    for (module, found) in &accepted {
                        let old = old.iter().find(|old| old.key == module.key);
                        match self.add(&mut record, module, found) {
                            Ok(_) => record.inherit_from(old),
                            Err(error) => {
                                let module_type = &module.module_type;
                                ignored.push(rejected_module(&module.key, module_type, error)?);
                            }
                        }
                    }
                }
                // Pages of a list follow this order.
                record.modules.sort_by_key(|module| module.order);
                let known = self.next_status(app, &before, ignored, classified.refused.clone());
                record.discovery = Some(known.clone());
                Ok(Mutation::Put(record, Some((before, known))))
            })
            .await?;
        if let Some((before, known)) = changed {
            self.report(id, app, &before, &known);
        }
        Ok(())
    }

    fn next_status(
        &self,
        app: &AppliedApp,
        before: &DiscoveryStatus,
        mut ignored: Vec<IgnoredModule>,
        refused: Option<String>,
    ) -> DiscoveryStatus {
        ignored.truncate(IGNORED_MAX);
        let (now_ms, life_ms) = (clock::now_ms(), self.settings.discovery_life_ms);
        let failures = if refused.is_some() { before.failures.saturating_add(1) } else { 0 };
        let wait_ms = match failures {
            // Up to a tenth less, so that installations made together are not asked together.
            0 => {
                life_ms.saturating_sub(i64::from(Uuid::new_v4().as_fields().1) * life_ms / 655_360)
            }
            failures => {
                RETRY_MS.saturating_mul(1_i64 << (failures - 1).min(20)).min(life_ms.max(RETRY_MS))
            }
        };
        DiscoveryStatus {
            app_updated_ms: app.record.updated_ms,
            fetched_ms: if refused.is_some() { before.fetched_ms } else { now_ms },
            due_ms: now_ms.saturating_add(wait_ms),
            asking_until_ms: 0,
            failures,
            error: refused.map(|reason| reason.chars().take(REASON_CHARS_MAX).collect()),
            ignored,
        }
    }

    /// Counts and logs ignored modules, and notifies the app if they changed.
    fn report(
        &self,
        id: &InstallationId,
        app: &AppliedApp,
        before: &DiscoveryStatus,
        known: &DiscoveryStatus,
    ) {
        for ignored in &known.ignored {
            metrics::module_ignored(ignored.rule.label());
        }
        let (ignored, error) = (known.ignored.len(), known.error.as_deref());
        info!(installation = %id, ignored, error, "modules discovered");
        if (&before.ignored, &before.error) == (&known.ignored, &known.error) {
            return;
        }
        if !known.ignored.is_empty() || known.error.is_some() {
            let data = json!({"ignored": known.ignored, "error": known.error});
            self.send_notice(&app.record, id, "switchyard.discovery.ignored", data);
        }
    }
}

/// When a discovery request is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum DiscoveryMode {
    WhenDue,
    Now,
}

impl ClassifiedModules {
    fn ignore(&mut self, module: &Value, rule: IgnoreRule, reason: &str) {
        self.ignored.push(ignored_module(module, rule, reason));
    }
}

impl InstallationRecord {
    /// Copies status, times, revision and order of the previous module with this key to the module
    /// added last.
    fn inherit_from(&mut self, old: Option<&ModuleRecord>) {
        let (Some(module), Some(old)) = (self.modules.last_mut(), old) else { return };
        if module.module_type == old.module_type && module.data == old.data {
            *module = old.clone();
            return;
        }
        module.status = old.status;
        module.created_ms = old.created_ms;
        module.revision = old.revision.saturating_add(1);
        module.order = old.order;
    }
}

fn key_of(module: &Value) -> Option<&str> {
    module.get("key")?.as_str()
}

/// Parses one module of a response, or returns why it is malformed.
fn parse_module(module: &Value) -> Result<DiscoveredModule, String> {
    let key = key_of(module).ok_or("a module has a key, which is a string")?;
    if let Some(problem) = key_problem(key, "key") {
        return Err(problem.sentence());
    }
    let module_type = module.get("type").and_then(Value::as_str);
    let data = module.get("data").and_then(Value::as_object);
    let data = data.cloned().ok_or("a module has data, which is an object")?;
    if data.get("key").is_some_and(|inside| inside.as_str() != Some(key)) {
        return Err(format!("data.key differs from the key of the module, `{key}`"));
    }
    Ok(DiscoveredModule {
        key: key.into(),
        module_type: module_type.ok_or("a module has a type, which is a string")?.to_owned(),
        data,
    })
}

fn ignored_module(module: &Value, rule: IgnoreRule, reason: &str) -> IgnoredModule {
    let text = |name: &str| {
        let text = module.get(name)?.as_str()?;
        Some(text.chars().take(REASON_CHARS_MAX).collect())
    };
    IgnoredModule { key: text("key"), module_type: text("type"), rule, reason: reason.to_owned() }
}

/// Converts a validation error to an ignored module; any other error fails the refresh.
fn rejected_module(
    key: &ModuleKey,
    module_type: &str,
    error: RegisterError,
) -> Result<IgnoredModule, RegisterError> {
    let RegisterError::Invalid(problems) = error else { return Err(error) };
    Ok(IgnoredModule {
        key: Some(key.to_string()),
        module_type: Some(module_type.to_owned()),
        rule: IgnoreRule::Invalid,
        reason: summary(&problems).chars().take(REASON_CHARS_MAX).collect(),
    })
}
