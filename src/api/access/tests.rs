//! Every operation of the document with every kind of caller: allowed or refused as the document says, and nothing of
//! another installation.

use std::collections::{BTreeMap, BTreeSet};

use axum::body::Body;
use axum::http::{StatusCode, header};
use serde_json::{Value, json};

use crate::api::testing::{ADMIN, Answer, TestApi, message, request, trigger};

/// A kind of caller.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Role {
    NoToken,
    WrongToken,
    ForgeToken,
    Expired,
    Deleted,
    Rotated,
    OfDeletedInstallation,
    Read,
    Operate,
    Admin,
    FixedAdmin,
    OwnRead,
    OwnOperate,
    OtherOperate,
}

impl Role {
    const STORED: [(Self, &str, Option<&str>); 6] = [
        (Self::Read, "read", None),
        (Self::Operate, "operate", None),
        (Self::Admin, "admin", None),
        (Self::OwnRead, "read", Some("inst-a")),
        (Self::OwnOperate, "operate", Some("inst-a")),
        (Self::OtherOperate, "operate", Some("inst-b")),
    ];

    /// Returns the scope, and whether it is one of an installation; none if it is refused.
    fn may(self) -> Option<(usize, bool)> {
        match self {
            Self::NoToken
            | Self::WrongToken
            | Self::ForgeToken
            | Self::Expired
            | Self::Deleted
            | Self::Rotated
            | Self::OfDeletedInstallation => None,
            Self::Read => Some((0, false)),
            Self::Operate => Some((1, false)),
            Self::Admin | Self::FixedAdmin => Some((2, false)),
            Self::OwnRead => Some((0, true)),
            Self::OwnOperate | Self::OtherOperate => Some((1, true)),
        }
    }
}

const TOKENS: &str = "/admin/v1/tokens";
const SITE_B: &str = "site-b";

async fn put_token(api: &TestApi, id: &str, spec: Value) -> String {
    let answer = api.admin("PUT", &format!("{TOKENS}/{id}"), spec).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    answer.body["token"].as_str().unwrap().to_owned()
}

async fn install(api: &TestApi, id: &str, site: &str) -> String {
    let installation =
        json!({"app": "ari:cloud:ecosystem::app/1", "cloudId": site, "product": "jira"});
    let answer = api.admin("PUT", &format!("/admin/v1/installations/{id}"), installation).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    answer.body["token"].as_str().unwrap().to_owned()
}

/// Registers the module `known` of an installation.
async fn register(api: &TestApi, installation: &str) {
    let path = format!("/admin/v1/installations/{installation}/modules/known");
    let answer = api.admin("PUT", &path, trigger()).await;
    assert!(answer.status.is_success(), "{}", answer.body);
}

/// Returns the API with a token of each role; none of the role without one.
async fn world() -> (TestApi, BTreeMap<Role, Option<String>>) {
    let api = TestApi::start().await;
    install(&api, "inst-b", SITE_B).await;
    for installation in ["inst-a", "inst-b"] {
        register(&api, installation).await;
    }
    let mut tokens = BTreeMap::new();
    for (role, scope, installation) in Role::STORED {
        let spec = json!({"scope": scope, "installation": installation, "requestsPerSecond": 1000});
        tokens.insert(role, Some(put_token(&api, &format!("of-{role:?}"), spec).await));
    }
    let spec = json!({"scope": "admin"});
    let ended = put_token(&api, "deleted", spec.clone()).await;
    api.admin("DELETE", &format!("{TOKENS}/deleted"), json!({})).await;
    tokens.insert(Role::Deleted, Some(ended));
    let before = put_token(&api, "rotated", spec).await;
    let answer = api.admin("POST", &format!("{TOKENS}/rotated/rotate"), json!({})).await;
    assert_ne!(answer.body["token"], before);
    tokens.insert(Role::Rotated, Some(before));
    let soon = (crate::clock::now() + jiff::SignedDuration::from_millis(300)).to_string();
    let expired = put_token(&api, "expired", json!({"scope": "admin", "expiresAt": soon})).await;
    tokens.insert(Role::Expired, Some(expired));
    install(&api, "inst-former", "site-former").await;
    let former = json!({"scope": "read", "installation": "inst-former"});
    let former = put_token(&api, "former", former).await;
    api.admin("DELETE", "/admin/v1/installations/inst-former", json!({})).await;
    tokens.insert(Role::OfDeletedInstallation, Some(former));
    tokens.insert(Role::NoToken, None);
    tokens.insert(Role::WrongToken, Some("swa_wrong".to_owned()));
    tokens.insert(Role::ForgeToken, Some(api.token.clone()));
    tokens.insert(Role::FixedAdmin, Some(ADMIN.to_owned()));
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    (api, tokens)
}

