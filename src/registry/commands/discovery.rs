//! Pull discovery: requests the modules of an installation from its app and caches the response.
//!
//! One replica sends the request: the one that claims the installation first. The response is stored
//! in the installation's document, so neither events nor other replicas repeat the request. An
//! unusable response changes nothing: the last valid set stays.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::time::timeout;
use tracing::info;
use url::Url;
use uuid::Uuid;

use super::context::{Context, Target};
use super::forge_modules::{ValidatedModule, add_module, validate_module};
use super::notices::Notices;
use crate::clock;
use crate::domain::InstallationId;
use crate::registry::app_calls::{AppCall, CallAuth};
use crate::registry::error::RegisterError;
use crate::registry::metrics;
use crate::registry::model::{
    AppRecord, DiscoveryConfig, DiscoveryStatus, IgnoredModule, InstallationRecord, ModuleRecord,
    RegistrationApi, discovery_due_ms,
};
use crate::registry::transaction::Mutation;
use crate::registry::validation::{
    ClassifiedModules, DiscoveredModule, IGNORED_MAX, ModuleSpec, classify, invalid_module,
    shortened,
};

/// Duration of a claim, in milliseconds; after it another replica may send the request.
const CLAIM_MS: i64 = 60_000;
/// Longest wait for the response of an app, whatever the delivery timeout is; well within the
/// claim.
const ANSWER_MAX: Duration = Duration::from_secs(45);
/// Pause after the first failed request, in milliseconds; doubles up to the lifetime of a response.
const RETRY_MS: i64 = 15_000;

/// When a discovery request is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DiscoveryMode {
    /// If it is due.
    WhenDue,
    /// At once.
    Now,
}

/// Commands on pull discovery.
#[derive(Clone, Copy)]
pub struct Discovery<'a> {
    context: &'a Context,
}

impl<'a> Discovery<'a> {
    pub(crate) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    /// Requests the modules of an installation now, unless a replica already does, and returns the
    /// resulting status.
    ///
    /// # Errors
    /// The installation does not exist, its app declares no discovery, or the store is unavailable.
    pub async fn refresh(self, id: &InstallationId) -> Result<DiscoveryStatus, RegisterError> {
        self.discover(id, DiscoveryMode::Now).await?;
        let installation = self.context.state().installation(id.as_str());
        let record = &installation.ok_or(RegisterError::NotFound)?.record;
        record.discovery.clone().ok_or(RegisterError::NotFound)
    }

    /// Requests the modules of an installation and stores the result. Does nothing for an app
    /// without discovery, or while another replica does it.
    ///
    /// # Errors
    /// The store is unavailable.
    pub(crate) async fn discover(
        self,
        id: &InstallationId,
        mode: DiscoveryMode,
    ) -> Result<(), RegisterError> {
        let Ok(target) = self.context.target(id) else { return Ok(()) };
        let Some(discovery) = &target.app.record.discovery else { return Ok(()) };
        if !self.claim(id, &target.app.record, mode).await? {
            return Ok(());
        }
        let classified = self.request(&target, discovery).await;
        self.store_outcome(id, &target.app.record, classified).await
    }

    /// Claims the installation; true if this replica sends the request.
    async fn claim(
        &self,
        id: &InstallationId,
        app: &AppRecord,
        mode: DiscoveryMode,
    ) -> Result<bool, RegisterError> {
        let claimed = self
            .context
            .update_if_enabled(id, |mut record| {
                let now_ms = clock::broker_now_ms();
                let is_due = discovery_due_ms(app, &record).is_some_and(|due_ms| due_ms <= now_ms);
                let known = record.discovery.get_or_insert_default();
                let is_free = known.claimed_until_ms <= now_ms;
                if !is_free || (mode == DiscoveryMode::WhenDue && !is_due) {
                    return Ok(Mutation::Keep(false));
                }
                known.claimed_until_ms = now_ms.saturating_add(CLAIM_MS);
                Ok(Mutation::Put(record, true))
            })
            .await?;
        Ok(claimed == Some(true))
    }

    /// Sends the request and classifies the modules of its response.
    async fn request(&self, target: &Target, discovery: &DiscoveryConfig) -> ClassifiedModules {
        let record = &target.installation.record;
        let url = match Url::parse(&discovery.url) {
            Ok(url) => url,
            Err(error) => return ClassifiedModules::rejected(error.to_string()),
        };
        let body = json!({
            "installationId": record.id, "cloudId": record.cloud_id, "product": record.product,
        });
        let call = AppCall {
            kind: "discovery",
            id: Uuid::new_v4().to_string(),
            url,
            auth: CallAuth::Signature(discovery.secret.clone()),
            body: Bytes::from(body.to_string()),
        };
        match timeout(ANSWER_MAX, self.context.calls.call(call)).await {
            Ok(Ok(body)) => {
                classify(&target.app.record, &body, self.context.dynamic_modules_max(record))
            }
            Ok(Err(error)) => ClassifiedModules::rejected(error.to_string()),
            Err(_) => ClassifiedModules::rejected(format!("no answer within {ANSWER_MAX:?}")),
        }
    }

