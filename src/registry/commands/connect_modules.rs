//! Connect dynamic modules: register, list and remove, all or nothing.
//!
//! **Source:** Atlassian Connect, dynamic modules for Jira and for Confluence.

use std::collections::BTreeSet;
use std::slice;
use std::sync::Arc;

use switchyard_expr::Program;
use tracing::info;

use super::context::{Context, Target};
use super::registration::{self, Registration, RegistrationOutcome};
use crate::clock;
use crate::domain::{InstallationId, ModuleKey};
use crate::registry::compile::AppliedApp;
use crate::registry::error::RegisterError;
use crate::registry::model::{
    InstallationRecord, ModuleRecord, Problem, RegistrationApi, SignedRequest, code,
};
use crate::registry::transaction::Mutation;
use crate::registry::validation::{ConnectModule, check_connect_modules};

/// Commands on Connect modules.
#[derive(Clone, Copy)]
pub struct ConnectModules<'a> {
    context: &'a Context,
}

impl<'a> ConnectModules<'a> {
    pub(crate) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    /// Registers all of `modules`, or none if one is invalid.
    ///
    /// # Errors
    /// Every problem, or the duplicate keys; or the signed request is a replay.
    pub async fn register(
        self,
        id: &InstallationId,
        modules: &[ConnectModule],
        signed: &SignedRequest,
    ) -> Result<(), RegisterError> {
        let request = NewModules { modules, signed };
        registration::register(self.context, id, request).await?;
        info!(installation = %id, modules = modules.len(), "modules registered");
        Ok(())
    }

    /// Removes the modules with these keys that exist; without `keys`, all.
    ///
    /// # Errors
    /// The installation is not enabled, or the signed request is a replay.
    pub async fn remove(
        self,
        id: &InstallationId,
        keys: Option<&[ModuleKey]>,
        signed: &SignedRequest,
    ) -> Result<(), RegisterError> {
        let removed = self
            .context
            .update_installation(id, |mut record| {
                let before = record.modules.len();
                record.modules.retain(|module| {
                    module.api == RegistrationApi::Webhook
                        || keys.is_some_and(|keys| !keys.contains(&module.key))
                });
                let removed = before - record.modules.len();
                if removed == 0 {
                    return Ok(Mutation::Keep(0));
                }
                record.replay_guard.record_once(signed)?;
                Ok(Mutation::Put(record, removed))
            })
            .await?;
        info!(installation = %id, removed, "modules removed");
        Ok(())
    }

    /// Registers a module of a Connect app on behalf of its operator, or replaces the one with its
    /// key.
    ///
    /// # Errors
    /// The module is invalid, or its key belongs to a module that the app does not own.
    pub async fn put(
        self,
        id: &InstallationId,
        module: &ConnectModule,
    ) -> Result<ModuleRecord, RegisterError> {
        let put = registration::register(self.context, id, PutModule { module }).await?;
        info!(installation = %id, key = %put.key, "module put");
        Ok(put)
    }

    /// Returns the result of [`ConnectModules::put`] without storing anything.
    ///
    /// # Errors
    /// As there.
    pub fn validate(
        self,
        id: &InstallationId,
        module: &ConnectModule,
    ) -> Result<(), RegisterError> {
        registration::dry_run(self.context, id, &PutModule { module }).map(|_| ())
    }
}

/// Registration by the app: all modules or none.
struct NewModules<'a> {
    modules: &'a [ConnectModule],
    signed: &'a SignedRequest,
}

