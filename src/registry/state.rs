//! Records as one replica applied them: what follows from a document, beside what it says.

use std::collections::HashMap;
use std::sync::Arc;

use url::Url;

use super::document::{AppRecord, Endpoint, InstallationRecord, ModuleRecord, ModuleStatus};
use super::module_fields::ModuleFields;
use crate::domain::{Handler, ModuleKey, SubscriptionId};
use crate::matcher::Subscription;
use crate::telemetry::SubscriptionStats;

/// Whether a module's triggers hear events.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum EffectiveStatus {
    /// They do.
    Active,
    /// They do not, for the reason given.
    Inactive,
    /// A module of the app itself has the same key and stands in front of it.
    Shadowed,
    /// A dynamic webhook that was not refreshed in time.
    Expired,
    /// They do, and what they hear waits.
    Paused,
}

impl EffectiveStatus {
    /// Every state.
    pub const ALL: [Self; 5] =
        [Self::Active, Self::Inactive, Self::Shadowed, Self::Expired, Self::Paused];

    /// The state as answers and metrics name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Shadowed => "shadowed",
            Self::Expired => "expired",
            Self::Paused => "paused",
        }
    }
}

/// A module of an installation as this replica applied it.
#[derive(Debug)]
pub struct AppliedModule {
    /// Installation and key.
    pub id: SubscriptionId,
    /// Module type.
    pub module_type: String,
    /// A module of the app itself rather than a registered one.
    pub is_static: bool,
    /// How its app or an operator set it.
    pub status: ModuleStatus,
    /// Whether it hears events.
    pub effective_status: EffectiveStatus,
    /// Why it does not.
    pub reason: Option<String>,
    /// What was registered.
    pub data: ModuleFields,
    /// What the matcher holds; none unless active.
    pub subscription: Option<Arc<Subscription>>,
    /// Counters of a module that is not live, kept for when it is.
    pub(super) idle: SubscriptionStats,
}

impl AppliedModule {
    /// What happened to it so far; survives changes of the module.
    #[must_use]
    pub fn stats(&self) -> &SubscriptionStats {
        self.subscription.as_ref().map_or(&self.idle, |subscription| &subscription.stats)
    }
}

/// An app as applied: its record and one handler per endpoint, shared by all installations.
#[derive(Debug)]
pub struct AppliedApp {
    /// The record.
    pub record: AppRecord,
    /// Revision of the record.
    pub revision: u64,
    pub(super) endpoints: HashMap<String, Arc<Handler>>,
    pub(super) statics: Vec<StaticModule>,
}

/// A module of the app itself.
#[derive(Debug)]
pub(super) struct StaticModule {
    pub(super) module_type: String,
    pub(super) key: ModuleKey,
    pub(super) data: ModuleFields,
}

impl AppliedApp {
    /// Prepares an app record for its installations.
    #[must_use]
    pub fn new(record: AppRecord, revision: u64) -> Self {
        let endpoint = |endpoint: &Endpoint| {
            let url = Url::parse(&endpoint.url).ok()?;
            let handler = Handler::Http { url, secret: endpoint.secret.clone() };
            Some((endpoint.key.clone(), Arc::new(handler)))
        };
        let endpoints = record.endpoints.iter().filter_map(endpoint).collect();
        let mut statics = Vec::new();
        for (module_type, modules) in &record.static_modules {
            statics.extend(modules.iter().filter_map(|data| {
                Some(StaticModule {
                    module_type: module_type.clone(),
                    key: data.get("key")?.as_str()?.into(),
                    data: data.clone().into(),
                })
            }));
        }
        Self { record, revision, endpoints, statics }
    }

    /// Whether the app declares no discovery.
    #[must_use]
    pub fn has_no_discovery(&self) -> bool {
        self.record.discovery.is_none()
    }

    /// Whether the app itself has a module with this key.
    #[must_use]
    pub fn has_static_key(&self, key: &str) -> bool {
        self.statics.iter().any(|module| module.key.as_str() == key)
    }
}

/// An installation as applied here.
#[derive(Debug)]
pub struct AppliedInstallation {
    /// The record.
    pub record: Arc<InstallationRecord>,
    /// Revision of its document.
    pub revision: u64,
    /// Revision of the app's document; none while the app is not provisioned.
    pub app_revision: Option<u64>,
    /// The modules of the app, then those registered, in order.
    pub modules: Vec<Arc<AppliedModule>>,
}

impl AppliedInstallation {
    /// What was registered, in order, each with how it was applied.
    pub fn registered(&self) -> impl Iterator<Item = (&ModuleRecord, &AppliedModule)> {
        let live = self.modules.iter().map(|module| &**module).filter(|module| !module.is_static);
        self.record.modules.iter().zip(live)
    }

    /// The module with this key that is in front: the app's own before a registered one.
    #[must_use]
    pub fn module(&self, key: &str) -> Option<&AppliedModule> {
        self.modules.iter().map(|module| &**module).find(|module| module.id.key.as_str() == key)
    }
}
