//! Identifiers, event types and handlers: the types that every stage shares. Imports no other
//! module of this crate.

mod fair_turns;
mod filter;
mod handler;
mod ids;
mod product;
mod retry_profile;
mod secret;
mod unknown_members;

pub use fair_turns::{FairTurns, TurnOwner};
pub use filter::{FilterError, OnError};
pub use handler::{ForgeRemote, FunctionHandler, Handler, HttpHandler, WebhookHandler};
pub use ids::{
    AppId, CloudId, DeliveryId, EventId, EventType, InstallationId, ModuleKey, SubscriptionId,
    token,
};
pub use product::Product;
pub use retry_profile::RetryProfile;
pub use secret::Secret;
pub use unknown_members::UnknownMembers;
