//! Loading many documents at once, in whatever order the store sends them.

use super::*;
use crate::registry::Store;
use crate::registry::live::Live;
use crate::registry::load::Written;

const INSTALLATIONS: usize = 40;

/// The documents of a replica with a trigger in each of many installations.
async fn documents() -> (Replica, Arc<MemoryStore>, Vec<Written>) {
    let (replica, store) = Replica::provisioned().await;
    for number in 0..INSTALLATIONS {
        let id = format!("many-{number}");
        replica.install(&id, json!({"cloudId": format!("cloud-{}", number % 7)})).await.unwrap();
        let filter = json!({"expression": format!("event.issue.key == 'A-{}'", number % 5)});
        let spec = trigger(json!({"filter": filter}));
        replica.register(&id.as_str().into(), spec, None).await.unwrap();
    }
    let mut documents = Vec::new();
    for key in store.keys() {
        let stored = store.get(&key).await.unwrap().unwrap();
        documents.push(Written { key, value: stored.value, revision: stored.revision });
    }
    (replica, store, documents)
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
            live.modules.iter().map(|module| (module.id.clone(), module.state)).collect::<Vec<_>>()
        };
        assert_eq!(modules(&second), modules(&first));
    }
}

#[tokio::test]
async fn an_app_may_come_behind_its_installations_and_a_document_twice() {
    let (first, _store, mut documents) = documents().await;
    documents.reverse();
    let family = |document: &Written| document.key.split('.').next().map(str::to_owned);
    assert_eq!(family(documents.last().unwrap()).as_deref(), Some("app"));
    documents.insert(1, documents[0].clone());
    let matcher = Arc::new(Matcher::default());
    let live = Live::new(Arc::clone(&matcher), &Settings::default());
    live.put_many(&documents);
    assert_eq!(live.counts(), first.counts());
    let id = SubscriptionId { installation: "many-3".into(), key: first_key(&first, "many-3") };
    assert!(live.subscription(&id).is_some());
    assert!(matcher.not_matched(&id).is_some());
}

#[tokio::test]
async fn a_document_that_cannot_be_read_holds_up_no_other() {
    let (first, _store, mut documents) = documents().await;
    let broken = documents.iter().position(|document| document.key.contains("many-3")).unwrap();
    documents[broken].value = "{".into();
    let live = Live::new(Arc::default(), &Settings::default());
    live.put_many(&documents);
    assert_eq!(live.counts().active, first.counts().active - 1);
}

fn first_key(replica: &Replica, installation: &str) -> crate::domain::ModuleKey {
    replica.installation(installation).unwrap().modules[0].id.key.clone()
}
