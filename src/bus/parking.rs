//! Parks deliveries as scheduled messages: the broker fires each at its time.
//!
//! **Source:** NATS ADR-51, message schedules.
//!
//! Design: `docs/design/parking.md`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::confirmed_publish::{self, PublishRequest};
use super::connect::JetStreamClient;
use super::headers;
use super::subjects::Subjects;
use crate::delivery::{ParkedRecord, ParkingLot, RecordTooLarge};

/// Pause between two checks while the parking stream is full.
const FULL_PAUSE: Duration = Duration::from_millis(500);

/// Writes the parking stream.
#[derive(Clone, Debug)]
pub struct ParkingStream {
    jetstream_client: JetStreamClient,
    subjects: Subjects,
    capacity: Arc<ParkingCapacity>,
}

/// The fill level of the parking stream. The server cannot limit a stream with schedules, so the
/// router does: by the last reported size plus what was stored since.
#[derive(Debug)]
pub struct ParkingCapacity {
    parked: AtomicU64,
    parked_max: u64,
}

impl ParkingCapacity {
    /// Returns a capacity of `parked_max` deliveries.
    #[must_use]
    pub fn new(parked_max: u64) -> Self {
        Self { parked: AtomicU64::new(0), parked_max }
    }

    /// Sets how many deliveries the stream has.
    pub fn set_parked(&self, parked: u64) {
        self.parked.store(parked, Relaxed);
    }

    fn is_full(&self) -> bool {
        self.parked.load(Relaxed) >= self.parked_max
    }
}

impl ParkingStream {
    /// Parks over `jetstream_client`, up to `capacity`.
    #[must_use]
    pub fn new(
        jetstream_client: JetStreamClient,
        subjects: Subjects,
        capacity: Arc<ParkingCapacity>,
    ) -> Self {
        Self { jetstream_client, subjects, capacity }
    }

    /// Stores a record. A delivery that is parked again needs no capacity: it has its place
    /// already, and if it waited, a full stream would never drain.
    async fn store(&self, request: PublishRequest, again: bool) -> Result<(), RecordTooLarge> {
        while !again && self.capacity.is_full() {
            tokio::time::sleep(FULL_PAUSE).await;
        }
        confirmed_publish::until_stored(&self.jetstream_client, &request)
            .await
            .map_err(|_| RecordTooLarge)?;
        if !again {
            self.capacity.parked.fetch_add(1, Relaxed);
        }
        Ok(())
    }
}

impl ParkingLot for ParkingStream {
    fn park(&self, record: ParkedRecord) -> BoxFuture<'_, Result<(), RecordTooLarge>> {
        let mut headers = headers::write(&record.headers);
        headers.insert("Nats-Schedule", format!("@at {}", at_ms(record.due)).as_str());
        headers.insert("Nats-Schedule-Target", self.subjects.due(&record.app).as_str());
        let request = PublishRequest {
            stream: "parked",
            subject: self.subjects.retry(record.id.as_str()),
            message_id: record.message_id,
            headers,
            body: record.body,
        };
        Box::pin(self.store(request, record.is_repark))
    }
}

/// Formats a time as RFC 3339 with milliseconds.
fn at_ms(time: jiff::Timestamp) -> String {
    format!("{time:.3}")
}
