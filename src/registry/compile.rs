//! From stored modules to what the matcher holds: each filter compiled once, each module with the
//! state it is in and why.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use switchyard_expr::{Program, TemplateCache, Usage};
use url::Url;

use super::applied::{LiveApp, LiveInstallation, LiveModule, ModuleState};
use super::data::ModuleData;
use super::document::{
    AppKind, BodyForm, Door, InstallationRecord, InstallationState, Style, Switch,
};
use super::dynamic::{DYNAMIC_WEBHOOK, DynamicWebhook};
use super::language::{self, Compiled};
use super::metrics;
use super::problem::{Problem, summary};
use super::trigger::{HandlerRef, Trigger, TriggerEvent, TriggerFilter};
use super::webhook::{WEBHOOKS, Webhook};
use crate::clock;
use crate::domain::{self, Handler, InstallationId, ModuleKey, Remote, SubscriptionId};
use crate::matcher::{Interest, Listen, Listens, Owner, Subscription, Terms};
use crate::telemetry::SubscriptionStats;

/// The module type that is routed.
pub const TRIGGER: &str = "trigger";

/// Compiled filters: equal ones are one program, however many register them, and those that differ
/// only in constants share all but these.
///
/// Holds no program alive; those in use are held by their subscriptions. So it is with interests,
/// of which there are few.
#[derive(Debug, Default)]
pub struct Programs {
    templates: TemplateCache,
    interests: Mutex<HashSet<Arc<Interest>>>,
}

impl Programs {
    /// The one interest in use that says what this one does.
    pub(super) fn interest(&self, interest: Interest) -> Arc<Interest> {
        let mut all = self.interests.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(&interest) {
            return Arc::clone(known);
        }
        // Swept when the table would grow, so that it stays within a constant factor of those in use.
        if all.len() == all.capacity() {
            all.retain(|known| Arc::strong_count(known) > 1);
        }
        let interest = Arc::new(interest);
        all.insert(Arc::clone(&interest));
        interest
    }

    /// Checks a filter anew, with all warnings; an equal program in use is reused.
    pub(super) fn check(
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

    /// The program of a filter that was accepted before.
    pub(super) fn get(&self, text: &str) -> Result<Arc<Program>, Vec<Problem>> {
        let start = clock::tick();
        let compiled = language::compile_accepted(&self.templates, text, "filter.expression");
        metrics::filter_compiled(clock::since(start), compiled.as_ref().err().map(Vec::as_slice));
        compiled
    }

    /// Entity-property paths that `trigger` reads, in its filters and for its payload, in one
    /// spelling.
    pub(super) fn property_paths(&self, trigger: &Trigger) -> BTreeSet<String> {
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

/// Turns the modules of one installation into what the matcher holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Compiler<'a> {
    /// The app as applied here; none when it is not provisioned.
    pub(super) app: Option<&'a LiveApp>,
    /// The installation.
    pub(super) installation: &'a InstallationRecord,
    /// The same installation as it was applied before, if it was.
    pub(super) before: Option<&'a LiveInstallation>,
    /// Revision of the installation's document.
    pub(super) revision: u64,
    /// Filters in use.
    pub(super) programs: &'a Programs,
    /// First token of function subjects.
    pub(super) prefix: &'a str,
}

/// A module as its app or its installation declares it.
struct Declared<'a> {
    key: &'a ModuleKey,
    module_type: &'a str,
    is_static: bool,
    is_discovered: bool,
    switch: Switch,
    data: &'a ModuleData,
}

impl Declared<'_> {
    fn is(&self, known: &LiveModule) -> bool {
        (self.module_type, self.switch) == (known.module_type.as_str(), known.switch)
            && *self.data == known.data
            && self.is_expired() == (known.state == ModuleState::Expired)
    }

    fn is_expired(&self) -> bool {
        let expires = DynamicWebhook::expires_ms(self.module_type, self.data);
        expires.is_some_and(|expires_ms| expires_ms <= clock::now_ms())
    }
}

/// What follows from the data of a module that is routed.
struct Heard {
    listens: Listens,
    handler: Arc<Handler>,
    include_fields: Box<[Box<str>]>,
}

/// What the subscriptions of an installation share, each once.
type Owners = HashSet<Arc<Owner>>;

