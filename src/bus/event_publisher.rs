//! Publishes events to the event stream.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::context;
use async_nats::jetstream::publish::PublishAck;
use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::confirmed_publish::{self, PublishRequest, Refusal, refusal};
use super::connect::JetStreamClient;
use super::repeats::{Repeats, metrics as repeat_metrics};
use super::room::RoomRequests;
use super::subjects::Subjects;
use super::unmapped_subjects::UnmappedSubjects;
use super::unmapped_webhooks::UnmappedWebhookCounts;
use super::{headers, metrics};
use crate::clock;
use crate::domain::CloudId;
use crate::event::codec;
use crate::event::{Envelope, InputBacklog, PublishError, Published, Publisher, RepeatStatus};

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
    /// Where space is requested; without a trimmer, a refusal is final.
    room: Option<Arc<RoomRequests>>,
    /// Ids of stored events; without them, only the broker recognises repetitions.
    repeats: Option<Arc<Repeats>>,
    unmapped: Arc<UnmappedSubjects>,
}

/// Whether the APIs refuse new events early, and how far routers are behind; set by the stream monitor.
#[derive(Debug, Default)]
pub struct BackpressureGate {
    refuse_for_s: AtomicU64,
    backlog: Mutex<Option<InputBacklog>>,
}

impl BackpressureGate {
    /// Makes the APIs refuse events and report `seconds` as `Retry-After`; 0 accepts events again.
    pub fn set_refuse_for_s(&self, seconds: u64) {
        self.refuse_for_s.store(seconds, Relaxed);
    }

    /// Returns the `Retry-After` seconds while events are refused.
    #[must_use]
    pub fn refuse_for_s(&self) -> Option<u64> {
        Some(self.refuse_for_s.load(Relaxed)).filter(|seconds| *seconds > 0)
    }

    /// Stores how far routers are behind.
    pub fn set_backlog(&self, backlog: InputBacklog) {
        *self.backlog.lock().unwrap_or_else(PoisonError::into_inner) = Some(backlog);
    }

    /// Returns how far routers were behind at the last measurement.
    #[must_use]
    pub fn backlog(&self) -> Option<InputBacklog> {
        *self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
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
        let counts = UnmappedWebhookCounts::new(jetstream_client.clone(), subjects.clone());
        let unmapped = Arc::new(UnmappedSubjects::new(counts));
        Self { jetstream_client, subjects, gate, room: None, repeats: None, unmapped }
    }

    /// Requests space from the trimmer that serves `room` when the broker refuses an event.
    #[must_use]
    pub fn with_room(self, room: Arc<RoomRequests>) -> Self {
        Self { room: Some(room), ..self }
    }

    /// Stores no event again whose id `repeats` has.
    #[must_use]
    pub fn with_repeats(self, repeats: Arc<Repeats>) -> Self {
        Self { repeats: Some(repeats), ..self }
    }

    async fn publish_event(
        &self,
        envelope: Envelope,
        body: Bytes,
    ) -> Result<Published, PublishError> {
        let Envelope { cloud_id, event_type, .. } = &envelope;
        let event_type = self.unmapped.subject_type(cloud_id, event_type).await;
        let request = PublishRequest {
            stream: "events",
            subject: self.subjects.intake(&envelope, &event_type),
            message_id: codec::encoded(&envelope.identity()),
            headers: headers::write(&codec::event_headers(&envelope)),
            body: envelope.stored_body(body),
        };
        self.publish_once(request, envelope.cloud_id).await
    }

    /// Publishes an event unless it is remembered, and remembers it once it is confirmed.
    async fn publish_once(
        &self,
        request: PublishRequest,
        site: CloudId,
    ) -> Result<Published, PublishError> {
        let asked =
            self.repeats.as_ref().map(|repeats| (repeats, repeats.find(&request.message_id)));
        if let Some((_, (_, Some(sequence)))) = asked {
            repeat_metrics::repeated("memory");
            return Ok(Published { sequence, duplicate: true });
        }
        let published = self.publish_confirmed(request).await?;
        if published.duplicate {
            repeat_metrics::repeated("broker");
        }
        if let Some((repeats, (id, _))) = asked {
            repeats.note(published, id, site);
        }
        Ok(published)
    }

    async fn publish_confirmed(&self, request: PublishRequest) -> Result<Published, PublishError> {
        let started = clock::tick();
        let mut has_requested = false;
        loop {
            let error = match confirmed_publish::once(&self.jetstream_client, &request).await {
                Ok(ack) => return Ok(published(&ack)),
                Err(error) => error,
            };
            if let Some(refusal) = refusal(&error) {
                // Once more if acknowledged events could be deleted; no client waits longer.
                let is_first = !std::mem::replace(&mut has_requested, true);
                if is_first && self.request_room(&request, refusal).await {
                    continue;
                }
                return Err(refused(refusal, &error));
            }
            let waited = clock::since(started);
            if waited + PAUSE >= TIMEOUT {
                let waited_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
                return Err(PublishError::Unconfirmed { waited_ms });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn request_room(&self, request: &PublishRequest, refusal: Refusal) -> bool {
        match (&self.room, refusal) {
            (None, _) | (_, Refusal::TooLarge) => false,
            (Some(room), Refusal::StreamFull | Refusal::StorageFull) => {
                room.request(request.body.len(), refusal == Refusal::StorageFull).await
            }
        }
    }
}

fn published(ack: &PublishAck) -> Published {
    Published { sequence: ack.sequence, duplicate: ack.duplicate }
}

fn refused(refusal: Refusal, error: &context::PublishError) -> PublishError {
    let reason = error.to_string();
    match refusal {
        Refusal::TooLarge => {
            metrics::refused("too_large");
            PublishError::Refused { reason }
        }
        Refusal::StreamFull => {
            metrics::refused("stream_full");
            PublishError::Full { reason }
        }
        Refusal::StorageFull => {
            metrics::refused("storage_full");
            PublishError::Full { reason }
        }
    }
}

impl Publisher for EventPublisher {
    fn publish(
        &self,
        envelope: Envelope,
        body: Bytes,
    ) -> BoxFuture<'_, Result<Published, PublishError>> {
        Box::pin(self.publish_event(envelope, body))
    }

    fn message_bytes_max(&self) -> usize {
        self.jetstream_client.context.client().server_info().max_payload
    }

    fn refuse_for_s(&self) -> Option<u64> {
        self.gate.refuse_for_s().inspect(|_| metrics::refused("backlog"))
    }

    fn backlog(&self) -> Option<InputBacklog> {
        self.gate.backlog()
    }

    fn repeats(&self) -> Option<RepeatStatus> {
        self.repeats.as_ref().map(|repeats| repeats.status())
    }
}
