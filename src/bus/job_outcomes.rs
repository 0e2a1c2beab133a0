//! Records what became of deliveries that jobs handed over: deletes the dead letters that were
//! redriven, and counts outcomes.
//!
//! Each process stores its own counts of a job under a key of its own, so that no two writers meet.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::message::PublishMessage;
use futures_util::future::BoxFuture;

use super::connect::JetStreamClient;
use super::dead_letter_reader::DeadLetterReader;
use super::job_bucket::outcome_key;
use super::metrics;
use super::subjects::Subjects;
use crate::delivery::{JobOrigin, JobOutcome, JobOutcomes};
use crate::recovery::jobs::{JobCounts, JobId};
use crate::recovery::redrive::LetterId;

/// Pause between two attempts to delete a letter.
const PAUSE: Duration = Duration::from_millis(500);
/// Attempts to store a count; a count that is not stored then is stored with the next one.
const ATTEMPTS_MAX: u32 = 5;
/// How long counts are kept after they changed last: longer than the document of their job.
const KEPT: Duration = Duration::from_secs(8 * 24 * 3600);
/// Jobs whose counts are in memory at once.
const JOBS_MAX: usize = 64;

/// Deletes letters and counts outcomes.
pub struct JobOutcomeCounter {
    letters: Arc<DeadLetterReader>,
    jetstream_client: JetStreamClient,
    subjects: Subjects,
    /// Unique for this process.
    replica: String,
    jobs: Mutex<HashMap<JobId, Arc<Totals>>>,
    /// Number of keys so far.
    keys: AtomicU64,
}

/// The counts of one job by this process, under one key.
struct Totals {
    key: String,
    counted: Mutex<Counted>,
    /// How many outcomes the stored counts have.
    stored: tokio::sync::Mutex<u64>,
}

#[derive(Clone, Default)]
struct Counted {
    counts: JobCounts,
    outcomes: u64,
}

impl JobOutcomeCounter {
    /// Counts over `jetstream_client`.
    #[must_use]
    pub fn new(
        jetstream_client: JetStreamClient,
        subjects: Subjects,
        letters: Arc<DeadLetterReader>,
    ) -> Self {
        let inbox = jetstream_client.client.new_inbox();
        let replica = inbox.rsplit('.').next().unwrap_or_default().to_owned();
        Self {
            letters,
            jetstream_client,
            subjects,
            replica,
            jobs: Mutex::default(),
            keys: AtomicU64::new(0),
        }
    }

    async fn end(&self, origin: &JobOrigin, outcome: JobOutcome) {
        if outcome != JobOutcome::Dropped {
            for letter in &origin.dead_letters {
                self.delete(LetterId(*letter)).await;
            }
        }
        match origin.is_replay {
            true => metrics::replayed(outcome.label()),
            false => metrics::redriven(outcome.label()),
        }
        match JobId::parse(&origin.job) {
            Some(id) => self.count(id, outcome).await,
            None => tracing::warn!(job = %origin.job, "outcome of no job is not counted"),
        }
    }

    /// Deletes a letter, however long that takes.
    async fn delete(&self, id: LetterId) {
        while let Err(error) = self.letters.delete_ended(id).await {
            tracing::debug!(%id, %error, "redriven dead letter not deleted yet");
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn count(&self, id: JobId, outcome: JobOutcome) {
        let totals = self.totals(&id);
        let own = {
            let mut counted = totals.counted.lock().unwrap_or_else(PoisonError::into_inner);
            *counted.counts.entry(outcome.label().to_owned()).or_default() += 1;
            counted.outcomes += 1;
            counted.outcomes
        };
        let mut stored = totals.stored.lock().await;
        // The one before stored this outcome, too.
        if *stored >= own {
            return;
        }
        let counted = totals.counted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for _ in 0..ATTEMPTS_MAX {
            match self.store(&totals.key, &counted.counts).await {
                Ok(()) => {
                    *stored = counted.outcomes;
                    return;
                }
                Err(error) => tracing::debug!(job = %id, %error, "outcomes not stored yet"),
            }
        }
        tracing::warn!(job = %id, "outcomes of a job not stored; they are stored with the next one");
    }

    async fn store(&self, key: &str, counts: &JobCounts) -> Result<(), async_nats::Error> {
        let subject = format!("$KV.{}.{key}", self.subjects.state_bucket());
        let value = serde_json::to_vec(counts)?;
        let message = PublishMessage::build().payload(value.into()).ttl(KEPT);
        self.jetstream_client.context.send_publish(subject, message).await?.await?;
        Ok(())
    }

    /// Returns the counts of a job. When there are too many in memory, those that nothing uses leave it;
    /// what such a job counts later has another key.
    fn totals(&self, id: &JobId) -> Arc<Totals> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if jobs.len() >= JOBS_MAX && !jobs.contains_key(id) {
            jobs.retain(|_, totals| Arc::strong_count(totals) > 1);
        }
        let totals = jobs.entry(id.clone()).or_insert_with(|| {
            let number = self.keys.fetch_add(1, Relaxed);
            Arc::new(Totals {
                key: outcome_key(id, &format!("{}-{number}", self.replica)),
                counted: Mutex::default(),
                stored: tokio::sync::Mutex::default(),
            })
        });
        Arc::clone(totals)
    }
}

impl JobOutcomes for JobOutcomeCounter {
    fn record<'a>(&'a self, origin: &'a JobOrigin, outcome: JobOutcome) -> BoxFuture<'a, ()> {
        Box::pin(self.end(origin, outcome))
    }
}
