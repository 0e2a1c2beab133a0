//! Webhooks that strangers send: closed by default, counted by site and reason, open in `dev`.

use std::process::Stdio;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::support::raw::{exchange, status};
use crate::support::{NatsServer, Setup};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const WEBHOOK: &str = r#"{"webhookEvent":"jira:issue_created","timestamp":1800000000000,"issue":{"id":"1","key":"A-1"}}"#;

async fn post(port: u16, path: &str, headers: &str) -> (u16, String) {
    let head = format!("POST {path} HTTP/1.1{headers}");
    let response = exchange(port, &head, WEBHOOK).await;
    (status(&response), response)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sites_are_closed_until_something_authenticates_their_webhooks() {
    let nats = NatsServer::start().await;
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"))
        .with("SWITCHYARD_INGEST__JIRA__SIGNED__SECRET", TOKEN)
        .with("SWITCHYARD_INGEST__JIRA__BY-TOKEN__TOKEN", TOKEN)
        .with("SWITCHYARD_INGEST__JIRA__OPEN__UNSIGNED", true)
        .with("SWITCHYARD_INGEST__JIRA__NOWHERE__UNSIGNED", true);
    let router = setup.start().await;
    for site in ["signed", "by-token", "open", "closed"] {
        router.provision("app-1", &format!("at-{site}"), site, "http://127.0.0.1:9/").await;
    }
    let well_formed = format!("\r\nX-Hub-Signature: sha256={}", "0".repeat(64));
    let by_token = format!("/ingest/jira/by-token/{TOKEN}");
    let cases = [
        ("/ingest/jira/nowhere", "", 404, "SY-1026", "other", "unknown_site"),
        ("/ingest/confluence/open", "", 404, "SY-1026", "other", "unknown_site"),
        ("/ingest/jira/closed", "", 401, "SY-1027", "closed", "closed"),
        ("/ingest/jira/signed", "", 401, "SY-1022", "signed", "no_signature"),
        (
            "/ingest/jira/signed",
            "\r\nX-Hub-Signature: x",
            401,
            "SY-1022",
            "signed",
            "malformed_signature",
        ),
        ("/ingest/jira/signed", &well_formed, 401, "SY-1022", "signed", "wrong_signature"),
        ("/ingest/jira/by-token", "", 401, "SY-1029", "by-token", "wrong_token"),
        (
            "/ingest/jira/open",
            "\r\nOrigin: http://evil.example",
            403,
            "SY-1114",
            "open",
            "web_page",
        ),
        ("/ingest/jira/open", "\r\nContent-Type: text/plain", 415, "SY-1028", "open", "media_type"),
        ("/ingest/jira/open", "", 202, "", "", ""),
        (&by_token, "", 202, "", "", ""),
    ];
    for (path, headers, expected, code, site, reason) in cases {
        let (status, response) = post(setup.port, path, headers).await;
        assert_eq!(status, expected, "{path}{headers}: {response}");
        assert!(response.contains(code), "{path}{headers}: {response}");
        if !reason.is_empty() {
            let labels = format!("{{site=\"{site}\",reason=\"{reason}\"}}");
            let counted = router.metric(&format!("switchyard_ingest_refused_total{labels}")).await;
            assert!(counted >= 1.0, "{labels}: {counted}");
        }
    }
    let problems = router.get("/admin/v1/problems").await.expect("problems");
    let refused = |site: &str| {
        let items = problems["items"].as_array().expect("a list");
        let mut of_kind = items.iter().filter(|item| item["kind"] == "webhooks_refused");
        of_kind.find(|item| item["cloudId"] == site).map(|item| item["refused"].clone())
    };
    let signed = json!({"no_signature": 1, "malformed_signature": 1, "wrong_signature": 1});
    assert_eq!(refused("signed"), Some(signed));
    assert_eq!(refused("closed"), Some(json!({"closed": 1})));
    assert_eq!(refused("nowhere"), None, "names that strangers choose are not listed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dev_is_open_to_this_machine_and_says_so() {
    let nats = NatsServer::start().await;
    let mut child = Command::new(env!("CARGO_BIN_EXE_switchyard"))
        .args(["dev", "--listen", "127.0.0.1:0", "--nats-url", &nats.url()])
        .arg("--data-dir")
        .arg(nats.folder().join("dev"))
        .env("XDG_CONFIG_HOME", nats.folder().join("config"))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the switchyard binary starts");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    let first = lines.next_line().await.expect("stdout can be read").expect("a line");
    let port = first.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let mut text = String::new();
    while !text.contains("unsigned webhooks of any site") {
        let line = lines.next_line().await.expect("stdout can be read");
        text.push_str(&line.expect("it says what is open"));
    }
    assert_eq!(post(port, "/ingest/jira/any-site", "").await.0, 202);
    let page = post(port, "/ingest/jira/any-site", "\r\nOrigin: http://evil.example").await;
    assert_eq!(page.0, 403, "{}", page.1);
    for path in ["/", "/live", "/metrics"] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: evil.example");
        let response = exchange(port, &head, "").await;
        assert_eq!(status(&response), 421, "{path}: {response}");
    }
    assert_eq!(status(&exchange(port, "GET / HTTP/1.1\r\nHost: localhost", "").await), 200);
    child.kill().await.expect("it can be killed");
}

/// Runs `serve`, which must not start; returns its exit code and what it says.
async fn refused(nats: &NatsServer, variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_switchyard"))
        .args(["serve", "--nats-url", &nats.url()])
        .current_dir(nats.folder())
        .env_remove("SWITCHYARD_ADMIN_TOKEN")
        .envs(variables.iter().copied())
        .kill_on_drop(true)
        .output()
        .await
        .expect("the switchyard binary starts");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serve_refuses_to_start_unsafe_and_says_what_to_do() {
    let nats = NatsServer::start().await;
    let token = ("SWITCHYARD_ADMIN_TOKEN", TOKEN);
    for (variables, reason) in [
        (&[][..], "openssl rand -hex 32"),
        (&[token, ("SWITCHYARD_SERVER__LISTEN", "0.0.0.0:0")], "server.plaintext = true"),
        (&[token, ("SWITCHYARD_SERVER__LISTEN", "[::]:0")], "server.plaintext = true"),
        (&[token, ("SWITCHYARD_INGEST__JIRA__C1__SECRET", "")], "`ingest.jira.c1.secret` is empty"),
        (&[token, ("SWITCHYARD_INGEST__JIRA__C1__SECRET", "short")], "at least 32"),
    ] {
        let (code, text) = refused(&nats, variables).await;
        assert_eq!(code, Some(2), "{variables:?}: {text}");
        assert!(text.contains(reason), "{variables:?}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn router_runs_on_when_its_standard_output_is_closed() {
    let nats = NatsServer::start().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("an address");
    drop(free);
    let mut child = Command::new(env!("CARGO_BIN_EXE_switchyard"))
        .args(["serve", "--nats-url", &nats.url(), "--listen", &address.to_string()])
        .current_dir(nats.folder())
        .env("SWITCHYARD_ADMIN_TOKEN", TOKEN)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the switchyard binary starts");
    drop(child.stdout.take());
    crate::support::eventually(crate::support::WAIT_MAX, "the router is ready", || async {
        tokio::net::TcpStream::connect(address).await.ok()?;
        let answer = exchange(address.port(), "GET /healthz/ready HTTP/1.1", "").await;
        (status(&answer) == 200).then_some(())
    })
    .await;
    let answer = exchange(address.port(), "GET /healthz/ready HTTP/1.1", "").await;
    assert!(answer.contains(&json!({"status": "ok"}).to_string()), "{answer}");
    child.kill().await.expect("it still runs");
}
