//! Installations, their modules, and OAuth clients.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::common::{Time, either};
use super::errors::Problem;
use crate::domain::Product;
use crate::registry::{InstallationState, RegistrationApi};

/// A page of installations.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct InstallationPage {
    items: Vec<Installation>,
    /// Cursor of the next page; absent on the last one.
    next_cursor: Option<String>,
    /// Number of installations that the query selects.
    total: u64,
    /// Names of the query that do not exist, if the list is empty.
    hints: Option<Vec<String>>,
}

/// Parameters that select installations.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct InstallationParams {
    /// Text that the id, the app or the site has.
    q: Option<String>,
    /// Id of a site.
    site: Option<String>,
    /// Id of an app.
    app: Option<String>,
    #[param(inline)]
    state: Option<InstallationState>,
    /// Only those with a dynamic webhook that expires within a week.
    expiring: Option<bool>,
}

/// What an installation has.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct InstallationFigures {
    /// Live subscriptions.
    subscriptions: u64,
    /// Subscriptions that fail now.
    failing: u64,
    /// Parked deliveries, over all replicas.
    parked: u64,
    /// Deliveries that may be parked.
    parked_max: u64,
    /// Stored dead letters, over all replicas.
    dead_letters: u64,
}

/// An app installed at a site.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct Installation {
    id: String,
    app: String,
    /// Id of the site.
    cloud_id: String,
    product: Product,
    licensed: bool,
    environment: String,
    state: InstallationState,
    /// Functions of the app, with the subjects that their events are published to.
    functions: Vec<FunctionSubject>,
    /// Numbers of modules by state, and `dynamic`, `dynamicMax` and `webhooks`.
    modules: BTreeMap<String, u64>,
    counts: InstallationFigures,
    /// When a subscription last matched, failed or was delivered, as this replica saw it.
    last_activity: Option<Time>,
    /// When the first of its dynamic webhooks expires.
    expires_at: Option<Time>,
    /// Revision of the record.
    revision: u64,
    created_at: Time,
    updated_at: Time,
    /// Days for which bodies are kept, if that is bounded.
    bodies_days: Option<u32>,
    retention: Option<Retention>,
    /// Of a Connect installation.
    client_key: Option<String>,
    /// Until when the shared secret of before is accepted.
    previous_secret_until: Option<Time>,
    app_account_id: Option<String>,
    dropped: Option<DroppedModules>,
    /// The first webhooks that are never delivered.
    undelivered: Option<Vec<UndeliveredWebhook>>,
    /// Notices that wait to be sent to the app.
    notices_waiting: Option<u64>,
}

/// Where the events of a function are published to.
#[derive(ToSchema)]
struct FunctionSubject {
    function: String,
    subject: String,
}

/// The setting of the installation itself.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct Retention {
    bodies_days: u32,
}

/// Modules that a version of the app dropped.
#[derive(ToSchema)]
struct DroppedModules {
    at: Time,
    keys: Vec<String>,
    version: Option<String>,
}

/// A webhook that is never delivered.
#[derive(ToSchema)]
struct UndeliveredWebhook {
    key: String,
    #[schema(required)]
    reason: Option<String>,
}

/// An installation that was stored.
#[derive(ToSchema)]
pub(in crate::api) struct InstallationStored {
    id: String,
    /// Token of a new Forge installation, shown only once.
    token: Option<String>,
    warnings: Option<Vec<Problem>>,
}

/// The new token of an installation.
#[derive(ToSchema)]
pub(in crate::api) struct NewToken {
    token: String,
}

/// The discovery of the modules of an installation.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct Discovery {
    installation: String,
    /// Keys of the discovered modules.
    modules: Vec<String>,
    /// What of the last response was ignored, and why.
    ignored: Vec<Value>,
    /// Failures since the last success.
    failures: u64,
    /// When the app is asked next.
    due_at: Time,
    /// When the app answered last.
    fetched_at: Option<Time>,
    /// Until when a replica asks the app.
    asking_until: Option<Time>,
    /// Why the last request failed.
    error: Option<String>,
}

/// A module of an installation.
#[derive(ToSchema)]
pub(in crate::api) struct ManagedModule {
    key: String,
    r#type: String,
    /// What the app submitted.
    data: Map<String, Value>,
    /// The API that registered it.
    #[schema(rename = "door")]
    api: RegistrationApi,
}

/// A module to register.
#[derive(ToSchema)]
#[schema(example = json!({"type": "trigger",
    "data": {"events": ["avi:jira:updated:issue"], "endpoint": "hook"}}))]
pub(in crate::api) struct NewModule {
    /// The key that the path has, if any.
    key: Option<String>,
    r#type: String,
    /// What a module of this type has.
    data: Map<String, Value>,
}

either! {
    /// A module that was registered, or that is valid.
    StoredModule = RegisteredModule | ValidModule
}

/// A module that was registered.
#[derive(ToSchema)]
pub(in crate::api) struct RegisteredModule {
    key: String,
    r#type: String,
    /// What the app submitted.
    data: Map<String, Value>,
    warnings: Option<Vec<Problem>>,
    /// What its filters cost.
    complexity: Option<Vec<Value>>,
}

/// A module that is valid.
#[derive(ToSchema)]
pub(in crate::api) struct ValidModule {
    /// Always true.
    valid: bool,
    warnings: Vec<Problem>,
    /// What its filters cost.
    complexity: Option<Vec<Value>>,
}

/// An OAuth client that registers webhooks.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct OauthClient {
    id: String,
    user: String,
    installation: String,
    /// Present if its secret signs its webhooks.
    signs_webhooks: Option<bool>,
    /// Until when the secret of before signs as well.
    previous_secret_until: Option<Time>,
}

/// An OAuth client that was stored.
#[derive(ToSchema)]
pub(in crate::api) struct OauthClientStored {
    id: String,
    warnings: Option<Vec<Problem>>,
}
