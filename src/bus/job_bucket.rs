//! The documents of jobs, in the key-value bucket of the router's state.
//!
//! Keys: `job.<id>` with the document of a job, `outcome.<id>.<writer>` with what became of the
//! deliveries that it handed over, as counted by one process.

use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use futures_util::future::BoxFuture;

use super::connect::JetStreamClient;
use super::direct_get::{self, LastMessages};
use super::subjects::Subjects;
use crate::recovery::jobs::{Job, JobCounts, JobId, JobStore, JobStoreError, StoredJob};

/// First part of the keys of documents.
const JOB_PREFIX: &str = "job.";
/// First part of the keys of outcomes.
const OUTCOME_PREFIX: &str = "outcome.";

/// Reads and writes the documents.
#[derive(Clone, Debug)]
pub struct JobBucket {
    jetstream_client: JetStreamClient,
    subjects: Subjects,
}

impl JobBucket {
    /// Opens the documents; nothing is sent before the first use.
    #[must_use]
    pub fn new(jetstream_client: JetStreamClient, subjects: Subjects) -> Self {
        Self { jetstream_client, subjects }
    }

    fn subject(&self, key: &str) -> String {
        format!("$KV.{}.{key}", self.subjects.state_bucket())
    }

    fn job_subject(&self, id: &JobId) -> String {
        self.subject(&format!("{JOB_PREFIX}{id}"))
    }

    async fn stream(&self) -> Result<Stream<()>, JobStoreError> {
        let stream = self.subjects.state_stream();
        self.jetstream_client.context.get_stream_no_info(stream).await.map_err(unavailable)
    }

    async fn last_of(&self, pattern: String) -> Result<Vec<StreamMessage>, JobStoreError> {
        let stream = self.subjects.state_stream();
        let found = direct_get::last_of(&self.jetstream_client, &stream, &[pattern]).await;
        match found.map_err(JobStoreError::Unavailable)? {
            LastMessages::All(messages) => Ok(messages),
            LastMessages::TooMany => {
                Err(JobStoreError::Unavailable("more than 1,024 documents".into()))
            }
        }
    }

    async fn list_all(&self) -> Result<Vec<StoredJob>, JobStoreError> {
        let messages = self.last_of(self.subject(&format!("{JOB_PREFIX}*"))).await?;
        let read = messages.iter().filter_map(|message| match read(message) {
            Ok(stored) => Some(stored),
            Err(error) => {
                let subject = &message.subject;
                tracing::warn!(%subject, %error, "document of a job is unreadable and ignored");
                None
            }
        });
        Ok(read.collect())
    }

    /// Reads from the leader of the stream: another server may not have the last change yet.
    async fn find(&self, id: &JobId) -> Result<Option<StoredJob>, JobStoreError> {
        let stream = self.stream().await?;
        match stream.get_last_raw_message_by_subject(&self.job_subject(id)).await {
            Ok(message) => read(&message).map(Some).map_err(unavailable),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Stores a document if the one of its job has `revision`; 0 if there is none.
    async fn write(&self, job: &Job, revision: u64) -> Result<u64, JobStoreError> {
        let value = serde_json::to_vec(job).map_err(unavailable)?;
        let message =
            PublishMessage::build().payload(value.into()).expected_last_subject_sequence(revision);
        let context = &self.jetstream_client.context;
        let stored =
            async { context.send_publish(self.job_subject(&job.id), message).await?.await };
        match stored.await {
            Ok(ack) => Ok(ack.sequence),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => {
                Err(JobStoreError::Conflict)
            }
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Deletes a document without a marker, outcomes first.
    async fn remove(&self, id: &JobId) -> Result<(), JobStoreError> {
        let stream = self.stream().await?;
        let outcomes = self.subject(&format!("{OUTCOME_PREFIX}{id}.*"));
        stream.purge().filter(outcomes).await.map_err(unavailable)?;
        stream.purge().filter(self.job_subject(id)).await.map_err(unavailable)?;
        Ok(())
    }

    async fn sum_outcomes(&self, id: &JobId) -> Result<JobCounts, JobStoreError> {
        let mut sum = JobCounts::new();
        for message in self.last_of(self.subject(&format!("{OUTCOME_PREFIX}{id}.*"))).await? {
            let counts: JobCounts =
                serde_json::from_slice(&message.payload).map_err(unavailable)?;
            for (name, number) in counts {
                let total = sum.entry(name).or_default();
                *total = total.saturating_add(number);
            }
        }
        Ok(sum)
    }
}

/// Returns the key of the outcomes of a job that `writer` counts.
pub(super) fn outcome_key(id: &JobId, writer: &str) -> String {
    format!("{OUTCOME_PREFIX}{id}.{writer}")
}

fn read(message: &StreamMessage) -> Result<StoredJob, serde_json::Error> {
    let job = serde_json::from_slice(&message.payload)?;
    Ok(StoredJob { job, revision: message.sequence })
}

fn unavailable(error: impl std::fmt::Display) -> JobStoreError {
    JobStoreError::Unavailable(error.to_string())
}

impl JobStore for JobBucket {
    fn list(&self) -> BoxFuture<'_, Result<Vec<StoredJob>, JobStoreError>> {
        Box::pin(self.list_all())
    }

    fn get<'a>(&'a self, id: &'a JobId) -> BoxFuture<'a, Result<Option<StoredJob>, JobStoreError>> {
        Box::pin(self.find(id))
    }

    fn create<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<u64, JobStoreError>> {
        Box::pin(self.write(job, 0))
    }

    fn replace<'a>(
        &'a self,
        job: &'a Job,
        revision: u64,
    ) -> BoxFuture<'a, Result<u64, JobStoreError>> {
        Box::pin(self.write(job, revision))
    }

    fn delete<'a>(&'a self, id: &'a JobId) -> BoxFuture<'a, Result<(), JobStoreError>> {
        Box::pin(self.remove(id))
    }

    fn outcomes<'a>(&'a self, id: &'a JobId) -> BoxFuture<'a, Result<JobCounts, JobStoreError>> {
        Box::pin(self.sum_outcomes(id))
    }
}
