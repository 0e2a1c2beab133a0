//! Parked deliveries as scheduled messages: the broker itself fires each at its time.
//!
//! **Source:** NATS ADR-51, message schedules.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::connect::Jet;
use super::headers;
use super::store::{self, Parcel};
use super::subjects::Subjects;
use crate::delivery::{ParkedRecord, ParkingLot, RecordTooLarge};

/// Pause between two looks at a parking stream that is full.
const FULL_PAUSE: Duration = Duration::from_millis(500);

/// The parking stream.
#[derive(Clone, Debug)]
pub struct ParkedStream {
    jet: Jet,
    subjects: Subjects,
    room: Arc<Room>,
}

/// How full the parking stream is. The server cannot bound a stream with schedules, so we do: by
/// what the stream said last and what was stored since.
#[derive(Debug)]
pub struct Room {
    parked: AtomicU64,
    parked_max: u64,
}

impl Room {
    /// Room for `parked_max` deliveries.
    #[must_use]
    pub fn new(parked_max: u64) -> Self {
        Self { parked: AtomicU64::new(0), parked_max }
    }

    /// Takes note of how many the stream holds.
    pub fn set_parked(&self, parked: u64) {
        self.parked.store(parked, Relaxed);
    }

    fn is_full(&self) -> bool {
        self.parked.load(Relaxed) >= self.parked_max
    }
}

impl ParkedStream {
    /// Parks over `jet`, within `room`.
    #[must_use]
    pub fn new(jet: Jet, subjects: Subjects, room: Arc<Room>) -> Self {
        Self { jet, subjects, room }
    }

    /// A delivery that is parked again needs no room: it had its place already, and to make it
    /// wait would keep a full stream from ever getting emptier.
    async fn store(&self, parcel: Parcel, again: bool) -> Result<(), RecordTooLarge> {
        while !again && self.room.is_full() {
            tokio::time::sleep(FULL_PAUSE).await;
        }
        store::until_stored(&self.jet, &parcel).await.map_err(|_| RecordTooLarge)?;
        if !again {
            self.room.parked.fetch_add(1, Relaxed);
        }
        Ok(())
    }
}

impl ParkingLot for ParkedStream {
    fn park(&self, record: ParkedRecord) -> BoxFuture<'_, Result<(), RecordTooLarge>> {
        let mut headers = headers::write(&record.headers);
        headers.insert("Nats-Schedule", format!("@at {}", at_ms(record.due)).as_str());
        headers.insert("Nats-Schedule-Target", self.subjects.due(&record.app).as_str());
        let parcel = Parcel {
            stream: "parked",
            subject: self.subjects.retry(record.id.as_str()),
            message_id: record.message_id,
            headers,
            body: record.body,
        };
        Box::pin(self.store(parcel, record.is_repark))
    }
}

/// RFC 3339 with milliseconds.
fn at_ms(time: jiff::Timestamp) -> String {
    format!("{time:.3}")
}
