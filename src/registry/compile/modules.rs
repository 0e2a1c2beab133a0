//! Compilation of stored modules into subscriptions of the matcher, each with its effective status.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use switchyard_expr::{Program, TemplateCache, Usage};
use url::Url;

use crate::clock;
use crate::domain::{self, ForgeRemote, Handler, InstallationId, ModuleKey, SubscriptionId};
use crate::matcher::{
    DeliverySettings, EventConditions, EventSubscription, EventSubscriptions, Owner, Subscription,
};
use crate::registry::commands::dynamic_webhooks::{DYNAMIC_WEBHOOK, DynamicWebhook};
use crate::registry::compile::applied::{
    AppliedApp, AppliedInstallation, AppliedModule, EffectiveStatus,
};
use crate::registry::metrics;
use crate::registry::model::document::{
    AppKind, BodyLayout, InstallationRecord, InstallationState, ModuleStatus, RegistrationApi,
    RequestStyle,
};
use crate::registry::model::module_fields::ModuleFields;
use crate::registry::model::problem::{Problem, summary};
use crate::registry::validation::language::{self, Compiled};
use crate::registry::validation::trigger::{HandlerRef, Trigger, TriggerEvent, TriggerFilter};
use crate::registry::validation::webhook::{WEBHOOKS, WebhookDefinition};
use crate::telemetry::SubscriptionStats;

/// The Forge module type that is routed.
pub const TRIGGER: &str = "trigger";

/// Compiled filters, shared: equal filters are one program, and filters that differ only in
/// constants share everything else.
///
/// Holds weak references only; subscriptions own the programs in use. Event conditions are shared
/// the same way; there are few of them.
#[derive(Debug, Default)]
pub struct ProgramCache {
    templates: TemplateCache,
    conditions: Mutex<HashSet<Arc<EventConditions>>>,
}

impl ProgramCache {
    /// Returns the shared record equal to `conditions`.
    pub(crate) fn conditions(&self, conditions: EventConditions) -> Arc<EventConditions> {
        let mut all = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(&conditions) {
            return Arc::clone(known);
        }
        // Swept when the table would grow, so that it stays within a constant factor of those in
        // use.
        if all.len() == all.capacity() {
            all.retain(|known| Arc::strong_count(known) > 1);
        }
        let conditions = Arc::new(conditions);
        all.insert(Arc::clone(&conditions));
        conditions
    }

    /// Checks a filter and returns all warnings; reuses an equal program that is in use.
    pub(crate) fn check(
        &self,
        text: &str,
        path: &str,
        usage: &Usage<'_>,
    ) -> Result<Compiled, Vec<Problem>> {
        let start = clock::tick();
        let compiled = language::compile(&self.templates, text, path, usage);
        metrics::filter_compiled(clock::since(start), compiled.as_ref().err().map(Vec::as_slice));
        compiled
    }

    /// Returns the program of a filter that was accepted before.
    pub(crate) fn get(&self, text: &str) -> Result<Arc<Program>, Vec<Problem>> {
        let start = clock::tick();
        let compiled = language::compile_accepted(&self.templates, text, "filter.expression");
        metrics::filter_compiled(clock::since(start), compiled.as_ref().err().map(Vec::as_slice));
        compiled
    }

    /// Returns the normalised entity-property paths that `trigger` reads in its filters and
    /// payload.
    pub(crate) fn property_paths(&self, trigger: &Trigger) -> BTreeSet<String> {
        let expressions = trigger.filters.iter().filter_map(|filter| filter.expression.as_ref());
        let programs = expressions.filter_map(|text| self.get(&text.value).ok());
        let mut paths: BTreeSet<String> =
            trigger.property_paths.iter().map(|path| language::property(&path.value)).collect();
        for program in programs {
            paths.extend(language::properties(&program));
        }
        paths
    }
}

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
    /// First token of function subjects.
    pub(crate) prefix: &'a str,
}

/// A static or registered module, in one form.
struct ModuleView<'a> {
    key: &'a ModuleKey,
    module_type: &'a str,
    is_static: bool,
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

    fn is_expired(&self) -> bool {
        let expires = DynamicWebhook::expires_ms(self.module_type, self.data);
        expires.is_some_and(|expires_ms| expires_ms <= clock::now_ms())
    }
}

