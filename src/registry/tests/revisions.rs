//! Revisions of modules: what is stored of a change, what a comparison adds, and what is read.

use super::connect::{connected, end_at, owner};
use super::*;
use crate::clock;
use crate::registry::testing::MemoryRevisions;
use crate::registry::{
    InstallationState, ModuleRevision, RevisedState, RevisionDiff, RevisionError, RevisionMoment,
};

mod bounds;

/// A replica that stores revisions in `log` and compares documents with them.
async fn revised(store: &Arc<MemoryStore>, log: &Arc<MemoryRevisions>) -> Replica {
    let mut replica = Replica::over(store).await;
    replica.set_revision_log(Arc::clone(log) as Arc<dyn super::super::RevisionLog>);
    let registry = Arc::clone(&replica.registry);
    replica._run.spawn(registry.run_background_tasks());
    replica
}

async fn provisioned() -> (Replica, Arc<MemoryStore>, Arc<MemoryRevisions>) {
    let (store, log) = (MemoryStore::new(), Arc::<MemoryRevisions>::default());
    let replica = revised(&store, &log).await;
    replica.put_forge(json!({})).await.unwrap();
    replica.install("inst-a", json!({})).await.unwrap();
    (replica, store, log)
}

fn states(log: &MemoryRevisions, key: &str) -> Vec<RevisedState> {
    log.of(key).iter().map(|revision| revision.state).collect()
}

