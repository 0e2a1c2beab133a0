//! The dead-letter stream, as the delivery stage writes it.

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::confirmed_publish::{self, PublishRequest};
use super::connect::JetStreamClient;
use super::headers;
use super::subjects::Subjects;
use crate::delivery::{DeadLetter, DeadLetterBox, DeadLetterKind};
use crate::event::codec::names;

/// Writes the dead-letter stream.
#[derive(Clone, Debug)]
pub struct DeadLetterStream {
    jetstream_client: JetStreamClient,
    subjects: Subjects,
}

impl DeadLetterStream {
    /// Stores dead letters over `jetstream_client`.
    #[must_use]
    pub fn new(jetstream_client: JetStreamClient, subjects: Subjects) -> Self {
        Self { jetstream_client, subjects }
    }

    async fn store(&self, mut request: PublishRequest) {
        if confirmed_publish::until_stored(&self.jetstream_client, &request).await.is_ok() {
            return;
        }
        // The letter's own headers make it larger than the broker's limit.
        tracing::warn!(subject = request.subject, "dead letter stored without its body: too large");
        request
            .headers
            .insert(names::dead_letter::BODY_OMITTED, request.body.len().to_string().as_str());
        request.body = Bytes::new();
        if let Err(error) = confirmed_publish::until_stored(&self.jetstream_client, &request).await
        {
            tracing::error!(subject = request.subject, %error, "dead letter not stored");
        }
    }
}

impl DeadLetterBox for DeadLetterStream {
    fn put(&self, letter: DeadLetter) -> BoxFuture<'_, ()> {
        let subject = match &letter.kind {
            DeadLetterKind::Event { subject } => {
                self.subjects.dead_letter_of_event(self.subjects.site_of(subject))
            }
            DeadLetterKind::Delivery { app, installation } => {
                self.subjects.dead_letter_of_delivery(app, installation)
            }
            DeadLetterKind::Record => self.subjects.dead_letter_of_record(),
        };
        Box::pin(self.store(PublishRequest {
            stream: "dlq",
            subject,
            message_id: letter.message_id,
            headers: headers::write(&letter.headers),
            body: letter.body,
        }))
    }
}
