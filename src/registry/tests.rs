//! Behaviour of the registry over a store in memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{
    AppCall, AppCaller, AppPut, CallError, EffectiveStatus, ModuleRecord, ModuleSpec, ModuleStatus,
    RegisterError, RegistrationApi, Registry, code, digest,
};
use crate::domain::{AppId, Handler, InstallationId, SubscriptionId};
use crate::matcher::{Matcher, Subscription};
use crate::registry::model::Document;
use crate::registry::testing::{MemoryStore, settings};

mod background;
mod batch;
mod connect;
mod isolation;
mod load;
mod notices;
mod revisions;
mod shadows;

const APP: &str = "ari:cloud:ecosystem::app/1";
const EVENT: &str = "avi:jira:updated:issue";

/// One replica over a store; stopped on drop.
struct Replica {
    registry: Arc<Registry>,
    _run: JoinSet<()>,
}

impl std::ops::Deref for Replica {
    type Target = Registry;

    fn deref(&self) -> &Registry {
        &self.registry
    }
}

impl Replica {
    async fn over(store: &Arc<MemoryStore>) -> Self {
        Self::with_modules_max(store, 10).await
    }

    async fn with_modules_max(store: &Arc<MemoryStore>, modules_max: usize) -> Self {
        let mut settings = settings();
        settings.limits.modules_per_installation = modules_max;
        settings.limits.connect_modules_jira = 10;
        let store = Arc::clone(store) as Arc<dyn super::Store>;
        let registry = Arc::new(Registry::new(store, Arc::new(Matcher::default()), settings));
        let mut run = JoinSet::new();
        run.spawn(Arc::clone(&registry).run());
        timeout(Duration::from_secs(5), registry.wait_until_ready()).await.unwrap();
        Self { registry, _run: run }
    }

    /// A replica with one Forge app installed as `inst-a`.
    async fn provisioned() -> (Self, Arc<MemoryStore>) {
        Self::provisioned_for(10).await
    }

    /// As [`Replica::provisioned`], for at most so many modules of an installation.
    async fn provisioned_for(modules_max: usize) -> (Self, Arc<MemoryStore>) {
        let store = MemoryStore::new();
        let replica = Self::with_modules_max(&store, modules_max).await;
        replica.put_forge(json!({})).await.unwrap();
        replica.install("inst-a", json!({})).await.unwrap();
        (replica, store)
    }

    async fn put_forge(&self, changes: Value) -> Result<AppPut, RegisterError> {
        let mut spec = json!({
            "kind": "forge", "scopes": ["read:jira-work"], "functions": ["main"],
            "endpoints": [{"key": "hook", "url": "https://app.example.com/hook"}],
        });
        merge(&mut spec, changes);
        self.apps().put(&AppId::from(APP), serde_json::from_value(spec).unwrap(), &|_| Ok(())).await
    }

    async fn install(
        &self,
        id: &str,
        changes: Value,
    ) -> Result<super::InstallationPut, RegisterError> {
        let mut spec = json!({"app": APP, "cloudId": "cloud-1", "product": "jira"});
        merge(&mut spec, changes);
        self.installations().put(&id.into(), serde_json::from_value(spec).unwrap()).await
    }

    async fn add(&self, changes: Value) -> Result<ModuleRecord, RegisterError> {
        self.add_as(None, changes).await
    }

    async fn add_as(
        &self,
        key: Option<&str>,
        changes: Value,
    ) -> Result<ModuleRecord, RegisterError> {
        let key = key.map(Into::into);
        let registered =
            self.forge_modules().register(&"inst-a".into(), trigger(changes), key).await;
        registered.map(|registered| registered.module)
    }

    fn state_of(&self, module: &ModuleRecord) -> (EffectiveStatus, Option<String>) {
        let live = self.installation("inst-a").unwrap();
        let (_, found) = live.registered().find(|(record, _)| record.key == module.key).unwrap();
        (found.effective_status, found.reason.clone())
    }

