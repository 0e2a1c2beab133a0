//! Operator commands on apps: provision, replace by a new version, delete.

use std::collections::BTreeSet;

use tracing::info;

use super::context::Context;
use super::installations::Installations;
use crate::clock;
use crate::domain::{AppId, ModuleKey, Secret, SubscriptionId, UnknownMembers};
use crate::registry::credentials;
use crate::registry::error::RegisterError;
use crate::registry::model::{
    AppKind, AppRecord, DroppedModules, Endpoint, InstallationRecord, Problem, RegistrationApi,
    listed,
};
use crate::registry::transaction::Mutation;
use crate::registry::validation::{AppSecrets, AppSpec, CheckUrl, EndpointSpec};

/// Result of [`Apps::put`].
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
    /// Warnings about its static modules.
    pub warnings: Vec<Problem>,
}

/// Operator commands on apps.
#[derive(Clone, Copy)]
pub struct Apps<'a> {
    context: &'a Context,
}

impl<'a> Apps<'a> {
    pub(crate) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    /// Provisions an app or a new version of it.
    ///
    /// # Errors
    /// The app is invalid; the error lists every problem.
    pub async fn put(
        self,
        id: &AppId,
        spec: AppSpec,
        check_url: &CheckUrl,
    ) -> Result<AppPut, RegisterError> {
        let Context { settings, replica, .. } = self.context;
        let (unknown_events, programs) = (settings.allow_unknown_events, &replica.programs);
        let paths_max = settings.limits.property_paths_per_installation;
        let problems = spec.problems(id, check_url, unknown_events, paths_max, programs);
        if !problems.is_empty() {
            return Err(RegisterError::Invalid(problems));
        }
        let epic_fields = &settings.registry.epic_fields;
        let warnings = listed(spec.warnings(id, unknown_events, epic_fields, programs));
        let undelivered = spec.undelivered_keys(programs);
        let mut put = self
            .context
            .transactions
            .update_document(id.as_str(), |current: Option<AppRecord>| {
                let known = current.as_ref().map_or(&[] as &[Endpoint], |app| &app.endpoints);
                let mut record = spec.clone().record(id, secrets(&spec, current.as_ref())?);
                record.set_undelivered(&undelivered);
                let old = |key: &str| known.iter().any(|endpoint| endpoint.key == key);
                let keys = record.endpoints.iter().map(|endpoint| endpoint.key.clone());
                let new_endpoints = keys.filter(|key| !old(key)).collect();
                if let Some(current) = &current {
                    record.created_ms = current.created_ms;
                    record.keep_unknown(current);
                }
                let put = AppPut {
                    created: current.is_none(),
                    new_endpoints,
                    new_discovery: current.as_ref().is_none_or(|app| app.discovery.is_none()),
                    new_notices: current.as_ref().is_none_or(|app| app.notices.is_none()),
                    record,
                    dropped: Vec::new(),
                    warnings: warnings.clone(),
                };
                Ok(Mutation::Put(Box::new(put.record.clone()), put))
            })
            .await?;
        put.dropped = self.drop_clashing(&put.record).await?;
        let (created, dropped) = (put.created, put.dropped.len());
        info!(app = %id, created, dropped, undelivered = undelivered.len(), "app provisioned");
        Ok(put)
    }

    /// Deletes an app with its installations, their modules and OAuth clients.
    ///
    /// # Errors
    /// The app does not exist.
    pub async fn delete(self, id: &str) -> Result<(), RegisterError> {
        self.context.state().app(id).ok_or(RegisterError::NotFound)?;
        // The app is deleted after its installations, so that an interrupted deletion can be
        // repeated. The second round deletes installations created during the first.
        self.purge_installations_of(id).await?;
        self.context
            .transactions
            .update_document(id, |current: Option<AppRecord>| match current {
                Some(_) => Ok(Mutation::Delete(())),
                None => Ok(Mutation::Keep(())),
            })
            .await?;
        self.purge_installations_of(id).await?;
        info!(app = id, "app removed");
        Ok(())
    }

    async fn purge_installations_of(&self, app: &str) -> Result<(), RegisterError> {
        for id in self.context.state().installations_of(app) {
            Installations::new(self.context).purge(id.as_str()).await?;
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
        let keys = app.static_keys();
        for installation in self.context.state().installations_of(app.id.as_str()) {
            let removed = self
                .context
                .transactions
                .update_document(installation.as_str(), |current: Option<InstallationRecord>| {
                    let clashes = |record: &InstallationRecord| {
                        record.modules.iter().any(|m| keys.contains(m.key.as_str()))
                    };
                    let Some(mut record) = current.filter(clashes) else {
                        return Ok(Mutation::Keep(Vec::new()));
                    };
                    let removed = drop_modules(&mut record, app.version.clone());
                    Ok(Mutation::Put(Box::new(record), removed))
                })
                .await?;
            dropped.extend(
                removed
                    .into_iter()
                    .map(|key| SubscriptionId { installation: installation.clone(), key }),
            );
        }
        Ok(dropped)
    }
}

/// Removes the modules of a record except dynamic webhooks; returns their keys.
fn drop_modules(record: &mut InstallationRecord, version: Option<String>) -> Vec<ModuleKey> {
    let modules = std::mem::take(&mut record.modules);
    let (kept, removed): (Vec<_>, Vec<_>) =
        modules.into_iter().partition(|module| module.api == RegistrationApi::Webhook);
    record.modules = kept;
    let keys: Vec<ModuleKey> = removed.into_iter().map(|module| module.key).collect();
    let unknown = UnknownMembers::default();
    let dropped = DroppedModules { at_ms: clock::now_ms(), version, keys: keys.clone(), unknown };
    record.dropped = Some(dropped);
    keys
}

/// Each part with the submitted secret, else its stored one, else a generated one.
fn secrets(spec: &AppSpec, current: Option<&AppRecord>) -> Result<AppSecrets, RegisterError> {
    let secret = |given: Option<&Secret>, old: Option<&Secret>| match (given, old) {
        (Some(given), _) => Ok(given.clone()),
        (None, Some(old)) => Ok(old.clone()),
        (None, None) => credentials::new_secret(),
    };
    let known = current.map_or(&[] as &[Endpoint], |app| &app.endpoints);
    let endpoint = |endpoint: &EndpointSpec| {
        let old = known.iter().find(|known| known.key == endpoint.key);
        Ok(endpoint.with(secret(endpoint.secret.as_ref(), old.map(|old| &old.secret))?, old))
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
    Ok(AppSecrets { endpoints, discovery, notices })
}
