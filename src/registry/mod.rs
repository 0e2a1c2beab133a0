//! The registry: apps register triggers, operators provision apps and installations.
//!
//! ```text
//! a change:  API -> commands -> validation -> transaction (compare-and-set, wait) -> Store
//! its effect: Store -> replica (watch, one writer) -> compile -> Matcher
//! ```
//!
//! The folders, low to high; each knows only those before it:
//!
//! | folder or file | what is in it |
//! |---|---|
//! | `model` | plain records and their stored format |
//! | `validation` | what apps and operators submit: parsers, rules, quotas, event catalogue, filters |
//! | `revisions` | what the modules were: records, comparisons, the trait of their stream |
//! | `compile` | records to subscriptions of the matcher |
//! | `replica` | the applied state: one writer, many readers, progress, timers |
//! | `transaction` | the change of one document |
//! | `commands` | everything that changes the registry, in groups; registrations take one path |
//! | `background` | what runs by time |
//! | `facade` | [`Registry`]: reads, and the way to the commands |
//! | `listeners` | triggers of listening clients, which are stored nowhere |
//!
//! Guarantee: a registration is accepted whole or rejected with every problem; an accepted one is
//! durable and active in the matcher of this replica before the call returns. Bounds: modules and
//! property paths per installation, registrations per second, document size, retries of a
//! conflicting change. The registry depends on neither the broker nor HTTP; storage is the trait
//! [`Store`], calls to apps are the trait [`AppCaller`].
//!
//! Why it is so: `docs/design/registration.md`, `docs/design/registry-watch.md`.

mod app_calls;
mod background;
mod commands;
mod compile;
mod credentials;
mod document_turns;
mod dry_run;
mod error;
mod facade;
mod listeners;
mod metrics;
mod model;
mod module_review;
pub mod offline;
mod replica;
pub mod review;
mod revisions;
pub mod sample_events;
mod settings;
mod store;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod transaction;
mod validation;
mod webhook_owners;

pub use app_calls::{AppCall, AppCaller, CallAuth, CallError};
pub use commands::{
    AccessTokenPut, AccessTokenSpec, AccessTokens, AppPut, Apps, BatchItem, BatchResult, ClientPut,
    ClientSpec, Clients, ConnectModules, Discovery, DocumentEncryption, DynamicWebhooks,
    EncryptionStatus, ForgeBatches, ForgeModules, InstallationPut, InstallationSpec, Installations,
    ManagedModules, ModuleStatusCommands, PastSubscriptionError, RegisteredModule, Revisions,
    Rewriting, SecretRotation, ShadowComparison, Shadows, SigningKeys, WebhookOwner, WebhookResult,
};
pub use compile::{AppliedApp, AppliedInstallation, AppliedModule, function_subject};
pub use credentials::{NoRandomness, digest, new_signing_secret};
pub use dry_run::event_subscriptions;
pub use error::RegisterError;
pub use facade::Registry;
pub use listeners::{
    LISTENERS_MAX, ListenError, ListenerDelivery, ListenerRecord, ListenerRelay, ListenerSpec,
    Listeners, OpenListener,
};
pub use model::{
    ACCESS_RATE_DEFAULT, ACCESS_RATE_MAX, ACCESS_TOKENS_MAX, AccessTokenRecord, AppKind,
    AppPermissions, AppRecord, BodyLayout, BoundInstallation, ClientRecord, ClientSecret,
    ClientUser, Counts, DYNAMIC_WEBHOOK, DeliveryOptions, DiscoveryConfig, DiscoveryStatus,
    DroppedModules, DynamicWebhook, EffectiveStatus, EncryptionKeys, Endpoint, EndpointAuth,
    IgnoreRule, IgnoredModule, InstallationRecord, InstallationState, InvalidKeys, KeyId,
    LifecycleCallbacks, ModuleFields, ModuleRecord, ModuleStatus, NoticeEndpoint,
    PROBLEMS_LISTED_MAX, PendingNotice, Problem, Promotion, RegistrationApi, Replayed,
    RequestStyle, Retention, RetiringSecret, ShadowFilter, SignedRequest, SourceRange, TRIGGER,
    WEBHOOKS, code, listed, summary,
};
pub use replica::{UnreadableDocument, WaitingInstallation};
pub use revisions::{
    Appended, ModuleRevision, REVISIONS_OF_MODULE_MAX, RevisedEvent, RevisedState, RevisionDiff,
    RevisionError, RevisionHistory, RevisionId, RevisionLog, RevisionLogError, RevisionMoment,
    RevisionOwner, RevisionWrite, StoredRevision, StreamUse,
};
pub use settings::Settings;
pub use store::{Store, StoreError, StoredDocument, WatchEvent};
pub use validation::{
    AppSpec, CheckUrl, ConnectModule, DeclaredProperty, FilterCost, HandlerRef, ModuleSpec,
    ProgramCache, StaticModules, Suggestions, Trigger, TriggerEvent, TriggerFilter,
    ValidatedTrigger, ValidationRules, WebhookDefinition, WebhookSpec, catalog, check_filter,
    key_problem, normal_jql,
};
