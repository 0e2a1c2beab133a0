//! A trigger as the matcher holds it.

use std::sync::Arc;

use crate::domain::{
    AppId, CloudId, EventType, Handler, InstallationId, ModuleKey, OnError, Profile, SubscriptionId,
};
use crate::telemetry::SubscriptionStats;

/// What the subscriptions of one installation have in common.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Owner {
    /// The installation.
    pub id: InstallationId,
    /// The app behind the installation; decides `ignoreSelf`.
    pub app: AppId,
    /// The account the app acts with, the second way to tell that a change is its own.
    pub app_account_id: Option<Box<str>>,
    /// The site whose events it hears.
    pub cloud_id: CloudId,
    /// Whether the installation holds an active licence.
    pub licensed: bool,
}

/// One live trigger module of one installation. Immutable: a change makes a new one, which keeps
/// the counters of the old.
#[derive(Debug)]
pub struct Subscription {
    /// Its installation, shared by all subscriptions of it.
    pub owner: Arc<Owner>,
    /// The module's key.
    pub key: ModuleKey,
    /// Event types with their filters, in the order of the module.
    pub listens: Box<[Listen]>,
    /// Where matches go.
    pub handler: Arc<Handler>,
    /// Top-level issue fields kept in the delivered body (`payload.include.fields`); empty = all.
    pub include_fields: Box<[Box<str>]>,
    /// How failed deliveries are judged and repeated.
    pub profile: Profile,
    /// Whether deliveries to it wait.
    pub is_paused: bool,
    /// Registry revision that made it.
    pub revision: u64,
    /// What happened to it so far.
    pub stats: SubscriptionStats,
}

impl Subscription {
    /// Installation and module key.
    #[must_use]
    pub fn id(&self) -> SubscriptionId {
        SubscriptionId { installation: self.owner.id.clone(), key: self.key.clone() }
    }
}

/// One event type a trigger listens to.
#[derive(Clone, Debug)]
pub struct Listen {
    /// The event type.
    pub event_type: EventType,
    /// What must hold for an event of this type.
    pub filter: Filter,
}

/// The whole condition of a trigger; its parts combine with "and", cheap ones first.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The compiled expression; none means that every event passes.
    pub program: Option<Arc<switchyard_expr::Program>>,
    /// Leaves out events that the app itself caused.
    pub ignore_self: bool,
    /// Leaves out installations without an active licence.
    pub requires_licence: bool,
    /// What an evaluation error means.
    pub on_error: OnError,
}