    fn modules(&self) -> usize {
        self.installation("inst-a").unwrap().record.modules.len()
    }
}

fn merge(object: &mut Value, changes: Value) {
    let (Value::Object(object), Value::Object(changes)) = (object, changes) else { return };
    object.extend(changes);
}

/// Data of a trigger on `hook`; a member changed to null is removed.
fn trigger(changes: Value) -> ModuleSpec {
    let mut data = json!({"events": [EVENT], "endpoint": "hook"});
    merge(&mut data, changes);
    let Value::Object(mut data) = data else { panic!("an object") };
    data.retain(|_, value| !value.is_null());
    ModuleSpec { module_type: "trigger".into(), data, api: RegistrationApi::ForgeV2 }
}

fn id_of(module: &ModuleRecord) -> SubscriptionId {
    SubscriptionId { installation: "inst-a".into(), key: module.key.clone() }
}

fn first_code(error: &RegisterError) -> &str {
    match error {
        RegisterError::Invalid(problems) => &problems[0].code,
        other => panic!("not invalid: {other}"),
    }
}

#[tokio::test]
async fn registered_trigger_is_live_when_the_call_returns() {
    let (replica, _store) = Replica::provisioned().await;
    let module = replica.add(json!({})).await.unwrap();
    let subscription = replica.subscription(&id_of(&module)).unwrap();
    assert_eq!(subscription.event_subscriptions[0].conditions.event_type.as_str(), EVENT);
    assert_eq!(subscription.owner.cloud_id.as_str(), "cloud-1");
    assert!(
        matches!(&*subscription.owner.settings.handler, Handler::Http(http) if http.url.path() == "/hook")
    );
    assert_eq!(module.data.read()["key"], module.key.as_str());
    assert_eq!(replica.counts().active, 1);
}

#[tokio::test]
async fn function_is_called_on_a_subject_of_its_installation() {
    let (replica, _store) = Replica::provisioned().await;
    let module = replica.add(json!({"endpoint": null, "function": "main"})).await.unwrap();
    let settings = &replica.subscription(&id_of(&module)).unwrap().owner.settings;
    assert_eq!(*settings.handler, Handler::function("sw.fn.inst-a.main"));
}

#[tokio::test]
async fn concurrent_registrations_end_at_exactly_the_limit() {
    let (one, store) = Replica::provisioned().await;
    let other = Replica::over(&store).await;
    let mut calls = JoinSet::new();
    for number in 0..50 {
        let replica = if number % 2 == 0 { &one } else { &other };
        let registry = Arc::clone(&replica.registry);
        calls.spawn(async move {
            registry.forge_modules().register(&"inst-a".into(), trigger(json!({})), None).await
        });
    }
    let results = calls.join_all().await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 10);
    let refused = results.iter().filter_map(|result| result.as_ref().err());
    assert!(refused.map(first_code).all(|found| found == code::MODULES_MAX));
    assert_eq!(one.modules(), 10);
    let installation = one.installation("inst-a").unwrap();
    let keys: Vec<_> = installation.registered().map(|(module, _)| module.key.clone()).collect();
    for (index, (_, live)) in installation.registered().enumerate() {
        let first_three_never = if index < 3 { 0 } else { 1 };
        live.stats().last_match_ms.store(first_three_never, std::sync::atomic::Ordering::Relaxed);
    }
    let error = one.add(json!({})).await.unwrap_err().to_string();
    let least_recently_matched =
        format!("matched least recently: {}, {}, {}", keys[0], keys[1], keys[2]);
    assert!(error.starts_with("limit 10 dynamic modules per installation, 10 used; "), "{error}");
    assert!(error.ends_with(&least_recently_matched), "{error}");
}

#[tokio::test]
async fn second_replica_receives_every_change() {
    let (one, store) = Replica::provisioned().await;
    let other = Replica::over(&store).await;
    let module = one.add(json!({})).await.unwrap();
    let received = async {
        while other.subscription(&id_of(&module)).is_none() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(5), received).await.unwrap();
}

