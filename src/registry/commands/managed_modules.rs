//! Modules that an operator manages on behalf of an app, of either kind.

use super::connect_modules::ConnectModules;
use super::context::Context;
use super::forge_modules::{ForgeModules, RegisteredModule};
use crate::domain::{InstallationId, ModuleKey};
use crate::registry::error::RegisterError;
use crate::registry::model::{AppKind, ModuleFields, ModuleRecord, Problem, RegistrationApi};
use crate::registry::validation::{ConnectModule, ModuleSpec, key_problem};

/// Commands of operators on the modules of an installation.
#[derive(Clone, Copy)]
pub struct ManagedModules<'a> {
    context: &'a Context,
}

impl<'a> ManagedModules<'a> {
    pub(crate) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    /// Returns the API under which the module `key` is registered, or would be.
    ///
    /// # Errors
    /// The key is not allowed, or the installation or its app does not exist.
    pub fn api(
        self,
        id: &InstallationId,
        key: &ModuleKey,
    ) -> Result<RegistrationApi, RegisterError> {
        if let Some(problem) = key_problem(key.as_str(), "key") {
            return Err(RegisterError::invalid(problem));
        }
        let target = self.context.target(id)?;
        Ok(match target.app.record.kind {
            AppKind::Connect => RegistrationApi::Connect,
            AppKind::Forge => {
                let known = target.installation.record.module(key.as_str());
                known.map_or(RegistrationApi::ForgeV1, |module| module.api)
            }
        })
    }

    /// Returns the registered module `key` if `spec` equals it, so that nothing is to be written.
    ///
    /// # Errors
    /// [`RegisterError::NotFound`]: there is no such installation.
    pub fn unchanged(
        self,
        id: &InstallationId,
        key: &ModuleKey,
        spec: &ModuleSpec,
    ) -> Result<Option<ModuleRecord>, RegisterError> {
        let known = self.known(id, key)?;
        Ok(known.filter(|known| {
            known.module_type == spec.module_type && known.data.read() == spec.data
        }))
    }

    /// Returns the warnings of [`ManagedModules::put`] without storing anything.
    ///
    /// # Errors
    /// As there.
    pub fn validate(
        self,
        id: &InstallationId,
        key: &ModuleKey,
        spec: ModuleSpec,
    ) -> Result<Vec<Problem>, RegisterError> {
        if spec.api == RegistrationApi::Connect {
            let module = connect_module(spec);
            ConnectModules::new(self.context).validate(id, &module)?;
            return self.warnings(id, &module.module_type, &module.data.into());
        }
        ForgeModules::new(self.context).validate_replacement(id, spec, key)
    }

    /// Registers the module `key`, or replaces it. Also returns whether it is new.
    ///
    /// # Errors
    /// The module is invalid, or a quota is exhausted.
    pub async fn put(
        self,
        id: &InstallationId,
        key: &ModuleKey,
        spec: ModuleSpec,
    ) -> Result<(RegisteredModule, bool), RegisterError> {
        let is_new = self.known(id, key)?.is_none();
        let forge = ForgeModules::new(self.context);
        let registered = if spec.api == RegistrationApi::Connect {
            let module = ConnectModules::new(self.context).put(id, &connect_module(spec)).await?;
            let warnings = self.warnings(id, &module.module_type, &module.data)?;
            RegisteredModule { module, warnings, complexity: Vec::new() }
        } else if is_new {
            forge.register(id, spec, Some(key.clone())).await?
        } else {
            forge.replace(id, key, spec, None).await?
        };
        Ok((registered, is_new))
    }

    fn warnings(
        self,
        id: &InstallationId,
        module_type: &str,
        data: &ModuleFields,
    ) -> Result<Vec<Problem>, RegisterError> {
        let target = self.context.target(id)?;
        let product = target.installation.record.product;
        let review = self.context.review(Some(&target.app.record), product);
        Ok(review.warnings(module_type, data))
    }

    fn known(
        self,
        id: &InstallationId,
        key: &ModuleKey,
    ) -> Result<Option<ModuleRecord>, RegisterError> {
        let installation = self.context.state().installation(id.as_str());
        let installation = installation.ok_or(RegisterError::NotFound)?;
        Ok(installation.record.module(key.as_str()).cloned())
    }
}

fn connect_module(spec: ModuleSpec) -> ConnectModule {
    let ModuleSpec { module_type, data, .. } = spec;
    ConnectModule { module_type, data, path: "data".into() }
}
