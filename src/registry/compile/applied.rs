//! Applied records: stored records with the data derived from them on this replica.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use url::Url;

use crate::domain::{Handler, ModuleKey, SubscriptionId};
use crate::event::Permissions;
use crate::matcher::Subscription;
use crate::registry::model::{
    AppRecord, DeliveryOptions, DocumentError, EffectiveStatus, Endpoint, InstallationRecord,
    ModuleFields, ModuleRecord, ModuleStatus, Problem,
};
use crate::telemetry::SubscriptionStats;

/// A module of an installation as applied on this replica.
#[derive(Debug)]
pub struct AppliedModule {
    /// Installation and key.
    pub id: SubscriptionId,
    /// Module type.
    pub module_type: String,
    /// Whether it is a static module of the app.
    pub is_static: bool,
    /// Status set by its app or an operator.
    pub status: ModuleStatus,
    /// Whether it receives events.
    pub effective_status: EffectiveStatus,
    /// Why it receives none.
    pub reason: Option<String>,
    /// Whether this release does not know what the module asks for: the events of its installation
    /// wait.
    pub is_unsupported: bool,
    /// Submitted data.
    pub data: ModuleFields,
    /// The matcher's subscription; none unless active or paused.
    pub subscription: Option<Arc<Subscription>>,
    /// Counters of a module without subscription, kept until it has one.
    pub(crate) idle: SubscriptionStats,
    /// Warnings about it, found when they are first read.
    pub(crate) warnings: OnceLock<Box<[Problem]>>,
}

impl AppliedModule {
    /// Returns its counters, which survive changes of the module.
    #[must_use]
    pub fn stats(&self) -> &SubscriptionStats {
        self.subscription.as_ref().map_or(&self.idle, |subscription| &subscription.stats)
    }
}

/// An applied app: its record and one handler per endpoint, shared by all installations.
#[derive(Debug)]
pub struct AppliedApp {
    /// The record.
    pub record: AppRecord,
    /// Revision of the record.
    pub revision: u64,
    /// Its delivery options.
    pub(crate) delivery: DeliveryOptions,
    /// Its permissions, as filters read them; the same in all installations.
    pub permissions: Arc<Permissions>,
    pub(crate) endpoints: HashMap<String, Arc<Handler>>,
    pub(crate) statics: Vec<StaticModule>,
}

/// A static module of an app.
#[derive(Debug)]
pub(crate) struct StaticModule {
    pub(crate) module_type: String,
    pub(crate) key: ModuleKey,
    pub(crate) data: ModuleFields,
    /// Whether it is a webhook that is never delivered.
    pub(crate) is_undelivered: bool,
}

impl AppliedApp {
    /// Derives the applied form of an app record.
    ///
    /// # Errors
    /// A part of it that deliveries need cannot be read.
    pub(crate) fn new(record: AppRecord, revision: u64) -> Result<Self, DocumentError> {
        let unsupported = |what: String| DocumentError::Unsupported(what);
        let endpoint = |endpoint: &Endpoint| {
            let url = Url::parse(&endpoint.url)
                .map_err(|error| unsupported(format!("endpoint `{}`: {error}", endpoint.key)))?;
            let handler = Handler::http(url, endpoint.secrets());
            Ok::<_, DocumentError>((endpoint.key.clone(), Arc::new(handler)))
        };
        let endpoints = record.endpoints.iter().map(endpoint).collect::<Result<_, _>>()?;
        let mut statics = Vec::new();
        for (module_type, modules) in &record.static_modules {
            for data in modules {
                let key = data.get("key").and_then(Value::as_str);
                let key = key.ok_or_else(|| {
                    unsupported(format!("a static module of type {module_type} has no key"))
                })?;
                let declared_type = record.declared_type(module_type);
                statics.push(StaticModule {
                    module_type: declared_type.to_owned(),
                    key: key.into(),
                    data: data.clone().into(),
                    is_undelivered: declared_type != module_type,
                });
            }
        }
        let delivery = record.delivery();
        let delivery = delivery.map_err(|reason| unsupported(format!("delivery: {reason}")))?;
        let external = record.permissions.as_ref().and_then(|one| one.external.as_ref());
        let permissions = Arc::new(Permissions::new(&record.scopes, external));
        Ok(Self { record, revision, delivery, permissions, endpoints, statics })
    }

    /// Whether the app declares no discovery.
    #[must_use]
    pub fn has_no_discovery(&self) -> bool {
        self.record.discovery.is_none()
    }

    /// Whether a static module of the app has this key.
    #[must_use]
    pub fn has_static_key(&self, key: &str) -> bool {
        self.statics.iter().any(|module| module.key.as_str() == key)
    }
}

/// An applied installation.
#[derive(Debug)]
pub struct AppliedInstallation {
    /// The record.
    pub record: Arc<InstallationRecord>,
    /// Revision of its document.
    pub revision: u64,
    /// Revision of the app's document; none if the app is not provisioned.
    pub app_revision: Option<u64>,
    /// Static modules of the app, then registered ones, in order.
    pub modules: Vec<Arc<AppliedModule>>,
}

impl AppliedInstallation {
    /// Returns registered modules in order, each with its applied form.
    pub fn registered(&self) -> impl Iterator<Item = (&ModuleRecord, &AppliedModule)> {
        let live = self.modules.iter().map(|module| &**module).filter(|module| !module.is_static);
        self.record.modules.iter().zip(live)
    }

    /// Returns the first module that this release does not support, a registered one or a static
    /// one.
    pub(crate) fn unsupported(&self, is_static: bool) -> Option<&AppliedModule> {
        let mut modules = self.modules.iter().map(|module| &**module);
        modules.find(|module| module.is_unsupported && module.is_static == is_static)
    }

    /// Returns the module with this key: a static one before a registered one.
    #[must_use]
    pub fn module(&self, key: &str) -> Option<&AppliedModule> {
        self.modules.iter().map(|module| &**module).find(|module| module.id.key.as_str() == key)
    }
}
