//! Forge dynamic modules: register, replace and remove the modules of one installation.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;

use serde_json::{Map, Value};
use tracing::{info, warn};
use uuid::Uuid;

use crate::clock;
use crate::domain::{InstallationId, ModuleKey, SubscriptionId};
use crate::registry::commands::notices::QuotaUsage;
use crate::registry::compile::applied::{AppliedApp, AppliedInstallation};
use crate::registry::compile::modules::TRIGGER;
use crate::registry::model::document::{
    InstallationRecord, InstallationState, ModuleRecord, ModuleStatus, RegistrationApi,
};
use crate::registry::model::module_fields::ModuleFields;
use crate::registry::model::problem::{Problem, code};
use crate::registry::registry::{Mutation, RegisterError, Registry};
use crate::registry::validation::trigger::Trigger;
use crate::registry::validation::trigger_rules::{FilterCost, ValidatedTrigger, ValidationRules};

/// Forge module types that can be stored without being routed.
const STORED_ONLY_TYPES: &[&str] = &[
    "confluence:contentAction",
    "confluence:contentBylineItem",
    "confluence:contentProperty",
    "jira:customField",
    "jira:customFieldType",
    "jira:entityProperty",
    "jira:issueAction",
    "jira:issueActivity",
    "jira:issueContext",
    "jira:issuePanel",
    "jira:jqlFunction",
    "jiraServiceManagement:portalHeader",
    "jiraServiceManagement:portalRequestDetail",
    "jiraServiceManagement:portalRequestViewAction",
    "macro",
];

/// A module as an app submits it.
#[derive(Clone, Debug)]
pub struct ModuleSpec {
    /// Module type, such as `trigger`.
    pub module_type: String,
    /// Submitted data, with or without `key`.
    pub data: Map<String, Value>,
    /// API of the request.
    pub api: RegistrationApi,
}

impl ModuleSpec {
    /// Builds the record of a new module, under `key` or a generated key.
    pub(crate) fn record(self, key: Option<ModuleKey>) -> ModuleRecord {
        let key = key.unwrap_or_else(|| Uuid::new_v4().to_string().into());
        let now_ms = clock::now_ms();
        ModuleRecord {
            data: with_key(self.data, &key).into(),
            key,
            module_type: self.module_type,
            api: self.api,
            status: ModuleStatus::On,
            created_ms: now_ms,
            updated_ms: now_ms,
            revision: 1,
            order: 0,
        }
    }
}

/// Number of modules that a quota error suggests to remove.
const LEAST_RECENT_MAX: usize = 3;

/// Keys of the registered modules that matched least recently on this replica, those that never
/// matched first.
fn least_recently_matched(installation: &AppliedInstallation) -> Vec<&str> {
    let mut modules: Vec<_> = installation.registered().collect();
    modules.sort_by_key(|(_, live)| live.stats().peek().last_match_ms.load(Relaxed));
    modules.iter().take(LEAST_RECENT_MAX).map(|(module, _)| module.key.as_str()).collect()
}

/// A stored module with its warnings.
#[derive(Clone, Debug)]
pub struct RegisteredModule {
    /// The record.
    pub module: ModuleRecord,
    /// Warnings for its author.
    pub warnings: Vec<Problem>,
    /// Cost of its filters.
    pub complexity: Vec<FilterCost>,
}

impl RegisteredModule {
    pub(crate) fn new(module: ModuleRecord, accepted: &ValidatedTrigger) -> Self {
        let ValidatedTrigger { warnings, complexity, .. } = accepted;
        Self { module, warnings: warnings.clone(), complexity: complexity.clone() }
    }
}

impl From<ModuleRecord> for RegisteredModule {
    fn from(module: ModuleRecord) -> Self {
        Self { module, warnings: Vec::new(), complexity: Vec::new() }
    }
}

impl Registry {
    /// Charges one registration to the rate limit of the installation.
    ///
    /// # Errors
    /// [`RegisterError::RateLimited`].
    pub fn check_rate_limit(&self, installation: &InstallationId) -> Result<(), RegisterError> {
        self.rate
            .check(installation)
            .map_err(|retry_after| RegisterError::RateLimited { retry_after })
    }

    /// Registers a module under `key`, or under a generated key.
    ///
    /// # Errors
    /// The module is invalid, its key is taken, or the quota is exhausted.
    pub async fn register(
        &self,
        installation: &InstallationId,
        spec: ModuleSpec,
        key: Option<ModuleKey>,
    ) -> Result<RegisteredModule, RegisterError> {
        let accepted = self.validate_spec(installation, &spec)?;
        let module = spec.record(key);
        let (module, usage) = self
            .update_document(installation.as_str(), |current| {
                let mut record = require_enabled(current)?;
                let before = record.modules.len();
                let module = self.add(&mut record, &module, &accepted)?;
                let usage = self.usage(before, &record);
                Ok(Mutation::Put(record, (module, usage)))
            })
            .await?;
        info!(installation = %installation, key = %module.key, "module registered");
        self.notify_near_limit(installation, usage);
        let mut registered = RegisteredModule::new(module, &accepted);
        registered.warnings.extend(usage.warning());
        Ok(registered)
    }

