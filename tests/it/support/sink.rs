//! A handler that records every request and takes it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
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

type Recorded = Mutex<Vec<Received>>;

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

    pub(crate) fn count(&self) -> usize {
        self.recorded.lock().unwrap().len()
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.recorded.lock().unwrap().clone()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn record(
    State(recorded): State<Arc<Recorded>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    recorded.lock().unwrap().push(Received { headers, body });
    StatusCode::NO_CONTENT
}