#[tokio::test]
async fn a_replica_that_starts_later_has_all_records_when_ready() {
    let (one, store) = Replica::provisioned().await;
    let module = one.add(json!({"filter": {"expression": "true"}})).await.unwrap();
    drop(one);
    let later = Replica::over(&store).await;
    assert!(later.subscription(&id_of(&module)).is_some());
    assert_eq!(later.forge_modules().module(&"inst-a".into(), &module.key).unwrap(), module);
}

#[tokio::test]
async fn document_deleted_during_a_gap_is_removed_by_the_next_load() {
    let (replica, store) = Replica::provisioned().await;
    store.lose("inst.inst-a");
    let removed = async {
        while replica.installation("inst-a").is_some() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(5), removed).await.unwrap();
    assert!(replica.app(APP).is_some());
}

#[tokio::test]
async fn silent_store_refuses_changes_and_keeps_what_is_live() {
    let (replica, store) = Replica::provisioned().await;
    let module = replica.add(json!({})).await.unwrap();
    store.set_broken(true);
    let error = replica.add(json!({})).await.unwrap_err();
    assert!(error.is_in_doubt(), "{error}");
    assert!(replica.subscription(&id_of(&module)).is_some());
    store.set_broken(false);
    replica.add(json!({})).await.unwrap();
}

/// An app that accepts calls and never responds.
struct Silent;

impl AppCaller for Silent {
    fn call(&self, _: AppCall) -> BoxFuture<'_, Result<Bytes, CallError>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn discovery_of_an_app_that_never_responds_ends_before_the_claim() {
    let (replica, _store) = Replica::provisioned().await;
    replica.set_app_caller(Arc::new(Silent));
    let discovery = json!({"use": ["trigger"], "url": "https://app.example.com/modules"});
    replica.put_forge(json!({"discovery": discovery})).await.unwrap();
    tokio::time::pause();
    let start = tokio::time::Instant::now();
    let asked =
        timeout(Duration::from_secs(60), replica.discovery().refresh(&"inst-a".into())).await;
    let known = asked.expect("an end within a minute").unwrap();
    assert!(start.elapsed() > Duration::from_secs(30), "{:?}", start.elapsed());
    assert_eq!(known.error.as_deref(), Some("no answer within 45s"));
}

#[tokio::test]
async fn counters_survive_a_change_of_the_module() {
    let (replica, _store) = Replica::provisioned().await;
    let module = replica.add(json!({})).await.unwrap();
    let before = replica.subscription(&id_of(&module)).unwrap();
    before.stats.count_match(1);
    let spec = trigger(json!({"events": ["avi:jira:created:issue"]}));
    replica.forge_modules().replace(&"inst-a".into(), &module.key, spec, None).await.unwrap();
    let after = replica.subscription(&id_of(&module)).unwrap();
    assert_eq!(
        after.event_subscriptions[0].conditions.event_type.as_str(),
        "avi:jira:created:issue"
    );
    // Work in progress of the old subscription counts too.
    before.stats.count_match(2);
    assert_eq!(after.stats.matched.load(std::sync::atomic::Ordering::Relaxed), 2);
    assert!(after.revision > before.revision);
}

#[tokio::test]
async fn a_registration_leaves_the_other_subscriptions_as_they_are() {
    let (replica, _store) = Replica::provisioned().await;
    let first = id_of(&replica.add(json!({})).await.unwrap());
    let before = replica.subscription(&first).unwrap();
    replica.add(json!({})).await.unwrap();
    assert!(Arc::ptr_eq(&before, &replica.subscription(&first).unwrap()));
    replica.install("inst-a", json!({"licensed": false})).await.unwrap();
    let after = replica.subscription(&first).unwrap();
    assert!(!after.owner.licensed && after.revision > before.revision);
}

