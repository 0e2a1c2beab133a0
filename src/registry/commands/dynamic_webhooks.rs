//! Jira dynamic webhooks: registered in a batch with one result each, valid until they expire.
//!
//! **Source:** Jira Cloud platform REST API, "Webhooks". Extension: a webhook can be changed in place.

use std::sync::Arc;

use switchyard_expr::Program;
use tracing::info;
use url::Url;

use super::context::{Context, Target};
use super::registration::{self, Registration, RegistrationOutcome};
use crate::clock;
use crate::domain::{CloudId, InstallationId, UnknownMembers};
use crate::registry::compile::AppliedApp;
use crate::registry::error::{RegisterError, document_error};
use crate::registry::model::{
    ClientUser, Document, DocumentError, DynamicWebhook, FORMAT, InstallationRecord, ModuleRecord,
    Problem, SignedRequest, SiteRecord, code,
};
use crate::registry::transaction::Mutation;
use crate::registry::validation::{WebhookQuota, WebhookSpec};

/// Time an expired webhook stays visible, in milliseconds: three months.
const EXPIRED_KEPT_MS: i64 = 90 * 24 * 3600 * 1000;

/// The vendor's words for a second address.
const ONE_ADDRESS: &str = "Only a single URL per app is allowed to be registered";

/// Owner of dynamic webhooks; others cannot see them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WebhookOwner {
    /// Installation of the app.
    pub installation: InstallationId,
    /// OAuth client and the user that it acts for; none for a Connect app.
    pub client: Option<ClientUser>,
    /// The signed request, if there is one; a replay changes nothing.
    pub signed: Option<SignedRequest>,
}

impl WebhookOwner {
    fn document_error(&self, error: &DocumentError) -> RegisterError {
        document_error(&InstallationRecord::key(self.installation.as_str()), error)
    }

    /// Requires an OAuth client of the installation. The caller was looked up in what is applied here,
    /// which may be older than the record.
    fn require_client(&self, record: &InstallationRecord) -> Result<(), RegisterError> {
        let has_ended = |owner: &ClientUser| record.has_ended(&owner.client);
        if self.client.as_ref().is_some_and(has_ended) {
            Err(RegisterError::NotFound)
        } else {
            Ok(())
        }
    }

    fn record_once(&self, record: &mut InstallationRecord) -> Result<(), RegisterError> {
        let Some(signed) = &self.signed else { return Ok(()) };
        Ok(record.replay_guard.record_once(signed)?)
    }
}

/// Result for one element of a request: the id of the webhook, or its problems.
pub type WebhookResult = Result<u64, Vec<String>>;

/// Commands on dynamic webhooks.
#[derive(Clone, Copy)]
pub struct DynamicWebhooks<'a> {
    context: &'a Context,
}

impl<'a> DynamicWebhooks<'a> {
    pub(crate) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    /// Registers the valid ones of `specs`; results are in the same order.
    ///
    /// # Errors
    /// The address is not under the base URL of the app, or differs from the registered one.
    /// Nothing is registered then.
    pub async fn register(
        self,
        owner: &WebhookOwner,
        url: &str,
        specs: Vec<Result<WebhookSpec, Vec<String>>>,
    ) -> Result<Vec<WebhookResult>, RegisterError> {
        let expires_ms = self.expires_ms();
        let request = NewWebhooks { owner, url, specs, expires_ms, first_id: 0 };
        let results = registration::register(self.context, &owner.installation, request).await?;
        let (registered, of) =
            (results.iter().filter(|result| result.is_ok()).count(), results.len());
        info!(installation = %owner.installation, registered, of, "webhooks registered");
        Ok(results)
    }

    /// Changes a webhook in place; its id, address and expiry stay.
    ///
    /// # Errors
    /// The owner has no such webhook, or the new one is invalid.
    pub async fn change(
        self,
        owner: &WebhookOwner,
        id: u64,
        spec: WebhookSpec,
    ) -> Result<DynamicWebhook, RegisterError> {
        let request = ChangedWebhook { owner, id, spec };
        registration::register(self.context, &owner.installation, request).await
    }

