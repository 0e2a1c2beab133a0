//! Behaviour of Connect installations: dynamic modules, static modules, dynamic webhooks.

use super::*;
use crate::clock;
use crate::registry::{ConnectModule, DynamicWebhook, SignedRequest, WebhookOwner, WebhookSpec};

const CONNECT: &str = "com.example";
const ADDRESS: &str = "https://c.example/base/hooks";

impl Replica {
    /// A replica with a Connect app installed as `inst-c` in the site `cloud-1`.
    async fn with_connect() -> (Self, Arc<MemoryStore>) {
        let store = MemoryStore::new();
        let replica = Self::over(&store).await;
        replica.put_connect(json!({})).await;
        replica.install_connect("enabled").await;
        (replica, store)
    }

    async fn put_connect(&self, statics: Value) -> Vec<String> {
        let app = json!({"kind": "connect", "baseUrl": "https://c.example/base",
            "scopes": ["READ"], "staticModules": statics});
        let app = serde_json::from_value(app).unwrap();
        let put = self.apps().put(&CONNECT.into(), app, &|_| Ok(())).await.unwrap();
        put.dropped.iter().map(ToString::to_string).collect()
    }

    async fn install_connect(&self, state: &str) {
        let changes =
            json!({"app": CONNECT, "clientKey": "k", "sharedSecret": "secret-1", "state": state});
        self.install("inst-c", changes).await.unwrap();
    }

    async fn add_hooks(&self, keys: &[&str]) -> Result<(), RegisterError> {
        let modules: Vec<_> = keys.iter().map(|key| hook(key)).collect();
        self.connect_modules().register(&"inst-c".into(), &modules, &signed(keys)).await
    }

    async fn add_webhooks(&self, specs: &[Value]) -> Vec<Result<u64, Vec<String>>> {
        let specs = specs.iter().map(WebhookSpec::read).collect();
        self.dynamic_webhooks().register(&owner(), ADDRESS, specs).await.unwrap()
    }

    fn connect_state(&self, key: &str) -> EffectiveStatus {
        self.installation("inst-c").unwrap().module(key).unwrap().effective_status
    }

    fn keys(&self) -> Vec<String> {
        let installation = self.installation("inst-c").unwrap();
        installation.record.modules.iter().map(|module| module.key.to_string()).collect()
    }

    fn is_live(&self, key: &str) -> bool {
        let id = SubscriptionId { installation: "inst-c".into(), key: key.into() };
        self.subscription(&id).is_some()
    }
}

fn hook(key: &str) -> ConnectModule {
    let data = json!({"key": key, "event": "jira:issue_created", "url": "/h"});
    let data = data.as_object().unwrap().clone();
    ConnectModule { module_type: "webhooks".into(), data, path: "webhooks[0]".into() }
}

/// A request that was not sent before.
fn signed(keys: &[&str]) -> SignedRequest {
    SignedRequest::new(
        &uuid::Uuid::new_v4().to_string(),
        keys.concat().as_bytes(),
        i64::MAX,
        i64::MAX,
    )
}

fn owner() -> WebhookOwner {
    WebhookOwner { installation: "inst-c".into(), user: None, signed: None }
}

fn spec(jql: &str) -> Value {
    json!({"events": ["jira:issue_created"], "jqlFilter": jql})
}

#[tokio::test]
async fn a_new_version_with_a_registered_key_removes_modules_and_keeps_webhooks() {
    let (replica, _store) = Replica::with_connect().await;
    replica.add_hooks(&["one", "two"]).await.unwrap();
    replica.add_webhooks(&[spec("project != EMPTY")]).await;
    let fixed =
        |key: &str| json!({"webhooks": [{"key": key, "event": "jira:issue_deleted", "url": "/s"}]});
    assert!(replica.put_connect(fixed("other")).await.is_empty());
    assert_eq!(replica.put_connect(fixed("one")).await, ["inst-c/one", "inst-c/two"]);
    assert_eq!(replica.keys(), ["webhook-1"]);
    assert!(replica.is_live("one"), "the app's own");
    let dropped = replica.installation("inst-c").unwrap().record.dropped.clone().unwrap();
    assert_eq!(dropped.keys, ["one".into(), "two".into()]);
    // A version without clashes keeps the record of the last removal.
    assert!(replica.put_connect(fixed("one")).await.is_empty());
    let kept = replica.installation("inst-c").unwrap().record.dropped.clone();
    assert_eq!(kept, Some(dropped));
}

#[tokio::test]
async fn reinstalled_app_finds_its_modules_and_webhooks_as_they_were() {
    let (replica, _store) = Replica::with_connect().await;
    replica.add_hooks(&["one"]).await.unwrap();
    replica.add_webhooks(&[spec("project = A")]).await;
    replica.installations().delete("inst-c").await.unwrap();
    assert!(!replica.is_live("one") && !replica.is_live("webhook-1"));
    assert!(matches!(replica.add_hooks(&["two"]).await, Err(RegisterError::NotFound)));
    replica.install_connect("enabled").await;
    assert!(replica.is_live("one") && replica.is_live("webhook-1"));
}

