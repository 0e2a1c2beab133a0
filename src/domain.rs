//! Identifiers, event types and handlers: the types that every stage shares. Imports no other
//! module of this crate.

mod caller;
mod fair_turns;
mod filter;
mod handler;
mod ids;
mod product;
mod property_path;
mod retry_profile;
mod secret;
mod signing_secrets;
mod trace_context;
mod unknown_members;

pub use caller::{Caller, Scope};
pub use fair_turns::{FairTurns, TurnOwner};
pub use filter::{FilterError, OnError};
pub use handler::{
    DynamicWebhookId, ForgeRemote, FunctionHandler, Handler, HttpHandler, ListenerHandler,
    WebhookHandler, WebhookSigner,
};
pub use ids::{
    AppId, CloudId, DeliveryId, EventId, EventType, InstallationId, ModuleKey, SubscriptionId,
    token,
};
pub use product::Product;
pub use property_path::PropertyPath;
pub use retry_profile::RetryProfile;
pub use secret::{ISSUED_SECRET_CHARS_MIN, SECRET_CHARS_MIN, Secret, without_value};
pub use signing_secrets::SigningSecrets;
pub use trace_context::TraceContext;
pub use unknown_members::UnknownMembers;
