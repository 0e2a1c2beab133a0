//! The stream of the audit log. The broker refuses to delete its messages; it deletes the oldest itself.
//!
//! A record has the subject `<prefix>.audit.<kind>.<bucket>`. The bucket comes from the id of its entry, so that the second
//! record of an entry is found after the first one without reading all that are stored between.

use std::collections::HashMap;

use async_nats::HeaderMap;
use async_nats::jetstream::context::PublishErrorKind;
use futures_util::future::BoxFuture;

use super::batched_get::{BEHIND_LOOKS, BEHIND_PAUSE, DirectReader, ReadMessage, StartAt};
use super::confirmed_publish::{self, PublishRequest};
use super::connect::JetStreamClient;
use super::streams::{self, StreamError};
use super::subjects::Subjects;
use crate::audit::{
    AuditEntry, AuditError, AuditId, AuditLog, AuditPage, AuditQuery, AuditRecord, Step, StepKind,
};
use crate::clock;
use crate::config;

/// Messages that are read at once.
const WINDOW: u64 = 64;
/// Windows that are read for one page; the next page continues.
const WINDOWS_MAX: usize = 64;
/// Messages of a bucket that are read at once.
const BUCKET_BATCH: usize = 64;
/// Batches of a bucket that are read for one record.
const BUCKET_BATCHES_MAX: usize = 128;
/// How long after its first record an entry may have its second one, in milliseconds. Requests end earlier.
const CHANGE_MS_MAX: i64 = 15 * 60 * 1000;
/// How much the clocks of replicas and broker may differ for a record to be found, in milliseconds.
const SKEW_MS_MAX: i64 = 60 * 1000;
/// Label of the metrics.
const STREAM: &str = "audit";

/// Stores and reads records.
#[derive(Clone, Debug)]
pub struct AuditStream {
    jetstream_client: JetStreamClient,
    subjects: Subjects,
    config: config::Config,
}

impl AuditStream {
    /// Creates the stream, or updates it to the present settings.
    ///
    /// # Errors
    /// The broker refuses it, or has no room for it.
    pub async fn open(
        jetstream_client: JetStreamClient,
        subjects: Subjects,
        config: &config::Config,
    ) -> Result<Self, StreamError> {
        streams::ensure_audit(&jetstream_client.context, &subjects, config).await?;
        Ok(Self { jetstream_client, subjects, config: config.clone() })
    }

    async fn store(&self, record: &AuditRecord) -> Result<(), AuditError> {
        let kind = record.kind().as_str();
        let request = PublishRequest {
            stream: STREAM,
            subject: self.subjects.audit_record(kind, record.id.bucket()),
            message_id: format!("audit/{}/{kind}", record.id),
            headers: HeaderMap::new(),
            body: serde_json::to_vec(record).map_err(failed)?.into(),
        };
        let Err(error) = confirmed_publish::once(&self.jetstream_client, &request).await else {
            return Ok(());
        };
        let is_missing = error.kind() == PublishErrorKind::StreamNotFound;
        if !(is_missing && self.create_again().await?) && record.kind() == StepKind::Started {
            // The change is not made, so that nothing is missing in the log.
            return Err(failed(error));
        }
        let again = confirmed_publish::once(&self.jetstream_client, &request).await;
        again.map(drop).map_err(failed)
    }

    /// Creates the stream if somebody deleted it; returns whether it was.
    async fn create_again(&self) -> Result<bool, AuditError> {
        let context = &self.jetstream_client.context;
        let created = streams::ensure_audit_exists(context, &self.subjects, &self.config).await;
        let created = created.map_err(failed)?;
        if created {
            tracing::error!(
                "the stream of the audit log was deleted; created again, its records are lost"
            );
        }
        Ok(created)
    }

    fn reader(&self) -> DirectReader {
        DirectReader::new(self.jetstream_client.clone(), self.subjects.audit_stream())
    }

    async fn read_page(
        &self,
        query: &AuditQuery,
        before: Option<u64>,
        limit: usize,
    ) -> Result<AuditPage, AuditError> {
        let reader = self.reader();
        let (first, last) = reader.bounds().await.map_err(AuditError)?;
        let mut page = AuditPage::default();
        let mut top = before.map_or(last, |before| before.saturating_sub(1).min(last));
        // The second record of an entry comes after its first one.
        let mut ends = HashMap::new();
        let is_newest = top == last;
        for _ in 0..WINDOWS_MAX {
            if top < first || top == 0 {
                return Ok(page);
            }
            let low = top.saturating_sub(WINDOW - 1).max(first).max(1);
            let messages = self.window(&reader, low, top).await?;
            for message in messages.iter().rev() {
                page.examined_until_ms = Some(message.stored_ms);
                if query.since_ms.is_some_and(|since_ms| message.stored_ms < since_ms - SKEW_MS_MAX)
                {
                    return Ok(page);
                }
                let Ok(record) = AuditRecord::read(&message.payload) else {
                    page.unreadable += 1;
                    continue;
                };
                let record = if query.with_content { record } else { record.without_content() };
                match &record.step {
                    Step::Done { .. } => {
                        ends.insert(record.id.clone(), record);
                        continue;
                    }
                    Step::Started { action, .. } | Step::Event { action, .. }
                        if !query.selects(action, record.at_ms) =>
                    {
                        ends.remove(&record.id);
                        continue;
                    }
                    Step::Started { .. } | Step::Event { .. } => {}
                }
                if page.entries.len() == limit {
                    page.next = Some(message.sequence.saturating_add(1));
                    return Ok(page);
                }
                let mut end = ends.remove(&record.id);
                if end.is_none() && record.kind() == StepKind::Started && !is_newest {
                    end = self.end_of(&record.id, message).await?;
                }
                if !query.with_content {
                    end = end.map(AuditRecord::without_content);
                }
                page.entries.extend(AuditEntry::of(record, end.as_ref(), clock::broker_now_ms()));
            }
            top = low.saturating_sub(1);
        }
        page.next = Some(top.saturating_add(1)).filter(|_| top >= first);
        Ok(page)
    }

