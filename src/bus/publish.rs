//! Events into the event stream, each under its own id.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_nats::jetstream::context::PublishErrorKind;
use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::connect::Jet;
use super::headers;
use super::store::{self, Parcel};
use super::subjects::Subjects;
use crate::clock;
use crate::delivery::HeaderList;
use crate::event::webhook::original;
use crate::event::{Envelope, PublishError, Published, Publisher};

/// How long a door waits for an event to be confirmed, repeats included.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two publishes of an event.
const PAUSE: Duration = Duration::from_millis(250);

/// Publishes events for the doors.
#[derive(Clone, Debug)]
pub struct EventPublisher {
    jet: Jet,
    subjects: Subjects,
    gate: Arc<Gate>,
}

/// Whether doors may take more events; set by what watches the stream.
#[derive(Debug, Default)]
pub struct Gate(AtomicU64);

impl Gate {
    /// Tells doors to refuse events for `seconds`; 0 opens the gate.
    pub fn set_refuse_for_s(&self, seconds: u64) {
        self.0.store(seconds, Relaxed);
    }

    /// How long doors are to refuse events, if they are.
    #[must_use]
    pub fn refuse_for_s(&self) -> Option<u64> {
        Some(self.0.load(Relaxed)).filter(|seconds| *seconds > 0)
    }
}

impl EventPublisher {
    /// Publishes over `jet` as long as `gate` lets doors ask for it.
    #[must_use]
    pub fn new(jet: Jet, subjects: Subjects, gate: Arc<Gate>) -> Self {
        Self { jet, subjects, gate }
    }

    async fn publish_confirmed(&self, parcel: Parcel) -> Result<Published, PublishError> {
        let started = clock::tick();
        loop {
            let error = match store::once(&self.jet, &parcel).await {
                Ok(ack) => {
                    return Ok(Published { sequence: ack.sequence, duplicate: ack.duplicate });
                }
                Err(error) => error,
            };
            if error.kind() == PublishErrorKind::MaxPayloadExceeded {
                return Err(PublishError::Refused { reason: error.to_string() });
            }
            let waited = clock::since(started);
            if waited + PAUSE >= PATIENCE {
                let waited_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
                return Err(PublishError::Unconfirmed { waited_ms });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Publisher for EventPublisher {
    fn publish(
        &self,
        envelope: Envelope,
        body: Bytes,
    ) -> BoxFuture<'_, Result<Published, PublishError>> {
        let parcel = Parcel {
            stream: "events",
            subject: self.subjects.intake(&envelope),
            message_id: headers::encode(&envelope.identity()),
            headers: headers::write(&fields(&envelope)),
            body,
        };
        Box::pin(self.publish_confirmed(parcel))
    }

    fn refuse_for_s(&self) -> Option<u64> {
        self.gate.refuse_for_s()
    }
}

/// The product as site ARIs name it; a site of ours runs Jira unless the event says otherwise.
fn product(envelope: &Envelope) -> &'static str {
    let confluence = envelope.event_type.as_str().starts_with("avi:confluence:");
    if confluence { "confluence" } else { "jira" }
}

/// **Source:** CloudEvents 1.0.2, required attributes; ours are the extensions `cloudid` and
/// `originapp`.
fn fields(envelope: &Envelope) -> HeaderList {
    let cloud_id = envelope.cloud_id.as_str();
    let mut fields = vec![
        ("ce-specversion", "1.0".to_owned()),
        ("ce-id", envelope.event_id.to_string()),
        ("ce-source", format!("ari:cloud:{}::site/{cloud_id}", product(envelope))),
        ("ce-type", envelope.event_type.to_string()),
        ("ce-cloudid", cloud_id.to_owned()),
        ("content-type", "application/json".to_owned()),
    ];
    let optional = [
        ("ce-time", envelope.time.map(|time| time.to_string())),
        ("ce-subject", envelope.entity.as_ref().map(ToString::to_string)),
        ("ce-originapp", envelope.origin_app.as_ref().map(ToString::to_string)),
        ("traceparent", envelope.traceparent.as_ref().map(ToString::to_string)),
        (original::HEADER, envelope.webhook.as_ref().map(ToString::to_string)),
    ];
    fields.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    fields
}
