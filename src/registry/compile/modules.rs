//! Compilation of stored modules into subscriptions of the matcher, each with its effective status.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value};

use super::applied::{AppliedApp, AppliedInstallation, AppliedModule};
use super::conditions::EventConditionsCache;
use super::handlers;
use crate::clock;
use crate::domain::{Handler, ModuleKey, Product, RetryProfile, SubscriptionId};
use crate::matcher::{
    DeliverySettings, EventSubscriptions, IncludedProperty, KeptBodies, Owner, Subscription,
};
use crate::registry::model::{
    AppKind, DYNAMIC_WEBHOOK, DynamicWebhook, EffectiveStatus, InstallationRecord,
    InstallationState, ModuleFields, ModuleStatus, RegistrationApi, TRIGGER, WEBHOOKS, summary,
};
use crate::registry::validation::{
    DECLARED_PATHS_MAX, DeclaredProperty, ProgramCache, StaticWebhook, Trigger, WebhookDefinition,
    is_known_type,
};
use crate::telemetry::SubscriptionStats;

/// Compiles the modules of one installation for the matcher.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ModuleCompiler<'a> {
    /// The app as applied here; none if it is not provisioned.
    pub(crate) app: Option<&'a AppliedApp>,
    /// The installation.
    pub(crate) installation: &'a InstallationRecord,
    /// The same installation as applied before, if it was.
    pub(crate) before: Option<&'a AppliedInstallation>,
    /// Revision of the installation's document.
    pub(crate) revision: u64,
    /// Compiled filters.
    pub(crate) programs: &'a ProgramCache,
    /// Event conditions in use.
    pub(crate) conditions: &'a EventConditionsCache,
    /// First token of function subjects.
    pub(crate) prefix: &'a str,
    /// What of bodies is kept of its deliveries.
    pub(crate) kept_bodies: KeptBodies,
}

/// A static or registered module, in one form.
struct ModuleView<'a> {
    key: &'a ModuleKey,
    module_type: &'a str,
    is_static: bool,
    is_undelivered: bool,
    is_discovered: bool,
    status: ModuleStatus,
    data: &'a ModuleFields,
}

impl ModuleView<'_> {
    fn is(&self, known: &AppliedModule) -> bool {
        (self.module_type, self.status) == (known.module_type.as_str(), known.status)
            && *self.data == known.data
            && self.is_expired() == (known.effective_status == EffectiveStatus::Expired)
    }

    fn fields(&self) -> Result<Map<String, Value>, String> {
        self.data.parse().map_err(|error| error.to_string())
    }

    fn is_expired(&self) -> bool {
        let expires = DynamicWebhook::expires_ms(self.module_type, self.data);
        expires.is_some_and(|expires_ms| expires_ms <= clock::broker_now_ms())
    }
}

/// Why a module has no subscription.
enum NoSubscription {
    /// It receives no events now, for this reason.
    Inactive(String),
    /// This release does not know what it asks for.
    Unsupported(String),
    /// It was registered as never delivered.
    Undelivered(String),
}

use NoSubscription::{Inactive, Undelivered, Unsupported};

/// Compiled form of a routed module.
struct CompiledModule {
    event_subscriptions: EventSubscriptions,
    handler: Arc<Handler>,
    include_fields: Box<[Box<str>]>,
    include_properties: Box<[IncludedProperty]>,
    profile: RetryProfile,
}

/// Data shared by the subscriptions of an installation, deduplicated.
type Owners = HashSet<Arc<Owner>>;

