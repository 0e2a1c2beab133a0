//! Jira dynamic webhooks: registered in a batch with one result each, valid until they expire.
//!
//! **Source:** Jira Cloud platform REST API, "Webhooks". Extension: a webhook can be changed in
//! place.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use switchyard_expr::Program;
use tracing::info;
use url::Url;

use crate::clock;
use crate::domain::{CloudId, InstallationId, Product};
use crate::registry::commands::forge_modules::require_enabled;
use crate::registry::compile::applied::AppliedApp;
use crate::registry::model::document::{
    FORMAT, InstallationRecord, ModuleRecord, ModuleStatus, RegistrationApi, SiteRecord,
};
use crate::registry::model::module_fields::ModuleFields;
use crate::registry::model::problem::{Problem, code};
use crate::registry::model::replay_guard::SignedRequest;
use crate::registry::registry::{Mutation, RegisterError, Registry};
use crate::registry::validation::webhook::WebhookDefinition;

/// Module type under which dynamic webhooks are stored.
pub const DYNAMIC_WEBHOOK: &str = "dynamicWebhook";
/// Time an expired webhook stays visible, in milliseconds: three months.
const EXPIRED_KEPT_MS: i64 = 90 * 24 * 3600 * 1000;
/// Longest JQL filter, in characters.
const FILTER_CHARS_MAX: usize = 10_000;
/// Longest list of events, fields or property keys.
const LIST_MAX: usize = 100;

/// Webhook events that can be registered dynamically.
const EVENTS: &[&str] = &[
    "jira:issue_created",
    "jira:issue_updated",
    "jira:issue_deleted",
    "comment_created",
    "comment_updated",
    "comment_deleted",
    "issue_property_set",
    "issue_property_deleted",
    "sprint_created",
    "sprint_updated",
    "sprint_closed",
    "sprint_deleted",
    "sprint_started",
    "jira:version_released",
    "jira:version_unreleased",
    "jira:version_created",
    "jira:version_moved",
    "jira:version_updated",
    "jira:version_merged",
    "jira:version_deleted",
];

/// Owner of dynamic webhooks; others cannot see them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WebhookOwner {
    /// Installation of the app.
    pub installation: InstallationId,
    /// User for whom an OAuth app acts; none for a Connect app.
    pub user: Option<String>,
    /// The signed request, if there is one; a replay changes nothing.
    pub signed: Option<SignedRequest>,
}

impl WebhookOwner {
    fn record_once(&self, record: &mut InstallationRecord) -> Result<(), RegisterError> {
        self.signed.as_ref().map_or(Ok(()), |signed| record.replay_guard.record_once(signed))
    }
}

/// A webhook as an app submits it.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookSpec {
    events: Vec<String>,
    jql_filter: String,
    field_ids_filter: Option<Vec<String>>,
    issue_property_keys_filter: Option<Vec<String>>,
}

/// A dynamic webhook as stored and listed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DynamicWebhook {
    /// Id, unique in its site and never reused.
    pub id: u64,
    /// Address of its deliveries.
    pub url: String,
    /// Webhook events.
    pub events: Vec<String>,
    /// Condition on the issue, in JQL.
    pub jql_filter: String,
    /// Fields of which one must change in an update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field_ids_filter: Option<Vec<String>>,
    /// Issue properties of which one must be set or deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issue_property_keys_filter: Option<Vec<String>>,
    /// Expiry, milliseconds since the epoch; a refresh extends it.
    pub expiration_date: i64,
    /// User for whom an OAuth app registered it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

impl DynamicWebhook {
    pub(crate) fn read(data: &ModuleFields) -> Result<Self, String> {
        Self::deserialize(Value::Object(data.read())).map_err(|error| error.to_string())
    }

    /// Returns the expiry of a module; none for types without one.
    pub(crate) fn expires_ms(module_type: &str, data: &ModuleFields) -> Option<i64> {
        /// Parses this member only, which avoids building a tree.
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Expiry {
            expiration_date: Option<i64>,
        }
        (module_type == DYNAMIC_WEBHOOK).then(|| data.part::<Expiry>())??.expiration_date
    }

    fn of_module(module: &ModuleRecord) -> Option<Self> {
        (module.api == RegistrationApi::Webhook).then(|| Self::read(&module.data).ok()).flatten()
    }

    fn data(&self) -> ModuleFields {
        // A struct always serializes to an object.
        match serde_json::to_value(self) {
            Ok(Value::Object(data)) => data.into(),
            _ => Map::new().into(),
        }
    }
}

