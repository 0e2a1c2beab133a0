//! A handler that records every request and answers as the test configures it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// The status of a handler that accepts the request and never answers.
pub(crate) const NEVER: u16 = 0;

/// One recorded request.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Received {
    /// A header's text; fails the test when it is missing.
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("no header {name}"));
        value.to_str().expect("a text header")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }
}

#[derive(Default)]
struct Recorded {
    received: Mutex<Vec<Received>>,
    /// Status and `Retry-After` by path; 204 if not set.
    answers: Mutex<HashMap<String, (u16, Option<u64>)>>,
    /// Bodies by path, with status 200.
    bodies: Mutex<HashMap<String, String>>,
    /// Paths that answer when they are released.
    held: Mutex<HashMap<String, Arc<Semaphore>>>,
    /// Response delay by path.
    slow: Mutex<HashMap<String, Duration>>,
}

/// A real HTTP server on loopback.
pub(crate) struct Sink {
    address: SocketAddr,
    recorded: Arc<Recorded>,
    server: JoinHandle<()>,
}

impl Sink {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let address = listener.local_addr().expect("a bound address");
        let recorded = Arc::new(Recorded::default());
        let app = Router::new().fallback(record).with_state(recorded.clone());
        let server = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("the sink serves");
        });
        Self { address, recorded, server }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// From now on `path` answers with this status.
    pub(crate) fn answer(&self, path: &str, status: u16, retry_after_s: Option<u64>) {
        self.recorded.answers.lock().unwrap().insert(path.to_owned(), (status, retry_after_s));
    }

    /// From now on `path` answers 200 with this body.
    pub(crate) fn answer_with(&self, path: &str, body: impl ToString) {
        self.recorded.answers.lock().unwrap().remove(path);
        self.recorded.bodies.lock().unwrap().insert(path.to_owned(), body.to_string());
    }

    /// From now on `path` accepts requests and answers none before [`Sink::release`].
    pub(crate) fn hold(&self, path: &str) {
        let gate = Arc::new(Semaphore::new(0));
        self.recorded.held.lock().unwrap().insert(path.to_owned(), gate);
    }

    /// Lets `path` answer waiting and later requests.
    pub(crate) fn release(&self, path: &str) {
        if let Some(gate) = self.recorded.held.lock().unwrap().remove(path) {
            gate.close();
        }
    }

    /// From now on `path` answers after `pause`.
    pub(crate) fn slow(&self, path: &str, pause: Duration) {
        self.recorded.slow.lock().unwrap().insert(path.to_owned(), pause);
    }

    pub(crate) fn count(&self) -> usize {
        self.recorded.received.lock().unwrap().len()
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.recorded.received.lock().unwrap().clone()
    }

    pub(crate) fn received_at(&self, path: &str) -> Vec<Received> {
        self.received().into_iter().filter(|one| one.path == path).collect()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn record(
    State(recorded): State<Arc<Recorded>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path().to_owned();
    let answer = recorded.answers.lock().unwrap().get(&path).copied();
    let received = Received { path: path.clone(), headers, body };
    recorded.received.lock().unwrap().push(received);
    let gate = recorded.held.lock().unwrap().get(&path).cloned();
    if let Some(gate) = gate {
        // The semaphore is closed on release.
        let _ = gate.acquire().await;
    }
    let pause = recorded.slow.lock().unwrap().get(&path).copied();
    if let Some(pause) = pause {
        tokio::time::sleep(pause).await;
    }
    let configured = recorded.bodies.lock().unwrap().get(&path).cloned();
    if let (None, Some(body)) = (answer, configured) {
        return body.into_response();
    }
    let (status, retry_after_s) = answer.unwrap_or((204, None));
    if status == NEVER {
        return std::future::pending().await;
    }
    let status = StatusCode::from_u16(status).expect("a status");
    match retry_after_s {
        Some(seconds) => (status, [("retry-after", seconds.to_string())]).into_response(),
        None => status.into_response(),
    }
}
