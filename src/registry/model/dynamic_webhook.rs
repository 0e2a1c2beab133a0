//! Stored form of a Jira dynamic webhook, kept as the data of a module.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::client::ClientUser;
use super::document::DocumentError;
use super::installation::InstallationRecord;
use super::module::{DYNAMIC_WEBHOOK, ModuleRecord, ModuleStatus, RegistrationApi};
use super::module_fields::ModuleFields;
use crate::clock;
use crate::domain::UnknownMembers;

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
    /// OAuth client that registered it; none in records of before clients were stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Members that this release does not know.
    #[serde(flatten)]
    pub unknown: UnknownMembers,
}

impl DynamicWebhook {
    pub(crate) fn read(data: &ModuleFields) -> Result<Self, serde_json::Error> {
        data.parse().and_then(|data| Self::deserialize(Value::Object(data)))
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

    pub(crate) fn of_module(module: &ModuleRecord) -> Option<Self> {
        (module.api == RegistrationApi::Webhook).then(|| Self::read(&module.data).ok()).flatten()
    }

    /// Whether an OAuth client registered it, for whichever user.
    pub(crate) fn is_of_client(&self, client: &str) -> bool {
        self.client.as_deref() == Some(client)
    }

    /// Whether it belongs to an OAuth client and its user, or to the Connect app if none.
    #[must_use]
    pub fn is_of(&self, owner: Option<&ClientUser>) -> bool {
        let same_client = match (&self.client, owner) {
            (Some(client), Some(owner)) => *client == owner.client,
            _ => true,
        };
        same_client && self.user.as_ref() == owner.map(|owner| &owner.user)
    }

    fn data(&self) -> Result<ModuleFields, DocumentError> {
        Ok(ModuleFields::of(self)?)
    }
}

impl InstallationRecord {
    /// Appends a dynamic webhook as a module.
    ///
    /// # Errors
    /// It cannot be serialized.
    pub(crate) fn add_webhook(&mut self, webhook: &DynamicWebhook) -> Result<(), DocumentError> {
        let now_ms = clock::now_ms();
        self.modules.push(ModuleRecord {
            key: format!("webhook-{}", webhook.id).into(),
            module_type: DYNAMIC_WEBHOOK.to_owned(),
            data: webhook.data()?,
            api: RegistrationApi::Webhook,
            status: ModuleStatus::On,
            created_ms: now_ms,
            updated_ms: now_ms,
            revision: 1,
            order: self.next_order,
            shadow: None,
            promotion: None,
            unknown: UnknownMembers::default(),
        });
        self.next_order += 1;
        Ok(())
    }

    /// Returns the webhooks of an owner, with their modules.
    pub(crate) fn webhooks_of<'r>(
        &'r mut self,
        owner: Option<&'r ClientUser>,
    ) -> impl Iterator<Item = (&'r mut ModuleRecord, DynamicWebhook)> {
        self.modules.iter_mut().filter_map(move |module| {
            let webhook = DynamicWebhook::of_module(module)?;
            webhook.is_of(owner).then_some((module, webhook))
        })
    }
}

impl ModuleRecord {
    /// Replaces the dynamic webhook that this module stores.
    ///
    /// # Errors
    /// It cannot be serialized.
    pub(crate) fn set_webhook(&mut self, webhook: &DynamicWebhook) -> Result<(), DocumentError> {
        self.data = webhook.data()?;
        self.updated_ms = clock::now_ms();
        self.revision += 1;
        Ok(())
    }
}
