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
mod apps;
mod batch;
pub mod catalog;
mod compile;
mod connect_lifecycle;
mod connect_modules;
mod discovery;
mod document;
mod dynamic_webhooks;
mod forge_modules;
mod installations;
mod language;
mod limits;
mod load;
mod metrics;
mod module_fields;
mod notices;
pub mod offline;
mod own_write_cache;
mod problem;
mod read_barrier;
mod registry;
mod replay_guard;
mod replica_state;
pub mod review;
mod signing_keys;
mod state;
mod store;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod timer_queue;
mod token;
mod trigger;
mod validate;
mod webhook;

pub use app_calls::{AppCall, AppCaller, CallAuth, CallError};
pub use apps::{AppPut, AppSpec, CheckUrl};
pub use batch::{BatchItem, BatchResult};
pub use compile::{ProgramCache, TRIGGER, function_subject};
pub use connect_lifecycle::LifecycleCallbacks;
pub use connect_modules::ConnectModule;
pub use discovery::{DiscoveryStatus, IgnoreRule, IgnoredModule};
pub use document::{
    AppKind, AppRecord, BodyLayout, ClientRecord, DeliveryOptions, DiscoveryConfig, Endpoint,
    EndpointAuth, InstallationRecord, InstallationState, ModuleRecord, ModuleStatus,
    RegistrationApi, RequestStyle,
};
pub use dynamic_webhooks::{
    DYNAMIC_WEBHOOK, DynamicWebhook, WebhookOwner, WebhookResult, WebhookSpec,
};
pub use forge_modules::{ModuleSpec, RegisteredModule};
pub use installations::{ClientSpec, InstallationPut, InstallationSpec};
pub use module_fields::ModuleFields;
pub use notices::NoticeEndpoint;
pub use problem::{Problem, SourceRange, code, summary};
pub use registry::{ConnectLimits, RegisterError, Registry, Settings};
pub use replay_guard::SignedRequest;
pub use replica_state::Counts;
pub use state::{AppliedApp, AppliedInstallation, AppliedModule, EffectiveStatus};
pub use store::{Store, StoreError, StoredDocument, WatchEvent};
pub use token::digest;
pub use trigger::{HandlerRef, Trigger, TriggerEvent, TriggerFilter};
pub use validate::{FilterCost, ValidatedTrigger, ValidationRules, key_problem};
pub use webhook::{WEBHOOKS, WebhookDefinition};