#[tokio::test]
async fn equal_filters_are_one_program_over_all_installations() {
    let (replica, _store) = Replica::provisioned().await;
    replica.install("inst-b", json!({"cloudId": "cloud-2"})).await.unwrap();
    let spec = trigger(json!({"filter": {"expression": "1 == 1"}}));
    let a = replica
        .forge_modules()
        .register(&"inst-a".into(), spec.clone(), None)
        .await
        .unwrap()
        .module;
    let b = replica.forge_modules().register(&"inst-b".into(), spec, None).await.unwrap().module;
    let live = |installation: &str, module: &ModuleRecord| {
        let id = SubscriptionId { installation: installation.into(), key: module.key.clone() };
        replica.subscription(&id).unwrap()
    };
    let (a, b) = (live("inst-a", &a), live("inst-b", &b));
    let program =
        |live: &Subscription| Arc::clone(live.event_subscriptions[0].program.as_ref().unwrap());
    assert!(Arc::ptr_eq(&program(&a), &program(&b)));
    assert!(Arc::ptr_eq(
        &a.event_subscriptions[0].conditions,
        &b.event_subscriptions[0].conditions
    ));
}

#[tokio::test]
async fn modules_on_the_same_terms_share_them() {
    let (replica, _store) = Replica::provisioned().await;
    let function = json!({"endpoint": null, "function": "main"});
    let first = id_of(&replica.add(function.clone()).await.unwrap());
    let second = id_of(&replica.add(function).await.unwrap());
    let other = id_of(&replica.add(json!({})).await.unwrap());
    let owner = |id| Arc::clone(&replica.subscription(id).unwrap().owner);
    assert!(Arc::ptr_eq(&owner(&first), &owner(&second)));
    assert_ne!(owner(&first), owner(&other));
    // A changed module leaves the others unchanged.
    replica.module_status().set(&"inst-a".into(), &second.key, ModuleStatus::Paused).await.unwrap();
    assert!(owner(&second).settings.is_paused && !owner(&first).settings.is_paused);
}

#[tokio::test]
async fn update_needs_the_expected_revision_and_the_same_type() {
    let (replica, _store) = Replica::provisioned().await;
    let installation = InstallationId::from("inst-a");
    let module = replica.add(json!({})).await.unwrap();
    let stale = replica
        .forge_modules()
        .replace(&installation, &module.key, trigger(json!({})), Some(7))
        .await;
    assert!(matches!(stale, Err(RegisterError::StaleRevision)));
    let spec = trigger(json!({}));
    let changed =
        replica.forge_modules().replace(&installation, &module.key, spec, Some(1)).await.unwrap();
    assert_eq!(changed.module.revision, 2);
    let removed = replica.forge_modules().remove(&installation, &module.key, Some(1)).await;
    assert!(matches!(removed, Err(RegisterError::StaleRevision)));
    replica.forge_modules().remove(&installation, &module.key, Some(2)).await.unwrap();
    assert!(replica.subscription(&id_of(&module)).is_none());
}

#[tokio::test]
async fn module_whose_endpoint_vanishes_is_inactive_until_it_returns() {
    let (replica, _store) = Replica::provisioned().await;
    let module = replica.add(json!({})).await.unwrap();
    replica.put_forge(json!({"endpoints": []})).await.unwrap();
    let (state, reason) = replica.state_of(&module);
    assert_eq!(state, EffectiveStatus::Inactive);
    assert!(reason.unwrap().contains("hook"));
    assert!(replica.subscription(&id_of(&module)).is_none());
    assert_eq!((replica.counts().active, replica.counts().inactive), (0, 1));
    replica.put_forge(json!({})).await.unwrap();
    assert_eq!(replica.state_of(&module).0, EffectiveStatus::Active);
}