impl Compiler<'_> {
    /// All modules, those of the app first. What did not change stays the same subscription, and
    /// what did keeps its counters.
    pub(super) fn modules(&self) -> Vec<Arc<LiveModule>> {
        let mut owners = self.owners();
        let fixed = self.app.into_iter().flat_map(|app| &app.statics).map(|module| Declared {
            key: &module.key,
            module_type: &module.module_type,
            is_static: true,
            is_discovered: false,
            switch: Switch::On,
            data: &module.data,
        });
        let registered = self.installation.modules.iter().map(|module| Declared {
            key: &module.key,
            module_type: &module.module_type,
            is_static: false,
            is_discovered: module.door == Door::Discovery,
            switch: module.switch,
            data: &module.data,
        });
        let known: HashMap<(&ModuleKey, bool), &Arc<LiveModule>> = self
            .before
            .iter()
            .flat_map(|before| &before.modules)
            .map(|module| ((&module.id.key, module.is_static), module))
            .collect();
        let may_stay = self.before.is_some_and(|before| self.is_unmoved(before));
        fixed
            .chain(registered)
            .map(|declared| match known.get(&(declared.key, declared.is_static)) {
                Some(known) if may_stay && declared.is(known) => Arc::clone(known),
                Some(known) => Arc::new(self.module(&declared, &mut owners, known.stats().clone())),
                None => Arc::new(self.module(&declared, &mut owners, SubscriptionStats::default())),
            })
            .collect()
    }

    /// Whether everything that bears on all modules is as it was.
    fn is_unmoved(&self, before: &LiveInstallation) -> bool {
        let (old, new) = (&before.record, self.installation);
        before.app_revision == self.app.map(|app| app.revision)
            && (&old.app, &old.cloud_id, old.state) == (&new.app, &new.cloud_id, new.state)
            && (old.licensed, &old.app_account_id) == (new.licensed, &new.app_account_id)
            && (&old.client_key, &old.shared_secret) == (&new.client_key, &new.shared_secret)
            && (old.product, &old.environment) == (new.product, &new.environment)
    }

    /// What subscriptions shared before, for those that say the same now.
    fn owners(&self) -> Owners {
        let before = self.before.iter().flat_map(|before| &before.modules);
        let known = before.filter_map(|module| Some(&module.subscription.as_ref()?.owner));
        known.map(Arc::clone).collect()
    }

    /// The one owner with these terms.
    fn owner(&self, terms: Terms, owners: &mut Owners) -> Arc<Owner> {
        let installation = self.installation;
        let owner = Owner {
            id: installation.id.clone(),
            app: installation.app.clone(),
            app_account_id: installation.app_account_id.as_deref().map(Box::from),
            cloud_id: installation.cloud_id.clone(),
            licensed: installation.licensed,
            terms,
        };
        let owner = owners.get(&owner).map_or_else(|| Arc::new(owner), Arc::clone);
        owners.insert(Arc::clone(&owner));
        owner
    }

    fn module(
        &self,
        declared: &Declared<'_>,
        owners: &mut Owners,
        stats: SubscriptionStats,
    ) -> LiveModule {
        let id = SubscriptionId {
            installation: self.installation.id.clone(),
            key: declared.key.clone(),
        };
        let compiled = match self.shadow(declared) {
            Some(reason) => Err((ModuleState::Shadowed, reason)),
            None if declared.switch == Switch::Off => {
                Err((ModuleState::Inactive, "it is switched off".to_owned()))
            }
            None if declared.switch == Switch::Gone => {
                let reason = "its handler answered again and again that it is gone (410)";
                Err((ModuleState::Inactive, reason.to_owned()))
            }
            None if declared.is_discovered && self.app.is_some_and(LiveApp::is_never_asked) => {
                let reason = "the app is not asked for its modules any more";
                Err((ModuleState::Inactive, reason.to_owned()))
            }
            None if declared.is_expired() => {
                Err((ModuleState::Expired, "it was not refreshed in time".to_owned()))
            }
            None => self.heard(declared).map_err(|reason| (ModuleState::Inactive, reason)),
        };
        let (state, reason, subscription, idle) = match compiled {
            Ok(heard) => {
                let state = match declared.switch {
                    Switch::Paused => ModuleState::Paused,
                    _ => ModuleState::Active,
                };
                let live = self.subscription(declared, owners, heard, stats);
                (state, None, Some(Arc::new(live)), SubscriptionStats::default())
            }
            Err((state, reason)) => (state, Some(reason), None, stats),
        };
        LiveModule {
            id,
            module_type: declared.module_type.to_owned(),
            is_static: declared.is_static,
            switch: declared.switch,
            state,
            reason,
            data: declared.data.clone(),
            subscription,
            idle,
        }
    }

    fn shadow(&self, declared: &Declared<'_>) -> Option<String> {
        let shadowed = !declared.is_static && self.app?.has_static_key(declared.key.as_str());
        shadowed.then(|| "a module of the app itself has the same key".to_owned())
    }

    /// What a module hears, or why it hears nothing.
    fn heard(&self, declared: &Declared<'_>) -> Result<Heard, String> {
        let app = self.app.ok_or_else(|| "the app is not provisioned".to_owned())?;
        match self.installation.state {
            InstallationState::Enabled => {}
            InstallationState::Disabled => return Err("the installation is disabled".into()),
            InstallationState::Uninstalled => return Err("the installation is uninstalled".into()),
        }
        match (declared.module_type, app.record.kind) {
            (TRIGGER, AppKind::Forge) => self.trigger(app, declared),
            (WEBHOOKS, AppKind::Connect) => {
                let read = Webhook::read(&declared.data.read(), "data", self.installation.product);
                self.webhook(app, read.map_err(|found| summary(&found))?)
            }
            (DYNAMIC_WEBHOOK, AppKind::Connect) => {
                self.webhook(app, DynamicWebhook::read(declared.data)?.into())
            }
            (other, _) => Err(format!("modules of type {other} are kept, not routed")),
        }
    }

    fn subscription(
        &self,
        declared: &Declared<'_>,
        owners: &mut Owners,
        heard: Heard,
        stats: SubscriptionStats,
    ) -> Subscription {
        let delivery = self.app.and_then(|app| app.record.delivery().ok()).unwrap_or_default();
        let terms = Terms {
            handler: heard.handler,
            include_fields: heard.include_fields,
            profile: delivery.profile(),
            is_paused: declared.switch == Switch::Paused,
        };
        Subscription {
            owner: self.owner(terms, owners),
            key: declared.key.clone(),
            listens: heard.listens,
            revision: self.revision,
            stats,
        }
    }

    fn trigger(&self, app: &LiveApp, declared: &Declared<'_>) -> Result<Heard, String> {
        let trigger =
            Trigger::read(&declared.data.read(), "data").map_err(|found| summary(&found))?;
        Ok(Heard {
            listens: listens(self.programs, &trigger)?,
            handler: self.handler(app, &trigger.handler)?,
            include_fields: trigger.fields.into_iter().map(String::into_boxed_str).collect(),
        })
    }

    fn webhook(&self, app: &LiveApp, webhook: Webhook) -> Result<Heard, String> {
        let installation = self.installation;
        let base = app.record.base_url.as_deref().and_then(|base| Url::parse(base).ok());
        let handler = domain::Webhook {
            base: base.ok_or("the app has no base URL")?,
            client_key: installation.client_key.as_deref().ok_or("no client key")?.into(),
            secret: installation.shared_secret.clone().ok_or("no shared secret")?,
            excludes_body: webhook.excludes_body,
            number: webhook.number,
            names: webhook.events.iter().map(|name| name.as_str().into()).collect(),
            address: webhook.address.as_str().into(),
        };
        Ok(Heard {
            listens: webhook
                .listens(self.programs, installation.product, "filter")
                .map_err(|found| summary(&found))?,
            handler: Arc::new(Handler::Webhook(handler)),
            include_fields: Box::default(),
        })
    }

    /// The endpoint as a Forge remote, if the app wants to be called like one.
    fn remote(&self, app: &LiveApp, key: &str) -> Option<Handler> {
        let options = app.record.delivery().unwrap_or_default();
        if options.style != Style::ForgeRemote {
            return None;
        }
        let endpoint = app.record.endpoints.iter().find(|endpoint| endpoint.key == key)?;
        let version = app.record.version.as_deref().unwrap_or_default();
        Some(Handler::Remote(Box::new(Remote {
            url: Url::parse(&endpoint.url).ok()?,
            secret: endpoint.secret.clone(),
            endpoint: key.into(),
            app_version: version.into(),
            environment: self.installation.environment.as_str().into(),
            product: self.installation.product,
            wraps_body: options.body == BodyForm::Wrapped,
            wants_system_token: endpoint.auth.app_system_token,
        })))
    }

    fn handler(&self, app: &LiveApp, handler: &HandlerRef) -> Result<Arc<Handler>, String> {
        match handler {
            HandlerRef::Endpoint(key) => {
                let found = app.endpoints.get(&key.value);
                let found = found.ok_or_else(|| format!("the app has no endpoint `{}`", key.value));
                let remote = self.remote(app, &key.value);
                found.map(|plain| remote.map_or_else(|| Arc::clone(plain), Arc::new))
            }
            HandlerRef::Function(name) if app.record.functions.contains(&name.value) => {
                let subject =
                    function_subject(self.prefix, &self.installation.id, &name.value).into();
                Ok(Arc::new(Handler::Function { subject }))
            }
            HandlerRef::Function(name) => Err(format!("the app has no function `{}`", name.value)),
        }
    }
}

