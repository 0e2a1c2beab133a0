//! Reads single events of the event stream, and lists of them.

use std::sync::Arc;

use async_nats::jetstream::stream::DirectGetErrorKind;
use futures_util::future::BoxFuture;

use super::connect::JetStreamClient;
use super::event_list::EventLister;
use super::headers::MessageHeaders;
use super::repeats::Repeats;
use super::subjects::{Subjects, subject_attributes};
use crate::domain::{CloudId, EventId};
use crate::event::{ArchivedEvent, EventArchive, EventListPage, EventListQuery, codec, identity};

/// Reads the event stream.
#[derive(Debug)]
pub struct EventArchiveStream {
    jetstream_client: JetStreamClient,
    subjects: Subjects,
    event_bytes_max: usize,
    /// Ids of stored events; without them, events are found by their sequence only.
    repeats: Option<Arc<Repeats>>,
    lister: EventLister,
}

impl EventArchiveStream {
    /// Reads over `jetstream_client` events of up to `event_bytes_max` bytes.
    #[must_use]
    pub fn new(
        jetstream_client: JetStreamClient,
        subjects: Subjects,
        event_bytes_max: usize,
        repeats: Option<Arc<Repeats>>,
    ) -> Self {
        let lister = EventLister::new(jetstream_client.clone(), subjects.clone(), event_bytes_max);
        Self { jetstream_client, subjects, event_bytes_max, repeats, lister }
    }

    async fn read(&self, sequence: u64) -> Result<Option<ArchivedEvent>, String> {
        // Sequences begin at 1. The client refuses to ask for 0, which would look like a broker that fails.
        if sequence == 0 {
            return Ok(None);
        }
        let stream =
            self.jetstream_client.context.get_stream_no_info(self.subjects.events_stream());
        let stream = stream.await.map_err(|error| error.to_string())?;
        let message = match stream.direct_get(sequence).await {
            Ok(message) => message,
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let stored_ms = i64::try_from(message.time.unix_timestamp_nanos() / 1_000_000);
        let headers = MessageHeaders::new(Some(message.headers));
        let from = (&headers, subject_attributes(&message.subject));
        let at = (message.sequence, stored_ms.unwrap_or(i64::MAX));
        Ok(Some(ArchivedEvent::read(from, message.payload, at, self.event_bytes_max)))
    }
}

impl EventArchive for EventArchiveStream {
    fn by_sequence(&self, sequence: u64) -> BoxFuture<'_, Result<Option<ArchivedEvent>, String>> {
        Box::pin(self.read(sequence))
    }

    fn sequence_of(&self, site: &CloudId, id: &EventId) -> Option<u64> {
        let message_id = codec::encoded(&identity::of_event(site, id));
        self.repeats.as_ref()?.find(&message_id).1
    }

    fn list<'a>(
        &'a self,
        query: &'a EventListQuery,
        below: Option<u64>,
        limit: usize,
    ) -> BoxFuture<'a, Result<EventListPage, String>> {
        Box::pin(self.lister.page(query, below, limit))
    }
}
