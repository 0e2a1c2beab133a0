//! HTTP attempts against handlers of every behaviour.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::config::Config;
use crate::delivery::model::{DeadLetterReason, NextStep, RequestedDelay};

const OK: &str = "HTTP/1.1 204 No Content\r\n\r\n";

fn config() -> config::DeliveryConfig {
    let mut config = Config::defaults().unwrap().delivery;
    config.allow_http = true;
    config.allow_ports = vec!["any".into()];
    config.allow_cidrs = vec!["127.0.0.0/8".parse().unwrap()];
    config.timeout_ms = 1_000;
    config
}

fn client(config: &config::DeliveryConfig) -> HttpClient {
    HttpSender::new(config, Arc::new(EgressGuard::new(config).unwrap())).unwrap().client(1)
}

async fn post(config: &config::DeliveryConfig, url: &str) -> AttemptOutcome {
    let headers = vec![("content-type", "application/json".into())];
    client(config).post(&url.parse().unwrap(), headers, Bytes::from_static(b"{}")).await
}

/// Sends `response` on each connection, whatever the request; returns its port.
async fn server(response: impl Into<Vec<u8>>) -> (u16, JoinHandle<()>) {
    let (listener, response) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), response.into());
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(&response).await;
        }
    });
    (port, task)
}

async fn outcome_of(response: &str) -> AttemptOutcome {
    let (port, server) = server(response).await;
    let outcome = post(&config(), &format!("http://127.0.0.1:{port}/hook")).await;
    server.abort();
    outcome
}

#[tokio::test]
async fn status_and_retry_after_are_classified() {
    assert!(outcome_of(OK).await.is_done());
    let busy = "HTTP/1.1 503 Busy\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n";
    let NextStep::Retry { requested, .. } = outcome_of(busy).await.next else {
        panic!("not retried")
    };
    assert_eq!(requested, Some(RequestedDelay::RetryAfter(Duration::from_secs(7))));
}

#[tokio::test]
async fn redirect_is_not_followed() {
    let (target, server) = server(OK).await;
    let response = format!(
        "HTTP/1.1 307 x\r\nlocation: http://127.0.0.1:{target}/\r\ncontent-length: 0\r\n\r\n"
    );
    let outcome = outcome_of(&response).await;
    assert_eq!(outcome.next, NextStep::DeadLetter(DeadLetterReason::Rejected(307)));
    server.abort();
}

#[tokio::test]
async fn each_failure_has_its_class() {
    let class = |url: String| async move { post(&config(), &url).await.class };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = listener.local_addr().unwrap().port();
    drop(listener);
    assert_eq!(class(format!("http://127.0.0.1:{closed}/")).await, AttemptClass::Connect);
    assert_eq!(class("http://does-not-exist.invalid/".into()).await, AttemptClass::Dns);
    let (port, plain) = server("SSH-2.0-x\r\n").await;
    assert_eq!(class(format!("http://127.0.0.1:{port}/")).await, AttemptClass::Protocol);
    assert_eq!(class(format!("https://127.0.0.1:{port}/")).await, AttemptClass::Tls);
    plain.abort();
}

#[tokio::test]
async fn handler_that_never_answers_costs_one_deadline() {
    let (port, silent) = server("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n12").await;
    let outcome = post(&config(), &format!("http://127.0.0.1:{port}/")).await;
    // The connection is closed in the middle of the body.
    assert!(matches!(outcome.class, AttemptClass::Timeout | AttemptClass::Protocol), "{outcome:?}");
    silent.abort();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let started = clock::tick();
    let outcome = post(&config(), &format!("http://127.0.0.1:{port}/")).await;
    assert_eq!(outcome.class, AttemptClass::Timeout);
    assert!(clock::since(started) < Duration::from_millis(1_500));
}

#[tokio::test]
async fn long_response_is_cut() {
    let mut config = config();
    config.response_max = 16;
    let response = format!("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n{}", "x".repeat(64));
    let (port, server) = server(response).await;
    assert!(post(&config, &format!("http://127.0.0.1:{port}/")).await.is_done());
    server.abort();
}

#[tokio::test]
async fn oversized_response_headers_are_rejected() {
    let response = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(64 * 1024));
    assert_eq!(outcome_of(&response).await.class, AttemptClass::Protocol);
}

#[tokio::test]
async fn forbidden_addresses_are_never_dialled() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut config = config();
    config.allow_cidrs = vec!["10.0.0.0/8".parse().unwrap()];
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"] {
        let outcome = post(&config, &format!("http://{host}:{port}/")).await;
        assert_eq!(outcome.class, AttemptClass::Blocked, "{host}: {outcome:?}");
        assert_eq!(outcome.next, NextStep::DeadLetter(DeadLetterReason::BlockedAddress));
    }
    let none = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(none.is_err(), "a connection was made");
}

#[tokio::test]
async fn connection_is_reused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        for _ in 0..2 {
            assert!(stream.read(&mut request).await.unwrap() > 0);
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
    });
    let client = client(&config());
    for _ in 0..2 {
        assert!(client.post(&url, Vec::new(), Bytes::from_static(b"{}")).await.is_done());
    }
    server.await.unwrap();
}
