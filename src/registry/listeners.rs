//! Triggers of listening clients (`switchyard listen`). They are in the matcher like registered ones and
//! are stored nowhere: each replica holds them for a lease, which the replica of the client renews.
//!
//! Design: `docs/design/listening.md`.

mod record;
mod relay;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};
use switchyard_expr::{CheckProfile, Usage, compile_for};

use super::compile::{AppliedInstallation, EventConditionsCache, included};
use super::facade::Registry;
use super::model::{InstallationState, Problem, TRIGGER, code, summary};
use super::validation::{ProgramCache, Suggestions, Trigger, ValidationRules, catalog};
use crate::clock;
use crate::domain::{AppId, Handler, InstallationId, ListenerHandler, ModuleKey, SubscriptionId};
use crate::matcher::{DeliverySettings, KeptBodies, Matcher, Owner, Subscription};
use crate::telemetry::SubscriptionStats;

pub use record::{ListenerRecord, ListenerSpec};
pub use relay::{ListenError, ListenerDelivery, ListenerRelay, OpenListener};

/// Most listeners of all replicas together; further ones are not matched.
pub const LISTENERS_MAX: usize = 64;
/// How long a listener is matched after its last renewal.
const LEASE: Duration = Duration::from_secs(15);
/// Begin of the ids of listeners, which are ids of installations.
const ID_PREFIX: &str = "listener-";
/// Key of the trigger of a listener.
const KEY: &str = "listen";
/// Bodies are never kept: a listener has no dead letters, and its answers are those of a test.
const KEPT_BODIES: KeptBodies = KeptBodies { in_dead_letters: false, in_log: true };

/// A registered trigger that a listener follows.
struct FollowedTrigger {
    installation: Arc<AppliedInstallation>,
    data: Map<String, Value>,
}

/// The listeners that this replica matches.
#[derive(Debug)]
pub struct Listeners {
    registry: Arc<Registry>,
    matcher: Arc<Matcher>,
    live: Mutex<HashMap<InstallationId, LiveListener>>,
}

#[derive(Debug)]
struct LiveListener {
    record: ListenerRecord,
    subscription: Arc<Subscription>,
    /// By [`clock::uptime_ms`].
    until_ms: i64,
}

impl Listeners {
    /// Returns an empty set of listeners in this matcher.
    #[must_use]
    pub fn new(registry: Arc<Registry>, matcher: Arc<Matcher>) -> Self {
        Self { registry, matcher, live: Mutex::default() }
    }

    /// Returns the record of a new listener.
    ///
    /// # Errors
    /// Every problem of the request.
    pub fn record(&self, spec: &ListenerSpec) -> Result<ListenerRecord, Vec<Problem>> {
        let problem = |path: &str, message: String| vec![Problem::new(code::FORM, path, message)];
        let of_subscription =
            spec.subscription.as_deref().map(|id| self.trigger(id)).transpose()?;
        let installation = match (&of_subscription, &spec.installation) {
            (Some(followed), _) => Some(Arc::clone(&followed.installation)),
            (None, Some(id)) => Some(self.installation(id, "installation")?),
            (None, None) => None,
        };
        let site = match (&spec.site, &installation) {
            (Some(site), Some(known)) if *site != known.record.cloud_id => {
                let message = format!("the installation is at the site {}", known.record.cloud_id);
                return Err(problem("site", message));
            }
            (_, Some(known)) => known.record.cloud_id.clone(),
            (Some(site), None) => site.clone(),
            (None, None) => {
                let message = "a listener names a site, an installation or a subscription";
                return Err(problem("site", message.to_owned()));
            }
        };
        let data = of_subscription.map(|followed| followed.data).unwrap_or_default();
        let record = ListenerRecord {
            id: InstallationId::from(format!("{ID_PREFIX}{}", uuid::Uuid::new_v4().simple())),
            site,
            installation: installation.map(|known| known.record.id.clone()),
            data: trigger_data(spec, data)?,
            since_ms: clock::now_ms(),
        };
        self.compile(&record, &record.id.token()).map_err(of_request).map(|_| record)
    }

