//! Sends the request of every `explain-code` page that shows one to a running router: the response
//! has the code of the page.

use serde_json::{Value, json};
use switchyard::codes::CODES;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{ADMIN_TOKEN, NatsServer, RouterProcess, Setup};

/// Pages without a request. The cause is a body too large to print, more than 100 problems, the broker,
/// bytes that are no text, a broken connection, a rate limit, an expired token, a token of another scope, a damaged record, the
/// state of a job, a log that is off, a large account, many revisions or shadows, a module or shadow that changed or is of
/// another kind, or the command line.
const WITHOUT_REQUEST: [&str; 51] = [
    "SY-1001", "SY-1003", "SY-1004", "SY-1021", "SY-1024", "SY-1025", "SY-1030", "SY-1102",
    "SY-1107", "SY-1109", "SY-1110", "SY-1111", "SY-1112", "SY-1113", "SY-1114", "SY-1115",
    "SY-1117", "SY-1120", "SY-1131", "SY-1132", "SY-1133", "SY-1134", "SY-2008", "SY-2018",
    "SY-2022", "SY-2023", "SY-2024", "SY-2025", "SY-2026", "SY-2034", "SY-2035", "SY-2038",
    "SY-2041", "SY-2042", "SY-2043", "SY-2044", "SY-4001", "SY-4002", "SY-4003", "SY-4004",
    "SY-4005", "SY-4006", "SY-5011", "SY-5012", "SY-5013", "SY-5014", "SY-5021", "SY-5022",
    "SY-5023", "SY-5024", "SY-5025",
];

/// Sends the request of a page, with `token` unless the page has its own `Authorization`.
async fn send(port: u16, example: &str, token: &str) -> Value {
    let (head, body) = example.split_once("\n\n").unwrap_or((example, ""));
    let (first, headers) = head.split_once('\n').unwrap_or((head, ""));
    let mut request = format!("{first} HTTP/1.1\r\nHost: router\r\nConnection: close\r\n");
    for header in headers.lines() {
        request.push_str(&format!("{header}\r\n"));
    }
    if !headers.contains("Authorization") {
        request.push_str(&format!("Authorization: Bearer {token}\r\n"));
    }
    request.push_str("Content-Type: application/json\r\n");
    request.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{first}: {error}: {answer}"))
}

/// Creates what the pages assume: an app, its installation `acme`, a module `known`, two more sites.
async fn provision(router: &RouterProcess) -> String {
    let app = json!({"kind": "forge", "functions": ["main"], "scopes": ["read:jira-work"]});
    router.put("/admin/v1/apps/auto-assign", app).await;
    let installation = json!({"app": "auto-assign", "cloudId": "site-1", "product": "jira"});
    let answer = router.put("/admin/v1/installations/acme", installation).await;
    let token = answer["token"].as_str().unwrap().to_owned();
    for site in ["signed-site", "closed-site"] {
        let installation = json!({"app": "auto-assign", "cloudId": site, "product": "jira"});
        router.put(&format!("/admin/v1/installations/at-{site}"), installation).await;
    }
    let module = json!({"key": "known", "type": "trigger", "data": {
        "function": "main", "events": ["avi:jira:created:issue"]}});
    let path = "/forge/installation/v1/dynamic/module";
    let client = router.api.with_token(&token);
    client.send(hyper::Method::POST, path, &[], &module).await.unwrap();
    token
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_of_a_page_is_answered_with_its_code() {
    let nats = NatsServer::start().await;
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"))
        .with("SWITCHYARD_REGISTRY__ACCEPT_INERT_TYPES", true)
        .with(
            "SWITCHYARD_INGEST__JIRA__SIGNED-SITE__SECRET",
            "not-that-of-the-page: 0123456789abcdef",
        )
        .with("SWITCHYARD_INGEST__JIRA__SITE-1__UNSIGNED", true);
    let router = setup.start().await;
    let token = provision(&router).await;
    for entry in CODES {
        let example = entry.page.example;
        assert_eq!(example.is_empty(), WITHOUT_REQUEST.contains(&entry.code), "{}", entry.code);
        if example.is_empty() {
            continue;
        }
        let token = if example.contains(" /admin/") { ADMIN_TOKEN } else { &token };
        let answer = send(setup.port, example, token).await;
        let lists = [&answer["errors"], &answer["warnings"], &answer["hints"]]
            .into_iter()
            .filter_map(Value::as_array);
        let codes: Vec<&str> = lists.flatten().filter_map(|found| found["code"].as_str()).collect();
        assert!(codes.contains(&entry.code), "{}: {answer}", entry.code);
    }
}