/// Sends a request without a body; a redirect of the live feed has no end, so that only its head is read.
async fn status_of(api: &TestApi, method: &str, path: &str, token: Option<&str>) -> StatusCode {
    let mut request = request(method, path, token.unwrap_or_default());
    if token.is_none() {
        request.headers_mut().unwrap().remove(header::AUTHORIZATION);
    }
    let request = request.body(Body::from("{}")).unwrap();
    use tower::ServiceExt as _;
    api.router.clone().oneshot(request).await.unwrap().status()
}

/// Returns the operations of the document that are guarded: method, path, scope, whether they are open to tokens of
/// one installation.
fn operations(document: &Value) -> Vec<(String, String, usize, bool)> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        if !path.starts_with("/admin/v1") && path != "/healthz/deep" {
            continue;
        }
        for (method, operation) in item.as_object().unwrap() {
            let what = format!("{method} {path}");
            let security = operation["security"].as_array().unwrap();
            let entries = security[0]["operatorToken"].as_array();
            let entries = entries.unwrap_or_else(|| panic!("{what}: no operatorToken"));
            let scope = entries.first().and_then(Value::as_str);
            let scope = ["read", "operate", "admin"].iter().position(|known| Some(*known) == scope);
            let scope = scope.unwrap_or_else(|| {
                panic!("{what} declares no scope: add security((\"operatorToken\" = [\"read\"]))")
            });
            let is_open = entries.get(1).is_some_and(|entry| entry == "installation");
            assert!(security.len() == 1 && entries.len() <= 2, "{what}: {security:?}");
            assert!(!(is_open && scope == 2), "{what}: no token of an installation is an admin");
            found.push((method.to_uppercase(), path.clone(), scope, is_open));
        }
    }
    found
}

/// Fills in the names of a path: those of what belongs to `inst-b`.
fn path_of_b(template: &str) -> String {
    let path = template
        .replace("/subscriptions/{id}", "/subscriptions/inst-b%2Fknown")
        .replace("/installations/{id}", "/installations/inst-b");
    ["{id}", "{key}", "{ref}", "{n}", "{delivery}"]
        .iter()
        .fold(path, |path, name| path.replace(name, "x"))
}

#[tokio::test]
async fn every_operation_admits_the_callers_that_the_document_names_and_no_other() {
    let (api, tokens) = world().await;
    let operations = operations(&api.document);
    assert!(operations.len() > 75, "{}", operations.len());
    for (method, template, needed, is_open) in &operations {
        let path = path_of_b(template);
        // What is deleted here would not be there for the next role.
        let is_harmless = !(method == "DELETE" && template == "/admin/v1/installations/{id}");
        for (role, token) in &tokens {
            let expected = match role.may() {
                None => Some(StatusCode::UNAUTHORIZED),
                Some((scope, _)) if scope < *needed => Some(StatusCode::FORBIDDEN),
                Some((_, true)) if !is_open => Some(StatusCode::FORBIDDEN),
                Some(_) => None,
            };
            if expected.is_none() && !is_harmless {
                continue;
            }
            let found = status_of(&api, method, &path, token.as_deref()).await;
            let what = format!("{role:?}: {method} {path}: {found}");
            match expected {
                // Too many failures of one address are answered so; the test has none.
                Some(status) => assert_eq!(found, status, "{what}"),
                None => assert!(
                    ![StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&found),
                    "{what}"
                ),
            }
        }
    }
}

