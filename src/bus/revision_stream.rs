//! The stream of the revisions of modules: the last ones of each, under a subject of its own.

use async_nats::jetstream;
use async_nats::jetstream::context::{PublishAckFuture, PublishErrorKind};
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::stream::Stream;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, TryStreamExt};

use super::batched_get::{DirectReader, StartAt};
use super::connect::JetStreamClient;
use super::direct_get::{self, LastMessages};
use super::streams;
use super::subjects::Subjects;
use crate::config::{EventsConfig, NatsConfig};
use crate::registry::{
    Appended, ModuleRevision, REVISIONS_OF_MODULE_MAX, RevisionLog, RevisionLogError,
    RevisionOwner, RevisionWrite, StoredRevision, StreamUse,
};

/// Revisions read at once: those of one module, and some that are stored at the same time.
const READ_MAX: usize = 32;
/// Most reads of the revisions of one module: each returns at least one, however large it is. Twice as many as are
/// stored, since some may be stored in the meantime.
const READS_MAX: usize = 2 * REVISIONS_OF_MODULE_MAX;
/// Modules whose last revision is read with one request, if they are named one by one. The broker returns up to
/// 1,024.
const MODULES_MAX: usize = 512;
/// Writes that wait for their confirmation at once.
const IN_FLIGHT_MAX: usize = 256;

/// Stores and reads revisions.
#[derive(Clone, Debug)]
pub struct RevisionStream {
    jetstream_client: JetStreamClient,
    subjects: Subjects,
    nats: NatsConfig,
    events: EventsConfig,
}

impl RevisionStream {
    /// Stores revisions over `jetstream_client`, in the stream that these settings configure.
    #[must_use]
    pub fn new(
        jetstream_client: JetStreamClient,
        subjects: Subjects,
        (nats, events): (&NatsConfig, &EventsConfig),
    ) -> Self {
        Self { jetstream_client, subjects, nats: nats.clone(), events: events.clone() }
    }

    fn context(&self) -> &jetstream::Context {
        &self.jetstream_client.context
    }

    async fn stream(&self) -> Result<Stream<()>, RevisionLogError> {
        let name = self.subjects.revisions_stream();
        self.context().get_stream_no_info(name).await.map_err(failed)
    }

    async fn send(&self, write: &RevisionWrite) -> Result<PublishAckFuture, RevisionLogError> {
        let mut message = PublishMessage::build().payload(write.body.clone()).message_id(&write.id);
        if let Some(expected) = write.expected {
            message = message.expected_last_subject_sequence(expected);
        }
        let subject = self.subjects.revisions_of_module(&write.owner, &write.module);
        self.context().send_publish(subject, message).await.map_err(failed)
    }

    async fn append_all(&self, writes: &[RevisionWrite]) -> Result<Appended, RevisionLogError> {
        let (mut appended, mut failure) = (Appended::default(), None);
        for some in writes.chunks(IN_FLIGHT_MAX) {
            let mut sent = Vec::with_capacity(some.len());
            for write in some {
                match self.send(write).await {
                    Ok(confirmation) => sent.push(confirmation),
                    // Such as one that is too large: the others are stored.
                    Err(error) => failure = Some(error),
                }
            }
            for confirmation in sent {
                match confirmation.await {
                    Ok(_) => appended.stored += 1,
                    Err(error) => match error.kind() {
                        PublishErrorKind::WrongLastSequence => appended.conflicts += 1,
                        PublishErrorKind::TimedOut => return Err(failed(error)),
                        _ => failure = Some(failed(error)),
                    },
                }
            }
        }
        failure.map_or(Ok(appended), Err)
    }

    /// Returns the last revisions of the modules of `owner`, with one request unless there are more than the broker
    /// returns at once.
    async fn last(&self, owner: &RevisionOwner) -> Result<Vec<StoredRevision>, RevisionLogError> {
        match self.last_messages(&[self.subjects.revisions_of(owner)]).await? {
            LastMessages::All(messages) => Ok(self.all_stored(&messages)),
            LastMessages::TooMany => self.last_by_module(owner).await,
        }
    }

    fn all_stored(&self, messages: &[StreamMessage]) -> Vec<StoredRevision> {
        let stored = messages.iter().filter_map(|message| {
            self.stored(&message.subject, message.sequence, &message.payload)
        });
        stored.collect()
    }

    async fn last_messages(&self, patterns: &[String]) -> Result<LastMessages, RevisionLogError> {
        let stream = self.subjects.revisions_stream();
        let found = direct_get::last_of(&self.jetstream_client, &stream, patterns).await;
        found.map_err(RevisionLogError)
    }

    async fn last_by_module(
        &self,
        owner: &RevisionOwner,
    ) -> Result<Vec<StoredRevision>, RevisionLogError> {
        let mut found = Vec::new();
        let subjects = self.subjects_of(&self.subjects.revisions_of(owner)).await?;
        for some in subjects.chunks(MODULES_MAX) {
            let LastMessages::All(messages) = self.last_messages(some).await? else {
                return Err(RevisionLogError("more messages than subjects".to_owned()));
            };
            found.extend(self.all_stored(&messages));
        }
        Ok(found)
    }

