//! Test doubles of the HTTP tests: a stream in memory, and responses read whole.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use crate::delivery::{FailedWebhook, FailedWebhooks};
use crate::domain::{AppId, InstallationId};
use crate::event::{Envelope, PublishError, Published, Publisher};

/// A store of failed webhooks that is empty.
pub(super) struct NoFailedWebhooks;

impl FailedWebhooks for NoFailedWebhooks {
    fn list<'a>(
        &'a self,
        _: &'a AppId,
        _: &'a InstallationId,
        _: i64,
        _: usize,
    ) -> BoxFuture<'a, Result<Vec<FailedWebhook>, String>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

/// Stores events in memory and deduplicates by identity, as the broker does.
#[derive(Default)]
pub(super) struct MemoryStream {
    events: Mutex<Vec<(Envelope, Bytes)>>,
    /// While set, no publish is confirmed.
    pub(super) is_down: AtomicBool,
    /// Seconds for which publishing is refused; 0 = accepted.
    pub(super) refuse_for_s: AtomicU64,
    running: AtomicUsize,
    /// Highest number of concurrent publishes.
    pub(super) running_max: AtomicUsize,
}

impl MemoryStream {
    pub(super) fn events(&self) -> Vec<(Envelope, Bytes)> {
        self.events.lock().unwrap().clone()
    }

    pub(super) fn identities(&self) -> Vec<String> {
        self.events().iter().map(|(envelope, _)| envelope.identity()).collect()
    }

    fn store(&self, envelope: Envelope, body: Bytes) -> Result<Published, PublishError> {
        if self.is_down.load(SeqCst) {
            return Err(PublishError::Unconfirmed { waited_ms: 2000 });
        }
        let mut events = self.events.lock().unwrap();
        let known = events.iter().position(|(held, _)| held.identity() == envelope.identity());
        let at = known.unwrap_or(events.len());
        if known.is_none() {
            events.push((envelope, body));
        }
        Ok(Published { sequence: at as u64 + 1, duplicate: known.is_some() })
    }
}

impl Publisher for MemoryStream {
    fn publish(
        &self,
        envelope: Envelope,
        body: Bytes,
    ) -> BoxFuture<'_, Result<Published, PublishError>> {
        Box::pin(async move {
            let running = self.running.fetch_add(1, SeqCst) + 1;
            self.running_max.fetch_max(running, SeqCst);
            tokio::task::yield_now().await;
            self.running.fetch_sub(1, SeqCst);
            self.store(envelope, body)
        })
    }

    fn refuse_for_s(&self) -> Option<u64> {
        Some(self.refuse_for_s.load(SeqCst)).filter(|seconds| *seconds > 0)
    }
}

/// Posts `body` to `path` and returns status, headers and JSON of the response.
pub(super) async fn post(
    routes: Router,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> (StatusCode, HeaderMap, Value) {
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = routes.oneshot(request.body(body.into()).unwrap()).await.unwrap();
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (parts.status, parts.headers, serde_json::from_slice(&body).unwrap_or(Value::Null))
}