/// What callers of one installation may send. For each, a handler or the middleware keeps it to what is their own: look
/// at that before you add one.
#[rustfmt::skip]
const OF_INSTALLATION: &[&str] = &[
    "GET /deliveries", "GET /deliveries/{id}", "POST /deliveries/{id}/redeliver",
    "GET /dlq", "GET /dlq/{id}", "GET /dlq/{id}/body",
    "GET /events/{ref}", "GET /events/{ref}/deliveries", "POST /explain",
    "POST /filters:check", "POST /filters:test",
    "GET /installations/{id}", "GET /installations/{id}/modules", "GET /live", "GET /problems",
    "GET /subscriptions", "GET /subscriptions/{id}",
    "POST /subscriptions/{id}/disable", "POST /subscriptions/{id}/pause",
    "POST /subscriptions/{id}/promote", "POST /subscriptions/{id}/resume",
    "GET /subscriptions/{id}/activity",
            "GET /subscriptions/{id}/revisions", "GET /subscriptions/{id}/revisions/{n}",
    "GET /subscriptions/{id}/revisions/{n}/diff", "POST /subscriptions/{id}/rollback",
    "DELETE /subscriptions/{id}/shadow", "GET /subscriptions/{id}/shadow",
    "PUT /subscriptions/{id}/shadow", "POST /subscriptions/{id}/test", "GET /whoami",
];

#[tokio::test]
async fn operations_that_are_open_to_one_installation_were_looked_at() {
    let api = TestApi::start().await;
    let open = operations(&api.document).into_iter().filter(|one| one.3);
    let open: BTreeSet<String> = open
        .map(|(method, path, ..)| format!("{method} {}", path.trim_start_matches("/admin/v1")))
        .collect();
    assert_eq!(open, OF_INSTALLATION.iter().map(|one| (*one).to_owned()).collect());
}

#[tokio::test]
async fn names_of_another_installation_are_answered_as_names_of_none() {
    let (api, tokens) = world().await;
    let token = tokens[&Role::OwnOperate].clone().unwrap();
    let send = async |method: &str, path: &str| {
        let request = request(method, path, &token).body(Body::from("{}")).unwrap();
        api.send(request).await
    };
    let open: Vec<_> = operations(&api.document).into_iter().filter(|one| one.3).collect();
    let mut compared = 0;
    for (method, template, ..) in &open {
        let names = ["/subscriptions/{id}", "/installations/{id}"];
        if !names.iter().any(|name| template.contains(name)) {
            continue;
        }
        for slash in ["", "/"] {
            let of_b = format!("{}{slash}", path_of_b(template));
            let of_none = of_b.replace("inst-b", "inst-none");
            let (found, none) = (send(method, &of_b).await, send(method, &of_none).await);
            assert_eq!(found.status, StatusCode::NOT_FOUND, "{method} {of_b}: {}", found.body);
            assert_eq!((found.status, &found.body), (none.status, &none.body), "{method} {of_b}");
            compared += 1;
        }
    }
    assert!(compared > 20, "{compared}");
    for path in [
        "/admin/v1/subscriptions/inst-b%252Fknown",
        "/admin/v1/subscriptions/inst-a%2F..%2Finst-b%2Fknown",
        "/admin/v1/subscriptions/inst%2Db%2Fknown",
        "/admin/v1/installations/inst%2Db",
        "/admin/v1/installations/%69nst-b/modules",
        "/admin/v1/installations/inst-a%00",
        "/admin/v1/installations/INST-A",
    ] {
        let found = send("GET", path).await;
        assert_eq!(found.status, StatusCode::NOT_FOUND, "{path}: {}", found.body);
        assert!(!found.body.to_string().contains(SITE_B), "{path}: {}", found.body);
    }
    let (own, other) =
        (send("GET", "/admin/v1/subscriptions/inst-a%2Fnone").await, "inst-b".to_owned());
    assert_eq!(own.status, StatusCode::NOT_FOUND);
    assert!(!own.body.to_string().contains(&other), "{}", own.body);
}