    /// Returns a registered trigger.
    fn trigger(&self, id: &str) -> Result<FollowedTrigger, Vec<Problem>> {
        let none = || {
            let message = format!("there is no trigger `{id}`: name it as INSTALLATION/KEY");
            vec![Problem::new(code::FORM, "subscription", message)]
        };
        let id = SubscriptionId::parse(id).ok_or_else(none)?;
        let installation = self.installation(&id.installation, "subscription")?;
        let module = installation.module(id.key.as_str()).ok_or_else(none)?;
        if module.module_type != TRIGGER {
            let message =
                format!("`{id}` is of type {}; listeners follow triggers", module.module_type);
            return Err(vec![Problem::new(code::FORM, "subscription", message)]);
        }
        let data = module.data.read();
        Ok(FollowedTrigger { installation, data })
    }

    fn installation(
        &self,
        id: &InstallationId,
        path: &str,
    ) -> Result<Arc<AppliedInstallation>, Vec<Problem>> {
        let none = |message| vec![Problem::new(code::FORM, path, message)];
        let known = self.registry.installation(id.as_str());
        let known = known.ok_or_else(|| none(format!("there is no installation `{id}`")))?;
        match known.record.state {
            InstallationState::Enabled => Ok(known),
            _ => Err(none(format!("the installation `{id}` is not enabled"))),
        }
    }

    /// Adds a listener, or renews its lease; returns whether it is matched here. `subject` is where its
    /// deliveries are sent.
    pub fn renew(&self, record: &ListenerRecord, subject: &str) -> bool {
        let mut live = self.live();
        let until_ms = clock::uptime_ms().saturating_add(lease_ms());
        if let Some(known) = live.get_mut(&record.id) {
            known.until_ms = until_ms;
            return true;
        }
        // No announcement may replace the subscriptions of an installation, whatever its id is.
        let is_installation = self.registry.installation(record.id.as_str()).is_some();
        if live.len() >= LISTENERS_MAX
            || is_installation
            || !record.id.as_str().starts_with(ID_PREFIX)
        {
            return false;
        }
        let subscription = match self.compile(record, subject) {
            Ok(subscription) => subscription,
            Err(problems) => {
                tracing::warn!(listener = %record.id, reason = summary(&problems), "listener is not matched here");
                return false;
            }
        };
        // Under the lock, so that the end of a listener cannot precede its begin.
        self.matcher.replace_installation(&record.id, vec![Arc::clone(&subscription)]);
        live.insert(
            record.id.clone(),
            LiveListener { record: record.clone(), subscription, until_ms },
        );
        true
    }

    /// Removes a listener.
    pub fn end(&self, id: &InstallationId) {
        let mut live = self.live();
        if live.remove(id).is_some() {
            self.matcher.replace_installation(id, Vec::new());
        }
    }

    /// Removes the listeners whose lease is over.
    pub fn end_overdue(&self) {
        let now_ms = clock::uptime_ms();
        let mut live = self.live();
        let overdue = live.iter().filter(|(_, one)| one.until_ms < now_ms);
        let overdue: Vec<InstallationId> = overdue.map(|(id, _)| id.clone()).collect();
        for id in overdue {
            live.remove(&id);
            self.matcher.replace_installation(&id, Vec::new());
            tracing::info!(listener = %id, "listener removed: its replica renews it no longer");
        }
    }

