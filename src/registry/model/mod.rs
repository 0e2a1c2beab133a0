//! Plain records of the registry: what is stored, and the pure functions on it.
//!
//! A record says what was submitted; nothing here knows the store, the applied state or the matcher.
//! [`document`] is the single place of the stored format, [`secret`] and [`encryption`] of how secrets
//! are stored.

mod access_token;
mod app;
mod client;
mod counts;
mod discovery;
mod document;
mod due_times;
mod dynamic_webhook;
mod encryption;
mod ended_clients;
mod identity;
mod installation;
mod module;
mod module_fields;
mod module_text;
mod notice;
mod notice_queue;
mod problem;
mod quota;
mod replay_guard;
mod retiring_secret;
mod secret;
mod shadow;
mod signing_keys;
mod site;

pub use access_token::{
    ACCESS_RATE_DEFAULT, ACCESS_RATE_MAX, ACCESS_TOKENS_MAX, AccessTokenRecord, BoundInstallation,
};
pub use app::{
    AppKind, AppPermissions, AppRecord, BodyLayout, DeliveryOptions, DiscoveryConfig, Endpoint,
    EndpointAuth, LifecycleCallbacks, NoticeEndpoint, RequestStyle,
};
pub use client::{ClientRecord, ClientSecret, ClientUser};
pub use counts::Counts;
pub use discovery::{DiscoveryStatus, IgnoreRule, IgnoredModule};
pub(crate) use document::{Document, DocumentError, FORMAT, decode, encode, family};
pub(crate) use due_times::{discovery_due_ms, expiry_warning_due_ms};
pub use dynamic_webhook::DynamicWebhook;
pub(crate) use encryption::{ENCRYPTED, StoredWith};
pub use encryption::{EncryptionKeys, InvalidKeys, KeyId};
pub(crate) use identity::DocumentIdentity;
pub use installation::{DroppedModules, InstallationRecord, InstallationState, Retention};
pub(crate) use module::UNDELIVERED_WEBHOOKS;
pub use module::{
    DYNAMIC_WEBHOOK, EffectiveStatus, ModuleRecord, ModuleStatus, RegistrationApi, TRIGGER,
    WEBHOOKS,
};
pub use module_fields::ModuleFields;
pub use notice::PendingNotice;
pub(crate) use notice_queue::{CALLBACK, NoticeOutcome};
pub use problem::{PROBLEMS_LISTED_MAX, Problem, SourceRange, code, listed, summary};
pub(crate) use quota::QuotaUsage;
pub(crate) use replay_guard::ReplayGuard;
pub use replay_guard::{Replayed, SignedRequest};
pub use retiring_secret::RetiringSecret;
pub(crate) use shadow::{FILTER_MEMBERS, filter_digest, filter_members, with_members};
pub use shadow::{Promotion, ShadowFilter};
pub(crate) use signing_keys::{SIGNING_KEYS, SigningKeysRecord};
pub(crate) use site::SiteRecord;