#[tokio::test]
async fn static_trigger_is_live_in_every_installation_and_shadows_its_key() {
    let (replica, _store) = Replica::provisioned().await;
    let module = replica.add_as(Some("same"), json!({})).await.unwrap();
    let fixed = json!({"key": "same", "events": ["avi:jira:deleted:issue"], "function": "main"});
    replica.put_forge(json!({"staticModules": {"trigger": [fixed]}})).await.unwrap();
    let live = replica.subscription(&id_of(&module)).unwrap();
    assert_eq!(
        live.event_subscriptions[0].conditions.event_type.as_str(),
        "avi:jira:deleted:issue"
    );
    assert_eq!(replica.state_of(&module).0, EffectiveStatus::Shadowed);
    assert_eq!((replica.counts().active, replica.counts().shadowed), (1, 1));
}

#[tokio::test]
async fn invalid_app_is_rejected_with_every_problem() {
    let (replica, _store) = Replica::provisioned().await;
    let error = replica
        .put_forge(json!({
            "functions": ["not legal"],
            "endpoints": [{"key": "a", "url": "ftp://x"}, {"key": "a", "url": "https://x"}],
            "staticModules": {"trigger": [{"events": ["nothing"], "function": "missing"}]},
        }))
        .await
        .unwrap_err();
    let RegisterError::Invalid(problems) = error else { panic!("{error}") };
    let codes: Vec<_> = problems.iter().map(|problem| problem.code.as_str()).collect();
    let expected = [
        code::ADDRESS,
        code::DUPLICATE,
        code::FORM,
        code::MISSING,
        code::UNKNOWN_EVENT,
        code::UNKNOWN_HANDLER,
    ];
    assert_eq!(codes, expected);
}

#[tokio::test]
async fn endpoint_keeps_its_secret_over_new_versions_unless_one_is_given() {
    const OWN: &str = "whsec_b3duIHNlY3JldCBvZiBhbiBvcGVyYXRvcg==";
    let (replica, _store) = Replica::provisioned().await;
    let secret = |put: &AppPut| put.record.endpoints[0].secret.reveal().to_owned();
    let second = replica.put_forge(json!({"version": "2"})).await.unwrap();
    let third = replica.put_forge(json!({"version": "3"})).await.unwrap();
    assert!(secret(&second).starts_with("whsec_"));
    assert_eq!(secret(&second), secret(&third));
    assert!(second.new_endpoints.is_empty() && !second.created);
    let endpoint = json!({"key": "hook", "url": "https://x.example", "secret": OWN});
    let given = replica.put_forge(json!({"endpoints": [endpoint]})).await.unwrap();
    assert_eq!(secret(&given), OWN);
    let previous = given.record.endpoints[0].previous.as_ref().map(|old| old.secret.reveal());
    assert_eq!(previous, Some(&*secret(&third)), "the secret of before signs, too");
}

#[tokio::test]
async fn token_identifies_its_installation_until_rotation() {
    let (replica, store) = Replica::provisioned().await;
    let put = replica.install("inst-b", json!({})).await.unwrap();
    let old = put.token.unwrap().reveal().to_owned();
    let whose = |token: &str| {
        replica.installation_by_token(&digest(token)).map(|live| live.record.id.to_string())
    };
    assert_eq!(whose(&old).as_deref(), Some("inst-b"));
    assert_eq!(replica.install("inst-b", json!({})).await.unwrap().token, None);
    let new = replica.installations().rotate_token("inst-b").await.unwrap();
    assert_eq!((whose(&old), whose(&new).as_deref()), (None, Some("inst-b")));
    let stored = super::Store::get(&*store, "inst.inst-b").await.unwrap().unwrap().value;
    assert!(!String::from_utf8_lossy(&stored).contains(&new));
}

#[tokio::test]
async fn disabled_installation_receives_no_events_and_registers_nothing() {
    let (replica, _store) = Replica::provisioned().await;
    let module = replica.add(json!({})).await.unwrap();
    replica.install("inst-a", json!({"state": "disabled"})).await.unwrap();
    assert!(replica.subscription(&id_of(&module)).is_none());
    assert!(matches!(replica.add(json!({})).await, Err(RegisterError::NotFound)));
    replica.install("inst-a", json!({"state": "enabled"})).await.unwrap();
    assert!(replica.subscription(&id_of(&module)).is_some());
}