impl ModuleCompiler<'_> {
    /// Compiles all modules, those of the app first. An unchanged module keeps its subscription; a
    /// changed one keeps its counters.
    pub(crate) fn modules(&self) -> Vec<Arc<AppliedModule>> {
        let mut owners = self.owners();
        let fixed = self.app.into_iter().flat_map(|app| &app.statics).map(|module| ModuleView {
            key: &module.key,
            module_type: &module.module_type,
            is_static: true,
            is_undelivered: module.is_undelivered,
            is_discovered: false,
            status: ModuleStatus::On,
            data: &module.data,
        });
        let registered = self.installation.modules.iter().map(|module| ModuleView {
            key: &module.key,
            module_type: &module.module_type,
            is_static: false,
            is_undelivered: false,
            is_discovered: module.api == RegistrationApi::Discovery,
            status: module.status,
            data: &module.data,
        });
        let known: HashMap<(&ModuleKey, bool), &Arc<AppliedModule>> = self
            .before
            .iter()
            .flat_map(|before| &before.modules)
            .map(|module| ((&module.id.key, module.is_static), module))
            .collect();
        let may_reuse = self.before.is_some_and(|before| self.has_same_inputs(before));
        fixed
            .chain(registered)
            .map(|declared| match known.get(&(declared.key, declared.is_static)) {
                Some(known) if may_reuse && declared.is(known) => Arc::clone(known),
                Some(known) => Arc::new(self.module(&declared, &mut owners, known.stats().clone())),
                None => Arc::new(self.module(&declared, &mut owners, SubscriptionStats::default())),
            })
            .collect()
    }

    /// Whether every input shared by all modules is unchanged.
    fn has_same_inputs(&self, before: &AppliedInstallation) -> bool {
        let (old, new) = (&before.record, self.installation);
        before.app_revision == self.app.map(|app| app.revision)
            && (&old.app, &old.cloud_id, old.state) == (&new.app, &new.cloud_id, new.state)
            && (old.licensed, &old.app_account_id) == (new.licensed, &new.app_account_id)
            && old.retention == new.retention
            && (&old.client_key, &old.shared_secret) == (&new.client_key, &new.shared_secret)
            && (old.product, &old.environment) == (new.product, &new.environment)
            && (&old.oauth_clients, &old.ended_clients) == (&new.oauth_clients, &new.ended_clients)
    }

    /// Owners of the previous subscriptions, for reuse if they are unchanged.
    fn owners(&self) -> Owners {
        let before = self.before.iter().flat_map(|before| &before.modules);
        let known = before.filter_map(|module| Some(&module.subscription.as_ref()?.owner));
        known.map(Arc::clone).collect()
    }

    /// Returns the shared owner with these settings.
    fn owner(&self, settings: DeliverySettings, owners: &mut Owners) -> Arc<Owner> {
        let installation = self.installation;
        let owner = Owner {
            id: installation.id.clone(),
            app: installation.app.clone(),
            app_account_id: installation.app_account_id.as_deref().map(Box::from),
            cloud_id: installation.cloud_id.clone(),
            licensed: installation.licensed,
            permissions: self.app.map(|app| Arc::clone(&app.permissions)),
            settings,
        };
        let owner = owners.get(&owner).map_or_else(|| Arc::new(owner), Arc::clone);
        owners.insert(Arc::clone(&owner));
        owner
    }

    /// Compiles a module as a revision has it, as if it was on, with the installation and the app as they are
    /// now. `key` and `data` are those of the revision, `self.revision` its revision of the registry.
    ///
    /// # Errors
    /// It cannot be compiled any more, in one sentence: its app lacks the handler, or is not installed.
    pub(crate) fn as_of(
        &self,
        key: &ModuleKey,
        (module_type, is_static): (&str, bool),
        data: &ModuleFields,
    ) -> Result<Subscription, String> {
        let declared = ModuleView {
            key,
            module_type,
            is_static,
            is_undelivered: false,
            is_discovered: false,
            status: ModuleStatus::On,
            data,
        };
        let compiled = self.compile_module(&declared).map_err(|none| match none {
            Inactive(reason) | Unsupported(reason) | Undelivered(reason) => reason,
        })?;
        let mut owners = Owners::default();
        Ok(self.subscription(&declared, &mut owners, compiled, SubscriptionStats::default()))
    }

    fn module(
        &self,
        declared: &ModuleView<'_>,
        owners: &mut Owners,
        stats: SubscriptionStats,
    ) -> AppliedModule {
        let id = SubscriptionId {
            installation: self.installation.id.clone(),
            key: declared.key.clone(),
        };
        let mut is_unsupported = false;
        let compiled = match self.shadow(declared) {
            Some(reason) => Err((EffectiveStatus::Shadowed, reason)),
            None if declared.status == ModuleStatus::Off => {
                Err((EffectiveStatus::Inactive, "it is switched off".to_owned()))
            }
            None if declared.status == ModuleStatus::EndpointGone => {
                let reason = "its endpoint returned HTTP 410 repeatedly";
                Err((EffectiveStatus::Inactive, reason.to_owned()))
            }
            None if declared.is_discovered
                && self.app.is_some_and(AppliedApp::has_no_discovery) =>
            {
                let reason = "the app no longer declares discovery";
                Err((EffectiveStatus::Inactive, reason.to_owned()))
            }
            None if declared.is_expired() => {
                Err((EffectiveStatus::Expired, "it was not refreshed in time".to_owned()))
            }
            None => self.compile_module(declared).map_err(|none| match none {
                Inactive(reason) => (EffectiveStatus::Inactive, reason),
                Undelivered(reason) => (EffectiveStatus::Undelivered, reason),
                Unsupported(reason) => {
                    is_unsupported = true;
                    (EffectiveStatus::Inactive, reason)
                }
            }),
        };
        let (effective_status, reason, subscription, idle) = match compiled {
            Ok(compiled) => {
                let effective_status = match declared.status {
                    ModuleStatus::Paused => EffectiveStatus::Paused,
                    _ => EffectiveStatus::Active,
                };
                let subscription = self.subscription(declared, owners, compiled, stats);
                (effective_status, None, Some(Arc::new(subscription)), SubscriptionStats::default())
            }
            Err((effective_status, reason)) => (effective_status, Some(reason), None, stats),
        };
        AppliedModule {
            id,
            module_type: declared.module_type.to_owned(),
            is_static: declared.is_static,
            status: declared.status,
            effective_status,
            reason,
            is_unsupported,
            data: declared.data.clone(),
            subscription,
            idle,
            warnings: OnceLock::new(),
        }
    }

    fn shadow(&self, declared: &ModuleView<'_>) -> Option<String> {
        let shadowed = !declared.is_static && self.app?.has_static_key(declared.key.as_str());
        shadowed.then(|| "a module of the app itself has the same key".to_owned())
    }

    /// Compiles a module.
    fn compile_module(&self, declared: &ModuleView<'_>) -> Result<CompiledModule, NoSubscription> {
        let app = self.app.ok_or_else(|| Inactive("the app is not provisioned".to_owned()))?;
        match self.installation.state {
            InstallationState::Enabled => {}
            InstallationState::Disabled => {
                return Err(Inactive("the installation is disabled".into()));
            }
            InstallationState::Uninstalled => {
                return Err(Inactive("the installation is uninstalled".into()));
            }
        }
        match (declared.module_type, app.record.kind) {
            (TRIGGER, AppKind::Forge) => self.trigger(app, declared),
            (WEBHOOKS, AppKind::Connect) if declared.is_undelivered => {
                Err(Undelivered(self.undelivered_reason(declared)))
            }
            (WEBHOOKS, AppKind::Connect) => self.connect_webhook(app, declared),
            (DYNAMIC_WEBHOOK, AppKind::Connect) => {
                let webhook = DynamicWebhook::read(declared.data);
                let webhook = webhook.map_err(|error| Unsupported(error.to_string()))?.into();
                self.webhook(app, &webhook, self.installation.product)
            }
            (other, _) if declared.is_static || is_known_type(other) => {
                Err(Inactive(format!("modules of type {other} are stored, not routed")))
            }
            (other, _) => Err(Unsupported(format!("modules of type {other} are not known"))),
        }
    }

    fn subscription(
        &self,
        declared: &ModuleView<'_>,
        owners: &mut Owners,
        compiled: CompiledModule,
        stats: SubscriptionStats,
    ) -> Subscription {
        let settings = DeliverySettings {
            handler: compiled.handler,
            include_fields: compiled.include_fields,
            include_properties: compiled.include_properties,
            profile: compiled.profile,
            is_paused: declared.status == ModuleStatus::Paused,
            kept_bodies: self.kept_bodies,
        };
        // A static module is of the later one of both documents.
        let of_app = self.app.filter(|_| declared.is_static).map_or(0, |app| app.revision);
        Subscription {
            owner: self.owner(settings, owners),
            key: declared.key.clone(),
            event_subscriptions: compiled.event_subscriptions,
            revision: self.revision.max(of_app),
            stats,
        }
    }

    fn trigger(
        &self,
        app: &AppliedApp,
        declared: &ModuleView<'_>,
    ) -> Result<CompiledModule, NoSubscription> {
        let trigger = Trigger::parse(&declared.fields().map_err(Unsupported)?, "data");
        let trigger = trigger.map_err(|problems| Unsupported(summary(&problems)))?;
        let subscriptions = self.conditions.of_trigger(&trigger, self.programs);
        let handler = handlers::of_trigger(app, self.installation, &trigger.handler, self.prefix);
        Ok(CompiledModule {
            event_subscriptions: subscriptions.map_err(Unsupported)?,
            handler: handler.map_err(Inactive)?,
            include_fields: trigger.fields.into_iter().map(String::into_boxed_str).collect(),
            include_properties: included(trigger.property_paths),
            profile: app.delivery.profile(),
        })
    }

    /// Compiles a Connect webhook. An app may be installed in a product that lacks the events of
    /// its webhooks; those of no product are unsupported.
    fn connect_webhook(
        &self,
        app: &AppliedApp,
        declared: &ModuleView<'_>,
    ) -> Result<CompiledModule, NoSubscription> {
        let data = declared.fields().map_err(Unsupported)?;
        let compile = |product| {
            let webhook = WebhookDefinition::parse(&data, "data", product);
            let webhook = webhook.map_err(|problems| Unsupported(summary(&problems)))?;
            self.webhook(app, &webhook, product)
        };
        let own = self.installation.product;
        compile(own).map_err(|none| match none {
            Unsupported(reason) => {
                let mut others = Product::ALL.into_iter().filter(|product| *product != own);
                match others.any(|product| !matches!(compile(product), Err(Unsupported(_)))) {
                    true => Inactive(reason),
                    false => Unsupported(reason),
                }
            }
            other => other,
        })
    }

    /// Returns why a webhook is never delivered. Its registration decided that, so that all replicas
    /// agree: a later release that knows more delivers it from the next registration on.
    fn undelivered_reason(&self, declared: &ModuleView<'_>) -> String {
        let data = declared.data.read();
        let reasons = match StaticWebhook::read(&data, "data", Product::Jira, self.programs) {
            Ok(StaticWebhook::Undelivered(reasons)) | Err(reasons) => reasons,
            Ok(StaticWebhook::Routed(_)) => {
                return "never delivered: an earlier release could not decide who may receive it; \
                        register its app again"
                    .to_owned();
            }
        };
        format!("never delivered: {}", summary(&reasons))
    }

    fn webhook(
        &self,
        app: &AppliedApp,
        webhook: &WebhookDefinition,
        product: Product,
    ) -> Result<CompiledModule, NoSubscription> {
        let subscriptions = self.conditions.of_webhook(webhook, product, self.programs);
        Ok(CompiledModule {
            event_subscriptions: subscriptions.map_err(Unsupported)?,
            handler: handlers::of_webhook(app, self.installation, webhook).map_err(Inactive)?,
            include_fields: Box::default(),
            include_properties: Box::default(),
            profile: app.delivery.profile(),
        })
    }
}

/// Returns each declared property once, within the limit of texts: an older release accepted more.
pub(in crate::registry) fn included(declared: Vec<DeclaredProperty>) -> Box<[IncludedProperty]> {
    let (mut texts, mut known) = (HashSet::new(), HashSet::new());
    let properties = declared.into_iter().filter_map(|DeclaredProperty { path, event_type }| {
        if texts.len() >= DECLARED_PATHS_MAX && !texts.contains(&path.value) {
            return None;
        }
        let property = IncludedProperty::new(&path.value, event_type);
        texts.insert(path.value);
        known.insert(property.clone()).then_some(property)
    });
    properties.collect()
}