    /// Reads all messages from `low` to `top`, in order. None of them was deleted, unless it was one of the oldest.
    async fn window(
        &self,
        reader: &DirectReader,
        low: u64,
        top: u64,
    ) -> Result<Vec<ReadMessage>, AuditError> {
        let (mut messages, mut next) = (Vec::new(), low);
        for _ in 0..BEHIND_LOOKS {
            let wanted = usize::try_from(top.saturating_sub(next).saturating_add(1)).unwrap_or(1);
            let batch = reader.batch(StartAt::Sequence(next), ">", wanted).await;
            let found = batch.map_err(AuditError)?.messages;
            let is_empty = found.is_empty();
            for message in found {
                next = message.sequence.saturating_add(1);
                if message.sequence <= top {
                    messages.push(message);
                }
            }
            if next > top {
                return Ok(messages);
            }
            if is_empty {
                // The server that answers does not have the last ones yet.
                tokio::time::sleep(BEHIND_PAUSE).await;
            }
        }
        Err(AuditError("a server of the broker does not have the last records yet".into()))
    }

    /// Finds the second record of an entry after its first one.
    async fn end_of(
        &self,
        id: &AuditId,
        started: &ReadMessage,
    ) -> Result<Option<AuditRecord>, AuditError> {
        let until_ms = started.stored_ms.saturating_add(CHANGE_MS_MAX);
        let from = StartAt::Sequence(started.sequence.saturating_add(1));
        Ok(self.in_bucket(StepKind::Done, id, from, until_ms).await?.map(|(record, _)| record))
    }

    /// Finds a record of an entry in its bucket, among those that were stored up to a time.
    async fn in_bucket(
        &self,
        kind: StepKind,
        id: &AuditId,
        mut from: StartAt,
        until_ms: i64,
    ) -> Result<Option<(AuditRecord, ReadMessage)>, AuditError> {
        let (reader, filter) =
            (self.reader(), self.subjects.audit_record(kind.as_str(), id.bucket()));
        for _ in 0..BUCKET_BATCHES_MAX {
            let batch =
                reader.batch_to_end(from, &filter, BUCKET_BATCH).await.map_err(AuditError)?;
            let Some(last) = batch.messages.last() else { return Ok(None) };
            let is_over = !batch.has_more || last.stored_ms > until_ms;
            from = StartAt::Sequence(last.sequence.saturating_add(1));
            for message in batch.messages {
                match AuditRecord::read(&message.payload) {
                    Ok(record) if record.id == *id => return Ok(Some((record, message))),
                    _ => {}
                }
            }
            if is_over {
                break;
            }
        }
        Ok(None)
    }

    async fn read_one(&self, id: &AuditId) -> Result<Option<AuditEntry>, AuditError> {
        let until_ms = id.at_ms().saturating_add(SKEW_MS_MAX);
        for kind in [StepKind::Started, StepKind::Event] {
            let from = StartAt::Time(id.at_ms().saturating_sub(SKEW_MS_MAX));
            if let Some((record, message)) = self.in_bucket(kind, id, from, until_ms).await? {
                let end = match kind {
                    StepKind::Started => self.end_of(id, &message).await?,
                    _ => None,
                };
                return Ok(AuditEntry::of(record, end.as_ref(), clock::broker_now_ms()));
            }
        }
        Ok(None)
    }
}

fn failed(error: impl std::fmt::Display) -> AuditError {
    AuditError(error.to_string())
}

impl AuditLog for AuditStream {
    fn append<'a>(&'a self, record: &'a AuditRecord) -> BoxFuture<'a, Result<(), AuditError>> {
        Box::pin(self.store(record))
    }

    fn page<'a>(
        &'a self,
        query: &'a AuditQuery,
        before: Option<u64>,
        limit: usize,
    ) -> BoxFuture<'a, Result<AuditPage, AuditError>> {
        Box::pin(self.read_page(query, before, limit))
    }

    fn find<'a>(
        &'a self,
        id: &'a AuditId,
    ) -> BoxFuture<'a, Result<Option<AuditEntry>, AuditError>> {
        Box::pin(self.read_one(id))
    }
}
