//! Loading many documents at once, in any order.

use tokio::sync::mpsc;

use super::*;

use crate::registry::replica::{DocumentWrite, StateWriter};
use crate::registry::testing::connect_installation;
use crate::registry::{Store, StoreError, StoredDocument, WatchEvent};

const INSTALLATIONS: usize = 40;

/// The documents of a replica with a trigger in each of many installations.
async fn documents() -> (Replica, Arc<MemoryStore>, Vec<DocumentWrite>) {
    let (replica, store) = Replica::provisioned().await;
    for number in 0..INSTALLATIONS {
        let id = format!("many-{number}");
        replica.install(&id, json!({"cloudId": format!("cloud-{}", number % 7)})).await.unwrap();
        let filter = json!({"expression": format!("event.issue.key == 'A-{}'", number % 5)});
        let spec = trigger(json!({"filter": filter}));
        replica.forge_modules().register(&id.as_str().into(), spec, None).await.unwrap();
    }
    let mut documents = Vec::new();
    for key in store.keys() {
        let stored = store.get(&key).await.unwrap().unwrap();
        documents.push(DocumentWrite { key, value: stored.value, revision: stored.revision });
    }
    (replica, store, documents)
}

#[tokio::test]
async fn installations_at_a_site_are_those_of_every_product() {
    let (replica, _store, _) = documents().await;
    replica.install("wiki", json!({"cloudId": "cloud-3", "product": "confluence"})).await.unwrap();
    let at = replica.installations_at(&"cloud-3".into());
    let at: Vec<&str> = at.iter().map(|id| id.as_str()).collect();
    assert_eq!(at, ["many-10", "many-17", "many-24", "many-3", "many-31", "many-38", "wiki"]);
    assert!(replica.installations_at(&"nowhere".into()).is_empty());
}

#[tokio::test]
async fn a_second_replica_loads_what_the_first_holds() {
    let (first, store, _) = documents().await;
    let second = Replica::over(&store).await;
    assert_eq!(second.counts(), first.counts());
    assert_eq!(second.revision(), first.revision());
    for number in 0..INSTALLATIONS {
        let id = format!("many-{number}");
        let modules = |replica: &Replica| {
            let live = replica.installation(&id).unwrap();
            live.modules
                .iter()
                .map(|module| (module.id.clone(), module.effective_status))
                .collect::<Vec<_>>()
        };
        assert_eq!(modules(&second), modules(&first));
    }
}

#[tokio::test]
async fn an_app_may_follow_its_installations_and_a_document_may_repeat() {
    let (first, _store, mut documents) = documents().await;
    documents.reverse();
    let family = |document: &DocumentWrite| document.key.split('.').next().map(str::to_owned);
    assert_eq!(family(documents.last().unwrap()).as_deref(), Some("app"));
    documents.insert(1, documents[0].clone());
    let matcher = Arc::new(Matcher::default());
    let writer = StateWriter::new(Arc::clone(&matcher), &settings());
    writer.apply_writes(&documents);
    assert_eq!(writer.handle().state.counts(), first.counts());
    let id = SubscriptionId { installation: "many-3".into(), key: first_key(&first, "many-3") };
    assert!(writer.handle().state.subscription(&id).is_some());
    assert!(matcher.not_matched(&id).is_some());
}

#[tokio::test]
async fn an_unreadable_document_does_not_block_others() {
    let (first, _store, mut documents) = documents().await;
    let broken = documents.iter().position(|document| document.key.contains("many-3")).unwrap();
    documents[broken].value = "{".into();
    let writer = StateWriter::new(Arc::default(), &settings());
    writer.apply_writes(&documents);
    assert_eq!(writer.handle().state.counts().active, first.counts().active - 1);
}

fn first_key(replica: &Replica, installation: &str) -> crate::domain::ModuleKey {
    replica.installation(installation).unwrap().modules[0].id.key.clone()
}

/// A store that sends scripted events.
struct ScriptedStore(tokio::sync::Mutex<mpsc::Receiver<WatchEvent>>);

impl Store for ScriptedStore {
    fn get<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<StoredDocument>, StoreError>> {
        Box::pin(async { Ok(None) })
    }

    fn put<'a>(
        &'a self,
        _: &'a str,
        _: Bytes,
        _: Option<u64>,
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        Box::pin(async { Err(StoreError::Conflict) })
    }

    fn delete<'a>(&'a self, _: &'a str, _: u64) -> BoxFuture<'a, Result<u64, StoreError>> {
        Box::pin(async { Err(StoreError::Conflict) })
    }

    fn last_revision(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async { Ok(0) })
    }

    fn watch(&self, changes: mpsc::Sender<WatchEvent>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let mut script = self.0.lock().await;
            while let Some(change) = script.recv().await {
                changes.send(change).await.unwrap();
            }
        })
    }
}

#[tokio::test]
async fn revision_continues_through_a_load_and_restarts_with_another_store() {
    let (events, script) = mpsc::channel(16);
    let store = Arc::new(ScriptedStore(script.into()));
    let registry = Arc::new(Registry::new(store, Arc::default(), settings()));
    let _run = JoinSet::from_iter([Arc::clone(&registry).run()]);
    let installation = |revision| {
        let value = serde_json::to_vec(&connect_installation()).unwrap().into();
        WatchEvent::Put { key: "inst.inst-c".into(), value, revision }
    };
    // Applied and published: revision 0 lasts only until the first change of a new store.
    let applied = async |revision| {
        let is_applied = || registry.installation("inst-c").is_some_and(|i| i.revision == revision);
        let applied = async {
            while !is_applied() || registry.revision() == 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(5), applied).await.unwrap();
        registry.revision()
    };
    for change in [
        WatchEvent::LoadStarted { is_reset: true },
        installation(4),
        WatchEvent::CaughtUp { revision: 7 },
    ] {
        events.send(change).await.unwrap();
    }
    registry.wait_until_ready().await;
    assert_eq!(applied(4).await, 7);
    events.send(WatchEvent::LoadStarted { is_reset: false }).await.unwrap();
    events.send(installation(5)).await.unwrap();
    assert_eq!(applied(5).await, 7, "the table is the old one or newer");
    events.send(WatchEvent::LoadStarted { is_reset: true }).await.unwrap();
    events.send(installation(2)).await.unwrap();
    assert_eq!(applied(2).await, 2, "what was confirmed before is another store's");
}

#[tokio::test]
async fn changes_of_the_retention_of_bodies_are_counted_and_others_are_not() {
    let (replica, _store) = Replica::provisioned().await;
    let put = async |body: serde_json::Value| {
        replica.install("i1", body).await.unwrap();
        replica.retention_changes()
    };
    assert_eq!(put(json!({"cloudId": "c"})).await, 0);
    for (days, changes) in [(7, 1), (7, 1), (1, 2)] {
        let retention = json!({"bodiesDays": days});
        assert_eq!(put(json!({"cloudId": "c", "retention": retention})).await, changes, "{days}");
    }
    assert_eq!(put(json!({"cloudId": "c"})).await, 3);
}