/// Compiled form of a routed module.
struct CompiledModule {
    event_subscriptions: EventSubscriptions,
    handler: Arc<Handler>,
    include_fields: Box<[Box<str>]>,
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
            is_discovered: false,
            status: ModuleStatus::On,
            data: &module.data,
        });
        let registered = self.installation.modules.iter().map(|module| ModuleView {
            key: &module.key,
            module_type: &module.module_type,
            is_static: false,
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
            && (&old.client_key, &old.shared_secret) == (&new.client_key, &new.shared_secret)
            && (old.product, &old.environment) == (new.product, &new.environment)
    }

    /// Owners of the previous subscriptions, for reuse if they are unchanged.
    fn owners(&self) -> Owners {
        let before = self.before.iter().flat_map(|before| &before.modules);
        let known = before.filter_map(|module| Some(&module.subscription.as_ref()?.owner));
        known.map(Arc::clone).collect()
    }

    /// Returns the shared owner with these delivery settings.
    fn owner(&self, settings: DeliverySettings, owners: &mut Owners) -> Arc<Owner> {
        let installation = self.installation;
        let owner = Owner {
            id: installation.id.clone(),
            app: installation.app.clone(),
            app_account_id: installation.app_account_id.as_deref().map(Box::from),
            cloud_id: installation.cloud_id.clone(),
            licensed: installation.licensed,
            settings,
        };
        let owner = owners.get(&owner).map_or_else(|| Arc::new(owner), Arc::clone);
        owners.insert(Arc::clone(&owner));
        owner
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
            None => {
                self.compile_module(declared).map_err(|reason| (EffectiveStatus::Inactive, reason))
            }
        };
        let (effective_status, reason, subscription, idle) = match compiled {
            Ok(compiled) => {
                let effective_status = match declared.status {
                    ModuleStatus::Paused => EffectiveStatus::Paused,
                    _ => EffectiveStatus::Active,
                };
                let live = self.subscription(declared, owners, compiled, stats);
                (effective_status, None, Some(Arc::new(live)), SubscriptionStats::default())
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
            data: declared.data.clone(),
            subscription,
            idle,
        }
    }

    fn shadow(&self, declared: &ModuleView<'_>) -> Option<String> {
        let shadowed = !declared.is_static && self.app?.has_static_key(declared.key.as_str());
        shadowed.then(|| "a module of the app itself has the same key".to_owned())
    }

    /// Compiles a module, or returns why it is inactive.
    fn compile_module(&self, declared: &ModuleView<'_>) -> Result<CompiledModule, String> {
        let app = self.app.ok_or_else(|| "the app is not provisioned".to_owned())?;
        match self.installation.state {
            InstallationState::Enabled => {}
            InstallationState::Disabled => return Err("the installation is disabled".into()),
            InstallationState::Uninstalled => return Err("the installation is uninstalled".into()),
        }
        match (declared.module_type, app.record.kind) {
            (TRIGGER, AppKind::Forge) => self.trigger(app, declared),
            (WEBHOOKS, AppKind::Connect) => {
                let read = WebhookDefinition::parse(
                    &declared.data.read(),
                    "data",
                    self.installation.product,
                );
                self.webhook(app, read.map_err(|found| summary(&found))?)
            }
            (DYNAMIC_WEBHOOK, AppKind::Connect) => {
                self.webhook(app, DynamicWebhook::read(declared.data)?.into())
            }
            (other, _) => Err(format!("modules of type {other} are stored, not routed")),
        }
    }

    fn subscription(
        &self,
        declared: &ModuleView<'_>,
        owners: &mut Owners,
        compiled: CompiledModule,
        stats: SubscriptionStats,
    ) -> Subscription {
        let delivery = self.app.and_then(|app| app.record.delivery().ok()).unwrap_or_default();
        let settings = DeliverySettings {
            handler: compiled.handler,
            include_fields: compiled.include_fields,
            profile: delivery.profile(),
            is_paused: declared.status == ModuleStatus::Paused,
        };
        Subscription {
            owner: self.owner(settings, owners),
            key: declared.key.clone(),
            event_subscriptions: compiled.event_subscriptions,
            revision: self.revision,
            stats,
        }
    }

    fn trigger(
        &self,
        app: &AppliedApp,
        declared: &ModuleView<'_>,
    ) -> Result<CompiledModule, String> {
        let trigger =
            Trigger::parse(&declared.data.read(), "data").map_err(|found| summary(&found))?;
        Ok(CompiledModule {
            event_subscriptions: event_subscriptions(self.programs, &trigger)?,
            handler: self.handler(app, &trigger.handler)?,
            include_fields: trigger.fields.into_iter().map(String::into_boxed_str).collect(),
        })
    }

    fn webhook(
        &self,
        app: &AppliedApp,
        webhook: WebhookDefinition,
    ) -> Result<CompiledModule, String> {
        let installation = self.installation;
        let base = app.record.base_url.as_deref().and_then(|base| Url::parse(base).ok());
        let handler = domain::WebhookHandler {
            base: base.ok_or("the app has no base URL")?,
            client_key: installation.client_key.as_deref().ok_or("no client key")?.into(),
            secret: installation.shared_secret.clone().ok_or("no shared secret")?,
            excludes_body: webhook.excludes_body,
            number: webhook.number,
            names: webhook.events.iter().map(|name| name.as_str().into()).collect(),
            address: webhook.address.as_str().into(),
        };
        Ok(CompiledModule {
            event_subscriptions: webhook
                .event_subscriptions(self.programs, installation.product, "filter")
                .map_err(|found| summary(&found))?,
            handler: Arc::new(Handler::Webhook(handler)),
            include_fields: Box::default(),
        })
    }

    /// Returns the endpoint as a Forge remote if the app uses that request style.
    fn remote(&self, app: &AppliedApp, key: &str) -> Option<Handler> {
        let options = app.record.delivery().unwrap_or_default();
        if options.style != RequestStyle::ForgeRemote {
            return None;
        }
        let endpoint = app.record.endpoints.iter().find(|endpoint| endpoint.key == key)?;
        let version = app.record.version.as_deref().unwrap_or_default();
        Some(Handler::ForgeRemote(Box::new(ForgeRemote {
            url: Url::parse(&endpoint.url).ok()?,
            secret: endpoint.secret.clone(),
            endpoint: key.into(),
            app_version: version.into(),
            environment: self.installation.environment.as_str().into(),
            product: self.installation.product,
            wraps_body: options.body == BodyLayout::Wrapped,
            wants_system_token: endpoint.auth.app_system_token,
        })))
    }

    fn handler(&self, app: &AppliedApp, handler: &HandlerRef) -> Result<Arc<Handler>, String> {
        match handler {
            HandlerRef::Endpoint(key) => {
                let found = app.endpoints.get(&key.value);
                let found = found.ok_or_else(|| format!("the app has no endpoint `{}`", key.value));
                let remote = self.remote(app, &key.value);
                found.map(|plain| remote.map_or_else(|| Arc::clone(plain), Arc::new))
            }
            HandlerRef::Function(name) if app.record.functions.contains(&name.value) => {
                let subject = function_subject(self.prefix, &self.installation.id, &name.value);
                Ok(Arc::new(Handler::function(subject)))
            }
            HandlerRef::Function(name) => Err(format!("the app has no function `{}`", name.value)),
        }
    }
}