    /// Returns all listeners, the oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<ListenerRecord> {
        let mut all: Vec<_> = self.live().values().map(|one| one.record.clone()).collect();
        all.sort_by(|left, right| (left.since_ms, &left.id).cmp(&(right.since_ms, &right.id)));
        all
    }

    /// Returns the subscription of a listener.
    #[must_use]
    pub fn subscription(&self, id: &SubscriptionId) -> Option<Arc<Subscription>> {
        let found = self.of_installation(&id.installation)?;
        (found.key == id.key).then_some(found)
    }

    /// Returns the subscription whose deliveries name this installation.
    #[must_use]
    pub fn of_installation(&self, id: &InstallationId) -> Option<Arc<Subscription>> {
        // The ids of others are not looked up: this is asked for every parked delivery.
        if !id.as_str().starts_with(ID_PREFIX) {
            return None;
        }
        self.live().get(id).map(|one| Arc::clone(&one.subscription))
    }

    /// Whether the installation of a listener, if it has one, is still enabled.
    #[must_use]
    pub fn is_permitted(&self, record: &ListenerRecord) -> bool {
        record.installation.as_ref().is_none_or(|id| self.installation(id, "").is_ok())
    }

    fn live(&self) -> MutexGuard<'_, HashMap<InstallationId, LiveListener>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compiles the trigger of a listener.
    fn compile(
        &self,
        record: &ListenerRecord,
        subject: &str,
    ) -> Result<Arc<Subscription>, Vec<Problem>> {
        let programs = ProgramCache::default();
        let rules = ValidationRules {
            app: None,
            product: None,
            allow_unknown_events: self.registry.settings().allow_unknown_events,
            programs: &programs,
            suggestions: &Suggestions::default(),
        };
        // Keeps the programs alive until the subscription holds them.
        let _accepted = rules.check(&record.data, "")?;
        let trigger = Trigger::parse(&record.data, "")?;
        let event_subscriptions =
            EventConditionsCache::default()
                .of_trigger(&trigger, &programs)
                .map_err(|reason| vec![Problem::new(code::FORM, "filter", reason)])?;
        let handler = Arc::new(Handler::Listener(ListenerHandler { subject: subject.into() }));
        let mut settings = DeliverySettings::new(handler);
        settings.kept_bodies = KEPT_BODIES;
        settings.include_fields = trigger.fields.into_iter().map(String::into_boxed_str).collect();
        settings.include_properties = included(trigger.property_paths);
        let installation =
            record.installation.as_ref().map(|id| self.installation(id, "installation"));
        let owner = self.owner(record, installation.transpose()?.as_deref(), settings);
        Ok(Arc::new(Subscription {
            owner: Arc::new(owner),
            key: ModuleKey::from(KEY),
            event_subscriptions,
            revision: 0,
            stats: SubscriptionStats::default(),
        }))
    }

    fn owner(
        &self,
        record: &ListenerRecord,
        installation: Option<&AppliedInstallation>,
        settings: DeliverySettings,
    ) -> Owner {
        let Some(AppliedInstallation { record: known, .. }) = installation else {
            return Owner {
                id: record.id.clone(),
                app: AppId::from(record.id.as_str()),
                app_account_id: None,
                cloud_id: record.site.clone(),
                licensed: true,
                permissions: None,
                settings,
            };
        };
        let app = self.registry.app(known.app.as_str());
        Owner {
            id: record.id.clone(),
            app: known.app.clone(),
            app_account_id: known.app_account_id.as_deref().map(Box::from),
            cloud_id: record.site.clone(),
            licensed: known.licensed,
            permissions: app.map(|app| Arc::clone(&app.permissions)),
            settings,
        }
    }
}

/// Returns problems of a trigger with the paths of the request that it was made of.
fn of_request(mut problems: Vec<Problem>) -> Vec<Problem> {
    for problem in &mut problems {
        problem.path = match problem.path.trim_start_matches('.') {
            "filter.expression" => "filter".to_owned(),
            path => path.to_owned(),
        };
    }
    problems
}

fn lease_ms() -> i64 {
    i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX)
}

