//! The registry: apps register triggers, operators provision apps and installations.
//!
//! ```text
//! API -> validation -> compare-and-set in the store -> wait until applied here
//! store -> watch -> replica state (every replica) -> compile -> matcher
//! ```
//!
//! Guarantee: a registration is accepted whole or rejected with every problem; an accepted one is
//! durable and active in the matcher of this replica before the call returns. Bounds: modules and
//! property paths per installation, registrations per second, document size, retries of a
//! conflicting change. The registry depends on neither the broker nor HTTP; storage is the trait
//! [`Store`].

mod app_calls;
mod commands;
mod compile;
mod credentials;
mod metrics;
mod model;
pub mod offline;
mod registry;
mod replica;
pub mod review;
mod store;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod validation;

pub use app_calls::{AppCall, AppCaller, CallAuth, CallError};
pub use commands::apps::{AppPut, AppSpec, CheckUrl};
pub use commands::connect_lifecycle::LifecycleCallbacks;
pub use commands::connect_modules::ConnectModule;
pub use commands::discovery::{DiscoveryStatus, IgnoreRule, IgnoredModule};
pub use commands::dynamic_webhooks::{
    DYNAMIC_WEBHOOK, DynamicWebhook, WebhookOwner, WebhookResult, WebhookSpec,
};
pub use commands::forge_batch::{BatchItem, BatchResult};
pub use commands::forge_modules::{ModuleSpec, RegisteredModule};
pub use commands::installations::{ClientSpec, InstallationPut, InstallationSpec};
pub use commands::notices::NoticeEndpoint;
pub use compile::applied::{AppliedApp, AppliedInstallation, AppliedModule, EffectiveStatus};
pub use compile::modules::{ProgramCache, TRIGGER, function_subject};
pub use credentials::digest;
pub use model::document::{
    AppKind, AppRecord, BodyLayout, ClientRecord, DeliveryOptions, DiscoveryConfig, Endpoint,
    EndpointAuth, InstallationRecord, InstallationState, ModuleRecord, ModuleStatus,
    RegistrationApi, RequestStyle,
};
pub use model::module_fields::ModuleFields;
pub use model::problem::{Problem, SourceRange, code, summary};
pub use model::replay_guard::SignedRequest;
pub use registry::{ConnectLimits, RegisterError, Registry, Settings};
pub use replica::state::Counts;
pub use store::{Store, StoreError, StoredDocument, WatchEvent};
pub use validation::catalog;
pub use validation::trigger::{HandlerRef, Trigger, TriggerEvent, TriggerFilter};
pub use validation::trigger_rules::{FilterCost, ValidatedTrigger, ValidationRules, key_problem};
pub use validation::webhook::{WEBHOOKS, WebhookDefinition};
