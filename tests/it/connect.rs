//! Connect apps in both products: module limits, upgrades that claim a key, translations.

use hyper::Method;
use serde_json::{Value, json};
use switchyard::clock;
use switchyard::domain::Secret;
use switchyard::jwt::qsh;

use crate::support::{NatsServer, RouterProcess, Setup, Sink, WAIT_MAX, app_token, eventually};

const APP: &str = "com.example.app";
const PATH: &str = "/rest/atlassian-connect/1/app/module/dynamic";
const SECRET: &str = "secret-0123456789abcdef0123456789abcdef";
const PRODUCTS: [(&str, &str); 2] = [("jira", ""), ("confluence", "/wiki")];

/// Starts a router with an app installed in one site of each product, `jira` and `confluence`.
async fn start(nats: &NatsServer, changes: impl Fn(Setup) -> Setup, app: Value) -> RouterProcess {
    let setup = Setup::new(&nats.url(), nats.folder().join("router"));
    let router = changes(setup).start().await;
    router.put(&format!("/admin/v1/apps/{APP}"), app).await;
    for (product, _) in PRODUCTS {
        let installation = json!({"app": APP, "cloudId": format!("site-{product}"),
            "product": product, "clientKey": product, "sharedSecret": SECRET});
        router.put(&format!("/admin/v1/installations/{product}"), installation).await;
    }
    router
}

/// Calls the dynamic modules API of a product as the app in that tenant.
async fn call(
    router: &RouterProcess,
    (tenant, prefix): (&str, &str),
    method: Method,
    body: &Value,
) -> anyhow::Result<Value> {
    // The issuer is the tenant's client key, so the two installations of the app differ by it.
    let hash = qsh::hash(method.as_str(), PATH, "");
    let now_s = clock::now_ms().div_euclid(1000);
    let token = format!("JWT {}", app_token(&Secret::new(SECRET), tenant, &hash, now_s));
    let headers = [("authorization", token.as_str())];
    router.api.send(method, &format!("{prefix}{PATH}"), &headers, body).await
}

fn hooks(numbers: std::ops::Range<usize>) -> Value {
    let hook =
        |number| json!({"key": format!("hook-{number}"), "event": "user_created", "url": "/h"});
    json!({"webhooks": numbers.map(hook).collect::<Vec<_>>()})
}

async fn registered(router: &RouterProcess, product: (&str, &str)) -> usize {
    let modules = call(router, product, Method::GET, &Value::Null).await.expect("a list");
    modules["webhooks"].as_array().map_or(0, Vec::len)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_product_has_its_own_limit_of_ten_or_a_hundred_modules() {
    let nats = NatsServer::start().await;
    let app = json!({"kind": "connect", "baseUrl": "http://127.0.0.1:9", "scopes": ["READ"]});
    let ten_in_confluence =
        |setup: Setup| setup.with("SWITCHYARD_LIMITS__CONNECT_MODULES_CONFLUENCE", 10);
    let router = start(&nats, ten_in_confluence, app).await;
    for (product, max) in PRODUCTS.into_iter().zip([100, 10]) {
        let almost = hooks(0..max - 1);
        call(&router, product, Method::POST, &almost).await.expect("below the bound");
        let two = call(&router, product, Method::POST, &hooks(max - 1..max + 1)).await;
        let refused = two.expect_err("above the bound").to_string();
        assert!(refused.contains(&format!("Up to {max} modules")), "{refused}");
        assert_eq!(registered(&router, product).await, max - 1, "none of a refused request");
        call(&router, product, Method::POST, &hooks(max - 1..max)).await.expect("at the bound");
        assert!(call(&router, product, Method::POST, &hooks(max..max + 1)).await.is_err());
        assert_eq!(registered(&router, product).await, max);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upgrade_that_claims_a_key_drops_the_modules_and_lists_them_for_operators() {
    let nats = NatsServer::start().await;
    let sink = Sink::start().await;
    let version = |statics: Value| {
        json!({"kind": "connect", "version": "2.0", "baseUrl": sink.url("/base"),
            "scopes": ["READ"], "staticModules": statics})
    };
    let router = start(&nats, |setup| setup, version(json!({}))).await;
    let [jira, confluence] = PRODUCTS;
    let body = json!({"webhooks": [
        {"key": "mine", "event": "jira:issue_created", "url": "/mine"},
        {"key": "other", "event": "jira:issue_created", "url": "/other"}]});
    call(&router, jira, Method::POST, &body).await.expect("registered");
    call(&router, confluence, Method::POST, &hooks(0..1)).await.expect("registered");

    let fixed = json!({"key": "mine", "event": "jira:issue_created", "url": "/fixed"});
    let upgrade = version(json!({"webhooks": [fixed]}));
    let put = router.put(&format!("/admin/v1/apps/{APP}"), upgrade).await;
    assert_eq!(put["dropped"], json!(["jira/mine", "jira/other"]));
    let modules = call(&router, jira, Method::GET, &Value::Null).await.expect("a list");
    assert_eq!(modules, json!({}));
    let seen = router.get("/admin/v1/installations/jira").await.expect("the installation");
    assert_eq!(seen["dropped"]["keys"], json!(["mine", "other"]));
    assert_eq!(seen["dropped"]["version"], "2.0");
    assert!(seen["dropped"]["at"].is_string());
    assert_eq!(registered(&router, confluence).await, 1, "nothing clashes there");

    let path = "/admin/v1/events?cloudId=site-jira&type=avi:jira:created:issue";
    let event = json!({"issue": {"id": "1", "key": "OPS-1"}});
    router.api.send(Method::POST, path, &[], &event).await.expect("published");
    eventually(WAIT_MAX, "the app's own module fires", || async {
        (sink.received_at("/base/fixed").len() == 1).then_some(())
    })
    .await;
    assert_eq!(sink.count(), 1, "those that gave way are silent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn module_names_are_shown_in_the_apps_translations() {
    let nats = NatsServer::start().await;
    let app = json!({"kind": "connect", "baseUrl": "http://127.0.0.1:9", "scopes": ["READ"],
        "translations": {"de-DE": {"field.name": "Menge"}, "en-US": {"field.name": "Amount"}}});
    let router = start(&nats, |setup| setup, app).await;
    let field = |key: &str, i18n: &str| {
        json!({"key": key, "type": "number", "name": {"value": "Plain", "i18n": i18n},
            "description": {"value": "A number"}})
    };
    let body = json!({"jiraIssueFields": [
        field("known", "field.name"), field("unknown", "field.nowhere")]});
    call(&router, PRODUCTS[0], Method::POST, &body).await.expect("registered");
    let stored = call(&router, PRODUCTS[0], Method::GET, &Value::Null).await.expect("a list");
    assert_eq!(stored, body, "kept as written");
    for (key, title) in [("known", "Amount"), ("unknown", "Plain")] {
        let path = format!("/admin/v1/subscriptions/jira%2F{key}");
        let seen = router.get(&path).await.expect("the module");
        assert_eq!(seen["title"], title, "{seen}");
    }
}