/// Returns the data of the trigger of a listener: `data` of the trigger that it follows, with the events
/// and the filter of the request.
fn trigger_data(
    spec: &ListenerSpec,
    mut data: Map<String, Value>,
) -> Result<Map<String, Value>, Vec<Problem>> {
    // Its own handler, and a key that is that of no module.
    for name in ["key", "endpoint"] {
        data.remove(name);
    }
    data.insert("function".to_owned(), json!(KEY));
    if let Some(expression) = &spec.filter {
        let filter = data.entry("filter").or_insert_with(|| json!({}));
        match filter.as_object_mut() {
            Some(filter) => drop(filter.insert("expression".to_owned(), json!(expression))),
            None => *filter = json!({ "expression": expression }),
        }
        // Filters of single events would exclude it.
        if let Some(Value::Array(events)) = data.get_mut("events") {
            for event in events {
                if let Some(name) = event.get_mut("eventType").map(Value::take) {
                    *event = name;
                }
            }
        }
    }
    match (spec.events.is_empty(), data.contains_key("events")) {
        (false, _) => drop(data.insert("events".to_owned(), json!(spec.events))),
        (true, true) => {}
        (true, false) => {
            let events = meant_events(spec.filter.as_deref().unwrap_or("true"))?;
            data.insert("events".to_owned(), json!(events));
        }
    }
    Ok(data)
}

/// Returns the event types that a filter can be meant for: those that have all members that it reads. All
/// of them if there is none.
///
/// # Errors
/// The filter is invalid.
fn meant_events(filter: &str) -> Result<Vec<String>, Vec<Problem>> {
    super::validation::check_filter(filter, "filter")?;
    let fits = |name: &String| {
        let usage = Usage { events: &[name], delivers_on_error: false };
        let compiled = compile_for(filter, CheckProfile::Filter, &usage);
        // 31xx: a name that the event does not have.
        let is_name = |code: String| code.starts_with("SY-31");
        compiled.is_ok_and(|found| !found.warnings.iter().any(|one| is_name(one.code.to_string())))
    };
    let fitting: Vec<String> = catalog::names().filter(fits).collect();
    Ok(if fitting.is_empty() { catalog::names().collect() } else { fitting })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(filter: Option<&str>, events: &[&str]) -> ListenerSpec {
        let events = events.iter().map(|name| (*name).to_owned()).collect();
        ListenerSpec { filter: filter.map(str::to_owned), events, ..ListenerSpec::default() }
    }

    #[test]
    fn filter_without_events_means_those_that_have_its_members() {
        let data =
            trigger_data(&spec(Some("event.issue.fields.project.key == 'XXX'"), &[]), Map::new());
        let data = data.unwrap();
        let events = data["events"].as_array().unwrap();
        assert!(events.contains(&json!("avi:jira:created:issue")), "{events:?}");
        assert!(!events.contains(&json!("avi:jira:created:project")), "{events:?}");
        assert_eq!(
            data["filter"],
            json!({"expression": "event.issue.fields.project.key == 'XXX'"})
        );
        let all = trigger_data(&spec(None, &[]), Map::new()).unwrap();
        assert_eq!(all["events"].as_array().unwrap().len(), catalog::names().count());
        let wrong = trigger_data(&spec(Some("event.issue ="), &[]), Map::new()).unwrap_err();
        assert_eq!(wrong[0].path, "filter");
    }

    #[test]
    fn followed_trigger_gives_what_the_request_leaves_out() {
        let followed = json!({"key": "k", "endpoint": "hook", "events": [{"eventType": "a:b",
            "filter": {"expression": "false"}}], "payload": {"include": {"fields": ["summary"]}}});
        let followed = followed.as_object().unwrap();
        let same = trigger_data(&spec(None, &[]), followed.clone()).unwrap();
        assert_eq!(same["events"], followed["events"]);
        assert_eq!(same["function"], json!(KEY));
        assert!(!same.contains_key("endpoint") && same.contains_key("payload"));
        let other = trigger_data(&spec(Some("true"), &[]), followed.clone()).unwrap();
        assert_eq!(other["events"], json!(["a:b"]));
        assert_eq!(other["filter"], json!({"expression": "true"}));
        let events = trigger_data(&spec(None, &["c:d"]), followed.clone()).unwrap();
        assert_eq!(events["events"], json!(["c:d"]));
    }
}
