//! Recorded crashes, in the key-value bucket of the router's state.
//!
//! Keys: `crash.mark.<process>-<worker>` with the events that a worker examines,
//! `crash.event.<sequence>` with the panics of one event. Every key expires after [`AGE_MAX`].
//!
//! **Source:** NATS ADR-43, message TTL.

use std::time::Duration;

use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::connect::{Connections, JetStreamClient};
use super::direct_get::{self, LastMessages};
use super::subjects::Subjects;
use crate::event::{CrashRecord, CrashRecordError, CrashRecords, EventPosition};

/// How long a recorded crash counts. Longer than a crash loop with the usual back-off needs for
/// five crashes; each process leaves at most one key per worker.
const AGE_MAX: Duration = Duration::from_secs(6 * 60 * 60);

/// Reads and writes recorded crashes.
#[derive(Debug)]
pub struct CrashRecordBucket {
    jetstream_client: JetStreamClient,
    bucket: String,
    /// Unique for this process.
    process: String,
}

/// The stored value of a key.
#[derive(Serialize, Deserialize)]
struct Stored {
    records: Vec<CrashRecord>,
}

impl CrashRecordBucket {
    /// Opens the records; nothing is sent before the first use.
    #[must_use]
    pub fn new(connections: &Connections, subjects: &Subjects) -> Self {
        let jetstream_client = connections.control.clone();
        let inbox = jetstream_client.client.new_inbox();
        Self {
            bucket: subjects.state_bucket(),
            process: inbox.rsplit('.').next().unwrap_or_default().to_owned(),
            jetstream_client,
        }
    }

    fn stream(&self) -> String {
        format!("KV_{}", self.bucket)
    }

    fn subject(&self, key: &str) -> String {
        format!("$KV.{}.{key}", self.bucket)
    }

    fn mark_key(&self, worker: usize) -> String {
        format!("crash.mark.{}-{worker}", self.process)
    }

    async fn write(&self, key: String, records: &[CrashRecord]) -> Result<(), CrashRecordError> {
        let value = serde_json::to_vec(&Stored { records: records.to_vec() })
            .map_err(|error| failed(&error))?;
        let message = PublishMessage::build().payload(value.into()).ttl(AGE_MAX);
        let publish = async {
            let context = &self.jetstream_client.context;
            context.send_publish(self.subject(&key), message).await?.await
        };
        publish.await.map(|_ack| ()).map_err(|error| failed(&error))
    }

    async fn read_all(
        &self,
        events: &[EventPosition],
    ) -> Result<Vec<CrashRecord>, CrashRecordError> {
        let mut subjects = vec![self.subject("crash.mark.*")];
        subjects.extend(
            events.iter().map(|event| self.subject(&format!("crash.event.{}", event.sequence))),
        );
        let messages = self.get_last(&subjects).await?;
        let own = self.subject(&format!("crash.mark.{}-", self.process));
        let mut records = Vec::new();
        for message in messages {
            if message.subject.starts_with(&own) {
                continue;
            }
            match serde_json::from_slice::<Stored>(&message.payload) {
                Ok(stored) => records.extend(stored.records),
                Err(error) => tracing::warn!(%error, "recorded crash is unreadable and ignored"),
            }
        }
        Ok(records)
    }

    /// Returns the last message of each subject.
    async fn get_last(&self, subjects: &[String]) -> Result<Vec<StreamMessage>, CrashRecordError> {
        let found = direct_get::last_of(&self.jetstream_client, &self.stream(), subjects).await;
        match found.map_err(CrashRecordError)? {
            LastMessages::All(messages) => Ok(messages),
            LastMessages::TooMany => {
                tracing::warn!("too many recorded crashes; all are forgotten");
                self.purge("crash.mark.*").await?;
                Ok(Vec::new())
            }
        }
    }

    async fn purge(&self, key: &str) -> Result<(), CrashRecordError> {
        let context = &self.jetstream_client.context;
        let stream = context.get_stream_no_info(self.stream()).await.map_err(|e| failed(&e))?;
        stream.purge().filter(self.subject(key)).await.map_err(|e| failed(&e))?;
        Ok(())
    }
}

impl CrashRecords for CrashRecordBucket {
    fn read<'a>(
        &'a self,
        events: &'a [EventPosition],
    ) -> BoxFuture<'a, Result<Vec<CrashRecord>, CrashRecordError>> {
        Box::pin(self.read_all(events))
    }

    fn mark<'a>(
        &'a self,
        worker: usize,
        records: &'a [CrashRecord],
    ) -> BoxFuture<'a, Result<(), CrashRecordError>> {
        Box::pin(self.write(self.mark_key(worker), records))
    }

    fn clear(&self, worker: usize) -> BoxFuture<'_, Result<(), CrashRecordError>> {
        Box::pin(async move { self.purge(&self.mark_key(worker)).await })
    }

    fn record(&self, record: CrashRecord) -> BoxFuture<'_, Result<(), CrashRecordError>> {
        let key = format!("crash.event.{}", record.event.sequence);
        Box::pin(async move { self.write(key, &[record]).await })
    }
}

fn failed(error: &dyn std::error::Error) -> CrashRecordError {
    CrashRecordError(error.to_string())
}