/// Waits until the revisions of a module have these states.
async fn until_states(log: &MemoryRevisions, key: &str, expected: &[RevisedState]) {
    let reached = async {
        while states(log, key) != expected {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let reached = timeout(Duration::from_secs(20), reached).await;
    assert!(reached.is_ok(), "{:?} instead of {expected:?}", states(log, key));
}

/// Waits until the documents that were noted so far are compared.
async fn until_compared(replica: &Replica) {
    let checks = &replica.context_for_tests().replica.revision_checks;
    let compared = async {
        while checks.waiting() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), compared).await.unwrap();
}

fn id(key: &str) -> SubscriptionId {
    SubscriptionId { installation: "inst-a".into(), key: key.into() }
}

fn filter(text: &str) -> Value {
    json!({"filter": {"expression": text}})
}

#[tokio::test]
async fn a_revision_is_stored_when_filter_events_or_state_change_and_not_otherwise() {
    let (replica, _store, log) = provisioned().await;
    replica.add_as(Some("k"), filter("true")).await.unwrap();
    let replace = async |changes: Value| {
        let spec = trigger(changes);
        replica.forge_modules().replace(&"inst-a".into(), &"k".into(), spec, None).await.unwrap()
    };
    replace(filter("true || false")).await;
    // Another handler is no revision.
    let mut other = filter("true || false");
    merge(&mut other, json!({"endpoint": null, "function": "main"}));
    replace(other).await;
    let mut other = filter("true || false");
    merge(&mut other, json!({"events": [EVENT, "avi:jira:created:issue"]}));
    replace(other).await;
    let set = async |status| {
        replica.module_status().set(&"inst-a".into(), &"k".into(), status).await.unwrap();
    };
    for status in [ModuleStatus::Paused, ModuleStatus::Paused, ModuleStatus::On, ModuleStatus::Off]
    {
        set(status).await;
    }
    replica.installations().rotate_token("inst-a").await.unwrap();
    replica.install("inst-a", json!({"state": "disabled"})).await.unwrap();
    replica.install("inst-a", json!({})).await.unwrap();
    replica.forge_modules().remove(&"inst-a".into(), &"k".into(), None).await.unwrap();
    use RevisedState::{Deleted, Disabled, Off, On, Paused};
    assert_eq!(states(&log, "k"), [On, On, On, Paused, On, Off, Disabled, Off, Deleted]);
    let stored = log.of("k");
    assert!(stored.is_sorted_by_key(|revision| revision.document) && !stored[0].repaired);
    let diff = RevisionDiff::between(Some(&stored[0]), &stored[1]);
    let filters: Vec<_> =
        diff.changed.iter().map(|(one, two)| (&one.filter, &two.filter)).collect();
    assert_eq!(filters, [(&Some("true".into()), &Some("true || false".into()))]);
    let diff = RevisionDiff::between(Some(&stored[1]), &stored[2]);
    assert_eq!(diff.added[0].event_type, "avi:jira:created:issue");
    assert!(diff.removed.is_empty() && diff.changed.is_empty());
    let removal = RevisionDiff::between(Some(&stored[7]), &stored[8]);
    assert_eq!((removal.removed.len(), removal.state), (2, Deleted));
    // One write for each, and no read.
    assert_eq!(log.operations(), (9, 0));
}

#[tokio::test]
async fn a_refresh_stores_no_revision_and_an_expiry_one() {
    let (store, log) = (MemoryStore::new(), Arc::<MemoryRevisions>::default());
    let [one, two] = [revised(&store, &log).await, revised(&store, &log).await];
    connected(&one).await;
    one.dynamic_webhooks().refresh(&owner(), &[1]).await.unwrap();
    until_compared(&one).await;
    assert_eq!(states(&log, "webhook-1"), [RevisedState::On]);
    let ends_ms = clock::now_ms() + 300;
    end_at(&store, ends_ms).await;
    until_states(&log, "webhook-1", &[RevisedState::On, RevisedState::Expired]).await;
    until_compared(&one).await;
    until_compared(&two).await;
    let [on, expired]: [ModuleRevision; 2] = log.of("webhook-1").try_into().unwrap();
    assert_eq!((expired.document, expired.at_ms), (on.document, ends_ms));
    // A change of another webhook does not touch it, a refresh restores it.
    one.dynamic_webhooks().refresh(&owner(), &[1]).await.unwrap();
    one.dynamic_webhooks().refresh(&owner(), &[1]).await.unwrap();
    until_compared(&one).await;
    until_compared(&two).await;
    use RevisedState::{Expired, On};
    assert_eq!(states(&log, "webhook-1"), [On, Expired, On]);
}

#[tokio::test]
async fn a_registration_succeeds_without_its_revision_which_is_stored_later() {
    let (replica, _store, log) = provisioned().await;
    replica.add_as(Some("kept"), json!({})).await.unwrap();
    log.set_broken(true);
    let module = replica.add_as(Some("k"), filter("true")).await.unwrap();
    replica.forge_modules().remove(&"inst-a".into(), &"kept".into(), None).await.unwrap();
    assert_eq!(replica.state_of(&module).0, EffectiveStatus::Active);
    assert!(log.of("k").is_empty());
    log.set_broken(false);
    until_states(&log, "k", &[RevisedState::On]).await;
    until_states(&log, "kept", &[RevisedState::On, RevisedState::Deleted]).await;
    let [revision]: [ModuleRevision; 1] = log.of("k").try_into().unwrap();
    let made = replica.subscription(&id("k")).unwrap().revision;
    assert_eq!((revision.document, revision.repaired), (made, true));
    assert_eq!(revision.at_ms, module.updated_ms);
}

#[tokio::test]
async fn a_lost_revision_is_stored_again_once_by_replicas_that_start() {
    let (replica, store, log) = provisioned().await;
    replica.add_as(Some("k"), filter("true")).await.unwrap();
    log.lose_last();
    assert!(log.of("k").is_empty());
    // It is there for readers already.
    let history = replica.revisions().history(&id("k")).await.unwrap();
    assert_eq!(history.revisions.len(), 1);
    let started = [revised(&store, &log).await, revised(&store, &log).await];
    until_states(&log, "k", &[RevisedState::On]).await;
    for replica in &started {
        until_compared(replica).await;
    }
    assert_eq!(log.of("k").len(), 1);
    // A replica that was not there when an installation was deleted finds its modules without a document.
    log.set_broken(true);
    replica.installations().delete("inst-a").await.unwrap();
    drop((replica, started));
    log.set_broken(false);
    let _started = revised(&store, &log).await;
    until_states(&log, "k", &[RevisedState::On, RevisedState::Deleted]).await;
}

#[tokio::test]
async fn the_past_is_read_by_time_and_by_revision() {
    let (replica, _store, log) = provisioned().await;
    replica.add_as(Some("k"), filter("true")).await.unwrap();
    let spec = trigger(filter("1 == 2"));
    replica.forge_modules().replace(&"inst-a".into(), &"k".into(), spec, None).await.unwrap();
    replica.forge_modules().remove(&"inst-a".into(), &"k".into(), None).await.unwrap();
    let stored = log.of("k");
    let revisions = replica.revisions();
    let history = revisions.history(&id("k")).await.unwrap();
    assert!(history.is_complete());
    assert_eq!(
        history.revisions.iter().rev().collect::<Vec<_>>(),
        stored.iter().collect::<Vec<_>>()
    );
    let at = |document: u64| RevisionMoment::Document(document);
    let found = history.as_of(at(stored[1].document - 1)).unwrap();
    assert_eq!(found, Some(&stored[0]));
    assert_eq!(history.as_of(at(stored[1].document)).unwrap(), Some(&stored[1]));
    assert_eq!(history.as_of(at(stored[2].document)).unwrap(), None);
    // A module with this key may have been registered and deleted before.
    for before in [at(stored[0].document - 1), RevisionMoment::Time(stored[0].at_ms - 1)] {
        let since_ms = Some(stored[0].at_ms);
        assert_eq!(history.as_of(before), Err(RevisionError::NotKept { since_ms }));
    }
    assert!(revisions.history(&id("never")).await.unwrap().is_empty());
    log.set_broken(true);
    let unavailable = revisions.history(&id("k")).await;
    assert!(matches!(unavailable, Err(RevisionError::Unavailable(_))));
}

#[tokio::test]
async fn a_static_module_has_revisions_of_its_app() {
    let (replica, _store, log) = provisioned().await;
    let with = |text: &str| {
        json!({"staticModules": {"trigger": [{"key": "s", "events": [EVENT],
            "endpoint": "hook", "filter": {"expression": text}}]}})
    };
    replica.put_forge(with("true")).await.unwrap();
    replica.put_forge(with("true")).await.unwrap();
    replica.put_forge(with("false")).await.unwrap();
    replica.put_forge(json!({})).await.unwrap();
    use RevisedState::{Deleted, On};
    assert_eq!(states(&log, "s"), [On, On, Deleted]);
    assert!(log.of("s").iter().all(|revision| revision.installation.is_none()));
    let history = replica.revisions().history(&id("s")).await.unwrap();
    assert_eq!(history.revisions.len(), 3, "as each installation of the app has it");
}

#[tokio::test]
async fn a_reinstalled_app_shows_when_it_was_away() {
    let (store, log) = (MemoryStore::new(), Arc::<MemoryRevisions>::default());
    let replica = revised(&store, &log).await;
    connected(&replica).await;
    replica.installations().delete("inst-c").await.unwrap();
    let uninstalled = replica.installation("inst-c").unwrap().record.state;
    assert_eq!(uninstalled, InstallationState::Uninstalled);
    connected(&replica).await;
    use RevisedState::{On, Uninstalled};
    assert_eq!(states(&log, "webhook-1"), [On, Uninstalled, On]);
}

#[tokio::test]
async fn a_delivery_of_a_static_module_names_the_revision_of_its_app() {
    let (replica, _store, _log) = provisioned().await;
    let with = |text: &str| {
        json!({"staticModules": {"trigger": [{"key": "s", "events": [EVENT],
            "endpoint": "hook", "filter": {"expression": text}}]}})
    };
    for text in ["1 == 1", "2 == 2", "3 == 3"] {
        replica.put_forge(with(text)).await.unwrap();
        // Neither does another change of the installation hide it.
        replica.add(json!({})).await.unwrap();
        let delivered = replica.subscription(&id("s")).unwrap().revision;
        let history = replica.revisions().history(&id("s")).await.unwrap();
        let found = history.as_of(RevisionMoment::Document(delivered)).unwrap().unwrap();
        assert_eq!(found.events()[0].filter.as_deref(), Some(text));
    }
}

#[tokio::test]
async fn a_static_webhook_that_is_never_delivered_is_not_shown_as_on() {
    let (store, log) = (MemoryStore::new(), Arc::<MemoryRevisions>::default());
    let replica = revised(&store, &log).await;
    connected(&replica).await;
    let webhook = |conditions: Value| json!([{"key": "s", "event": "jira:issue_updated", "url": "/s", "conditions": conditions}]);
    replica.put_webhooks(&webhook(json!([{"condition": "user_is_admin"}]))).await.unwrap();
    replica.put_webhooks(&webhook(json!([]))).await.unwrap();
    use RevisedState::{On, Undelivered};
    assert_eq!(states(&log, "s"), [Undelivered, On]);
    until_compared(&replica).await;
    assert_eq!(states(&log, "s"), [Undelivered, On]);
}
