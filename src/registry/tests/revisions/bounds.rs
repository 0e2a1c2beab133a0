//! What is deleted of the revisions of deleted modules; an owner that fails does not hold up others.

use super::*;

const DAY_MS: i64 = 24 * 3600 * 1000;

/// A deleted module of an installation, as it was stored `ago_ms` ago.
fn deleted(installation: &str, key: &str, ago_ms: i64) -> ModuleRevision {
    let record = json!({"v": 1, "installation": installation, "app": APP, "key": key,
        "type": "trigger", "document": 1, "atMs": clock::broker_now_ms() - ago_ms,
        "state": "deleted"});
    ModuleRevision::read(record.to_string().as_bytes()).unwrap()
}

/// Waits until the stream has revisions of these keys only.
async fn until_keys(log: &MemoryRevisions, expected: &[&str]) {
    let reached = async {
        while log.keys() != expected {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let reached = timeout(Duration::from_secs(30), reached).await;
    assert!(reached.is_ok(), "{:?} instead of {expected:?}", log.keys());
}

#[tokio::test]
async fn one_replica_keeps_the_revisions_of_at_most_256_deleted_modules() {
    let (replica, _store, log) = provisioned().await;
    for number in 0..300 {
        let key = format!("k-{number}");
        replica.add_as(Some(&key), json!({})).await.unwrap();
        let key = key.as_str().into();
        replica.forge_modules().remove(&"inst-a".into(), &key, None).await.unwrap();
    }
    replica.add_as(Some("live"), json!({})).await.unwrap();
    assert_eq!(log.keys().len(), 301);
    let bounded = async {
        while log.keys().len() > 257 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(Duration::from_secs(20), bounded).await.is_ok(), "{}", log.keys().len());
    assert!(log.of("k-0").is_empty(), "the first deleted ones go first");
    assert_eq!((log.of("k-299").len(), log.of("live").len()), (2, 1));
}

#[tokio::test]
async fn a_start_deletes_what_is_stored_of_modules_deleted_long_ago() {
    let (replica, store, log) = provisioned().await;
    replica.add_as(Some("live"), json!({})).await.unwrap();
    drop(replica);
    log.add(&deleted("inst-a", "old", 91 * DAY_MS));
    log.add(&deleted("inst-a", "recent", 89 * DAY_MS));
    log.add(&deleted("inst-removed", "old-of-removed", 91 * DAY_MS));
    log.add(&deleted("inst-removed", "recent-of-removed", 89 * DAY_MS));
    // The first listing fails, too.
    log.set_broken(true);
    let replica = revised(&store, &log).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    log.set_broken(false);
    until_keys(&log, &["live", "recent", "recent-of-removed"]).await;
    until_compared(&replica).await;
    until_keys(&log, &["live", "recent", "recent-of-removed"]).await;
}

#[tokio::test]
async fn a_deletion_that_was_stored_before_the_last_change_is_found_and_deleted_in_time() {
    let (replica, store, log) = provisioned().await;
    drop(replica);
    let deletion = ModuleRevision { document: 2, ..deleted("inst-a", "k", 91 * DAY_MS) };
    let change = ModuleRevision { document: 1, state: RevisedState::On, ..deletion.clone() };
    log.add(&deletion);
    log.add(&change);
    let _replica = revised(&store, &log).await;
    until_keys(&log, &[]).await;
}

#[tokio::test]
async fn a_stream_that_is_nearly_full_keeps_deleted_modules_for_a_day() {
    let (replica, store, log) = provisioned().await;
    replica.add_as(Some("live"), json!({})).await.unwrap();
    drop(replica);
    log.add(&deleted("inst-removed", "two-days", 2 * DAY_MS));
    log.add(&deleted("inst-removed", "an-hour", DAY_MS / 24));
    log.set_max(3);
    let _replica = revised(&store, &log).await;
    until_keys(&log, &["an-hour", "live"]).await;
}

#[tokio::test]
async fn an_owner_that_fails_or_is_ahead_holds_up_no_other() {
    let (replica, store, log) = provisioned().await;
    for owner in ["inst-broken", "inst-ahead"] {
        replica.install(owner, json!({})).await.unwrap();
        let spec = trigger(json!({}));
        let key = Some(owner.into());
        replica.forge_modules().register(&owner.into(), spec, key).await.unwrap();
    }
    replica.add_as(Some("k"), json!({})).await.unwrap();
    drop(replica);
    log.lose("k");
    log.lose("inst-broken");
    log.set_broken_owners(&["inst-broken"]);
    let ahead = ModuleRevision { document: 1_000_000, ..log.of("inst-ahead")[0].clone() };
    log.add(&ahead);
    let _replica = revised(&store, &log).await;
    until_states(&log, "k", &[RevisedState::On]).await;
    assert_eq!(states(&log, "inst-broken"), []);
    log.set_broken_owners(&[]);
    until_states(&log, "inst-broken", &[RevisedState::On]).await;
    assert_eq!(log.of("inst-ahead").len(), 2, "left alone");
}

#[tokio::test]
async fn an_owner_whose_revisions_are_refused_does_not_defer_those_of_others() {
    let (replica, _store, log) = provisioned().await;
    replica.install("inst-broken", json!({})).await.unwrap();
    log.set_broken_owners(&["inst-broken"]);
    let spec = trigger(json!({}));
    replica.forge_modules().register(&"inst-broken".into(), spec, None).await.unwrap();
    replica.add_as(Some("k"), json!({})).await.unwrap();
    let [revision]: [ModuleRevision; 1] = log.of("k").try_into().unwrap();
    assert!(!revision.repaired, "it was stored with its change");
}
