//! Commands: everything that changes the registry, each a small struct over the [`Context`].
//!
//! Apps register through [`ForgeModules`], [`ForgeBatches`], [`ConnectModules`] and
//! [`DynamicWebhooks`], which all take the steps of [`registration`]; [`Discovery`] asks an app for
//! its modules instead. Operators provision [`Apps`], [`Installations`] and [`Clients`],
//! put modules through [`ManagedModules`], and give others access by [`AccessTokens`].
//! [`ModuleStatusCommands`] switches modules, [`SigningKeys`] rotates keys, [`SecretRotation`] secrets,
//! [`DocumentEncryption`] the keys that secrets are stored with. [`Revisions`] reads what modules were.
//! [`Shadows`] has the filters that are compared with those in force. [`Notices`] and the
//! lifecycle callbacks are what apps receive unasked.

mod access_tokens;
mod apps;
mod client_webhooks;
mod clients;
mod connect_lifecycle;
mod connect_modules;
mod context;
mod discovery;
mod dynamic_webhooks;
mod encryption;
mod forge_batch;
mod forge_modules;
mod installations;
mod managed_modules;
mod module_status;
mod notices;
mod rate_limit;
mod registration;
mod revisions;
mod rewriting;
mod secret_rotation;
mod shadow_changes;
mod shadows;
mod signing_keys;

pub use access_tokens::{AccessTokenPut, AccessTokenSpec, AccessTokens};
pub use apps::{AppPut, Apps};
pub use clients::{ClientPut, ClientSpec, Clients};
pub use connect_modules::ConnectModules;
pub(crate) use context::Context;
pub use discovery::Discovery;
pub(crate) use discovery::DiscoveryMode;
pub use dynamic_webhooks::{DynamicWebhooks, WebhookOwner, WebhookResult};
pub use encryption::{DocumentEncryption, EncryptionStatus};
pub use forge_batch::{BatchItem, BatchResult, ForgeBatches};
pub use forge_modules::{ForgeModules, RegisteredModule};
pub use installations::{InstallationPut, InstallationSpec, Installations};
pub use managed_modules::ManagedModules;
pub use module_status::ModuleStatusCommands;
pub(crate) use notices::Notices;
pub(crate) use revisions::live_modules_of;
pub use revisions::{PastSubscriptionError, Revisions};
pub use rewriting::Rewriting;
pub use secret_rotation::SecretRotation;
pub use shadows::{ShadowComparison, Shadows};
pub use signing_keys::SigningKeys;
