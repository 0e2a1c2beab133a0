//! Behaviour of Connect installations: dynamic modules, static modules, dynamic webhooks.

use super::*;
use crate::clock;
use crate::domain::{Secret, WebhookSigner};
use crate::registry::{
    ClientPut, ClientUser, ConnectModule, DynamicWebhook, SignedRequest, Suggestions, WEBHOOKS,
    WebhookOwner, WebhookSpec,
};

mod ended_clients;

fn read_webhook(element: &Value) -> Result<WebhookSpec, Vec<String>> {
    WebhookSpec::read(element, &Suggestions::default())
}

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
        let specs = specs.iter().map(read_webhook).collect();
        self.dynamic_webhooks().register(&owner(), ADDRESS, specs).await.unwrap()
    }

    pub(super) async fn put_webhooks(&self, webhooks: &Value) -> Result<AppPut, RegisterError> {
        let app = json!({"kind": "connect", "baseUrl": "https://c.example", "staticModules": {
            "webhooks": webhooks}});
        let app = serde_json::from_value(app).unwrap();
        self.apps().put(&CONNECT.into(), app, &|_| Ok(())).await
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

/// Installs a Connect app with one webhook as `inst-c`; the webhook stays if it is there.
pub(super) async fn connected(replica: &Replica) {
    replica.put_connect(json!({})).await;
    replica.install_connect("enabled").await;
    if replica.keys().is_empty() {
        replica.add_webhooks(&[spec("project != EMPTY")]).await;
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

fn client_user(client: &str, user: &str) -> ClientUser {
    ClientUser { client: client.into(), user: user.into() }
}

pub(super) fn owner() -> WebhookOwner {
    WebhookOwner { installation: "inst-c".into(), client: None, signed: None }
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
async fn malformed_static_webhooks_are_refused() {
    let (replica, _store) = Replica::with_connect().await;
    for (webhook, path) in [
        (json!({"url": "/s", "conditions": [{"condition": "user_is_admin"}]}), "event"),
        (json!({"event": "e", "filter": "summary ~ x"}), "url"),
        (json!({"event": "e", "url": "/s", "filter": ["summary ~ x"]}), "filter"),
        (json!({"event": "e", "url": "/s", "conditions": {"condition": "a"}}), "conditions"),
        (json!({"event": "e", "url": "/s", "conditions": [{"or": ["a"]}]}), "conditions[0].or[0]"),
    ] {
        let problems = replica.put_webhooks(&json!([webhook])).await.unwrap_err();
        let RegisterError::Invalid(problems) = problems else { panic!("{webhook}") };
        let paths: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, [format!("staticModules.webhooks[0].{path}")], "{webhook}");
    }
}

#[tokio::test]
async fn static_webhook_that_cannot_be_decided_is_listed_and_never_delivered() {
    let (replica, _store) = Replica::with_connect().await;
    let put = replica
        .put_webhooks(&json!([
            {"key": "plain", "event": "jira:issue_updated", "url": "/s"},
            {"key": "user", "event": "jira:issue_updated", "url": "/s",
                "conditions": [{"condition": "addon_is_licensed"}, {"condition": "user_is_admin"}]},
            {"key": "jql", "event": "jira:issue_created", "url": "/s",
                "filter": "labels = x ORDER BY created"},
            {"key": "licensed", "event": "jira:issue_updated", "url": "/s",
                "conditions": [{"condition": "addon_is_licensed"}]},
        ]))
        .await
        .unwrap();
    let said: Vec<_> = put.warnings.iter().map(|w| (w.path.as_str(), w.code.as_str())).collect();
    let at = |index: usize| format!("staticModules.webhooks[{index}]");
    assert_eq!(said[0], (at(1).as_str(), code::UNDELIVERED));
    assert_eq!(said[1], (format!("{}.conditions", at(1)).as_str(), code::CONDITION));
    assert_eq!(said[2], (at(2).as_str(), code::UNDELIVERED));
    assert!(said.len() > 3 && said[3..].iter().all(|(path, _)| path.ends_with("[2].filter")));
    let live = ["plain", "user", "jql", "licensed"].map(|key| replica.is_live(key));
    assert_eq!(live, [true, false, false, true]);
    assert_eq!(replica.counts().undelivered, 2);
    let installation = replica.installation("inst-c").unwrap();
    assert!(installation.unsupported(true).is_none(), "no event waits");
    for key in ["user", "jql"] {
        let module = installation.module(key).unwrap();
        let state = (module.module_type.as_str(), module.effective_status);
        assert_eq!(state, (WEBHOOKS, EffectiveStatus::Undelivered));
        assert!(module.reason.as_ref().unwrap().starts_with("never delivered: data."));
        let warnings = replica.warnings(&installation, module);
        assert_eq!((warnings[0].code.as_str(), warnings[0].path.as_str()), ("SY-2037", "data"));
    }
    // The previous release stores an unknown type without routing it.
    let stored = &put.record.static_modules;
    assert_eq!((stored["webhooks"].len(), stored["undeliveredWebhooks"].len()), (2, 2));
    assert_eq!(put.record.declared_modules()["webhooks"].len(), 4);
    // The next version may deliver it.
    let decided = json!([{"key": "user", "event": "jira:issue_updated", "url": "/s"}]);
    let put = replica.put_webhooks(&decided).await.unwrap();
    assert!(put.warnings.is_empty() && replica.is_live("user"));
    assert_eq!(replica.counts().undelivered, 0);
}

#[tokio::test]
async fn name_of_the_stored_type_of_undelivered_webhooks_is_reserved() {
    let (replica, _store) = Replica::with_connect().await;
    let app = json!({"kind": "connect", "baseUrl": "https://c.example", "staticModules": {
        "undeliveredWebhooks": [{"key": "w", "event": "e", "url": "/s"}]}});
    let app = serde_json::from_value(app).unwrap();
    let error = replica.apps().put(&CONNECT.into(), app, &|_| Ok(())).await.unwrap_err();
    assert_eq!(first_code(&error), code::MODULE_TYPE);
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
    let specs = vec![read_webhook(&spec("project != EMPTY"))];
    assert_eq!(replica.dynamic_webhooks().register(&other, ADDRESS, specs).await.unwrap(), [Ok(4)]);
}

#[tokio::test]
async fn webhook_address_is_one_and_under_the_base_of_the_app() {
    let (replica, _store) = Replica::with_connect().await;
    let put = async |url: &str| {
        let specs = vec![read_webhook(&spec("project != EMPTY"))];
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
    let user = |name: &str| WebhookOwner { client: Some(client_user("c", name)), ..owner() };
    let put = async |name: &str| {
        let specs = vec![read_webhook(&spec("project != EMPTY")); 4];
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

impl Replica {
    async fn put_client(&self, id: &str, members: Value) -> Result<ClientPut, RegisterError> {
        let mut client = json!({"token": format!("token-of-client-{id}"), "user": "u",
            "installation": "inst-c"});
        for (name, value) in members.as_object().unwrap() {
            client[name] = value.clone();
        }
        self.clients().put(id, serde_json::from_value(client).unwrap()).await
    }

    async fn hook_of(&self, client: &str, url: &str) -> Result<u64, RegisterError> {
        let owner = WebhookOwner { client: Some(client_user(client, "u")), ..owner() };
        let specs = vec![read_webhook(&spec("project = A"))];
        let results = self.dynamic_webhooks().register(&owner, url, specs).await?;
        Ok(results.into_iter().next().unwrap().unwrap())
    }

    /// Who signs a dynamic webhook: `tenant`, or the secrets of a client, the newest first.
    fn signer_of(&self, number: u64) -> String {
        let key = format!("webhook-{number}");
        let id = SubscriptionId { installation: "inst-c".into(), key: key.as_str().into() };
        let subscription = self.subscription(&id).unwrap();
        let Handler::Webhook(webhook) = &*subscription.owner.settings.handler else {
            panic!("a webhook")
        };
        match &webhook.signer {
            WebhookSigner::Tenant { .. } => "tenant".to_owned(),
            WebhookSigner::OauthClient { client, secrets } => {
                let secrets: Vec<_> = secrets.at(clock::now_ms()).map(Secret::reveal).collect();
                format!("{client}: {}", secrets.join(" "))
            }
        }
    }
}

#[tokio::test]
async fn secret_of_an_oauth_client_signs_its_webhooks_and_is_replaced_by_the_next() {
    let (replica, store) = Replica::with_connect().await;
    replica.put_client("a", json!({"clientSecret": "secret-of-a-1"})).await.unwrap();
    replica.put_client("b", json!({})).await.unwrap();
    let of_a = replica.hook_of("a", ADDRESS).await.unwrap();
    let of_b = replica.hook_of("b", ADDRESS).await.unwrap();
    assert_eq!(replica.signer_of(of_a), "a: secret-of-a-1");
    assert_eq!(replica.signer_of(of_b), "tenant");
    // A record without a secret keeps it, another secret replaces it, two are valid.
    replica.put_client("a", json!({})).await.unwrap();
    assert_eq!(replica.signer_of(of_a), "a: secret-of-a-1");
    replica.put_client("a", json!({"clientSecret": "secret-of-a-2"})).await.unwrap();
    assert_eq!(replica.signer_of(of_a), "a: secret-of-a-2 secret-of-a-1");
    replica.clients().retire_secret("a").await.unwrap();
    assert_eq!(replica.signer_of(of_a), "a: secret-of-a-2");
    replica.put_client("b", json!({"clientSecret": "secret-of-b-1"})).await.unwrap();
    assert_eq!(replica.signer_of(of_b), "b: secret-of-b-1");
    let again = Replica::over(&store).await;
    assert_eq!(again.signer_of(of_b), "b: secret-of-b-1");
    for short in ["", "short"] {
        assert!(replica.put_client("a", json!({"clientSecret": short})).await.is_err());
    }
    let put = replica.put_client("a", json!({"clientSecret": "eight888"})).await.unwrap();
    assert!(put.warnings.iter().any(|warning| warning.path == "clientSecret"));
}

#[tokio::test]
async fn deleted_oauth_client_leaves_neither_webhooks_nor_a_secret() {
    let (replica, _store) = Replica::with_connect().await;
    for id in ["a", "b"] {
        replica.put_client(id, json!({"clientSecret": "a-secret-of-it"})).await.unwrap();
        replica.hook_of(id, ADDRESS).await.unwrap();
    }
    replica.clients().delete("a").await.unwrap();
    assert_eq!(replica.keys(), ["webhook-2"]);
    let record = replica.installation("inst-c").unwrap().record.clone();
    assert_eq!(record.oauth_clients.keys().collect::<Vec<_>>(), ["b"]);
    // Another installation gets the secret of the client, not its webhooks.
    let other = json!({"app": CONNECT, "clientKey": "l", "sharedSecret": "secret-2",
        "cloudId": "cloud-2"});
    replica.install("inst-d", other).await.unwrap();
    replica.put_client("b", json!({"installation": "inst-d"})).await.unwrap();
    assert!(replica.keys().is_empty());
    let record = replica.installation("inst-d").unwrap().record.clone();
    assert_eq!(record.oauth_clients["b"].secret.reveal(), "a-secret-of-it");
}

#[tokio::test]
async fn oauth_client_that_cannot_move_keeps_its_secret_and_its_webhooks() {
    let (replica, _store) = Replica::with_connect().await;
    let changes = json!({"app": CONNECT, "clientKey": "k2", "sharedSecret": "secret-2"});
    replica.install("inst-d", changes).await.unwrap();
    for number in 0..100 {
        let members = json!({"installation": "inst-d", "clientSecret": "secret-of-another-client",
            "user": format!("u{number}")});
        replica.put_client(&format!("d{number}"), members).await.unwrap();
    }
    let secret = json!({"clientSecret": "secret-of-client-a-1"});
    replica.put_client("a", secret.clone()).await.unwrap();
    let number = replica.hook_of("a", ADDRESS).await.unwrap();
    let signer = replica.signer_of(number);
    let moved = json!({"installation": "inst-d"});
    assert_eq!(first_code(&replica.put_client("a", moved.clone()).await.unwrap_err()), code::FORM);
    assert_eq!(replica.signer_of(number), signer);
    replica.clients().delete("d0").await.unwrap();
    replica.put_client("a", moved).await.unwrap();
    let left = replica.installation("inst-c").unwrap();
    assert!(left.record.oauth_clients.is_empty() && left.record.modules.is_empty());
    let found = replica.installation("inst-d").unwrap().record.oauth_clients["a"].clone();
    assert_eq!(found.secret.reveal(), "secret-of-client-a-1", "it moves along");
}

#[tokio::test]
async fn keys_of_included_properties_count_once() {
    let (replica, _store) = Replica::with_connect().await;
    let repeated = vec!["k"; 1000];
    let statics = json!({"webhooks": [{"key": "one", "event": "jira:issue_updated", "url": "/h",
        "propertyKeys": repeated}]});
    replica.put_connect(statics).await;
    let id = SubscriptionId { installation: "inst-c".into(), key: "one".into() };
    let subscription = replica.subscription(&id).unwrap();
    let Handler::Webhook(webhook) = &*subscription.owner.settings.handler else {
        panic!("a webhook")
    };
    assert_eq!(*webhook.property_keys, ["k".into()]);
}

#[tokio::test]
async fn app_that_is_installed_again_receives_no_earlier_uninstalled_callback() {
    let (replica, _store) = Replica::with_connect().await;
    let app = json!({"kind": "connect", "baseUrl": "https://c.example/base", "scopes": ["READ"],
        "lifecycle": {"uninstalled": "/gone"}});
    let app = serde_json::from_value(app).unwrap();
    replica.apps().put(&CONNECT.into(), app, &|_| Ok(())).await.unwrap();
    let waiting = || {
        let record = Arc::clone(&replica.installation("inst-c").unwrap().record);
        record.notices.iter().map(|notice| notice.kind.clone()).collect::<Vec<_>>()
    };
    replica.installations().delete("inst-c").await.unwrap();
    assert_eq!(waiting(), ["lifecycle.uninstalled"]);
    replica.install_connect("enabled").await;
    assert!(waiting().is_empty());
}

#[tokio::test]
async fn each_user_of_each_oauth_client_has_one_address() {
    let (replica, _store) = Replica::with_connect().await;
    let (one, two) = ("https://c.example/base/one", "https://c.example/base/two");
    replica.add_webhooks(&[spec("")]).await;
    for client in ["a", "b"] {
        replica.put_client(client, json!({})).await.unwrap();
    }
    replica.hook_of("a", one).await.unwrap();
    replica.hook_of("a", one).await.unwrap();
    replica.hook_of("b", two).await.unwrap();
    let refused = replica.hook_of("a", two).await.unwrap_err().to_string();
    for part in ["Only a single URL per app is allowed", "client a", "user u", one] {
        assert!(refused.contains(part), "{refused}");
    }
    let other = WebhookOwner { client: Some(client_user("a", "other")), ..owner() };
    let specs = vec![read_webhook(&spec(""))];
    assert!(replica.dynamic_webhooks().register(&other, two, specs).await.is_ok());
}

#[tokio::test]
async fn webhooks_of_before_clients_were_stored_belong_to_the_client_of_their_user() {
    let (replica, store) = Replica::with_connect().await;
    replica.put_client("a", json!({})).await.unwrap();
    let number = replica.hook_of("a", ADDRESS).await.unwrap();
    let stored = crate::registry::Store::get(&*store, "inst.inst-c").await.unwrap().unwrap();
    let mut document: Value = serde_json::from_slice(&stored.value).unwrap();
    document["modules"][0]["data"].as_object_mut().unwrap().remove("client").unwrap();
    let value = serde_json::to_vec(&document).unwrap().into();
    crate::registry::Store::put(&*store, "inst.inst-c", value, Some(stored.revision))
        .await
        .unwrap();
    let replica = Replica::over(&store).await;
    let owner = WebhookOwner { client: Some(client_user("a", "u")), ..owner() };
    assert_eq!(replica.dynamic_webhooks().list(&owner).len(), 1);
    assert_eq!(replica.signer_of(number), "tenant");
    replica.put_client("a", json!({"clientSecret": "secret-of-a"})).await.unwrap();
    assert_eq!(replica.signer_of(number), "a: secret-of-a");
    assert_eq!(replica.dynamic_webhooks().list(&owner)[0].client.as_deref(), Some("a"));
}

/// Sets the expiry of all webhooks directly in the store.
pub(super) async fn end_at(store: &MemoryStore, at_ms: i64) {
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
    let user = WebhookOwner { client: Some(client_user("c", "a")), ..owner() };
    let add = async |url: &str, count: usize| {
        let specs = vec![read_webhook(&spec("project != EMPTY")); count];
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
    let new = read_webhook(&spec("project = B")).unwrap();
    let changed = replica.dynamic_webhooks().change(&owner(), 1, new.clone()).await.unwrap();
    assert_eq!(changed, DynamicWebhook { jql_filter: "project = B".into(), ..before });
    assert!(matches!(
        replica.dynamic_webhooks().change(&owner(), 2, new).await,
        Err(RegisterError::NotFound)
    ));
    let wrong = read_webhook(&spec("foo = 1")).unwrap();
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
    let WebhookSigner::Tenant { secret, .. } = &webhook.signer else { panic!("the tenant signs") };
    assert_eq!(secret.reveal(), "secret-new");
}
