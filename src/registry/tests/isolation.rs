//! Changes of one site, however long they take, delay those of no other.

use std::sync::mpsc;

use super::*;
use crate::matcher::Matcher;

const LIMIT: Duration = Duration::from_secs(60);

/// A replica with installations `slow` and `quick` on different sites, and its matcher.
async fn two_sites() -> (Replica, Arc<MemoryStore>, Arc<Matcher>) {
    let store = MemoryStore::new();
    let matcher = Arc::new(Matcher::default());
    let shared = Arc::clone(&store) as Arc<dyn crate::registry::Store>;
    let registry = Arc::new(Registry::new(shared, Arc::clone(&matcher), settings()));
    let mut run = JoinSet::new();
    run.spawn(Arc::clone(&registry).run());
    timeout(LIMIT, registry.wait_until_ready()).await.unwrap();
    let replica = Replica { registry, _run: run };
    replica.put_forge(json!({})).await.unwrap();
    for id in ["slow", "quick"] {
        replica.install(id, json!({"cloudId": format!("site-of-{id}")})).await.unwrap();
    }
    (replica, store, matcher)
}

impl Replica {
    async fn register(&self, id: &str, key: &str) -> Result<ModuleRecord, RegisterError> {
        let id = id.into();
        let registered =
            self.forge_modules().register(&id, trigger(json!({})), Some(key.into())).await;
        registered.map(|registered| registered.module)
    }

    fn has(&self, id: &str, key: &str) -> bool {
        let id = SubscriptionId { installation: id.into(), key: key.into() };
        self.subscription(&id).is_some()
    }
}

/// Blocks changes of `slow` in the matcher until the returned sender is dropped.
fn block_slow(matcher: &Arc<Matcher>) -> (mpsc::Sender<()>, std::thread::JoinHandle<()>) {
    let (release, wait) = mpsc::channel::<()>();
    let (blocked, is_blocked) = mpsc::channel();
    let matcher = Arc::clone(matcher);
    let thread = std::thread::spawn(move || {
        matcher.while_changes_wait(&"slow".into(), || {
            blocked.send(()).unwrap();
            let _ = wait.recv();
        });
    });
    is_blocked.recv_timeout(LIMIT).unwrap();
    (release, thread)
}

#[tokio::test]
async fn a_site_whose_changes_take_long_delays_no_other() {
    let (replica, _store, matcher) = two_sites().await;
    let (release, thread) = block_slow(&matcher);
    let slow = {
        let registry = Arc::clone(&replica.registry);
        tokio::spawn(async move {
            let modules = registry.forge_modules();
            modules.register(&"slow".into(), trigger(json!({})), Some("a".into())).await
        })
    };
    // The write of the slow site comes first.
    while replica.changes() == 0 || !replica.has_open_change("slow") {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let behind = replica.revision();
    for key in ["a", "b", "c"] {
        timeout(LIMIT, replica.register("quick", key)).await.unwrap().unwrap();
        assert!(replica.has("quick", key) && !replica.has("slow", "a"));
    }
    assert_eq!(replica.revision(), behind, "the slow change is not applied");
    drop(release);
    thread.join().unwrap();
    // The answer may have been that it is stored and not applied in time.
    let _ = slow.await.unwrap();
    timeout(LIMIT, replica.wait_until_current()).await.unwrap();
    assert!(replica.has("slow", "a"));
    assert_eq!(replica.revision(), behind + 4);
}

#[tokio::test]
async fn changes_of_a_document_that_waits_are_applied_as_one() {
    let (replica, store, matcher) = two_sites().await;
    let other = Replica::over(&store).await;
    let (release, thread) = block_slow(&matcher);
    for key in ["a", "b", "c", "d"] {
        other.register("slow", key).await.unwrap();
    }
    other.module_status().set(&"slow".into(), &"a".into(), ModuleStatus::Off).await.unwrap();
    other.register("quick", "a").await.unwrap();
    while !replica.has("quick", "a") {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // An app and the end of an installation wait for the changes before them.
    let put = other.put_forge(json!({"name": "renamed"})).await.unwrap();
    drop(put);
    let before = replica.changes();
    drop(release);
    thread.join().unwrap();
    timeout(LIMIT, replica.wait_until_current()).await.unwrap();
    assert!(!replica.has("slow", "a") && replica.has("slow", "b") && replica.has("slow", "d"));
    // The first change of `slow`, all others of it, and at most those of `quick` and the app.
    let applied = replica.changes() - before;
    assert!(applied <= 4, "{applied} changes were applied");
    assert_eq!(replica.revision(), other.revision());
}