    /// Stores the result of a request.
    async fn store_outcome(
        &self,
        id: &InstallationId,
        app: &AppRecord,
        classified: ClassifiedModules,
    ) -> Result<(), RegisterError> {
        let ClassifiedModules { discovered, mut ignored, rejected } = classified;
        // Validated before the document is read, because compiling filters takes time.
        let valid = self.validate(id, discovered, &mut ignored)?;
        let changed = self
            .context
            .update_if_enabled(id, |mut record| {
                // None yet before the first request.
                let before = record.discovery.take().unwrap_or_default();
                let mut ignored = ignored.clone();
                if rejected.is_none() {
                    self.replace_discovered(&mut record, &valid, &mut ignored)?;
                }
                let known = self.next_status(app, &before, ignored, rejected.as_deref());
                record.discovery = Some(known.clone());
                if is_news(&before, &known) {
                    Notices::new(self.context).discovery_ignored(&mut record);
                }
                Ok(Mutation::Put(record, known))
            })
            .await?;
        if let Some(known) = changed {
            for ignored in &known.ignored {
                metrics::module_ignored(ignored.rule.label());
            }
            let (ignored, error) = (known.ignored.len(), known.error.as_deref());
            info!(installation = %id, ignored, error, "modules discovered");
        }
        Ok(())
    }

    /// Returns the valid modules; adds the others to `ignored`.
    fn validate(
        &self,
        id: &InstallationId,
        discovered: Vec<DiscoveredModule>,
        ignored: &mut Vec<IgnoredModule>,
    ) -> Result<Vec<ValidatedModule>, RegisterError> {
        let mut valid = Vec::with_capacity(discovered.len());
        for DiscoveredModule { key, module_type, data } in discovered {
            let target = self.context.target(id)?;
            let spec = ModuleSpec { module_type, data, api: RegistrationApi::Discovery };
            match validate_module(self.context, &target, &spec, Some(&key)) {
                Ok(module) => valid.push(module),
                Err(problems) => {
                    ignored.push(invalid_module(&key, &spec.module_type, &problems));
                }
            }
        }
        Ok(valid)
    }

    /// Replaces the discovered modules of a record; adds those without a quota to `ignored`.
    fn replace_discovered(
        &self,
        record: &mut InstallationRecord,
        valid: &[ValidatedModule],
        ignored: &mut Vec<IgnoredModule>,
    ) -> Result<(), RegisterError> {
        let (kept, old): (Vec<_>, Vec<_>) = std::mem::take(&mut record.modules)
            .into_iter()
            .partition(|module| module.api != RegistrationApi::Discovery);
        record.modules = kept;
        for validated in valid {
            let module = &validated.module;
            let old = old.iter().find(|old| old.key == module.key);
            match add_module(self.context, record, validated) {
                Ok(_) => inherit(record.modules.last_mut(), old),
                Err(RegisterError::Invalid(problems)) => {
                    ignored.push(invalid_module(&module.key, &module.module_type, &problems));
                }
                Err(other) => return Err(other),
            }
        }
        // Pages of a list follow this order.
        record.modules.sort_by_key(|module| module.order);
        Ok(())
    }

    fn next_status(
        &self,
        app: &AppRecord,
        before: &DiscoveryStatus,
        mut ignored: Vec<IgnoredModule>,
        rejected: Option<&str>,
    ) -> DiscoveryStatus {
        ignored.truncate(IGNORED_MAX);
        let (now_ms, life_ms) =
            (clock::broker_now_ms(), self.context.settings.registry.discovery_life_ms());
        let failures = if rejected.is_some() { before.failures.saturating_add(1) } else { 0 };
        let wait_ms = match failures {
            // Up to a tenth less, so that installations created together send their requests at
            // different times.
            0 => {
                life_ms.saturating_sub(i64::from(Uuid::new_v4().as_fields().1) * life_ms / 655_360)
            }
            failures => {
                RETRY_MS.saturating_mul(1_i64 << (failures - 1).min(20)).min(life_ms.max(RETRY_MS))
            }
        };
        DiscoveryStatus {
            app_updated_ms: app.updated_ms,
            fetched_ms: if rejected.is_some() { before.fetched_ms } else { now_ms },
            due_ms: now_ms.saturating_add(wait_ms),
            claimed_until_ms: 0,
            failures,
            error: rejected.map(shortened),
            ignored,
            unknown: before.unknown.clone(),
        }
    }
}

/// Whether modules are ignored, or none could be had, and the app was not notified of it yet.
fn is_news(before: &DiscoveryStatus, known: &DiscoveryStatus) -> bool {
    let is_changed = (&before.ignored, &before.error) != (&known.ignored, &known.error);
    is_changed && (!known.ignored.is_empty() || known.error.is_some())
}

/// Copies status, times, revision and order of the previous module with the same key.
fn inherit(module: Option<&mut ModuleRecord>, old: Option<&ModuleRecord>) {
    let (Some(module), Some(old)) = (module, old) else { return };
    if module.module_type == old.module_type && module.data == old.data {
        *module = old.clone();
        return;
    }
    module.status = old.status;
    module.unknown = old.unknown.clone();
    module.created_ms = old.created_ms;
    module.revision = old.revision.saturating_add(1);
    module.order = old.order;
}