#[tokio::test]
async fn queries_select_the_own_installation_whatever_they_say() {
    let (api, tokens) = world().await;
    let token = tokens[&Role::OwnRead].clone().unwrap();
    let get = async |path: &str| -> Answer {
        api.send(request("GET", path, &token).body(Body::empty()).unwrap()).await
    };
    let path = "/admin/v1/subscriptions";
    let own = get(path).await;
    let ids: Vec<_> = own.body["items"].as_array().unwrap().iter().map(|one| &one["id"]).collect();
    assert_eq!(ids, ["inst-a/known"], "{}", own.body);
    assert!(own.body.get("replica").is_none(), "{}", own.body);
    for query in ["installation=inst-a", "site=c", "installation=inst-a&site=c&limit=5"] {
        assert_eq!(get(&format!("{path}?{query}")).await.body, own.body, "{query}");
    }
    let mut refused = Vec::new();
    for query in [
        "installation=inst-b",
        "installation=none",
        "installation=inst-a&installation=inst-b",
        "installation=inst-b&installation=inst-a",
        "installation=",
        "%69nstallation=inst-b",
        "site=site-b",
        "site=none",
        "site=c&site=site-b",
    ] {
        let answer = get(&format!("{path}?{query}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{query}: {}", answer.body);
        refused.push(answer.body);
    }
    refused.dedup();
    assert_eq!(refused.len(), 1, "what exists and what does not is answered the same: {refused:?}");
    for path in ["/admin/v1/deliveries", "/admin/v1/dlq", "/admin/v1/live"] {
        for query in ["subscription=inst-b/known", "subscription=none/known", "site=site-b"] {
            let answer = get(&format!("{path}?{query}")).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}?{query}: {}", answer.body);
        }
    }
    let hint = get(&format!("{path}?app=none")).await;
    assert_eq!(hint.body["items"], json!([]));
    assert_eq!(hint.body.get("hints"), None, "a hint would have the names of apps");
    let problems = get("/admin/v1/problems").await;
    assert!(!problems.body.to_string().contains("inst-b"), "{}", problems.body);
}

#[tokio::test]
async fn explanations_are_about_own_subscriptions_and_say_nothing_of_others() {
    let (api, tokens) = world().await;
    let token = tokens[&Role::OwnRead].clone().unwrap();
    let ask = async |body: Value| -> Answer {
        let request = request("POST", "/admin/v1/explain", &token);
        api.send(request.body(Body::from(body.to_string())).unwrap()).await
    };
    let mut refused = Vec::new();
    for (name, value) in [
        ("subscription", "inst-b/known"),
        ("subscription", "none/known"),
        ("installation", "inst-b"),
        ("installation", "none"),
        ("site", SITE_B),
        ("site", "none"),
    ] {
        let answer = ask(json!({name: value, "since": "1h"})).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{name} {value}: {}", answer.body);
        refused.push(answer.body);
    }
    refused.dedup();
    assert_eq!(refused.len(), 1, "{refused:?}");
    let answer = ask(json!({"since": "1h"})).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert!(answer.body.get("retained").is_none() && answer.body.get("searched").is_none());
}

