//! Publishes events to the event stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_nats::jetstream::context::PublishErrorKind;
use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::confirmed_publish::{self, PublishRequest};
use super::connect::JetStreamClient;
use super::headers;
use super::subjects::Subjects;
use crate::clock;
use crate::delivery::HeaderList;
use crate::event::webhook::delta;
use crate::event::{Envelope, PublishError, Published, Publisher};

/// How long an API call waits for the confirmation of an event, including repeats.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Pause between two publishes of an event.
const PAUSE: Duration = Duration::from_millis(250);

/// Publishes the events that the APIs accept.
#[derive(Clone, Debug)]
pub struct EventPublisher {
    jetstream_client: JetStreamClient,
    subjects: Subjects,
    gate: Arc<BackpressureGate>,
}

/// Whether the APIs refuse new events; set by the stream monitor.
#[derive(Debug, Default)]
pub struct BackpressureGate(AtomicU64);

impl BackpressureGate {
    /// Makes the APIs refuse events and report `seconds` as `Retry-After`; 0 accepts events again.
    pub fn set_refuse_for_s(&self, seconds: u64) {
        self.0.store(seconds, Relaxed);
    }

    /// Returns the `Retry-After` seconds while events are refused.
    #[must_use]
    pub fn refuse_for_s(&self) -> Option<u64> {
        Some(self.0.load(Relaxed)).filter(|seconds| *seconds > 0)
    }
}

impl EventPublisher {
    /// Publishes over `jetstream_client`; `gate` is shared with the stream monitor.
    #[must_use]
    pub fn new(
        jetstream_client: JetStreamClient,
        subjects: Subjects,
        gate: Arc<BackpressureGate>,
    ) -> Self {
        Self { jetstream_client, subjects, gate }
    }

    async fn publish_confirmed(&self, request: PublishRequest) -> Result<Published, PublishError> {
        let started = clock::tick();
        loop {
            let error = match confirmed_publish::once(&self.jetstream_client, &request).await {
                Ok(ack) => {
                    return Ok(Published { sequence: ack.sequence, duplicate: ack.duplicate });
                }
                Err(error) => error,
            };
            if error.kind() == PublishErrorKind::MaxPayloadExceeded {
                return Err(PublishError::Refused { reason: error.to_string() });
            }
            let waited = clock::since(started);
            if waited + PAUSE >= TIMEOUT {
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
        let request = PublishRequest {
            stream: "events",
            subject: self.subjects.intake(&envelope),
            message_id: headers::encode(&envelope.identity()),
            headers: headers::write(&fields(&envelope)),
            body,
        };
        Box::pin(self.publish_confirmed(request))
    }

    fn refuse_for_s(&self) -> Option<u64> {
        self.gate.refuse_for_s()
    }
}

/// Returns the product for the site ARI: Jira, unless the event type belongs to Confluence.
fn product(envelope: &Envelope) -> &'static str {
    let confluence = envelope.event_type.as_str().starts_with("avi:confluence:");
    if confluence { "confluence" } else { "jira" }
}

/// **Source:** CloudEvents 1.0.2, required attributes; `cloudid` and `originapp` are extensions.
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
        (delta::HEADER, envelope.webhook.as_ref().map(ToString::to_string)),
    ];
    fields.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    fields
}
