//! Commands on the status of a module: set by its app or an operator, or disabled because its endpoint
//! returns HTTP 410.

use tracing::{info, warn};

use super::context::Context;
use super::notices::Notices;
use crate::clock;
use crate::domain::{InstallationId, ModuleKey, SubscriptionId};
use crate::registry::error::RegisterError;
use crate::registry::model::{ModuleRecord, ModuleStatus};
use crate::registry::transaction::Mutation;

/// Commands on the status of a module.
#[derive(Clone, Copy)]
pub struct ModuleStatusCommands<'a> {
    context: &'a Context,
}

impl<'a> ModuleStatusCommands<'a> {
    pub(crate) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    /// Sets the status of the module `key`.
    ///
    /// # Errors
    /// The module does not exist.
    pub async fn set(
        self,
        installation: &InstallationId,
        key: &ModuleKey,
        status: ModuleStatus,
    ) -> Result<ModuleRecord, RegisterError> {
        let module = self
            .context
            .update_installation(installation, |mut record| {
                let slot = record.modules.iter_mut().find(|module| module.key == *key);
                let module = slot.ok_or(RegisterError::NotFound)?;
                set_status(module, status);
                let module = module.clone();
                Ok(Mutation::Put(record, module))
            })
            .await?;
        info!(installation = %installation, %key, ?status, "module status changed");
        Ok(module)
    }

    /// Disables a module whose endpoint returned HTTP 410 repeatedly, and notifies the app. It stays
    /// disabled until it is switched on.
    ///
    /// # Errors
    /// The store is unavailable. A module that does not exist or is not on is left unchanged.
    pub async fn disable_after_410(self, id: &SubscriptionId) -> Result<(), RegisterError> {
        let is_disabled = self
            .context
            .update_if_enabled(&id.installation, |mut record| {
                let is_on = |m: &&mut ModuleRecord| m.key == id.key && m.status == ModuleStatus::On;
                let Some(module) = record.modules.iter_mut().find(is_on) else {
                    return Ok(Mutation::Keep(false));
                };
                set_status(module, ModuleStatus::EndpointGone);
                let reason = "its endpoint returned HTTP 410";
                Notices::new(self.context).inactive(&mut record, id.key.as_str(), reason);
                Ok(Mutation::Put(record, true))
            })
            .await?;
        if is_disabled == Some(true) {
            warn!(%id, "endpoint returned 410, module disabled");
        }
        Ok(())
    }
}

fn set_status(module: &mut ModuleRecord, status: ModuleStatus) {
    module.status = status;
    module.revision += 1;
    module.updated_ms = clock::now_ms();
}