    /// Removes the webhooks with these ids; ignores those of other owners.
    ///
    /// # Errors
    /// The installation is not enabled.
    pub async fn remove(self, owner: &WebhookOwner, ids: &[u64]) -> Result<(), RegisterError> {
        self.context
            .update_installation(&owner.installation, |mut record| {
                let is_meant = |module: &ModuleRecord| {
                    DynamicWebhook::of_module(module)
                        .is_some_and(|w| w.is_of(owner.client.as_ref()) && ids.contains(&w.id))
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

    /// Extends the expiry of the webhooks with these ids; returns the new expiry, milliseconds since
    /// the epoch. An expired one is restored only within the limits for new ones.
    ///
    /// # Errors
    /// The installation is not enabled.
    pub async fn refresh(self, owner: &WebhookOwner, ids: &[u64]) -> Result<i64, RegisterError> {
        let expires_ms = self.expires_ms();
        let client = owner.client.as_ref();
        let limits = &self.context.settings.limits;
        self.context
            .update_installation(&owner.installation, |mut record| {
                let mut quota = WebhookQuota::of(&record, client, limits);
                let mut address = address_of(&record, client);
                let (now_ms, mut is_changed) = (clock::broker_now_ms(), false);
                for (module, webhook) in record.webhooks_of(client) {
                    if !ids.contains(&webhook.id) {
                        continue;
                    }
                    if webhook.expiration_date <= now_ms {
                        let address = address.get_or_insert_with(|| webhook.url.clone());
                        if *address != webhook.url || quota.take().is_err() {
                            continue;
                        }
                    }
                    let refreshed = DynamicWebhook { expiration_date: expires_ms, ..webhook };
                    let stored = module.set_webhook(&refreshed);
                    stored.map_err(|error| owner.document_error(&error))?;
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
    pub fn list(self, owner: &WebhookOwner) -> Vec<DynamicWebhook> {
        let installation = self.context.state().installation(owner.installation.as_str());
        let modules = installation.iter().flat_map(|found| &found.record.modules);
        let webhooks = modules.filter_map(DynamicWebhook::of_module);
        webhooks.filter(|webhook| webhook.is_of(owner.client.as_ref())).collect()
    }

    fn expires_ms(&self) -> i64 {
        clock::broker_now_ms().saturating_add(self.context.settings.limits.webhook_life_ms())
    }
}

/// Registration of a list of webhooks.
struct NewWebhooks<'a> {
    owner: &'a WebhookOwner,
    url: &'a str,
    specs: Vec<Result<WebhookSpec, Vec<String>>>,
    expires_ms: i64,
    /// Set by [`Registration::reserve`].
    first_id: u64,
}

impl Registration for NewWebhooks<'_> {
    type Validated = Vec<Result<CheckedWebhook, Vec<String>>>;
    type Answer = Vec<WebhookResult>;

    fn validate(
        &self,
        context: &Context,
        target: &Target,
    ) -> Result<Self::Validated, RegisterError> {
        check_address(&target.app, self.url)?;
        let check = |spec: &Result<WebhookSpec, Vec<String>>| {
            check_webhook(context, spec.clone()?).map_err(messages)
        };
        Ok(self.specs.iter().map(check).collect())
    }

    async fn reserve(
        &mut self,
        context: &Context,
        target: &Target,
        validated: &Self::Validated,
    ) -> Result<(), RegisterError> {
        let count = validated.iter().filter(|spec| spec.is_ok()).count();
        let site = &target.installation.record.cloud_id;
        self.first_id = reserve_ids(context, site, count).await?;
        Ok(())
    }

    fn apply(
        &self,
        context: &Context,
        _target: &Target,
        validated: &Self::Validated,
        record: &mut InstallationRecord,
    ) -> Result<RegistrationOutcome<Vec<WebhookResult>>, RegisterError> {
        self.owner.require_client(record)?;
        remove_long_expired(record);
        let client = self.owner.client.as_ref();
        check_one_address(record, client, self.url)?;
        let mut quota = WebhookQuota::of(record, client, &context.settings.limits);
        let mut next_id = self.first_id;
        let mut results: Vec<WebhookResult> = Vec::with_capacity(validated.len());
        for checked in validated {
            let checked = match checked {
                Ok(checked) => checked,
                Err(problems) => {
                    results.push(Err(problems.clone()));
                    continue;
                }
            };
            let id = next_id;
            next_id = next_id.saturating_add(1);
            if let Err(problems) = quota.take() {
                results.push(Err(problems));
                continue;
            }
            let webhook = checked.spec.clone().webhook(id, self.url, client, self.expires_ms);
            let added = record.add_webhook(&webhook);
            added.map_err(|error| self.owner.document_error(&error))?;
            results.push(Ok(id));
        }
        if results.iter().all(Result::is_err) {
            return Ok(RegistrationOutcome::Unchanged(results));
        }
        self.owner.record_once(record)?;
        Ok(RegistrationOutcome::Changed { answer: results, usage: None })
    }
}

/// Change of a webhook in place.
struct ChangedWebhook<'a> {
    owner: &'a WebhookOwner,
    id: u64,
    spec: WebhookSpec,
}

impl Registration for ChangedWebhook<'_> {
    type Validated = CheckedWebhook;
    type Answer = DynamicWebhook;

    fn validate(
        &self,
        context: &Context,
        _target: &Target,
    ) -> Result<CheckedWebhook, RegisterError> {
        check_webhook(context, self.spec.clone()).map_err(RegisterError::Invalid)
    }

    fn apply(
        &self,
        _context: &Context,
        _target: &Target,
        checked: &CheckedWebhook,
        record: &mut InstallationRecord,
    ) -> Result<RegistrationOutcome<DynamicWebhook>, RegisterError> {
        let client = self.owner.client.as_ref();
        let found = record.webhooks_of(client).find(|(_, webhook)| webhook.id == self.id);
        let (module, old) = found.ok_or(RegisterError::NotFound)?;
        let new = checked.spec.clone().webhook(self.id, &old.url, client, old.expiration_date);
        module.set_webhook(&new).map_err(|error| self.owner.document_error(&error))?;
        self.owner.record_once(record)?;
        Ok(RegistrationOutcome::Changed { answer: new, usage: None })
    }
}

/// Validates a webhook and compiles its filters.
fn check_webhook(context: &Context, spec: WebhookSpec) -> Result<CheckedWebhook, Vec<Problem>> {
    let epic_fields = &context.settings.registry.epic_fields;
    // The vendor's answer has no room for warnings; they are shown with the subscription.
    let validated = spec.validate(&context.replica.programs, epic_fields)?;
    Ok(CheckedWebhook { spec, _programs: validated.programs })
}

/// Reserves `count` ids that the site never used; returns the first.
async fn reserve_ids(
    context: &Context,
    site: &CloudId,
    count: usize,
) -> Result<u64, RegisterError> {
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    context
        .transactions
        .update_document(site.as_str(), |current: Option<SiteRecord>| {
            let mut record = current.unwrap_or_else(|| SiteRecord {
                format: FORMAT,
                id: site.clone(),
                next_webhook: 1,
                unknown: UnknownMembers::default(),
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

/// Problems as this API returns them: sentences, with the vendor's wording where it has one.
fn messages(problems: Vec<Problem>) -> Vec<String> {
    problems.into_iter().map(|problem| problem.message).collect()
}

/// A webhook with a valid filter; keeps its programs alive until it is applied.
struct CheckedWebhook {
    spec: WebhookSpec,
    _programs: Vec<Arc<Program>>,
}

fn remove_long_expired(record: &mut InstallationRecord) {
    let oldest_ms = clock::broker_now_ms().saturating_sub(EXPIRED_KEPT_MS);
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

/// Address of the webhooks of an owner that have not expired.
fn address_of(record: &InstallationRecord, owner: Option<&ClientUser>) -> Option<String> {
    let now_ms = clock::broker_now_ms();
    let mut webhooks = record.modules.iter().filter_map(DynamicWebhook::of_module);
    let is_live = |w: &DynamicWebhook| w.is_of(owner) && w.expiration_date > now_ms;
    webhooks.find(is_live).map(|webhook| webhook.url)
}

/// Requires one address: of a Connect app, or of each user of an OAuth client.
fn check_one_address(
    record: &InstallationRecord,
    owner: Option<&ClientUser>,
    url: &str,
) -> Result<(), RegisterError> {
    let Some(address) = address_of(record, owner).filter(|address| address != url) else {
        return Ok(());
    };
    let message = match owner {
        None => ONE_ADDRESS.to_owned(),
        Some(ClientUser { client, user }) => format!(
            "{ONE_ADDRESS}: the webhooks of client {client} for user {user} go to {address}; delete them to register another URL"
        ),
    };
    Err(RegisterError::invalid(Problem::new(code::ADDRESS, "", message)))
}
