//! Answers of requests that take long: lines of JSON with progress, and the result as the last line.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::api::broker_answers::{BrokerAnswers, BrokerUse};
use crate::api::error::ApiError;
use crate::clock;

/// Media type of an answer with progress.
const NDJSON: &str = "application/x-ndjson";
/// Lines of progress that wait for the client; further ones are dropped.
const LINES_MAX: usize = 16;
/// Pause between two lines of progress.
const PAUSE: Duration = Duration::from_millis(100);

/// Sends lines of progress, a few each second; a slow client misses some of them.
pub(super) struct ProgressLines {
    sender: mpsc::Sender<Bytes>,
    /// When the last line was sent.
    last: Mutex<Option<Instant>>,
}

impl ProgressLines {
    /// Sends one line, unless another one was sent just before.
    pub(super) fn send(&self, value: &Value) {
        let Ok(mut last) = self.last.lock() else { return };
        if last.is_none_or(|last| clock::since(last) >= PAUSE) {
            *last = Some(clock::tick());
            let _ = self.sender.try_send(line(value));
        }
    }
}

/// Whether a client accepts lines of progress.
pub(super) fn accepts_lines(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains(NDJSON))
}

/// Answers with the lines that `work` sends. The last one is what `work` returns, or
/// `{"error":.., "status":..}`. Work ends when the client leaves, or with an error when the broker is silent.
pub(super) fn respond<F, W>(broker: Arc<BrokerAnswers>, work: W) -> Response
where
    F: Future<Output = Result<Value, ApiError>> + Send,
    W: FnOnce(ProgressLines) -> F + Send + 'static,
{
    let (sender, receiver) = mpsc::channel::<Bytes>(LINES_MAX);
    tokio::spawn(async move {
        let progress = ProgressLines { sender: sender.clone(), last: Mutex::new(None) };
        let last = tokio::select! {
            last = broker.wait(BrokerUse::Reads, work(progress)) => last,
            // The client left.
            () = sender.closed() => return,
        };
        let last = match last.unwrap_or_else(|silent| Err(ApiError::BrokerSilent(silent))) {
            Ok(value) => value,
            Err(error) => error_value(error).await,
        };
        let _ = sender.send(line(&last)).await;
    });
    let body = stream::unfold(receiver, |mut receiver| async {
        let line = receiver.recv().await?;
        Some((Ok::<_, Infallible>(line), receiver))
    });
    ([(header::CONTENT_TYPE, NDJSON)], Body::from_stream(body)).into_response()
}

async fn error_value(error: ApiError) -> Value {
    let answer = error.into_response();
    let status = answer.status().as_u16();
    let body = match answer.into_body().collect().await {
        Ok(body) => serde_json::from_slice(&body.to_bytes()).unwrap_or(Value::Null),
        Err(_) => Value::Null,
    };
    json!({ "error": body, "status": status })
}

fn line(value: &Value) -> Bytes {
    let mut text = value.to_string();
    text.push('\n');
    text.into()
}