    /// Adds a module to a record, within its quotas.
    pub(crate) fn add(
        &self,
        record: &mut InstallationRecord,
        module: &ModuleRecord,
        accepted: &ValidatedTrigger,
    ) -> Result<ModuleRecord, RegisterError> {
        self.check_quota(record, &module.key)?;
        self.check_property_paths(record, &module.key, accepted)?;
        let module = ModuleRecord { order: record.next_order, ..module.clone() };
        record.next_order += 1;
        record.modules.push(module.clone());
        Ok(module)
    }

    /// Sets the status of the module `key`.
    ///
    /// # Errors
    /// The module does not exist.
    pub async fn set_status(
        &self,
        installation: &InstallationId,
        key: &ModuleKey,
        status: ModuleStatus,
    ) -> Result<ModuleRecord, RegisterError> {
        let module = self
            .update_document(installation.as_str(), |current| {
                let mut record = require_enabled(current)?;
                let slot = record.modules.iter_mut().find(|module| module.key == *key);
                let module = slot.ok_or(RegisterError::NotFound)?;
                module.status = status;
                module.revision += 1;
                module.updated_ms = clock::now_ms();
                let module = module.clone();
                Ok(Mutation::Put(record, module))
            })
            .await?;
        info!(installation = %installation, %key, ?status, "module status changed");
        Ok(module)
    }

    /// Disables a module whose endpoint returned HTTP 410 repeatedly, and notifies the app. It
    /// stays disabled until it is switched on.
    ///
    /// # Errors
    /// The store is unavailable. A module that does not exist or is not on is left unchanged.
    pub async fn disable_after_410(&self, id: &SubscriptionId) -> Result<(), RegisterError> {
        let retired = self
            .update_document(id.installation.as_str(), |current| {
                let Ok(mut record) = require_enabled(current) else {
                    return Ok(Mutation::Keep(false));
                };
                let is_on = |m: &&mut ModuleRecord| m.key == id.key && m.status == ModuleStatus::On;
                let Some(module) = record.modules.iter_mut().find(is_on) else {
                    return Ok(Mutation::Keep(false));
                };
                module.status = ModuleStatus::EndpointGone;
                module.revision += 1;
                module.updated_ms = clock::now_ms();
                Ok(Mutation::Put(record, true))
            })
            .await?;
        if retired {
            warn!(%id, "endpoint returned 410, module disabled");
            self.notify_inactive(
                &id.installation,
                id.key.as_str(),
                "its endpoint returned HTTP 410",
            );
        }
        Ok(())
    }

    /// Replaces the module `key` completely. `expected` is its required revision.
    ///
    /// # Errors
    /// The module does not exist, the new one is invalid or of another type, or the revision
    /// differs.
    pub async fn replace(
        &self,
        installation: &InstallationId,
        key: &ModuleKey,
        spec: ModuleSpec,
        expected: Option<u64>,
    ) -> Result<RegisteredModule, RegisterError> {
        self.module(installation, key)?;
        let accepted = self.validate_spec(installation, &spec)?;
        let data = ModuleFields::from(with_key(spec.data, key));
        let module = self
            .update_document(installation.as_str(), |current| {
                let mut record = require_enabled(current)?;
                self.check_property_paths(&record, key, &accepted)?;
                let slot = record.modules.iter_mut().find(|module| module.key == *key);
                let module = slot.ok_or(RegisterError::NotFound)?;
                check_revision(module, expected)?;
                check_source(module)?;
                if module.module_type != spec.module_type {
                    let message = "type cannot be modified during update";
                    let problem = Problem::new(code::TYPE_CHANGED, "type", message);
                    return Err(RegisterError::invalid(problem));
                }
                module.data = data.clone();
                module.revision += 1;
                module.updated_ms = clock::now_ms();
                let module = module.clone();
                Ok(Mutation::Put(record, module))
            })
            .await?;
        info!(installation = %installation, %key, revision = module.revision, "module replaced");
        Ok(RegisteredModule::new(module, &accepted))
    }

    /// Removes the module `key`. `expected` is its required revision.
    ///
    /// # Errors
    /// The module does not exist, or its revision differs.
    pub async fn remove(
        &self,
        installation: &InstallationId,
        key: &ModuleKey,
        expected: Option<u64>,
    ) -> Result<(), RegisterError> {
        self.update_document(installation.as_str(), |current| {
            let mut record = require_enabled(current)?;
            let module = record.module(key.as_str()).ok_or(RegisterError::NotFound)?;
            check_revision(module, expected)?;
            check_source(module)?;
            record.modules.retain(|module| module.key != *key);
            Ok(Mutation::Put(record, ()))
        })
        .await?;
        info!(installation = %installation, %key, "module removed");
        Ok(())
    }

    /// Returns a registered module as applied here.
    ///
    /// # Errors
    /// [`RegisterError::NotFound`].
    pub fn module(
        &self,
        installation: &InstallationId,
        key: &ModuleKey,
    ) -> Result<ModuleRecord, RegisterError> {
        let live = self.installation(installation.as_str()).ok_or(RegisterError::NotFound)?;
        live.record.module(key.as_str()).cloned().ok_or(RegisterError::NotFound)
    }

