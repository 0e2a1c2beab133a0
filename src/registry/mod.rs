//! A. Who asked: apps register triggers, operators provision apps and installations.
//!
//! ```text
//! door -> validate (form, names, filters) -> change (compare-and-set, wait) -> store
//! store -> live (apply, on every replica) -> compile -> matcher
//! ```
//!
//! Guarantee: a registration is accepted whole or refused with everything that is wrong with it; an
//! accepted one is durable and heard by the matcher of this replica before the caller learns of it.
//! Bounds: modules and property paths per installation, registrations per second, document size,
//! retries of a conflicting change. This stage knows neither the broker nor HTTP; what it needs of
//! storage is the trait [`Store`].

mod agenda;
mod applied;
mod apps;
mod batch;
mod calls;
pub mod catalog;
mod change;
mod compile;
mod connect;
mod data;
mod discovery;
mod document;
mod dynamic;
mod handover;
mod horizon;
mod installations;
mod language;
mod lifecycle;
mod limits;
mod live;
mod load;
mod metrics;
mod modules;
mod notices;
pub mod offline;
mod problem;
mod replay;
pub mod review;
mod signing;
mod store;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod token;
mod trigger;
mod validate;
mod webhook;

pub use applied::{LiveApp, LiveInstallation, LiveModule, ModuleState};
pub use apps::{AppPut, AppSpec, CheckUrl};
pub use batch::{BatchItem, BatchResult};
pub use calls::{AppCall, AppCaller, CallFailed, Proof};
pub use change::{ConnectLimits, RegisterError, Registry, Settings};
pub use compile::{Programs, TRIGGER, function_subject};
pub use connect::ConnectModule;
pub use data::ModuleData;
pub use discovery::{Discovered, Ignored, Rule};
pub use document::{
    AppKind, AppRecord, BodyForm, ClientRecord, DeliveryOptions, Discovery, Door, Endpoint,
    EndpointAuth, InstallationRecord, InstallationState, ModuleRecord, Style, Switch,
};
pub use dynamic::{DYNAMIC_WEBHOOK, DynamicWebhook, WebhookOwner, WebhookResult, WebhookSpec};
pub use installations::{ClientSpec, InstallationPut, InstallationSpec};
pub use lifecycle::Lifecycle;
pub use live::Counts;
pub use modules::{ModuleSpec, Registered};
pub use notices::Notices;
pub use problem::{Place, Problem, code, summary};
pub use replay::Signed;
pub use store::{Change, Store, StoreError, Stored};
pub use token::digest;
pub use trigger::{HandlerRef, Trigger, TriggerEvent, TriggerFilter};
pub use validate::{Accepted, FilterCost, Rules, key_problem};
pub use webhook::{WEBHOOKS, Webhook};