#[tokio::test]
async fn limit_counts_all_modules_of_a_request_and_no_webhooks() {
    let (replica, _store) = Replica::with_connect().await;
    replica.add_webhooks(&[spec("project != EMPTY"), spec("project != EMPTY")]).await;
    let keys: Vec<String> = (0..10).map(|number| format!("k{number}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    replica.add_hooks(&keys[..8]).await.unwrap();
    let error = replica.add_hooks(&["a", "b", "c"]).await.unwrap_err();
    assert_eq!(first_code(&error), code::MODULES_MAX);
    replica.add_hooks(&keys[8..]).await.unwrap();
    assert_eq!(first_code(&replica.add_hooks(&["a"]).await.unwrap_err()), code::MODULES_MAX);
}

#[tokio::test]
async fn modules_registered_at_once_under_one_key_are_one() {
    let (replica, _store) = Replica::with_connect().await;
    let replica = Arc::new(replica);
    let mut calls = JoinSet::new();
    for number in 0..8 {
        let replica = Arc::clone(&replica);
        calls.spawn(
            async move { replica.add_hooks(&["same", &format!("own-{number}")]).await.is_ok() },
        );
    }
    let accepted = calls.join_all().await.into_iter().filter(|accepted| *accepted).count();
    assert_eq!((accepted, replica.keys().len()), (1, 2));
}

#[tokio::test]
async fn static_webhooks_are_checked_and_live() {
    let (replica, _store) = Replica::with_connect().await;
    let app = json!({"kind": "connect", "baseUrl": "https://c.example", "staticModules": {
        "webhooks": [{"key": "w", "event": "e", "url": "/s", "filter": "summary ~ x"}]}});
    let app = serde_json::from_value(app).unwrap();
    let error = replica.apps().put(&CONNECT.into(), app, &|_| Ok(())).await.unwrap_err();
    assert_eq!(first_code(&error), "SY-3501");
}

#[tokio::test]
async fn webhooks_have_results_of_their_own_and_ids_that_are_not_used_again() {
    let (replica, _store) = Replica::with_connect().await;
    let results = replica
        .add_webhooks(&[
            spec("project = A"),
            spec("foo = 1"),
            spec("project != EMPTY"),
            json!({"events": []}),
        ])
        .await;
    assert_eq!((&results[0], &results[2]), (&Ok(1), &Ok(2)));
    assert_eq!(results[1], Err(vec!["The clause foo is unsupported".to_owned()]));
    assert!(results[3].is_err());
    replica.dynamic_webhooks().remove(&owner(), &[2, 99]).await.unwrap();
    assert_eq!(replica.add_webhooks(&[spec("project != EMPTY")]).await, [Ok(3)]);
    // Another app in the same site.
    replica
        .install("inst-d", json!({"app": CONNECT, "clientKey": "k", "sharedSecret": "secret-1"}))
        .await
        .unwrap();
    let other = WebhookOwner { installation: "inst-d".into(), ..owner() };
    let specs = vec![WebhookSpec::read(&spec("project != EMPTY"))];
    assert_eq!(replica.dynamic_webhooks().register(&other, ADDRESS, specs).await.unwrap(), [Ok(4)]);
}

#[tokio::test]
async fn webhook_address_is_one_and_under_the_base_of_the_app() {
    let (replica, _store) = Replica::with_connect().await;
    let put = async |url: &str| {
        let specs = vec![WebhookSpec::read(&spec("project != EMPTY"))];
        replica.dynamic_webhooks().register(&owner(), url, specs).await.is_ok()
    };
    for foreign in [
        "https://c.example/other",
        "https://c.example/basement",
        "https://c.example:444/base/h",
        "http://c.example/base/h",
        "https://c.example.evil/base/h",
        "https://x@c.example/base/h",
        "https://c.example/base/../h",
        "nonsense",
    ] {
        assert!(!put(foreign).await, "{foreign}");
    }
    assert!(put(ADDRESS).await && put(ADDRESS).await);
    assert!(!put("https://c.example/base/second").await);
}

#[tokio::test]
async fn users_of_an_oauth_app_have_their_own_webhooks_and_bound() {
    let (replica, _store) = Replica::with_connect().await;
    let user = |name: &str| WebhookOwner { user: Some(name.into()), ..owner() };
    let put = async |name: &str| {
        let specs = vec![WebhookSpec::read(&spec("project != EMPTY")); 4];
        let results =
            replica.dynamic_webhooks().register(&user(name), ADDRESS, specs).await.unwrap();
        results.into_iter().filter(Result::is_ok).count()
    };
    assert_eq!((put("a").await, put("a").await, put("b").await), (4, 1, 4));
    assert_eq!(replica.dynamic_webhooks().list(&user("a")).len(), 5);
    assert!(replica.dynamic_webhooks().list(&owner()).is_empty());
    let first_of_b = replica.dynamic_webhooks().list(&user("b"))[0].id;
    replica.dynamic_webhooks().remove(&user("a"), &[first_of_b]).await.unwrap();
    assert_eq!(replica.dynamic_webhooks().list(&user("b")).len(), 4);
}

/// Sets the expiry of all webhooks directly in the store.
async fn end_at(store: &MemoryStore, at_ms: i64) {
    let stored = crate::registry::Store::get(store, "inst.inst-c").await.unwrap().unwrap();
    let mut document: Value = serde_json::from_slice(&stored.value).unwrap();
    for module in document["modules"].as_array_mut().unwrap() {
        module["data"]["expirationDate"] = json!(at_ms);
    }
    let value = serde_json::to_vec(&document).unwrap().into();
    crate::registry::Store::put(store, "inst.inst-c", value, Some(stored.revision)).await.unwrap();
}

#[tokio::test]
async fn webhook_expires_by_itself_and_a_refresh_restores_it() {
    let (replica, store) = Replica::with_connect().await;
    replica.add_webhooks(&[spec("project != EMPTY")]).await;
    end_at(&store, clock::now_ms() + 300).await;
    let ended = async {
        while replica.connect_state("webhook-1") != EffectiveStatus::Expired {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(5), ended).await.unwrap();
    assert!(!replica.is_live("webhook-1"));
    assert_eq!(replica.counts().expired, 1);
    assert_eq!(replica.dynamic_webhooks().list(&owner()).len(), 1, "it can still be seen");
    let end = replica.dynamic_webhooks().refresh(&owner(), &[1, 7]).await.unwrap();
    assert!(end > clock::now_ms() + 29 * 24 * 3_600_000);
    assert!(replica.is_live("webhook-1"));
    assert_eq!((replica.counts().expired, replica.counts().active), (0, 1));
}

#[tokio::test]
async fn expired_webhooks_are_restored_only_within_the_limits_for_new_ones() {
    let (replica, store) = Replica::with_connect().await;
    let user = WebhookOwner { user: Some("a".into()), ..owner() };
    let add = async |url: &str, count: usize| {
        let specs = vec![WebhookSpec::read(&spec("project != EMPTY")); count];
        replica.dynamic_webhooks().register(&user, url, specs).await.map(|results| results.len())
    };
    let live = || {
        let is_live = |w: &DynamicWebhook| w.expiration_date > clock::now_ms();
        replica.dynamic_webhooks().list(&user).iter().filter(|webhook| is_live(webhook)).count()
    };
    let elsewhere = "https://c.example/base/elsewhere";
    assert_eq!(add(elsewhere, 1).await.unwrap(), 1);
    end_at(&store, clock::now_ms() - 2).await;
    assert_eq!(add(ADDRESS, 5).await.unwrap(), 5);
    end_at(&store, clock::now_ms() - 1).await;
    assert_eq!(add(ADDRESS, 3).await.unwrap(), 3);
    let all: Vec<u64> =
        replica.dynamic_webhooks().list(&user).iter().map(|webhook| webhook.id).collect();
    assert_eq!((all.len(), live()), (9, 3));
    replica.dynamic_webhooks().refresh(&user, &all).await.unwrap();
    assert_eq!(live(), 5, "as many as a user of an app may have");
    assert!(replica.dynamic_webhooks().list(&user).iter().any(|w| w.url == elsewhere));
    assert!(add(elsewhere, 1).await.is_err(), "all that live have one address");
    let before = replica.revision();
    replica.dynamic_webhooks().refresh(&user, &[u64::MAX]).await.unwrap();
    assert_eq!(replica.revision(), before, "nothing to write");
}

#[tokio::test]
async fn webhook_is_changed_in_place() {
    let (replica, _store) = Replica::with_connect().await;
    replica.add_webhooks(&[spec("project = A")]).await;
    let [before]: [DynamicWebhook; 1] =
        replica.dynamic_webhooks().list(&owner()).try_into().unwrap();
    let new = WebhookSpec::read(&spec("project = B")).unwrap();
    let changed = replica.dynamic_webhooks().change(&owner(), 1, new.clone()).await.unwrap();
    assert_eq!(changed, DynamicWebhook { jql_filter: "project = B".into(), ..before });
    assert!(matches!(
        replica.dynamic_webhooks().change(&owner(), 2, new).await,
        Err(RegisterError::NotFound)
    ));
    let wrong = WebhookSpec::read(&spec("foo = 1")).unwrap();
    assert!(replica.dynamic_webhooks().change(&owner(), 1, wrong).await.is_err());
}

#[tokio::test]
async fn new_shared_secret_signs_from_then_on() {
    let (replica, _store) = Replica::with_connect().await;
    replica.add_hooks(&["one"]).await.unwrap();
    let changes = json!({"app": CONNECT, "clientKey": "k", "sharedSecret": "secret-new"});
    replica.install("inst-c", changes).await.unwrap();
    let id = SubscriptionId { installation: "inst-c".into(), key: "one".into() };
    let subscription = replica.subscription(&id).unwrap();
    let Handler::Webhook(webhook) = &*subscription.owner.settings.handler else {
        panic!("a webhook")
    };
    assert_eq!(webhook.secret.reveal(), "secret-new");
}