#[tokio::test]
async fn refusal_names_the_scope_that_is_needed_and_that_of_the_token() {
    let (api, tokens) = world().await;
    let send = async |role: Role, method: &str, path: &str| {
        let token = tokens[&role].clone().unwrap();
        api.send(request(method, path, &token).body(Body::from("{}")).unwrap()).await
    };
    let answer = send(Role::Operate, "PUT", &format!("{TOKENS}/mine")).await;
    assert_eq!(
        (answer.status, &answer.body["errors"][0]["code"]),
        (StatusCode::FORBIDDEN, &json!("SY-1131"))
    );
    assert_eq!(
        message(&answer),
        "this needs the scope `admin`, and the token `of-Operate` has `operate`"
    );
    let answer = send(Role::OwnRead, "GET", "/admin/v1/doctor").await;
    assert_eq!(answer.body["errors"][0]["code"], "SY-1132", "{}", answer.body);
    let answer = send(Role::Expired, "GET", "/admin/v1/whoami").await;
    assert_eq!(answer.body["errors"][0]["code"], "SY-1134", "{}", answer.body);
    let answer = send(Role::ForgeToken, "GET", "/admin/v1/whoami").await;
    assert_eq!(answer.body["errors"][0]["code"], "SY-1120", "{}", answer.body);
    let whoami = send(Role::OwnRead, "GET", "/admin/v1/whoami").await;
    assert_eq!(
        whoami.body,
        json!({"name": "of-OwnRead", "scope": "read", "installation": "inst-a", "requestsPerSecond": 1000})
    );
    let whoami = send(Role::FixedAdmin, "GET", "/admin/v1/whoami").await;
    assert_eq!(whoami.body, json!({"name": "admin", "scope": "admin"}));
    let answer = send(Role::Read, "PATCH", "/admin/v1/apps").await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.headers[header::ALLOW], "GET,HEAD");
}

#[tokio::test]
async fn token_that_sends_too_much_waits_and_others_do_not() {
    let api = TestApi::start().await;
    let slow = put_token(&api, "slow", json!({"scope": "read", "requestsPerSecond": 2})).await;
    let other = put_token(&api, "other", json!({"scope": "read", "requestsPerSecond": 2})).await;
    let get = async |token: &str| {
        api.send(request("GET", "/admin/v1/whoami", token).body(Body::empty()).unwrap()).await
    };
    let mut limited = None;
    for _ in 0..100 {
        let answer = get(&slow).await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            limited = Some(answer);
            break;
        }
    }
    let limited = limited.expect("the limit");
    assert_eq!(limited.body["errors"][0]["code"], "SY-1133");
    assert_eq!(limited.headers[header::RETRY_AFTER], "1");
    assert_eq!(get(&other).await.status, StatusCode::OK);
    for _ in 0..20 {
        assert_eq!(get(ADMIN).await.status, StatusCode::OK, "the owner has no limit");
    }
    let shown = api.admin("GET", &format!("{TOKENS}/slow"), json!({})).await;
    assert!(shown.body["lastUsedAt"].is_string(), "{}", shown.body);
    assert!(!shown.body.to_string().contains(&slow), "{}", shown.body);
}