impl From<DynamicWebhook> for WebhookDefinition {
    fn from(stored: DynamicWebhook) -> Self {
        Self {
            events: stored.events,
            address: stored.url,
            jql: stored.jql_filter,
            field_ids: stored.field_ids_filter.unwrap_or_default(),
            property_keys: stored.issue_property_keys_filter.unwrap_or_default(),
            number: Some(stored.id),
            ..Self::default()
        }
    }
}

impl WebhookSpec {
    /// Parses one element of a request.
    ///
    /// # Errors
    /// The problems, as sentences.
    pub fn read(element: &Value) -> Result<Self, Vec<String>> {
        let spec = Self::deserialize(element).map_err(|error| vec![error.to_string()])?;
        let mut problems = Vec::new();
        if spec.events.is_empty() {
            problems.push("events must not be empty".to_owned());
        }
        for event in spec.events.iter().filter(|event| !EVENTS.contains(&event.as_str())) {
            problems.push(format!("The event {event} is unsupported"));
        }
        let lists = [&spec.field_ids_filter, &spec.issue_property_keys_filter];
        if lists.into_iter().flatten().chain([&spec.events]).any(|list| list.len() > LIST_MAX) {
            problems.push(format!("a list has at most {LIST_MAX} elements"));
        }
        if spec.jql_filter.chars().count() > FILTER_CHARS_MAX {
            problems.push(format!("jqlFilter has at most {FILTER_CHARS_MAX} characters"));
        }
        if problems.is_empty() { Ok(spec) } else { Err(problems) }
    }

    fn webhook(self, id: u64, url: &str, owner: &WebhookOwner, expires_ms: i64) -> DynamicWebhook {
        DynamicWebhook {
            id,
            url: url.to_owned(),
            events: self.events,
            jql_filter: self.jql_filter,
            field_ids_filter: self.field_ids_filter,
            issue_property_keys_filter: self.issue_property_keys_filter,
            expiration_date: expires_ms,
            user: owner.user.clone(),
        }
    }
}

/// Result for one element of a request: the id of the webhook, or its problems.
pub type WebhookResult = Result<u64, Vec<String>>;

impl Registry {
    /// Registers the valid ones of `specs`; results are in the same order.
    ///
    /// # Errors
    /// The address is not under the base URL of the app, or differs from the registered one.
    /// Nothing is registered then.
    pub async fn register_webhooks(
        &self,
        owner: &WebhookOwner,
        url: &str,
        specs: Vec<Result<WebhookSpec, Vec<String>>>,
    ) -> Result<Vec<WebhookResult>, RegisterError> {
        let installation = self.installation(owner.installation.as_str());
        let installation = installation.ok_or(RegisterError::NotFound)?;
        let app = self.app(installation.record.app.as_str()).ok_or(RegisterError::NotFound)?;
        check_address(&app, url)?;
        let checked: Vec<_> = specs
            .into_iter()
            .map(|spec| self.check_webhook(spec?, owner, url).map_err(messages))
            .collect();
        let count = checked.iter().filter(|spec| spec.is_ok()).count();
        let first = self.reserve_ids(&installation.record.cloud_id, count).await?;
        let expires_ms = self.webhooks_expire_ms();
        let results = self
            .update_document(owner.installation.as_str(), |current| {
                let mut record = require_enabled(current)?;
                remove_long_expired(&mut record);
                check_one_address(&record, url)?;
                let mut room = self.webhook_quota(&record, owner);
                let mut ids = first..;
                let mut add = |checked: &Result<CheckedWebhook, Vec<String>>| {
                    let spec = checked.as_ref().map_err(Clone::clone)?.spec.clone();
                    let id = ids.next().unwrap_or(u64::MAX);
                    room.take()?;
                    record.add_webhook(&spec.webhook(id, url, owner, expires_ms));
                    Ok(id)
                };
                let results: Vec<WebhookResult> = checked.iter().map(&mut add).collect();
                if results.iter().all(Result::is_err) {
                    return Ok(Mutation::Keep(results));
                }
                owner.record_once(&mut record)?;
                Ok(Mutation::Put(record, results))
            })
            .await?;
        let registered = results.iter().filter(|result| result.is_ok()).count();
        info!(installation = %owner.installation, registered, of = results.len(), "webhooks registered");
        Ok(results)
    }

