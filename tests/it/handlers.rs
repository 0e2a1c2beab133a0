//! Handlers that misuse HTTP: each costs one bounded attempt, and no other tenant notices.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::repeats::until_all_acknowledged;
use crate::support::{
    NatsServer, RouterProcess, Setup, Sink, WAIT_MAX, eventually, publish, register,
};

const SITE: &str = "site-1";
const LONG: Duration = WAIT_MAX;
/// Body that a handler would like to send.
const HUGE_BODY_BYTES: usize = 100 << 20;
/// The most of it that sockets on both sides may take.
const SENT_BYTES_MAX: usize = 32 << 20;

/// What a handler does with every request.
#[derive(Clone, Copy)]
enum Misuse {
    /// Announces a body and sends a byte a second.
    SlowBody,
    /// Answers with success and a huge body.
    HugeBody,
    /// Sends headers without an end.
    EndlessHeaders,
    /// Sends interim responses without an end.
    EndlessInterim,
    /// Redirects to itself.
    Redirect,
    /// Asks for a repetition after seven seconds.
    TooManyRequests,
}

/// A handler that misuses HTTP; counts its requests and the bytes that it sent.
struct Handler {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    sent: Arc<AtomicUsize>,
}

impl Handler {
    async fn start(misuse: Misuse) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let address = listener.local_addr().expect("a bound address");
        let (requests, sent) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (counted, written) = (Arc::clone(&requests), Arc::clone(&sent));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Relaxed);
                tokio::spawn(answer(stream, misuse, Arc::clone(&written)));
            }
        });
        Self { address, requests, sent }
    }

    fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }
}

/// Answers one request, then closes the connection.
async fn answer(mut stream: TcpStream, misuse: Misuse, sent: Arc<AtomicUsize>) {
    let mut request = vec![0; 64 << 10];
    if !matches!(stream.read(&mut request).await, Ok(read) if read > 0) {
        return;
    }
    let (head, more, pause): (String, Vec<u8>, Duration) = match misuse {
        Misuse::SlowBody => {
            let head = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n".into();
            (head, vec![b'x'], Duration::from_secs(1))
        }
        Misuse::HugeBody => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {HUGE_BODY_BYTES}\r\n\r\n");
            (head, vec![b'x'; 1 << 20], Duration::ZERO)
        }
        Misuse::EndlessHeaders => {
            ("HTTP/1.1 200 OK\r\n".into(), b"x-more: y\r\n".repeat(1_000), Duration::ZERO)
        }
        Misuse::EndlessInterim => {
            let interim = b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100);
            (String::new(), interim, Duration::from_millis(1))
        }
        Misuse::Redirect => {
            let head = "HTTP/1.1 302 Found\r\nlocation: /hook\r\ncontent-length: 0\r\n\r\n";
            (head.into(), Vec::new(), Duration::ZERO)
        }
        Misuse::TooManyRequests => {
            let head = "HTTP/1.1 429 No\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n";
            (head.into(), Vec::new(), Duration::ZERO)
        }
    };
    if stream.write_all(head.as_bytes()).await.is_err() || more.is_empty() {
        return;
    }
    while sent.load(Relaxed) < HUGE_BODY_BYTES && stream.write_all(&more).await.is_ok() {
        sent.fetch_add(more.len(), Relaxed);
        tokio::time::sleep(pause).await;
    }
}

async fn attempts(router: &RouterProcess, class: &str, blame: &str) -> f64 {
    let labels = format!(r#"target="http",class="{class}",blame="{blame}""#);
    router.metric(&format!("switchyard_delivery_attempts_total{{{labels}}}")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_that_misuse_http_cost_one_bounded_attempt_each() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"))
        .with("SWITCHYARD_DELIVERY__TIMEOUT_MS", 3_000)
        .with("SWITCHYARD_DELIVERY__RETRY_SCHEDULE_S", "3600");
    let (broker, router) = (nats.client().await, setup.start().await);
    let misuses = [
        Misuse::SlowBody,
        Misuse::HugeBody,
        Misuse::EndlessHeaders,
        Misuse::EndlessInterim,
        Misuse::Redirect,
        Misuse::TooManyRequests,
    ];
    let on = json!({ "endpoint": "hook", "events": ["avi:jira:updated:issue"] });
    let mut handlers = Vec::new();
    for (number, misuse) in misuses.into_iter().enumerate() {
        let handler = Handler::start(misuse).await;
        let (app, installation) = (format!("app-{number}"), format!("inst-{number}"));
        let app = router.provision(&app, &installation, SITE, &handler.url()).await;
        register(&app, on.clone()).await;
        handlers.push(handler);
    }
    let healthy = router.provision("app-healthy", "inst-healthy", SITE, &sink.url("/ok")).await;
    register(&healthy, on).await;
    publish(&broker, SITE, 1, "XXX").await;
    until_all_acknowledged(&broker).await;

    assert_eq!(sink.received_at("/ok").len(), 1);
    let requests: Vec<_> = handlers.iter().map(|one| one.requests.load(Relaxed)).collect();
    assert_eq!(requests, [1; 6], "one attempt each; redirects are not followed");
    let sent = handlers[1].sent.load(Relaxed);
    assert!(sent < SENT_BYTES_MAX, "{sent} bytes of a huge body were read");
    let sent = handlers[2].sent.load(Relaxed);
    assert!(sent < SENT_BYTES_MAX, "{sent} bytes of headers were read");
    assert!(attempts(&router, "timeout", "handler").await >= 1.0, "the slow body");
    assert!(attempts(&router, "protocol", "handler").await >= 1.0, "the endless headers");
    assert_eq!(attempts(&router, "3xx", "handler").await, 1.0);
    assert_eq!(attempts(&router, "429", "handler").await, 1.0);
    // A huge body is a success: the status says so.
    assert_eq!(attempts(&router, "2xx", "none").await, 2.0);
    assert_eq!(router.metric("switchyard_retry_after_honoured_total").await, 0.0);
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storm_of_429_ends_at_the_breaker_and_delays_no_other_tenant() {
    const EVENTS: u64 = 200;
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"))
        .with("SWITCHYARD_DELIVERY__RETRY_SCHEDULE_S", "3600");
    let (broker, router) = (nats.client().await, setup.start().await);
    let on = json!({ "endpoint": "hook", "events": ["avi:jira:updated:issue"] });
    let storm = Handler::start(Misuse::TooManyRequests).await;
    for (app, url) in [("storm", storm.url()), ("healthy", sink.url("/ok"))] {
        let app = router.provision(app, &format!("inst-{app}"), SITE, &url).await;
        register(&app, on.clone()).await;
    }
    for number in 0..EVENTS {
        publish(&broker, SITE, number, "XXX").await;
    }
    until_all_acknowledged(&broker).await;
    eventually(LONG, "the healthy tenant has every delivery", || async {
        (sink.received_at("/ok").len() as u64 == EVENTS).then_some(())
    })
    .await;
    let requests = storm.requests.load(Relaxed);
    assert!(requests < 60, "{requests} requests before the breaker opened");
    router.kill().await;
}