    /// Validates a module against its app, as far as that does not depend on other modules.
    pub(crate) fn validate_spec(
        &self,
        installation: &InstallationId,
        spec: &ModuleSpec,
    ) -> Result<ValidatedTrigger, RegisterError> {
        let live = self.installation(installation.as_str()).ok_or(RegisterError::NotFound)?;
        let app = self.app(live.record.app.as_str()).ok_or(RegisterError::NotFound)?;
        if spec.module_type == TRIGGER {
            return self.rules(&app).check(&spec.data, "data").map_err(RegisterError::Invalid);
        }
        let name = &spec.module_type;
        let (known, stored) =
            (STORED_ONLY_TYPES.contains(&name.as_str()), self.settings.accept_inert_types);
        if known && stored {
            return Ok(ValidatedTrigger::default());
        }
        let problem =
            Problem::new(code::MODULE_TYPE, "type", format!("unsupported module type `{name}`"));
        Err(RegisterError::invalid(if known {
            problem.with_help("registry.accept_inert_types stores modules of this type")
        } else {
            problem.with_help(format!("modules of type `{TRIGGER}` can be registered"))
        }))
    }

    pub(crate) fn rules<'a>(&'a self, app: &'a AppliedApp) -> ValidationRules<'a> {
        ValidationRules {
            app: Some(&app.record),
            allow_unknown_events: self.settings.allow_unknown_events,
            programs: self.state.programs(),
        }
    }

    pub(crate) fn usage(&self, before: usize, record: &InstallationRecord) -> QuotaUsage {
        QuotaUsage { before, after: record.modules.len(), max: self.settings.modules_max }
    }

    fn check_quota(
        &self,
        record: &InstallationRecord,
        key: &ModuleKey,
    ) -> Result<(), RegisterError> {
        if record.module(key.as_str()).is_some() {
            let message = format!("A dynamic module with key \"{key}\" already exists");
            return Err(RegisterError::invalid(Problem::new(code::DUPLICATE, "key", message)));
        }
        let (used, max) = (record.modules.len(), self.settings.modules_max);
        if used < max {
            return Ok(());
        }
        let message = format!("limit {max} dynamic modules per installation, {used} used");
        let mut help = "delete one to make room".to_owned();
        if let Some(live) = self.installation(record.id.as_str()) {
            help.push_str("; matched least recently: ");
            help.push_str(&least_recently_matched(&live).join(", "));
        }
        Err(RegisterError::invalid(Problem::new(code::MODULES_MAX, "", message).with_help(help)))
    }

    /// Includes the paths of the installation's other modules and of the static ones.
    fn check_property_paths(
        &self,
        record: &InstallationRecord,
        key: &ModuleKey,
        accepted: &ValidatedTrigger,
    ) -> Result<(), RegisterError> {
        if accepted.property_paths.is_empty() {
            return Ok(());
        }
        let app = self.app(record.app.as_str());
        let statics = app.iter().flat_map(|app| app.record.static_modules.get(TRIGGER)).flatten();
        let others = record.modules.iter().filter(|m| m.key != *key && m.module_type == TRIGGER);
        let others = others.map(|module| Cow::Owned(module.data.read()));
        let mut paths: BTreeSet<String> = accepted.property_paths.clone();
        for data in statics.map(Cow::Borrowed).chain(others) {
            if let Ok(trigger) = Trigger::parse(&data, "data") {
                paths.extend(self.state.programs().property_paths(&trigger));
            }
        }
        let (used, max) = (paths.len(), self.settings.property_paths_max);
        if used <= max {
            return Ok(());
        }
        let message =
            format!("{used} different entity properties would be read, the limit is {max}");
        Err(RegisterError::invalid(Problem::new(code::PROPERTY_PATHS_MAX, "data", message)))
    }
}

/// Returns the record if its installation is enabled.
pub(crate) fn require_enabled(
    current: Option<InstallationRecord>,
) -> Result<Box<InstallationRecord>, RegisterError> {
    let enabled = current.filter(|record| record.state == InstallationState::Enabled);
    enabled.map(Box::new).ok_or(RegisterError::NotFound)
}

fn check_revision(module: &ModuleRecord, expected: Option<u64>) -> Result<(), RegisterError> {
    match expected {
        Some(expected) if expected != module.revision => Err(RegisterError::StaleRevision),
        _ => Ok(()),
    }
}

/// Rejects changes of a discovered module: the next response of its app would revert them.
fn check_source(module: &ModuleRecord) -> Result<(), RegisterError> {
    if module.api != RegistrationApi::Discovery {
        return Ok(());
    }
    let message =
        format!("`{}` was discovered: only a discovery response of its app changes it", module.key);
    Err(RegisterError::invalid(Problem::new(code::DISCOVERED, "key", message)))
}

fn with_key(mut data: Map<String, Value>, key: &ModuleKey) -> Map<String, Value> {
    data.insert("key".into(), Value::String(key.to_string()));
    data
}