#[tokio::test]
async fn invalid_tokens_are_refused_with_every_problem() {
    let api = TestApi::start().await;
    let long = "x".repeat(65);
    let text = "d".repeat(501);
    for (id, spec, path) in [
        ("admin", json!({"scope": "read"}), "id"),
        ("Admin", json!({"scope": "read"}), "id"),
        ("dev", json!({"scope": "read"}), "id"),
        (long.as_str(), json!({"scope": "read"}), "id"),
        ("a%2Fb", json!({"scope": "read"}), "id"),
        ("a%20b", json!({"scope": "read"}), "id"),
        ("%C3%A4", json!({"scope": "read"}), "id"),
        ("a", json!({"scope": "write"}), "scope"),
        ("a", json!({"scope": "admin", "installation": "inst-a"}), "scope"),
        ("a", json!({"scope": "read", "installation": "none"}), "installation"),
        ("a", json!({"scope": "read", "requestsPerSecond": 0}), "requestsPerSecond"),
        ("a", json!({"scope": "read", "requestsPerSecond": 1001}), "requestsPerSecond"),
        ("a", json!({"scope": "read", "expiresAt": "2020-01-01T00:00:00Z"}), "expiresAt"),
        ("a", json!({"scope": "read", "expiresAt": "soon"}), "expiresAt"),
        ("a", json!({"scope": "read", "description": text}), "description"),
        ("a", json!({"scope": "read", "token": "swa_mine"}), "token"),
        ("a", json!({}), ""),
    ] {
        let answer = api.admin("PUT", &format!("{TOKENS}/{id}"), spec.clone()).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{id} {spec}: {}", answer.body);
        let found = answer.body["errors"][0]["path"].as_str().unwrap_or_default();
        assert_eq!(found, path, "{id} {spec}: {}", answer.body);
    }
    let all = api.admin("GET", TOKENS, json!({})).await;
    assert_eq!(all.body["items"], json!([]));
}

#[tokio::test]
async fn changed_token_stays_and_may_what_it_is_changed_to() {
    let api = TestApi::start().await;
    let token = put_token(&api, "ci", json!({"scope": "read"})).await;
    let pause = async || {
        let path = "/admin/v1/subscriptions/inst-a%2Fnone/pause";
        api.send(request("POST", path, &token).body(Body::from("{}")).unwrap()).await.status
    };
    assert_eq!(pause().await, StatusCode::FORBIDDEN);
    let answer = api.admin("PUT", &format!("{TOKENS}/ci"), json!({"scope": "operate"})).await;
    assert_eq!((answer.status, answer.body), (StatusCode::OK, json!({"id": "ci"})));
    assert_eq!(pause().await, StatusCode::NOT_FOUND);
    let none = api.admin("POST", &format!("{TOKENS}/none/rotate"), json!({})).await;
    assert_eq!(none.status, StatusCode::NOT_FOUND, "{}", none.body);
    assert!(message(&none).contains("`none`"), "{}", none.body);
}

#[tokio::test]
async fn installation_that_is_created_again_is_not_opened_by_tokens_of_the_former_one() {
    let api = TestApi::start().await;
    install(&api, "again", "site-1").await;
    let token =
        put_token(&api, "of-again", json!({"scope": "read", "installation": "again"})).await;
    let whoami = async || {
        api.send(request("GET", "/admin/v1/whoami", &token).body(Body::empty()).unwrap())
            .await
            .status
    };
    assert_eq!(whoami().await, StatusCode::OK);
    api.admin("DELETE", "/admin/v1/installations/again", json!({})).await;
    assert_eq!(whoami().await, StatusCode::UNAUTHORIZED);
    install(&api, "again", "site-2").await;
    assert_eq!(whoami().await, StatusCode::UNAUTHORIZED);
    let former = api.admin("GET", &format!("{TOKENS}/of-again"), json!({})).await;
    assert_eq!(former.status, StatusCode::NOT_FOUND, "{}", former.body);
}

#[tokio::test]
async fn number_of_tokens_is_bounded() {
    let api = TestApi::start().await;
    for number in 0..crate::registry::ACCESS_TOKENS_MAX {
        put_token(&api, &format!("t{number}"), json!({"scope": "read"})).await;
    }
    let answer = api.admin("PUT", &format!("{TOKENS}/more"), json!({"scope": "read"})).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.body);
    assert!(message(&answer).contains("1000 access tokens"), "{}", answer.body);
    let known = api.admin("PUT", &format!("{TOKENS}/t7"), json!({"scope": "operate"})).await;
    assert_eq!(known.status, StatusCode::OK, "those that there are may be changed");
    api.admin("DELETE", &format!("{TOKENS}/t7"), json!({})).await;
    put_token(&api, "more", json!({"scope": "read"})).await;
}
