//! Publishing with confirmation: repeats a publish under the same message id until the stream has
//! stored it.
//!
//! An unconfirmed publish may or may not have been stored; the message id makes the repeat harmless
//! within the broker's deduplication window.

use async_nats::HeaderMap;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::{self, ErrorCode};
use bytes::Bytes;

use super::connect::JetStreamClient;
use super::metrics;
use super::publish_gate::{Pass, PublishGate};
use crate::clock;

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

/// Why a message is not stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NotStored {
    /// It is larger than `max_payload`: the broker can never store it.
    TooLarge,
    /// The stream has its maximum size.
    StreamFull,
}

/// Publishes until the message is stored, without a time limit: until then the delivery holds
/// its event, and pulling stops at its bounds. While the broker does not store messages of this stream, `gate`
/// lets one publish after the other try.
///
/// # Errors
/// See [`NotStored`].
pub(super) async fn until_stored(
    jetstream_client: &JetStreamClient,
    gate: &PublishGate,
    request: &PublishRequest,
) -> Result<(), NotStored> {
    loop {
        let pass = match gate.pass().await {
            Pass::StreamFull => return Err(NotStored::StreamFull),
            pass => pass,
        };
        let error = match once(jetstream_client, request).await {
            Ok(_) => {
                gate.record_stored(pass);
                return Ok(());
            }
            Err(error) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
                return Err(NotStored::TooLarge);
            }
            Err(error) => error,
        };
        if gate.record_failed() {
            let (stream, subject) = (request.stream, &request.subject);
            tracing::warn!(stream, %subject, %error, "publish not confirmed; publishes to the stream wait");
        }
        if is_stream_full(&error) {
            gate.notify_stream_full();
            return Err(NotStored::StreamFull);
        }
    }
}

/// Returns whether the broker refused a message because its stream has its maximum size.
///
/// **Source:** nats-server 2.15, `server/store.go`: error 10077 has the error of the store as text.
fn is_stream_full(error: &PublishError) -> bool {
    let answer = std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<jetstream::Error>());
    answer.is_some_and(|answer| {
        let text = answer.to_string();
        answer.error_code() == ErrorCode::STREAM_STORE_FAILED
            && (text.contains("maximum bytes") || text.contains("maximum messages"))
    })
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