    /// Returns the subjects with messages that match a filter; the broker returns them in pages.
    async fn subjects_of(&self, filter: &str) -> Result<Vec<String>, RevisionLogError> {
        let found = self.stream().await?.info_with_subjects(filter).await.map_err(failed)?;
        let subjects = found.map_ok(|(subject, _)| subject);
        subjects.try_collect().await.map_err(failed)
    }

    async fn all(
        &self,
        owner: &RevisionOwner,
        module: &str,
    ) -> Result<Vec<StoredRevision>, RevisionLogError> {
        let subject = self.subjects.revisions_of_module(owner, module);
        let reader =
            DirectReader::new(self.jetstream_client.clone(), self.subjects.revisions_stream());
        let (mut found, mut next) = (Vec::new(), 1);
        for _ in 0..READS_MAX {
            // A revision that is not read would make the one before it seem to be in force.
            let batch = reader.batch_to_end(StartAt::Sequence(next), &subject, READ_MAX).await;
            let batch = batch.map_err(RevisionLogError)?;
            for message in &batch.messages {
                found.extend(self.stored(&subject, message.sequence, &message.payload));
                next = message.sequence.saturating_add(1);
            }
            if !batch.has_more || batch.messages.is_empty() {
                return Ok(found);
            }
        }
        Err(RevisionLogError(format!("{module} has more revisions than {READS_MAX} reads return")))
    }

    fn stored(&self, subject: &str, sequence: u64, body: &[u8]) -> Option<StoredRevision> {
        let (owner, module) = self.subjects.module_of_revisions(subject)?;
        let revision = ModuleRevision::read(body);
        Some(StoredRevision { owner, module: module.into(), sequence, revision })
    }

    async fn visit_modules(
        &self,
        visit: &mut (dyn FnMut(RevisionOwner, &str) + Send),
    ) -> Result<StreamUse, RevisionLogError> {
        let pattern = self.subjects.revisions_pattern();
        let subjects = self.stream().await?.info_with_subjects(pattern).await.map_err(failed)?;
        let mut subjects = std::pin::pin!(subjects);
        let mut stored = 0;
        while let Some(found) = subjects.next().await {
            let (subject, count) = found.map_err(failed)?;
            stored += u64::try_from(count).unwrap_or(u64::MAX);
            if let Some((owner, module)) = self.subjects.module_of_revisions(&subject) {
                visit(owner, module);
            }
        }
        Ok(StreamUse { stored, max: streams::REVISIONS_STORED_MAX.unsigned_abs() })
    }

    async fn purge_module(
        &self,
        owner: &RevisionOwner,
        module: &str,
        last: u64,
    ) -> Result<(), RevisionLogError> {
        let subject = self.subjects.revisions_of_module(owner, module);
        let purge = self.stream().await?.purge().filter(subject).sequence(last.saturating_add(1));
        purge.await.map_err(failed)?;
        Ok(())
    }
}

impl RevisionLog for RevisionStream {
    fn append<'a>(
        &'a self,
        writes: &'a [RevisionWrite],
    ) -> BoxFuture<'a, Result<Appended, RevisionLogError>> {
        Box::pin(self.append_all(writes))
    }

    fn last_of<'a>(
        &'a self,
        owner: &'a RevisionOwner,
    ) -> BoxFuture<'a, Result<Vec<StoredRevision>, RevisionLogError>> {
        Box::pin(self.last(owner))
    }

    fn all_of<'a>(
        &'a self,
        owner: &'a RevisionOwner,
        module: &'a str,
    ) -> BoxFuture<'a, Result<Vec<StoredRevision>, RevisionLogError>> {
        Box::pin(self.all(owner, module))
    }

    fn each_module<'a>(
        &'a self,
        visit: &'a mut (dyn FnMut(RevisionOwner, &str) + Send),
    ) -> BoxFuture<'a, Result<StreamUse, RevisionLogError>> {
        Box::pin(self.visit_modules(visit))
    }

    fn purge<'a>(
        &'a self,
        owner: &'a RevisionOwner,
        module: &'a str,
        last: u64,
    ) -> BoxFuture<'a, Result<(), RevisionLogError>> {
        Box::pin(self.purge_module(owner, module, last))
    }

    fn ensure(&self) -> BoxFuture<'_, Result<bool, RevisionLogError>> {
        Box::pin(async move {
            let settings = (&self.nats, &self.events);
            streams::ensure_revisions(self.context(), &self.subjects, settings)
                .await
                .map_err(failed)
        })
    }
}

fn failed(error: impl std::fmt::Display) -> RevisionLogError {
    RevisionLogError(error.to_string())
}