/// The subject on which a function of an installation is called.
#[must_use]
pub fn function_subject(prefix: &str, installation: &InstallationId, function: &str) -> String {
    format!("{prefix}.fn.{}.{function}", installation.token())
}

/// The event types of a trigger with their compiled filters.
pub(super) fn listens(programs: &Programs, trigger: &Trigger) -> Result<Listens, String> {
    let listen = |event: &TriggerEvent| {
        let every = TriggerFilter::default();
        let filter = event.filter.as_deref().unwrap_or(&every);
        let program = match &filter.expression {
            Some(text) => Some(programs.get(&text.value).map_err(|found| summary(&found))?),
            None => None,
        };
        let interest = programs.interest(Interest {
            event_type: event.event_type.value.clone(),
            ignore_self: filter.ignore_self,
            requires_licence: filter.requires_licence,
            on_error: filter.on_error.unwrap_or_default(),
        });
        Ok(Listen { interest, program })
    };
    trigger.events.iter().map(listen).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interests_are_one_while_in_use_and_then_forgotten() {
        let programs = Programs::default();
        let interest = |name: &str| programs.interest(Interest::in_all(name.into()));
        let held = interest("held");
        for at in 0..10_000 {
            interest(&format!("gone-{at}"));
        }
        assert!(Arc::ptr_eq(&held, &interest("held")));
        assert!(programs.interests.lock().unwrap().len() < 100);
    }
}
