//! Publishing with confirmation: repeats a publish under the same message id until the stream has
//! stored it.
//!
//! An unconfirmed publish may or may not have been stored; the message id makes the repeat harmless
//! within the broker's deduplication window.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use bytes::Bytes;

use super::connect::JetStreamClient;
use super::metrics;
use crate::clock;

/// First pause after an unconfirmed publish; doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Minimum time between two log lines while publishing fails.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// One message to be stored.
#[derive(Clone, Debug)]
pub(super) struct PublishRequest {
    /// The stream, as metric label.
    pub(super) stream: &'static str,
    pub(super) subject: String,
    /// The message id, by which the broker detects duplicates.
    pub(super) message_id: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Publishes until the message is stored, without a time limit.
///
/// # Errors
/// Only if the broker can never store it: it is larger than `max_payload`.
pub(super) async fn until_stored(
    jetstream_client: &JetStreamClient,
    request: &PublishRequest,
) -> Result<PublishAck, PublishError> {
    let mut pause = PAUSE_MIN;
    let mut logged = None;
    loop {
        let error = match once(jetstream_client, request).await {
            Ok(ack) => return Ok(ack),
            Err(error) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
                return Err(error);
            }
            Err(error) => error,
        };
        if logged.is_none_or(|at| clock::since(at) >= LOG_INTERVAL) {
            logged = Some(clock::tick());
            let (stream, subject) = (request.stream, &request.subject);
            tracing::warn!(stream, %subject, %error, "publish not confirmed; retrying");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Publishes once and waits for the confirmation, up to the context's timeout.
pub(super) async fn once(
    jetstream_client: &JetStreamClient,
    request: &PublishRequest,
) -> Result<PublishAck, PublishError> {
    let started = clock::tick();
    let message = PublishMessage::build()
        .headers(request.headers.clone())
        .payload(request.body.clone())
        .message_id(&request.message_id);
    let result = async {
        jetstream_client.context.send_publish(request.subject.clone(), message).await?.await
    };
    match result.await {
        Ok(ack) => {
            metrics::published(request.stream, clock::since(started));
            Ok(ack)
        }
        Err(error) => {
            metrics::publish_failed(request.stream, reason(&error));
            Err(error)
        }
    }
}

fn reason(error: &PublishError) -> &'static str {
    match error.kind() {
        PublishErrorKind::TimedOut => "timeout",
        PublishErrorKind::MaxPayloadExceeded => "too_large",
        _ => "other",
    }
}
