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
    /// It, or its headers, are larger than a limit: the broker can never store it.
    TooLarge,
    /// The stream has its maximum size.
    StreamFull,
}

/// Header of a message that is stored only if the last one with its subject has this sequence; 0 if there
/// is none.
const EXPECTED_SEQUENCE: &str = "Nats-Expected-Last-Subject-Sequence";

/// What the broker did with a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// It stored the message, for this call.
    Stored,
    /// It had stored a message with this id before this call.
    Repeated,
    /// It has another message with this subject, and did not store this one.
    Occupied,
}

impl Answer {
    /// Returns what a confirmation says. A duplicate of a publish of the same call is what that one stored.
    fn confirmed(is_duplicate: bool, is_first: bool) -> Self {
        if is_duplicate && is_first { Self::Repeated } else { Self::Stored }
    }
}

/// Publishes until the message is stored, without a time limit: until then the delivery holds
/// its event, and pulling stops at its bounds. While the broker does not store messages of this
/// stream, `gate` lets one publish after the other try.
///
/// # Errors
/// See [`NotStored`].
pub(super) async fn until_stored(
    jetstream_client: &JetStreamClient,
    gate: &PublishGate,
    request: &PublishRequest,
) -> Result<Answer, NotStored> {
    let mut is_first = true;
    loop {
        let pass = match gate.pass().await {
            Pass::StreamFull => return Err(NotStored::StreamFull),
            pass => pass,
        };
        let error = match once(jetstream_client, request).await {
            Ok(ack) => {
                gate.record_stored(pass);
                return Ok(Answer::confirmed(ack.duplicate, is_first));
            }
            // The broker answers, and stores other messages.
            Err(error) if is_occupied(&error) => {
                gate.record_stored(pass);
                return Ok(Answer::Occupied);
            }
            Err(error) if refusal(&error) == Some(Refusal::TooLarge) => {
                // Others can be stored: the broker refused this message alone.
                gate.record_stored(pass);
                return Err(NotStored::TooLarge);
            }
            Err(error) => error,
        };
        is_first = false;
        if gate.record_failed() {
            let (stream, subject) = (request.stream, &request.subject);
            tracing::warn!(stream, %subject, %error, "publish not confirmed; publishes to the stream wait");
        }
        if refusal(&error) == Some(Refusal::StreamFull) {
            gate.notify_stream_full();
            return Err(NotStored::StreamFull);
        }
    }
}

/// As [`until_stored`], unless the stream has a message with this subject, or with the one that
/// [`EXPECTED_SEQUENCE_SUBJECT`](super::headers::EXPECTED_SEQUENCE_SUBJECT) names. An attempt whose confirmation was
/// lost may have stored the message that is found.
///
/// # Errors
/// See [`NotStored`].
pub(super) async fn until_stored_first(
    jetstream_client: &JetStreamClient,
    gate: &PublishGate,
    mut request: PublishRequest,
) -> Result<Answer, NotStored> {
    request.headers.insert(EXPECTED_SEQUENCE, "0");
    until_stored(jetstream_client, gate, &request).await
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

/// Whether the broker refused a message because another one has its subject.
fn is_occupied(error: &PublishError) -> bool {
    // The second one is of a cluster, where another message with the subject is being stored.
    error.kind() == PublishErrorKind::WrongLastSequence
        || error_code(error) == Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT)
}

fn error_code(error: &PublishError) -> Option<ErrorCode> {
    let source = std::error::Error::source(error)?;
    source.downcast_ref::<jetstream::Error>().map(jetstream::Error::error_code)
}

/// Why the broker did not store a message, and said so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// The stream has its maximum size.
    StreamFull,
    /// The storage of the broker or of its account is full.
    StorageFull,
    /// The message is larger than a limit.
    TooLarge,
}

/// Returns the refusal that an error reports; `None` if the message may have been stored, or if the
/// broker may store it soon.
pub(super) fn refusal(error: &PublishError) -> Option<Refusal> {
    if error.kind() == PublishErrorKind::MaxPayloadExceeded {
        return Some(Refusal::TooLarge);
    }
    let source = std::error::Error::source(error)?;
    let answer = source.downcast_ref::<jetstream::Error>()?;
    classify(answer.error_code(), &answer.to_string())
}