#[tokio::test]
async fn installation_keeps_its_app_and_its_site() {
    let (replica, _store) = Replica::provisioned().await;
    let error = replica.install("inst-a", json!({"cloudId": "elsewhere"})).await.unwrap_err();
    assert_eq!(first_code(&error), code::FIXED);
    let error = replica.install("inst-z", json!({"app": "unknown"})).await.unwrap_err();
    assert_eq!(first_code(&error), code::NOT_PROVISIONED);
}

#[tokio::test]
async fn deleting_an_app_deletes_everything_that_belongs_to_it() {
    let (replica, store) = Replica::provisioned().await;
    let module = replica.add(json!({})).await.unwrap();
    let client = json!({"token": "token-of-a-client", "user": "u", "installation": "inst-a"});
    let client = serde_json::from_value(client).unwrap();
    assert!(replica.clients().put("client-1", client).await.unwrap().created);
    replica.apps().delete(APP).await.unwrap();
    assert!(store.keys().is_empty(), "{:?}", store.keys());
    assert!(replica.subscription(&id_of(&module)).is_none());
    assert!(replica.client_by_token(&digest("token-of-a-client")).is_none());
    assert_eq!(replica.counts(), super::Counts::default());
    assert!(matches!(replica.apps().delete(APP).await, Err(RegisterError::NotFound)));
    replica.put_forge(json!({})).await.unwrap();
    assert!(replica.install("inst-a", json!({})).await.unwrap().created);
    assert_eq!(replica.modules(), 0);
}

#[tokio::test]
async fn forge_uninstall_deletes_and_connect_uninstall_keeps_modules() {
    let (replica, _store) = Replica::provisioned().await;
    replica.installations().delete("inst-a").await.unwrap();
    assert!(replica.installation("inst-a").is_none());

    let app = json!({"kind": "connect", "baseUrl": "https://c.example"});
    let app = serde_json::from_value(app).unwrap();
    replica.apps().put(&"com.example".into(), app, &|_| Ok(())).await.unwrap();
    let connect = json!({"app": "com.example", "clientKey": "k", "sharedSecret": "secret-1"});
    assert_eq!(replica.install("inst-c", connect).await.unwrap().token, None);
    replica.installations().delete("inst-c").await.unwrap();
    let state = replica.installation("inst-c").unwrap().record.state;
    assert_eq!(state, super::InstallationState::Uninstalled);
}

#[tokio::test]
async fn sixth_property_path_of_an_installation_is_refused_wherever_the_others_are() {
    let (replica, _store) = Replica::provisioned().await;
    let paths = |keys: &[&str]| {
        let paths: Vec<_> = keys.iter().map(|k| format!("issue.properties['{k}']")).collect();
        json!({"payload": {"include": {"propertyPaths": paths}}})
    };
    let first = replica.add(paths(&["a", "b", "c"])).await.unwrap();
    replica.add(paths(&["c", "d", "e"])).await.unwrap();
    let error = replica.add(paths(&["f"])).await.unwrap_err();
    assert_eq!(first_code(&error), code::PROPERTY_PATHS_MAX);
    let spec = trigger(paths(&["c", "f"]));
    replica.forge_modules().replace(&"inst-a".into(), &first.key, spec, None).await.unwrap();
}

#[tokio::test]
async fn unsupported_and_stored_only_types_are_rejected_with_advice() {
    let (replica, _store) = Replica::provisioned().await;
    for (name, help) in [("jira:warpDrive", "trigger"), ("jira:issuePanel", "accept_inert_types")] {
        let spec = ModuleSpec { module_type: name.into(), ..trigger(json!({})) };
        let error =
            replica.forge_modules().register(&"inst-a".into(), spec, None).await.unwrap_err();
        assert_eq!(first_code(&error), code::MODULE_TYPE);
        assert!(error.to_string().contains(help), "{error}");
    }
}

