//! Commands on the shadows of triggers: set, remove, promote, roll back; and what is compared.
//!
//! Design: `docs/design/shadow.md`.

use std::sync::Arc;

use serde_json::{Map, Value};
use tracing::info;

use super::context::Context;
use super::forge_modules::{RegisteredModule, check_revision};
use super::registration;
use super::revisions::compile_now;
use super::shadow_changes::{Promote, RollBack, SetShadow, module_mut};
use crate::domain::{CloudId, InstallationId, ModuleKey, SubscriptionId};
use crate::matcher::Subscription;
use crate::registry::error::RegisterError;
use crate::registry::model::{InstallationRecord, ModuleFields, filter_digest};
use crate::registry::transaction::Mutation;

/// Commands on shadows.
#[derive(Clone, Copy)]
pub struct Shadows<'a> {
    context: &'a Context,
}

/// A filter and its shadow, compiled for the matcher.
#[derive(Clone, Debug)]
pub struct ShadowComparison {
    /// The subscription.
    pub id: SubscriptionId,
    /// Its site.
    pub site: CloudId,
    /// Names what is compared: another filter, another shadow or another begin has another name.
    pub name: String,
    /// Revision of the registry that it has here.
    pub revision: u64,
    /// Events that are stored after this sequence are compared.
    pub after: u64,
    /// When the stream with this sequence was created, milliseconds since the epoch.
    pub stream_ms: i64,
    /// As it is, and as if it was on.
    pub filter: Arc<Subscription>,
    /// As it would be with the shadow.
    pub shadow: Arc<Subscription>,
}

impl<'a> Shadows<'a> {
    pub(crate) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    /// Sets the shadow of the module `key`: `members` are `filter`, `events` or both. Events that are
    /// stored after `after` are compared: a sequence, and when its stream was created, milliseconds since the
    /// epoch. `expected` is the required revision of the module.
    /// The same members again change nothing.
    ///
    /// # Errors
    /// There is no such module, it cannot have a shadow, the trigger would be invalid with these members,
    /// or there are too many shadows.
    pub async fn set(
        self,
        installation: &InstallationId,
        key: &ModuleKey,
        members: Map<String, Value>,
        after: (u64, i64),
        expected: Option<u64>,
    ) -> Result<RegisteredModule, RegisterError> {
        let request = SetShadow { key, members: members.into(), after, expected };
        let registered = registration::register(self.context, installation, request).await?;
        info!(installation = %installation, %key, after = after.0, "shadow set");
        Ok(registered)
    }

    /// Removes the shadow of the module `key`; one that has none is left unchanged.
    ///
    /// # Errors
    /// There is no such module, or its revision is not `expected`.
    pub async fn remove(
        self,
        installation: &InstallationId,
        key: &ModuleKey,
        expected: Option<u64>,
    ) -> Result<(), RegisterError> {
        let had_one = self
            .context
            .transactions
            .update_document(installation.as_str(), |record: Option<InstallationRecord>| {
                // One of a disabled installation has no use, and its place is needed.
                let mut record = Box::new(record.ok_or(RegisterError::NotFound)?);
                let module = module_mut(&mut record, key)?;
                if module.shadow.is_none() {
                    return Ok(Mutation::Keep(false));
                }
                check_revision(module, expected)?;
                module.shadow = None;
                module.revision += 1;
                Ok(Mutation::Put(record, true))
            })
            .await?;
        if had_one {
            info!(installation = %installation, %key, "shadow removed");
        }
        Ok(())
    }

    /// Makes the shadow of the module `key` its filter. `shadow` is the required name of the shadow.
    /// `expected` is the required revision of the module; without one, the module must be as it was when the
    /// shadow was set. A promotion that is in force already is not made again.
    ///
    /// # Errors
    /// There is no such module or no shadow, it is another one, the module changed, or it would be invalid.
    pub async fn promote(
        self,
        installation: &InstallationId,
        key: &ModuleKey,
        shadow: Option<&str>,
        expected: Option<u64>,
    ) -> Result<RegisteredModule, RegisterError> {
        let request = Promote { key, shadow, expected };
        let registered = registration::register(self.context, installation, request).await?;
        let revision = registered.module.revision;
        info!(installation = %installation, %key, revision, "shadow promoted");
        Ok(registered)
    }

    /// Puts the filter back that the last promotion replaced. One that is back already is left unchanged.
    ///
    /// # Errors
    /// There is no such module or no promotion, the module changed since then, its revision is not
    /// `expected`, or it would be invalid.
    pub async fn roll_back(
        self,
        installation: &InstallationId,
        key: &ModuleKey,
        expected: Option<u64>,
    ) -> Result<RegisteredModule, RegisterError> {
        let request = RollBack { key, expected };
        let registered = registration::register(self.context, installation, request).await?;
        let revision = registered.module.revision;
        info!(installation = %installation, %key, revision, "promoted shadow rolled back");
        Ok(registered)
    }

    /// Returns the subscriptions that have a shadow.
    #[must_use]
    pub fn all(self) -> Vec<SubscriptionId> {
        let ids = self.context.state().with_shadows().into_iter();
        let known = ids.filter_map(|id| self.context.state().installation(id.as_str()));
        let with_shadow = known.flat_map(|known| {
            let modules = known.record.modules.iter().filter(|module| module.shadow.is_some());
            let ids = modules.map(|module| SubscriptionId {
                installation: known.record.id.clone(),
                key: module.key.clone(),
            });
            ids.collect::<Vec<_>>()
        });
        with_shadow.collect()
    }

    /// Returns the revisions of the documents that [`Shadows::comparison`] compiles: of the installation, and of
    /// its app. None if one of them does not exist.
    #[must_use]
    pub fn revisions(self, id: &SubscriptionId) -> Option<[u64; 2]> {
        let installation = self.context.state().installation(id.installation.as_str())?;
        let app = self.context.state().app(installation.record.app.as_str())?;
        Some([installation.revision, app.revision])
    }

    /// Returns the filter and the shadow of a subscription; none if it has no shadow.
    ///
    /// # Errors
    /// One of them cannot be compiled now, in one sentence: its installation is disabled, or its app
    /// lacks the handler.
    pub fn comparison(self, id: &SubscriptionId) -> Result<Option<ShadowComparison>, String> {
        let installation = self.context.state().installation(id.installation.as_str());
        let Some(installation) = installation else { return Ok(None) };
        let Some(module) = installation.record.module(id.key.as_str()) else { return Ok(None) };
        let Some(shadow) = &module.shadow else { return Ok(None) };
        let compile = |data: &ModuleFields| {
            let kind = (module.module_type.as_str(), false);
            compile_now(self.context, &installation, (&id.key, kind), data, installation.revision)
        };
        let shadowed: ModuleFields = shadow.applied_to(&module.data).into();
        let digests = [filter_digest(&module.data), filter_digest(&shadowed)];
        Ok(Some(ShadowComparison {
            id: id.clone(),
            site: installation.record.cloud_id.clone(),
            name: format!("{}-{}-{}", shadow.stream_ms, shadow.after, digests.join("-")),
            revision: installation.revision,
            after: shadow.after,
            stream_ms: shadow.stream_ms,
            filter: compile(&module.data)?,
            shadow: compile(&shadowed)?,
        }))
    }
}