/// **Source:** nats-server 2.15, `server/errors.json` and `server/store.go`: 10077 has the error of
/// the store as its text.
fn classify(code: ErrorCode, text: &str) -> Option<Refusal> {
    match code {
        ErrorCode::STREAM_STORE_FAILED
            if text.contains("maximum bytes") || text.contains("maximum messages") =>
        {
            Some(Refusal::StreamFull)
        }
        // The stream moves to another server, or the server stops.
        ErrorCode::STREAM_STORE_FAILED if text.contains("closed") => None,
        ErrorCode::STREAM_STORE_FAILED
        | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
        | ErrorCode::INSUFFICIENT_RESOURCES
        | ErrorCode::STORAGE_RESOURCES_EXCEEDED
        | ErrorCode::MEMORY_RESOURCES_EXCEEDED => Some(Refusal::StorageFull),
        ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM | ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM => {
            Some(Refusal::TooLarge)
        }
        _ => None,
    }
}

fn reason(error: &PublishError) -> &'static str {
    match (error.kind(), refusal(error)) {
        (PublishErrorKind::TimedOut, _) => "timeout",
        (_, Some(Refusal::TooLarge)) => "too_large",
        (_, Some(Refusal::StreamFull | Refusal::StorageFull)) => "no_space",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broker_error(code: u64, text: &str) -> PublishError {
        let answer = format!(r#"{{"code":503,"err_code":{code},"description":"{text}"}}"#);
        let answer: jetstream::Error = serde_json::from_str(&answer).unwrap();
        PublishError::with_source(PublishErrorKind::Other, answer)
    }

    #[test]
    fn duplicate_of_an_earlier_call_is_stored_by_that_one() {
        assert_eq!(Answer::confirmed(false, true), Answer::Stored);
        assert_eq!(Answer::confirmed(true, true), Answer::Repeated);
        assert_eq!(Answer::confirmed(true, false), Answer::Stored, "the confirmation was lost");
        assert_eq!(Answer::confirmed(false, false), Answer::Stored);
    }

    #[test]
    fn refusal_because_of_another_message_is_recognised() {
        let constant = broker_error(10164, "wrong last sequence");
        assert!(is_occupied(&constant) && refusal(&constant).is_none());
        assert!(is_occupied(&PublishError::new(PublishErrorKind::WrongLastSequence)));
        assert!(!is_occupied(&broker_error(10077, "store is closed")));
        assert!(!is_occupied(&PublishError::new(PublishErrorKind::TimedOut)));
    }

    #[test]
    fn refusal_is_distinguished_from_an_unknown_result() {
        for (code, text, expected) in [
            (10077, "maximum bytes exceeded", Some(Refusal::StreamFull)),
            (10077, "maximum messages exceeded", Some(Refusal::StreamFull)),
            (10077, "write js/1.blk: no space left on device", Some(Refusal::StorageFull)),
            (10077, "store is closed", None),
            (10002, "resource limits exceeded for account", Some(Refusal::StorageFull)),
            (10023, "insufficient resources", Some(Refusal::StorageFull)),
            (10047, "insufficient storage resources available", Some(Refusal::StorageFull)),
            (10054, "message size exceeds maximum allowed", Some(Refusal::TooLarge)),
            (10097, "header size exceeds maximum allowed of 64k", Some(Refusal::TooLarge)),
            (10008, "JetStream system temporarily unavailable", None),
            (10158, "duplicate message id is in process", None),
        ] {
            assert_eq!(refusal(&broker_error(code, text)), expected, "{code} {text}");
        }
        assert_eq!(refusal(&PublishError::new(PublishErrorKind::TimedOut)), None);
        let too_large = PublishError::new(PublishErrorKind::MaxPayloadExceeded);
        assert_eq!(refusal(&too_large), Some(Refusal::TooLarge));
        assert_eq!(reason(&broker_error(10077, "maximum bytes exceeded")), "no_space");
    }
}