/// Returns the NATS subject on which a function of an installation is called.
#[must_use]
pub fn function_subject(prefix: &str, installation: &InstallationId, function: &str) -> String {
    format!("{prefix}.fn.{}.{function}", installation.token())
}

/// Returns the event types of a trigger with their compiled filters.
pub(crate) fn event_subscriptions(
    programs: &ProgramCache,
    trigger: &Trigger,
) -> Result<EventSubscriptions, String> {
    let subscribe = |event: &TriggerEvent| {
        let every = TriggerFilter::default();
        let filter = event.filter.as_deref().unwrap_or(&every);
        let program = match &filter.expression {
            Some(text) => Some(programs.get(&text.value).map_err(|found| summary(&found))?),
            None => None,
        };
        let conditions = programs.conditions(EventConditions {
            event_type: event.event_type.value.clone(),
            ignore_self: filter.ignore_self,
            requires_licence: filter.requires_licence,
            on_error: filter.on_error.unwrap_or_default(),
        });
        Ok(EventSubscription { conditions, program })
    };
    trigger.events.iter().map(subscribe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interests_are_shared_while_in_use_and_then_dropped() {
        let programs = ProgramCache::default();
        let conditions =
            |name: &str| programs.conditions(EventConditions::unconditional(name.into()));
        let held = conditions("held");
        for at in 0..10_000 {
            conditions(&format!("dropped-{at}"));
        }
        assert!(Arc::ptr_eq(&held, &conditions("held")));
        assert!(programs.conditions.lock().unwrap().len() < 100);
    }
}
