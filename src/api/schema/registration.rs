//! The APIs of apps and of sites: Forge, Connect, Jira webhooks and ingest.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::common::either;
use super::errors::Problem;
use super::installations::RegisteredModule;

/// A module as it is listed.
#[derive(ToSchema)]
struct ForgeModule {
    key: String,
    r#type: String,
    data: Map<String, Value>,
}

/// A module to register, whose key the router assigns.
#[derive(ToSchema)]
#[schema(example = json!({"type": "trigger",
    "data": {"events": ["avi:jira:updated:issue"], "endpoint": "hook"}}))]
pub(in crate::api) struct NewForgeModule {
    r#type: String,
    /// What a module of this type has.
    data: Map<String, Value>,
}

/// An event, and a module: its key, or what would be registered.
#[derive(ToSchema)]
pub(in crate::api) struct ModuleTest {
    /// The event, with its type as `eventType`.
    event: Map<String, Value>,
    key: Option<String>,
    r#type: Option<String>,
    data: Option<Map<String, Value>>,
}

either! {
    /// Modules: a page of them, or all as a plain array.
    ForgeModules = ForgeModulePage | ForgeModuleList
}

/// All modules.
#[derive(ToSchema)]
struct ForgeModuleList(Vec<ForgeModule>);

/// A page of modules.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct ForgeModulePage {
    result: Vec<ForgeModule>,
    /// Cursor of the next page; absent on the last one.
    next_page_token: Option<String>,
    /// As `nextPageToken`.
    last_evaluated_key: Option<String>,
}

/// Modules that are registered together.
#[derive(ToSchema)]
pub(in crate::api) struct ModulesOfBatch {
    /// Modules, at most 1,000. Without `atomic`, one of another form is reported as the others.
    #[schema(max_items = 1000)]
    items: Vec<Value>,
    /// Whether none is registered if one is invalid; true by default.
    atomic: Option<bool>,
}

/// What became of the modules of a batch, in its order.
#[derive(ToSchema)]
pub(in crate::api) struct BatchAnswer {
    result: Vec<BatchResult>,
}

either! {
    /// A module that was registered, or why not.
    BatchResult = RegisteredModule | RejectedModule
}

/// Why a module was not registered.
#[derive(ToSchema)]
struct RejectedModule {
    errors: Vec<Problem>,
}

/// Modules by type, or `{"modules": ..}` with them.
#[derive(ToSchema)]
#[schema(value_type = BTreeMap<String, Value>)]
pub(in crate::api) struct ConnectModules(BTreeMap<String, Value>);

/// Webhooks to register.
#[derive(ToSchema)]
pub(in crate::api) struct NewWebhooks {
    /// Where they are posted.
    url: String,
    #[schema(max_items = 1000)]
    webhooks: Vec<WebhookRegistration>,
}

/// A webhook to register.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct WebhookRegistration {
    events: Vec<String>,
    jql_filter: Option<String>,
    field_ids_filter: Option<Vec<String>>,
    issue_property_keys_filter: Option<Vec<String>>,
}

/// What became of the webhooks.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct RegisteredWebhooks {
    webhook_registration_result: Vec<WebhookResult>,
}

/// A webhook that was registered, or why not.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct WebhookResult {
    created_webhook_id: Option<u64>,
    errors: Option<Vec<String>>,
}

/// Webhooks by id.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct WebhookIds {
    webhook_ids: Vec<u64>,
}

/// A page of webhooks.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct WebhookPage {
    start_at: u64,
    max_results: u64,
    total: u64,
    is_last: bool,
    values: Vec<Map<String, Value>>,
}

/// When webhooks expire.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct WebhookExpiry {
    /// Milliseconds since the epoch.
    expiration_date: i64,
}

/// Webhooks that were not delivered.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct FailedWebhooks {
    max_results: u64,
    values: Vec<FailedWebhook>,
    /// Address of the next page, which may be empty.
    next: Option<String>,
}

/// A webhook that was not delivered.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct FailedWebhook {
    id: String,
    url: String,
    /// Milliseconds since the epoch.
    failure_time: i64,
    body: Option<String>,
}

/// The events of a webhook.
#[derive(ToSchema)]
pub(in crate::api) struct IngestedWebhook {
    /// Their ids.
    ids: Vec<String>,
}