    /// Changes a webhook in place; its id, address and expiry stay.
    ///
    /// # Errors
    /// The owner has no such webhook, or the new one is invalid.
    pub async fn change_webhook(
        &self,
        owner: &WebhookOwner,
        id: u64,
        spec: WebhookSpec,
    ) -> Result<DynamicWebhook, RegisterError> {
        let checked = self.check_webhook(spec, owner, "").map_err(RegisterError::Invalid)?;
        self.update_document(owner.installation.as_str(), |current| {
            let mut record = require_enabled(current)?;
            let found = record.webhooks_of(owner).find(|(_, webhook)| webhook.id == id);
            let (module, old) = found.ok_or(RegisterError::NotFound)?;
            let new = checked.spec.clone().webhook(id, &old.url, owner, old.expiration_date);
            module.change(&new);
            owner.record_once(&mut record)?;
            Ok(Mutation::Put(record, new))
        })
        .await
    }

    /// Removes the webhooks with these ids; ignores those of other owners.
    ///
    /// # Errors
    /// The installation is not enabled.
    pub async fn remove_webhooks(
        &self,
        owner: &WebhookOwner,
        ids: &[u64],
    ) -> Result<(), RegisterError> {
        self.update_document(owner.installation.as_str(), |current| {
            let mut record = require_enabled(current)?;
            let is_meant = |module: &ModuleRecord| {
                DynamicWebhook::of_module(module)
                    .is_some_and(|w| w.user == owner.user && ids.contains(&w.id))
            };
            let before = record.modules.len();
            record.modules.retain(|module| !is_meant(module));
            if record.modules.len() == before {
                return Ok(Mutation::Keep(()));
            }
            owner.record_once(&mut record)?;
            Ok(Mutation::Put(record, ()))
        })
        .await
    }

    /// Extends the expiry of the webhooks with these ids; returns the new expiry, milliseconds
    /// since the epoch. An expired one is restored only within the limits for new ones.
    ///
    /// # Errors
    /// The installation is not enabled.
    pub async fn refresh_webhooks(
        &self,
        owner: &WebhookOwner,
        ids: &[u64],
    ) -> Result<i64, RegisterError> {
        let expires_ms = self.webhooks_expire_ms();
        self.update_document(owner.installation.as_str(), |current| {
            let mut record = require_enabled(current)?;
            let (mut room, mut address) = (self.webhook_quota(&record, owner), address_of(&record));
            let (now_ms, mut is_changed) = (clock::now_ms(), false);
            for (module, webhook) in record.webhooks_of(owner) {
                if !ids.contains(&webhook.id) {
                    continue;
                }
                if webhook.expiration_date <= now_ms {
                    let address = address.get_or_insert_with(|| webhook.url.clone());
                    if *address != webhook.url || room.take().is_err() {
                        continue;
                    }
                }
                module.change(&DynamicWebhook { expiration_date: expires_ms, ..webhook });
                is_changed = true;
            }
            if !is_changed {
                return Ok(Mutation::Keep(expires_ms));
            }
            // A repeated refresh has practically no effect, so a replay is accepted.
            Ok(Mutation::Put(record, expires_ms))
        })
        .await
    }

    /// Returns the webhooks of an owner in the order of registration, including expired ones.
    #[must_use]
    pub fn webhooks(&self, owner: &WebhookOwner) -> Vec<DynamicWebhook> {
        let installation = self.installation(owner.installation.as_str());
        let modules = installation.iter().flat_map(|found| &found.record.modules);
        let webhooks = modules.filter_map(DynamicWebhook::of_module);
        webhooks.filter(|webhook| webhook.user == owner.user).collect()
    }

    fn check_webhook(
        &self,
        spec: WebhookSpec,
        owner: &WebhookOwner,
        url: &str,
    ) -> Result<CheckedWebhook, Vec<Problem>> {
        let webhook = WebhookDefinition::from(spec.clone().webhook(0, url, owner, 0));
        let programs = webhook.compile(self.state.programs(), Product::Jira, "jqlFilter")?;
        Ok(CheckedWebhook { spec, _programs: programs })
    }

    fn webhooks_expire_ms(&self) -> i64 {
        clock::now_ms().saturating_add(self.webhook_life_ms())
    }

    pub(crate) fn webhook_life_ms(&self) -> i64 {
        let life = self.settings.connect.webhook_life;
        i64::try_from(life.as_millis()).unwrap_or(i64::MAX)
    }

    /// Reserves `count` ids that the site never used; returns the first.
    async fn reserve_ids(&self, site: &CloudId, count: usize) -> Result<u64, RegisterError> {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.update_document(site.as_str(), |current: Option<SiteRecord>| {
            let mut record = current.unwrap_or_else(|| SiteRecord {
                format: FORMAT,
                id: site.clone(),
                next_webhook: 1,
            });
            let first = record.next_webhook;
            record.next_webhook = first.saturating_add(count);
            Ok(if count == 0 {
                Mutation::Keep(first)
            } else {
                Mutation::Put(Box::new(record), first)
            })
        })
        .await
    }