#[tokio::test]
async fn document_of_a_later_format_leaves_the_last_good_one_in_place() {
    let (replica, store) = Replica::provisioned().await;
    let module = replica.add(json!({})).await.unwrap();
    let key = "inst.inst-a";
    let stored = super::Store::get(&*store, key).await.unwrap().unwrap();
    let mut document: Value = serde_json::from_slice(&stored.value).unwrap();
    document["format"] = json!(99);
    let value = serde_json::to_vec(&document).unwrap().into();
    let revision = super::Store::put(&*store, key, value, Some(stored.revision)).await.unwrap();
    let applied = async {
        while replica.revision() < revision {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(5), applied).await.unwrap();
    assert!(replica.subscription(&id_of(&module)).is_some());
    assert!(matches!(replica.add(json!({})).await, Err(RegisterError::Document { .. })));
}

/// Changes members of the stored app directly in the store, and waits until that is applied.
async fn change_stored_app(replica: &Replica, store: &MemoryStore, changes: Value) {
    let key = super::model::AppRecord::key(APP);
    let stored = super::Store::get(store, &key).await.unwrap().unwrap();
    let mut document: Value = serde_json::from_slice(&stored.value).unwrap();
    merge(&mut document, changes);
    let value = serde_json::to_vec(&document).unwrap().into();
    let revision = super::Store::put(store, &key, value, Some(stored.revision)).await.unwrap();
    let applied = async {
        while replica.revision() < revision {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(5), applied).await.unwrap();
}

#[tokio::test]
async fn events_wait_for_an_app_with_unreadable_delivery_options() {
    let (replica, store) = Replica::provisioned().await;
    let module = replica.add(json!({})).await.unwrap();
    change_stored_app(&replica, &store, json!({"delivery": {"style": "later"}})).await;
    let problems = replica.unreadable_documents();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].reason.contains("later"), "{problems:?}");
    let waiting = replica.waiting_at("cloud-1");
    assert!(waiting.iter().any(|one| one.id.as_str() == "inst-a"), "{waiting:?}");
    assert!(replica.is_waiting(&"inst-a".into()));
    change_stored_app(&replica, &store, json!({"delivery": {"style": "switchyard"}})).await;
    assert!(replica.unreadable_documents().is_empty() && !replica.is_waiting(&"inst-a".into()));
    assert_eq!(replica.state_of(&module).0, EffectiveStatus::Active);
}

#[tokio::test]
async fn invalid_stored_address_of_discovery_is_reported_in_its_status() {
    let (replica, store) = Replica::provisioned().await;
    let discovery = json!({"use": ["trigger"], "url": "nonsense", "secret": "s"});
    change_stored_app(&replica, &store, json!({"discovery": discovery})).await;
    let status = replica.discovery().refresh(&"inst-a".into()).await.unwrap();
    assert_eq!((status.failures, status.fetched_ms), (1, 0));
    assert!(status.error.unwrap().contains("relative URL"));
}

#[tokio::test]
async fn unreadable_stored_module_is_inactive_with_the_reason() {
    let (replica, store) = Replica::provisioned().await;
    let module = replica.add(json!({})).await.unwrap();
    let stored = super::Store::get(&*store, "inst.inst-a").await.unwrap().unwrap();
    let text = String::from_utf8(stored.value.to_vec()).unwrap();
    let text = text.replace("\"endpoint\":\"hook\"", "\"endpoint\":1e999");
    let value = text.into_bytes().into();
    super::Store::put(&*store, "inst.inst-a", value, Some(stored.revision)).await.unwrap();
    replica.catch_up().await;
    let (status, reason) = replica.state_of(&module);
    assert_eq!(status, EffectiveStatus::Inactive);
    assert!(reason.unwrap().contains("number out of range"));
    assert!(replica.is_waiting(&"inst-a".into()));
}