impl Registration for NewModules<'_> {
    type Validated = Vec<Arc<Program>>;
    type Answer = ();

    fn validate(
        &self,
        context: &Context,
        target: &Target,
    ) -> Result<Self::Validated, RegisterError> {
        validate_modules(context, target, self.modules)
    }

    fn apply(
        &self,
        context: &Context,
        target: &Target,
        _programs: &Self::Validated,
        record: &mut InstallationRecord,
    ) -> Result<RegistrationOutcome<()>, RegisterError> {
        check_keys(&target.app, record, self.modules)?;
        let max = context.settings.dynamic_modules_max(Some(&target.app.record), record.product);
        let usage = check_connect_modules(record, self.modules.len(), max)
            .map_err(RegisterError::Invalid)?;
        record.replay_guard.record_once(self.signed)?;
        let now_ms = clock::now_ms();
        for module in self.modules {
            let module = module.record(required_key(module)?, now_ms);
            record.modules.push(ModuleRecord { order: record.next_order, ..module });
            record.next_order += 1;
        }
        Ok(RegistrationOutcome::Changed { answer: (), usage: Some(usage) })
    }
}

/// Registration or replacement by an operator.
struct PutModule<'a> {
    module: &'a ConnectModule,
}

impl Registration for PutModule<'_> {
    type Validated = Vec<Arc<Program>>;
    type Answer = ModuleRecord;

    fn validate(
        &self,
        context: &Context,
        target: &Target,
    ) -> Result<Self::Validated, RegisterError> {
        validate_modules(context, target, slice::from_ref(self.module))
    }

    fn apply(
        &self,
        context: &Context,
        target: &Target,
        _programs: &Self::Validated,
        record: &mut InstallationRecord,
    ) -> Result<RegistrationOutcome<ModuleRecord>, RegisterError> {
        let now_ms = clock::now_ms();
        let new = self.module.record(required_key(self.module)?, now_ms);
        let is_same = |known: &&mut ModuleRecord| {
            known.key == new.key
                && known.api == RegistrationApi::Connect
                && known.module_type == new.module_type
        };
        let answer = if let Some(known) = record.modules.iter_mut().find(is_same) {
            known.data = new.data;
            known.revision += 1;
            known.updated_ms = now_ms;
            known.clone()
        } else {
            check_keys(&target.app, record, slice::from_ref(self.module))?;
            let max =
                context.settings.dynamic_modules_max(Some(&target.app.record), record.product);
            check_connect_modules(record, 1, max).map_err(RegisterError::Invalid)?;
            let new = ModuleRecord { order: record.next_order, ..new };
            record.next_order += 1;
            record.modules.push(new.clone());
            new
        };
        Ok(RegistrationOutcome::Changed { answer, usage: None })
    }
}

fn validate_modules(
    context: &Context,
    target: &Target,
    modules: &[ConnectModule],
) -> Result<Vec<Arc<Program>>, RegisterError> {
    let product = target.installation.record.product;
    let (mut problems, mut programs) = (Vec::new(), Vec::new());
    for module in modules {
        match module.validate(&target.app.record, product, &context.replica.programs) {
            Ok(found) => programs.extend(found),
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() { Ok(programs) } else { Err(RegisterError::Invalid(problems)) }
}

/// The key of a validated module.
fn required_key(module: &ConnectModule) -> Result<&str, RegisterError> {
    module.key().ok_or_else(|| {
        let path = format!("{}.key", module.path);
        RegisterError::invalid(Problem::new(code::MISSING, path, "a module has a key"))
    })
}

/// Rejects keys of static modules, registered keys, and keys that occur twice in the request.
///
/// **Source:** Jira Cloud platform, the answer 400 of "Register modules".
fn check_keys(
    app: &AppliedApp,
    record: &InstallationRecord,
    modules: &[ConnectModule],
) -> Result<(), RegisterError> {
    let mut seen = BTreeSet::new();
    let mut taken = Vec::new();
    for key in modules.iter().filter_map(ConnectModule::key) {
        let is_new = seen.insert(key);
        let clashes = !is_new || app.has_static_key(key) || record.module(key).is_some();
        if clashes && !taken.contains(&key) {
            taken.push(key);
        }
    }
    if taken.is_empty() {
        return Ok(());
    }
    let message = format!(
        "Installation failed. The app {} has duplicate module keys: [{}]. Please contact the app vendor.",
        app.record.id,
        taken.join(", ")
    );
    Err(RegisterError::invalid(Problem::new(code::DUPLICATE, "", message)))
}
