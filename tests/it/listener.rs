//! Attacks on the listener by clients that have no credentials: what they can hold is bounded, and others
//! are answered at the same time.

use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use switchyard::clock;

use crate::support::raw::{RawConnection, exchange, exchange_from, log_in, status};
use crate::support::{ADMIN_TOKEN, NatsServer, RouterProcess, Setup, WAIT_MAX, eventually};

const MIB: usize = 1 << 20;
const WEBHOOK_SECRET: &str = "of the webhooks: 0123456789abcdef";

/// Waits until a series of the router is at least `least`.
async fn until_metric(router: &RouterProcess, series: &str, least: f64) {
    eventually(WAIT_MAX, series, || async { (router.metric(series).await >= least).then_some(()) })
        .await;
}

/// The head of a request with a body of 1 MiB.
fn head(method_and_path: &str, headers: &str) -> String {
    format!(
        "{method_and_path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}Content-Length: {MIB}\r\n\r\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_strangers_are_refused_unread() {
    const EACH: usize = 20;
    let nats = NatsServer::start().await;
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"))
        .with("SWITCHYARD_INGEST__JIRA__SITE-1__SECRET", WEBHOOK_SECRET)
        .with("SWITCHYARD_SERVER__AUTH_FAILURES_PER_MINUTE", 10_000);
    let router = setup.start().await;
    router.provision("app-1", "inst-1", "site-1", "http://127.0.0.1:9/").await;
    let before = router.resident_bytes();
    let mut held = Vec::new();
    for (method_and_path, headers, expected) in [
        ("POST /forge/installation/v2/dynamic/module", "Authorization: Bearer wrong\r\n", 401),
        ("POST /rest/atlassian-connect/1/app/module/dynamic", "", 401),
        ("POST /rest/api/3/webhook", "Authorization: Bearer wrong\r\n", 403),
        ("PUT /admin/v1/apps/app-1", "Authorization: Bearer wrong\r\n", 401),
        ("POST /admin/v1/events?cloudId=site-1&type=x", "", 401),
        ("POST /ingest/jira/site-1", "", 401),
        ("POST /ingest/jira/nowhere", "", 404),
    ] {
        for _ in 0..EACH {
            let mut connection = RawConnection::open(setup.port).await;
            connection.send(head(method_and_path, headers)).await;
            // All but the last byte, so that the request never ends.
            connection.send(vec![b' '; MIB - 1]).await;
            held.push((connection, method_and_path, expected));
        }
    }
    for (connection, method_and_path, expected) in &mut held {
        let response = connection.until_closed().await;
        assert_eq!(status(&response), *expected, "{method_and_path}: {response}");
    }
    let grown = router.resident_bytes().saturating_sub(before);
    let sent = held.len() * MIB;
    eprintln!("{} unfinished bodies of 1 MiB: resident memory grew by {grown} bytes", held.len());
    assert!(grown < sent as u64 / 4, "{grown} of {sent} bytes are held");
    assert!(router.metric("switchyard_listener_body_bytes").await < 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_are_read_have_a_share_of_the_memory_and_a_deadline() {
    let nats = NatsServer::start().await;
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"))
        .with("SWITCHYARD_INGEST__JIRA__SITE-1__SECRET", WEBHOOK_SECRET)
        .with("SWITCHYARD_SERVER__BODY_BYTES_PER_ADDRESS_MAX", 4 * MIB)
        .with("SWITCHYARD_SERVER__BODY_BYTES_PER_SITE_MAX", 8 * MIB)
        .with("SWITCHYARD_SERVER__BODY_TIMEOUT_MS", 3_000);
    let router = setup.start().await;
    router.provision("app-1", "inst-1", "site-1", "http://127.0.0.1:9/").await;
    // The form of a signature is all that can be checked before the body.
    let signature = format!("X-Hub-Signature: sha256={}\r\n", "0".repeat(64));
    let mut held = Vec::new();
    for _ in 0..16 {
        let mut connection = RawConnection::open_from(setup.port, 2).await;
        connection.send(head("POST /ingest/jira/site-1", &signature)).await;
        connection.send(vec![b' '; MIB - 1]).await;
        held.push(connection);
    }
    until_metric(&router, r#"switchyard_listener_bodies_refused_total{reason="address"}"#, 1.0)
        .await;
    assert!(router.metric("switchyard_listener_body_bytes").await <= 4.0 * MIB as f64);
    // Another client is served.
    let path = "/forge/installation/v2/dynamic/module";
    let module = json!({"type": "trigger", "data": {"endpoint": "hook", "events": ["avi:jira:created:issue"]}});
    let token =
        router.api.send(Method::POST, "/admin/v1/installations/inst-1/token", &[], &Value::Null);
    let token = token.await.expect("a token");
    let app = router.api.with_token(token["token"].as_str().expect("a token"));
    app.send(Method::POST, path, &[], &module).await.expect("registered");
    let mut statuses = Vec::new();
    for connection in &mut held {
        statuses.push(status(&connection.until_closed().await));
    }
    assert!(statuses.contains(&429) && statuses.contains(&408), "{statuses:?}");
    assert!(statuses.iter().all(|status| [429, 408].contains(status)), "{statuses:?}");
    assert!(router.metric("switchyard_listener_body_bytes").await < 1.0);
    let refused = r#"switchyard_ingest_refused_total{site="site-1",reason="busy"}"#;
    assert!(router.metric(refused).await >= 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_and_idle_connections_are_closed_in_time() {
    const EACH: usize = 30;
    let nats = NatsServer::start().await;
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"))
        .with("SWITCHYARD_SERVER__HEADER_TIMEOUT_MS", 700)
        .with("SWITCHYARD_SERVER__IDLE_TIMEOUT_MS", 1_500);
    let router = setup.start().await;
    let mut held = Vec::new();
    for _ in 0..EACH {
        let silent = RawConnection::open(setup.port).await;
        let mut partial = RawConnection::open(setup.port).await;
        partial.send("GET /healthz/live HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ").await;
        let mut idle = RawConnection::open(setup.port).await;
        idle.send("GET /healthz/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await;
        held.extend([(silent, false), (partial, false), (idle, true)]);
    }
    for (connection, is_answered) in &mut held {
        let received = connection.until_closed().await;
        assert_eq!(received.starts_with("HTTP/1.1 200"), *is_answered, "{received}");
    }
    let closed = async |reason: &str| {
        let series = format!("switchyard_listener_closed_total{{reason=\"{reason}\"}}");
        router.metric(&series).await
    };
    assert!(closed("header_timeout").await >= 2.0 * EACH as f64);
    assert!(closed("idle_timeout").await >= EACH as f64);

    // One byte at a time does not extend the deadline.
    let mut slow = RawConnection::open(setup.port).await;
    let mut is_open = true;
    for byte in
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Header: 0123456789".iter().cycle().take(200)
    {
        is_open = is_open && slow.send([*byte]).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!is_open, "the connection is closed while it sends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_of_one_address_are_bounded_and_others_are_answered() {
    const MOST: usize = 24;
    let nats = NatsServer::start().await;
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"))
        .with("SWITCHYARD_SERVER__CONNECTIONS_PER_ADDRESS_MAX", MOST);
    let router = setup.start().await;
    let mut held = Vec::new();
    for _ in 0..MOST {
        held.push(RawConnection::open_from(setup.port, 2).await);
    }
    until_metric(
        &router,
        r#"switchyard_listener_connections{listener="main",state="open"}"#,
        MOST as f64,
    )
    .await;
    for _ in 0..5 {
        let response = RawConnection::open_from(setup.port, 2).await.until_closed().await;
        assert_eq!(status(&response), 503, "{response}");
        assert!(response.contains("Retry-After: 1"), "{response}");
    }
    assert!(router.failing().await.is_empty());
    let refused = r#"switchyard_listener_refused_total{reason="address_connections"}"#;
    assert!((router.metric(refused).await - 5.0).abs() < 0.1);
    drop(held);
    eventually(WAIT_MAX, "the address may connect again", || async {
        let answer = exchange_from(setup.port, 2, "GET /healthz/live HTTP/1.1", "").await;
        (status(&answer) == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_of_many_addresses_do_not_keep_out_others() {
    // The fewest that can be configured; this machine has 16 more.
    const MOST: usize = 16 + 16;
    let nats = NatsServer::start().await;
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"))
        .with("SWITCHYARD_SERVER__CONNECTIONS_MAX", 16)
        .with("SWITCHYARD_SERVER__HEADER_TIMEOUT_MS", 600_000)
        .with("SWITCHYARD_SERVER__IDLE_TIMEOUT_MS", 600_000);
    let router = setup.start().await;
    let mut held = Vec::new();
    for last in 0..MOST {
        let last = 10 + u8::try_from(last).expect("an address");
        let mut connection = RawConnection::open_from(setup.port, last).await;
        connection.send("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ").await;
        held.push(connection);
    }
    eventually(WAIT_MAX, "another client is answered", || async {
        let answer = exchange_from(setup.port, 2, "GET /healthz/live HTTP/1.1", "").await;
        (status(&answer) == 200).then_some(())
    })
    .await;
    assert!(
        router.metric(r#"switchyard_listener_closed_total{reason="header_timeout"}"#).await >= 1.0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_feed_outlives_the_deadlines() {
    let nats = NatsServer::start().await;
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"))
        .with("SWITCHYARD_SERVER__HEADER_TIMEOUT_MS", 200)
        .with("SWITCHYARD_SERVER__IDLE_TIMEOUT_MS", 200)
        .with("SWITCHYARD_SERVER__BODY_TIMEOUT_MS", 200);
    let router = setup.start().await;
    router.provision("app-1", "inst-1", "site-1", "http://127.0.0.1:9/").await;
    let cookie = log_in(setup.port, ADMIN_TOKEN).await;
    let mut live = RawConnection::open(setup.port).await;
    live.send(format!("GET /live/stream HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n"))
        .await;
    assert!(live.until_received("application/x-ndjson", WAIT_MAX).await);
    // Longer than every deadline; nothing is sent in that time.
    tokio::time::sleep(Duration::from_secs(2)).await;
    crate::support::publish(&nats.client().await, "site-1", 7, "OPS").await;
    assert!(live.until_received("event-7", WAIT_MAX).await, "the feed is still open");
    // Neither an open feed nor an unfinished request keeps the router from ending.
    let mut partial = RawConnection::open(setup.port).await;
    partial.send("GET / HTTP/1.1\r\nX: ").await;
    let stopping = clock::tick();
    assert!(router.terminate().await);
    let took = clock::since(stopping);
    assert!(took < Duration::from_secs(15), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_tokens_are_counted_and_limited_by_address() {
    const LIMIT: usize = 20;
    const TRIES: usize = 200;
    let nats = NatsServer::start().await;
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"))
        .with("SWITCHYARD_SERVER__AUTH_FAILURES_PER_MINUTE", LIMIT)
        .with("SWITCHYARD_SERVER__TRUSTED_PROXIES", "127.0.0.9/32");
    let router = setup.start().await;
    let call = async |last: u8, token: &str| {
        let head = format!("GET /admin/v1/apps HTTP/1.1\r\nAuthorization: Bearer {token}");
        exchange_from(setup.port, last, &head, "").await
    };
    let mut limited = 0;
    for number in 0..TRIES {
        let response = call(2, &format!("guess-{number}")).await;
        match status(&response) {
            401 => {}
            429 => {
                limited += 1;
                assert!(response.to_lowercase().contains("\r\nretry-after: "), "{response}");
                assert!(response.contains("SY-1112"), "{response}");
            }
            other => panic!("{other}: {response}"),
        }
    }
    // The limit refills while the requests are sent.
    assert!(limited >= TRIES / 2, "{limited} of {TRIES}");
    assert_eq!(status(&call(2, ADMIN_TOKEN).await), 200, "a right token is accepted");
    assert_eq!(status(&call(3, "wrong").await), 401, "another address is not limited");
    let counted = r#"switchyard_auth_failures_total{api="operator",reason="unknown_token"}"#;
    assert!((router.metric(counted).await - (TRIES + 1) as f64).abs() < 0.1);

    // A trusted proxy names its clients; each is limited by itself, and others cannot name any.
    let proxied = async |last: u8, client: &str| {
        let head = format!("GET /admin/v1/apps HTTP/1.1\r\nX-Forwarded-For: 1.1.1.1, {client}");
        status(&exchange_from(setup.port, last, &head, "").await)
    };
    let mut statuses = Vec::new();
    for _ in 0..TRIES {
        statuses.push(proxied(9, "9.9.9.9").await);
    }
    assert!(statuses.ends_with(&[429]), "{statuses:?}");
    assert_eq!(proxied(9, "9.9.9.8").await, 401);
    assert_eq!(proxied(2, "9.9.9.7").await, 429, "the limited address of before");

    for (head, series) in [
        ("GET /healthz/deep HTTP/1.1", r#"{api="health",reason="no_token"}"#),
        ("GET /rest/api/3/webhook HTTP/1.1", r#"{api="webhook",reason="no_token"}"#),
    ] {
        exchange_from(setup.port, 4, head, "").await;
        let counted = router.metric(&format!("switchyard_auth_failures_total{series}")).await;
        assert!((counted - 1.0).abs() < 0.1, "{head}: {counted}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_for_this_machine_or_for_a_token() {
    let nats = NatsServer::start().await;
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"));
    let router = setup.start().await;
    for (headers, expected) in [
        ("Host: 127.0.0.1", 200),
        ("Host: localhost:8089", 200),
        // A page of a stranger, by a name that leads here.
        ("Host: evil.example", 421),
        ("Host: localhost\r\nOrigin: http://evil.example", 403),
        // A proxy on this machine that is open to others.
        ("Host: localhost\r\nX-Forwarded-For: 9.9.9.9", 401),
    ] {
        let response =
            exchange(setup.port, &format!("GET /metrics HTTP/1.1\r\n{headers}"), "").await;
        assert_eq!(status(&response), expected, "{headers}: {response}");
    }
    router.kill().await;

    let token = "0123456789abcdef0123456789abcdef";
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let own = free.local_addr().expect("an address");
    drop(free);
    let mut setup =
        setup.with("SWITCHYARD_METRICS__TOKEN", token).with("SWITCHYARD_METRICS__LISTEN", own);
    let _router = setup.start().await;
    for port in [setup.port, own.port()] {
        for (headers, expected) in [
            ("Host: 127.0.0.1".to_owned(), 401),
            ("Host: prometheus\r\nAuthorization: Bearer wrong".to_owned(), 401),
            (format!("Host: prometheus\r\nAuthorization: Bearer {token}"), 200),
        ] {
            let response = exchange(port, &format!("GET /metrics HTTP/1.1\r\n{headers}"), "").await;
            assert_eq!(status(&response), expected, "{headers}: {response}");
        }
    }
    assert_eq!(status(&exchange(own.port(), "GET /healthz/ready HTTP/1.1", "").await), 200);
    assert_eq!(status(&exchange(own.port(), "GET /admin/v1/apps HTTP/1.1", "").await), 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn console_is_shown_under_its_own_names_only() {
    let nats = NatsServer::start().await;
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"))
        .with("SWITCHYARD_SERVER__PUBLIC_URL", "https://switchyard.example.com");
    let _router = setup.start().await;
    for path in ["/", "/live"] {
        for (host, expected) in [
            ("evil.example", 421),
            ("localhost.evil.example:8089", 421),
            ("switchyard.example.com", 401),
            ("localhost:8089", 401),
            ("[::1]:8089", 401),
        ] {
            let response =
                exchange(setup.port, &format!("GET {path} HTTP/1.1\r\nHost: {host}"), "").await;
            assert_eq!(status(&response), expected, "{path} at {host}: {response}");
        }
    }
}
