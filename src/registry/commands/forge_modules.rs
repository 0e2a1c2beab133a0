//! Forge dynamic modules: register, replace and remove the modules of one installation.

use std::sync::atomic::Ordering::Relaxed;

use tracing::info;

use super::context::{Context, Target};
use super::registration::{self, Registration, RegistrationOutcome};
use crate::clock;
use crate::domain::{InstallationId, ModuleKey};
use crate::registry::compile::AppliedInstallation;
use crate::registry::error::RegisterError;
use crate::registry::model::{
    InstallationRecord, ModuleFields, ModuleRecord, Problem, QuotaUsage, RegistrationApi, code,
    listed,
};
use crate::registry::transaction::Mutation;
use crate::registry::validation::{
    FilterCost, ModuleSpec, ValidatedTrigger, check_modules, check_property_paths, with_key,
};

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
    pub(super) fn new(module: ModuleRecord, validated: &ValidatedTrigger) -> Self {
        let ValidatedTrigger { warnings, complexity, .. } = validated;
        Self { module, warnings: listed(warnings.clone()), complexity: complexity.clone() }
    }
}

impl From<ModuleRecord> for RegisteredModule {
    fn from(module: ModuleRecord) -> Self {
        Self { module, warnings: Vec::new(), complexity: Vec::new() }
    }
}

/// Commands on Forge modules.
#[derive(Clone, Copy)]
pub struct ForgeModules<'a> {
    context: &'a Context,
}

impl<'a> ForgeModules<'a> {
    pub(crate) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    /// Registers a module under `key`, or under a generated key.
    ///
    /// # Errors
    /// The module is invalid, its key is taken, or the quota is exhausted.
    pub async fn register(
        self,
        installation: &InstallationId,
        spec: ModuleSpec,
        key: Option<ModuleKey>,
    ) -> Result<RegisteredModule, RegisterError> {
        let request = NewModule { spec, key, replaces: false };
        let registered = registration::register(self.context, installation, request).await?;
        info!(installation = %installation, key = %registered.module.key, "module registered");
        Ok(registered)
    }

    /// Returns the result of registering `spec` without storing anything.
    ///
    /// # Errors
    /// As [`ForgeModules::register`].
    pub fn validate(
        self,
        installation: &InstallationId,
        spec: ModuleSpec,
        key: Option<ModuleKey>,
    ) -> Result<ValidatedTrigger, RegisterError> {
        let request = NewModule { spec, key, replaces: false };
        let valid = registration::dry_run(self.context, installation, &request)?.trigger;
        Ok(ValidatedTrigger { warnings: listed(valid.warnings), ..valid })
    }

    /// As [`ForgeModules::validate`], for a module that replaces the one with its key, if there is
    /// one.
    ///
    /// # Errors
    /// As [`ForgeModules::register`].
    pub fn validate_replacement(
        self,
        installation: &InstallationId,
        spec: ModuleSpec,
        key: &ModuleKey,
    ) -> Result<Vec<Problem>, RegisterError> {
        let request = NewModule { spec, key: Some(key.clone()), replaces: true };
        let valid = registration::dry_run(self.context, installation, &request)?.trigger;
        Ok(listed(valid.warnings))
    }

    /// Replaces the module `key` completely. `expected` is its required revision.
    ///
    /// # Errors
    /// The module does not exist, the new one is invalid or of another type, or the revision
    /// differs.
    pub async fn replace(
        self,
        installation: &InstallationId,
        key: &ModuleKey,
        spec: ModuleSpec,
        expected: Option<u64>,
    ) -> Result<RegisteredModule, RegisterError> {
        let request = Replacement { key, spec, expected };
        let registered = registration::register(self.context, installation, request).await?;
        let revision = registered.module.revision;
        info!(installation = %installation, %key, revision, "module replaced");
        Ok(registered)
    }

