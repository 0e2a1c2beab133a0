//! Parks deliveries as scheduled messages: the broker fires each at its time.
//!
//! **Source:** NATS ADR-51, message schedules.
//!
//! Design: `docs/design/parking.md`.

use std::sync::Arc;

use async_nats::jetstream::stream::RawMessageErrorKind;
use futures_util::future::BoxFuture;

use super::confirmed_publish::{self, Answer, NotStored, PublishRequest};
use super::connect::JetStreamClient;
use super::headers::{self, MessageHeaders};
use super::publish_gate::PublishGates;
use super::subjects::Subjects;
use crate::delivery::{
    HandOver, JobOrigin, ParkError, ParkedRecord, ParkingLot, ShareOwner, Shares, job_origin,
};

/// How often a record is looked up and stored again while another one of its delivery comes and goes.
const LOOKUPS_MAX: u32 = 3;

/// Writes the parking stream. The server cannot limit a stream with schedules, so the router does,
/// by the shares of owners.
#[derive(Clone, Debug)]
pub struct ParkingStream {
    jetstream_client: JetStreamClient,
    subjects: Subjects,
    shares: Arc<Shares>,
    gates: Arc<PublishGates>,
}

impl ParkingStream {
    /// Parks over `jetstream_client`, within `shares`.
    #[must_use]
    pub fn new(
        jetstream_client: JetStreamClient,
        subjects: Subjects,
        shares: Arc<Shares>,
        gates: Arc<PublishGates>,
    ) -> Self {
        Self { jetstream_client, subjects, shares, gates }
    }

    /// Stores a record. A delivery that is parked again keeps its place, even if its owner uses
    /// more than its share now: otherwise a full stream would never drain.
    async fn store(&self, record: ParkedRecord) -> Result<(), ParkError> {
        let place = match record.is_repark {
            true => None,
            false => Some(self.shares.park(&record.owner, record.body.len())),
        };
        let place = place.transpose().map_err(ParkError::ShareUsed)?;
        let request = self.request(&record);
        let gate = &self.gates.parked;
        let answer = loop {
            match confirmed_publish::until_stored(&self.jetstream_client, gate, &request).await {
                Ok(answer) => break answer,
                Err(NotStored::TooLarge) => return Err(ParkError::TooLarge),
                // The stream has no maximum size of ours.
                Err(NotStored::StreamFull) => {}
            }
        };
        // The record of an earlier call has its place already.
        if let Some(place) = place.filter(|_| answer == Answer::Stored) {
            place.keep();
        }
        Ok(())
    }

    /// Stores a record unless the delivery waits. The broker decides that with the write, so no other
    /// replica, redelivery or job is in between. The leader of the stream says whose record there is.
    ///
    /// A record that is due is stored as the message of a schedule that fired. The broker fires what is due at most
    /// four times a second, so a fast job would be a burst of deliveries each time.
    async fn store_first(&self, record: ParkedRecord) -> Result<HandOver, ParkError> {
        let place = self.shares.park_for_job(&record.owner, record.body.len());
        let place = place.map_err(ParkError::ShareUsed)?;
        let schedule = self.subjects.retry(record.id.as_str());
        let request = match record.is_due {
            true => self.due_request(&record, &schedule),
            false => self.request(&record),
        };
        let gate = &self.gates.parked;
        let mut lookups = 0;
        while lookups < LOOKUPS_MAX {
            let stored = confirmed_publish::until_stored_first(
                &self.jetstream_client,
                gate,
                request.clone(),
            );
            match stored.await {
                Ok(Answer::Stored) => {
                    place.keep();
                    return Ok(HandOver::Stored);
                }
                // By an earlier call, which took its place.
                Ok(Answer::Repeated) => return Ok(HandOver::Stored),
                Ok(Answer::Occupied) => lookups += 1,
                Err(NotStored::TooLarge) => return Err(ParkError::TooLarge),
                Err(NotStored::StreamFull) => continue,
            }
            match self.occupant(&schedule).await {
                Ok(Some(occupant)) => return Ok(HandOver::Occupied(occupant)),
                // It was due in between.
                Ok(None) => {}
                Err(reason) => return Ok(HandOver::NotNow(reason)),
            }
        }
        let id = &record.id;
        Ok(HandOver::NotNow(format!("delivery {id} is parked and due again and again")))
    }

    /// Returns the job, if any, whose record has a subject now, as the leader of the stream knows it; none
    /// without a record.
    async fn occupant(&self, subject: &str) -> Result<Option<Option<Box<JobOrigin>>>, String> {
        let context = &self.jetstream_client.context;
        let stream = context.get_stream_no_info(self.subjects.parked_stream()).await;
        let stream = stream.map_err(|error| error.to_string())?;
        match stream.get_last_raw_message_by_subject(subject).await {
            Ok(message) => {
                let headers = MessageHeaders::new(Some(message.headers));
                Ok(Some(job_origin(&headers).ok().flatten().map(Box::new)))
            }
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Returns the message of a record that is due, which is stored only if `schedule` has none.
    fn due_request(&self, record: &ParkedRecord, schedule: &str) -> PublishRequest {
        let mut headers = headers::write(&record.headers);
        headers.insert(headers::EXPECTED_SEQUENCE_SUBJECT, schedule);
        PublishRequest {
            stream: "parked",
            subject: self.subjects.due(&record.app),
            message_id: record.message_id.clone(),
            headers,
            body: record.body.clone(),
        }
    }

    fn request(&self, record: &ParkedRecord) -> PublishRequest {
        let mut headers = headers::write(&record.headers);
        headers.insert(headers::SCHEDULE, headers::schedule_at(record.due).as_str());
        headers.insert(headers::SCHEDULE_TARGET, self.subjects.due(&record.app).as_str());
        PublishRequest {
            stream: "parked",
            subject: self.subjects.retry(record.id.as_str()),
            message_id: record.message_id.clone(),
            headers,
            body: record.body.clone(),
        }
    }
}

impl ParkingLot for ParkingStream {
    fn park(&self, record: ParkedRecord) -> BoxFuture<'_, Result<(), ParkError>> {
        Box::pin(self.store(record))
    }

    fn hand_over(&self, record: ParkedRecord) -> BoxFuture<'_, Result<HandOver, ParkError>> {
        Box::pin(self.store_first(record))
    }

    fn release(&self, owner: &ShareOwner, body_bytes: usize) {
        self.shares.release_parked(owner, body_bytes);
    }
}