    fn webhook_quota(&self, record: &InstallationRecord, owner: &WebhookOwner) -> WebhookQuota {
        let max = match owner.user {
            None => self.settings.connect.webhooks_per_app,
            Some(_) => self.settings.connect.webhooks_per_user,
        };
        let now_ms = clock::now_ms();
        let webhooks = record.modules.iter().filter_map(DynamicWebhook::of_module);
        let used = webhooks.filter(|w| w.user == owner.user && w.expiration_date > now_ms).count();
        WebhookQuota { left: max.saturating_sub(used), max }
    }
}

/// Problems as this API returns them: sentences, with the vendor's wording where it has one.
fn messages(problems: Vec<Problem>) -> Vec<String> {
    problems.into_iter().map(|problem| problem.message).collect()
}

/// A webhook with a valid filter; keeps its programs alive until it is applied.
struct CheckedWebhook {
    spec: WebhookSpec,
    _programs: Vec<Arc<Program>>,
}

struct WebhookQuota {
    left: usize,
    max: usize,
}

impl WebhookQuota {
    fn take(&mut self) -> Result<(), Vec<String>> {
        let left = self.left.checked_sub(1);
        self.left =
            left.ok_or_else(|| vec![format!("Maximum number of webhooks ({}) reached", self.max)])?;
        Ok(())
    }
}

impl InstallationRecord {
    fn add_webhook(&mut self, webhook: &DynamicWebhook) {
        let now_ms = clock::now_ms();
        self.modules.push(ModuleRecord {
            key: format!("webhook-{}", webhook.id).into(),
            module_type: DYNAMIC_WEBHOOK.to_owned(),
            data: webhook.data(),
            api: RegistrationApi::Webhook,
            status: ModuleStatus::On,
            created_ms: now_ms,
            updated_ms: now_ms,
            revision: 1,
            order: self.next_order,
        });
        self.next_order += 1;
    }

    fn webhooks_of(
        &mut self,
        owner: &WebhookOwner,
    ) -> impl Iterator<Item = (&mut ModuleRecord, DynamicWebhook)> {
        self.modules.iter_mut().filter_map(|module| {
            let webhook = DynamicWebhook::of_module(module)?;
            (webhook.user == owner.user).then_some((module, webhook))
        })
    }
}

impl ModuleRecord {
    fn change(&mut self, webhook: &DynamicWebhook) {
        self.data = webhook.data();
        self.updated_ms = clock::now_ms();
        self.revision += 1;
    }
}

fn remove_long_expired(record: &mut InstallationRecord) {
    let oldest_ms = clock::now_ms().saturating_sub(EXPIRED_KEPT_MS);
    record.modules.retain(|module| {
        DynamicWebhook::of_module(module).is_none_or(|w| w.expiration_date > oldest_ms)
    });
}

/// Requires the address to be under the app's base URL, because a webhook posts to its app only.
fn check_address(app: &AppliedApp, url: &str) -> Result<(), RegisterError> {
    let base = app.record.base_url.as_deref().and_then(|base| Url::parse(base).ok());
    let lies_under = |base: &Url, url: &Url| {
        let folder = base.path().trim_end_matches('/');
        let rest = url.path().strip_prefix(folder);
        base.origin() == url.origin()
            && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            && url.username().is_empty()
            && url.password().is_none()
    };
    let fits = base.zip(Url::parse(url).ok()).is_some_and(|(base, url)| lies_under(&base, &url));
    if fits {
        return Ok(());
    }
    let message = "the URL must be under the base URL of the app";
    Err(RegisterError::invalid(Problem::new(code::ADDRESS, "url", message)))
}

/// Address of the webhooks of an installation that have not expired.
fn address_of(record: &InstallationRecord) -> Option<String> {
    let now_ms = clock::now_ms();
    let mut webhooks = record.modules.iter().filter_map(DynamicWebhook::of_module);
    webhooks.find(|webhook| webhook.expiration_date > now_ms).map(|webhook| webhook.url)
}

fn check_one_address(record: &InstallationRecord, url: &str) -> Result<(), RegisterError> {
    if address_of(record).is_none_or(|address| address == url) {
        return Ok(());
    }
    let message = "Only a single URL per app is allowed to be registered";
    Err(RegisterError::invalid(Problem::new(code::ADDRESS, "", message)))
}

/// The vendor's lifetime: 30 days.
pub(crate) const LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