    /// Removes the module `key`. `expected` is its required revision.
    ///
    /// # Errors
    /// The module does not exist, or its revision differs.
    pub async fn remove(
        self,
        installation: &InstallationId,
        key: &ModuleKey,
        expected: Option<u64>,
    ) -> Result<(), RegisterError> {
        self.context
            .update_installation(installation, |mut record| {
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
        self,
        installation: &InstallationId,
        key: &ModuleKey,
    ) -> Result<ModuleRecord, RegisterError> {
        let applied = self.context.state().installation(installation.as_str());
        let applied = applied.ok_or(RegisterError::NotFound)?;
        applied.record.module(key.as_str()).cloned().ok_or(RegisterError::NotFound)
    }
}

/// Registration of one module.
struct NewModule {
    spec: ModuleSpec,
    key: Option<ModuleKey>,
    /// Whether it may take the place of a module with its key.
    replaces: bool,
}

/// A validated module with its record, which has no order number yet.
pub(super) struct ValidatedModule {
    pub(super) module: ModuleRecord,
    pub(super) trigger: ValidatedTrigger,
}

/// Validates a module against its app.
///
/// # Errors
/// Every problem.
pub(super) fn validate_module(
    context: &Context,
    target: &Target,
    spec: &ModuleSpec,
    key: Option<&ModuleKey>,
) -> Result<ValidatedModule, Vec<Problem>> {
    let rules = context.rules(target);
    let trigger = spec.validate(&rules, context.settings.registry.accept_inert_types)?;
    Ok(ValidatedModule { module: spec.record(key), trigger })
}

/// Adds a validated module to a record, within its quotas.
///
/// # Errors
/// Its key is taken, or a quota is used up.
pub(super) fn add_module(
    context: &Context,
    record: &mut InstallationRecord,
    validated: &ValidatedModule,
) -> Result<ModuleRecord, RegisterError> {
    let key = &validated.module.key;
    if record.module(key.as_str()).is_some() {
        let message = format!("A dynamic module with key \"{key}\" already exists");
        return Err(RegisterError::invalid(Problem::new(code::DUPLICATE, "key", message)));
    }
    check_modules(record, context.dynamic_modules_max(record))
        .map_err(|problems| RegisterError::Invalid(with_candidates(context, record, problems)))?;
    check_paths(context, record, key, &validated.trigger)?;
    let module = ModuleRecord { order: record.next_order, ..validated.module.clone() };
    record.next_order += 1;
    record.modules.push(module.clone());
    Ok(module)
}

/// Returns the usage of the module quota after a change.
pub(super) fn module_usage(
    context: &Context,
    before: usize,
    record: &InstallationRecord,
) -> QuotaUsage {
    QuotaUsage { before, after: record.modules.len(), max: context.dynamic_modules_max(record) }
}

/// Adds to the problem of a used-up quota which modules could be removed.
fn with_candidates(
    context: &Context,
    record: &InstallationRecord,
    problems: Vec<Problem>,
) -> Vec<Problem> {
    let Some(applied) = context.state().installation(record.id.as_str()) else { return problems };
    let candidates = least_recently_matched(&applied).join(", ");
    let add = |problem: Problem| {
        let help = problem.help.as_deref().map_or_else(String::new, |help| format!("{help}; "));
        problem.with_help(format!("{help}matched least recently: {candidates}"))
    };
    problems.into_iter().map(add).collect()
}

pub(super) fn check_paths(
    context: &Context,
    record: &InstallationRecord,
    key: &ModuleKey,
    trigger: &ValidatedTrigger,
) -> Result<(), RegisterError> {
    let app = context.state().app(record.app.as_str());
    let app = app.as_ref().map(|app| &app.record);
    let max = context.settings.limits.property_paths_per_installation;
    check_property_paths(app, record, key, trigger, &context.replica.programs, max)
        .map_err(RegisterError::Invalid)
}

impl Registration for NewModule {
    type Validated = ValidatedModule;
    type Answer = RegisteredModule;

    fn validate(
        &self,
        context: &Context,
        target: &Target,
    ) -> Result<ValidatedModule, RegisterError> {
        validate_module(context, target, &self.spec, self.key.as_ref())
            .map_err(RegisterError::Invalid)
    }

    fn apply(
        &self,
        context: &Context,
        _target: &Target,
        validated: &ValidatedModule,
        record: &mut InstallationRecord,
    ) -> Result<RegistrationOutcome<RegisteredModule>, RegisterError> {
        if self.replaces {
            record.modules.retain(|module| module.key != validated.module.key);
        }
        let before = record.modules.len();
        let module = add_module(context, record, validated)?;
        let usage = module_usage(context, before, record);
        let mut answer = RegisteredModule::new(module, &validated.trigger);
        answer.warnings.extend(usage.warning());
        Ok(RegistrationOutcome::Changed { answer, usage: Some(usage) })
    }
}

/// Replacement of one module.
struct Replacement<'a> {
    key: &'a ModuleKey,
    spec: ModuleSpec,
    expected: Option<u64>,
}

impl Registration for Replacement<'_> {
    type Validated = (ModuleFields, ValidatedTrigger);
    type Answer = RegisteredModule;

    fn validate(
        &self,
        context: &Context,
        target: &Target,
    ) -> Result<Self::Validated, RegisterError> {
        let known = target.installation.record.module(self.key.as_str());
        known.ok_or(RegisterError::NotFound)?;
        let rules = context.rules(target);
        let trigger = self.spec.validate(&rules, context.settings.registry.accept_inert_types);
        let data = with_key(self.spec.data.clone(), self.key);
        Ok((data, trigger.map_err(RegisterError::Invalid)?))
    }

    fn apply(
        &self,
        context: &Context,
        _target: &Target,
        (data, trigger): &Self::Validated,
        record: &mut InstallationRecord,
    ) -> Result<RegistrationOutcome<RegisteredModule>, RegisterError> {
        check_paths(context, record, self.key, trigger)?;
        let slot = record.modules.iter_mut().find(|module| module.key == *self.key);
        let module = slot.ok_or(RegisterError::NotFound)?;
        check_revision(module, self.expected)?;
        check_source(module)?;
        if module.module_type != self.spec.module_type {
            let message = "type cannot be modified during update";
            let problem = Problem::new(code::TYPE_CHANGED, "type", message);
            return Err(RegisterError::invalid(problem));
        }
        module.set_data(data.clone());
        module.revision += 1;
        module.updated_ms = clock::now_ms();
        let answer = RegisteredModule::new(module.clone(), trigger);
        Ok(RegistrationOutcome::Changed { answer, usage: None })
    }
}

pub(super) fn check_revision(
    module: &ModuleRecord,
    expected: Option<u64>,
) -> Result<(), RegisterError> {
    match expected {
        Some(expected) if expected != module.revision => Err(RegisterError::StaleRevision),
        _ => Ok(()),
    }
}

/// Rejects changes of a discovered module: the next response of its app would revert them.
pub(super) fn check_source(module: &ModuleRecord) -> Result<(), RegisterError> {
    if module.api != RegistrationApi::Discovery {
        return Ok(());
    }
    let message =
        format!("`{}` was discovered: only a discovery response of its app changes it", module.key);
    Err(RegisterError::invalid(Problem::new(code::DISCOVERED, "key", message)))
}
