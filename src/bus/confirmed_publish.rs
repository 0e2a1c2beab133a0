//! Publishing what must not be lost: again and again under the same id, until it is stored.
//!
//! A publish that nobody answered may have been stored or not; the same id makes the repeat
//! harmless as long as the broker's window lasts.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use bytes::Bytes;

use super::connect::JetStreamClient;
use super::metrics;
use crate::clock;

/// First pause after a publish that was not acknowledged; doubles up to the longest.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// While it goes on failing, one log line per this time.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// One message to be stored.
#[derive(Clone, Debug)]
pub(super) struct PublishRequest {
    /// The stream, as metric label.
    pub(super) stream: &'static str,
    pub(super) subject: String,
    /// The id by which the broker recognises a repeat.
    pub(super) message_id: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Stores a message, however long it takes.
///
/// # Errors
/// Only if the broker can never take it: it is larger than `max_payload`.
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
            tracing::warn!(stream, %subject, %error, "not stored yet; trying again");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Publishes once and waits for the acknowledgement, as long as the context's timeout says.
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
