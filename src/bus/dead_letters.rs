//! Dead letters into their stream.

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::connect::Jet;
use super::headers;
use super::store::{self, Parcel};
use super::subjects::Subjects;
use crate::delivery::{DeadLetter, DeadLetterBox, DeadLetterKind};

/// Says that the body was too large to be kept; the event stream holds it at the sequence given.
const BODY_OMITTED: &str = "switchyard-dlq-body-omitted";

/// The dead-letter stream.
#[derive(Clone, Debug)]
pub struct DeadStream {
    jet: Jet,
    subjects: Subjects,
}

impl DeadStream {
    /// Stores dead letters over `jet`.
    #[must_use]
    pub fn new(jet: Jet, subjects: Subjects) -> Self {
        Self { jet, subjects }
    }

    async fn store(&self, mut parcel: Parcel) {
        if store::until_stored(&self.jet, &parcel).await.is_ok() {
            return;
        }
        // With its own headers the letter is larger than the broker takes.
        tracing::warn!(subject = parcel.subject, "dead letter kept without its body: too large");
        parcel.headers.insert(BODY_OMITTED, parcel.body.len().to_string().as_str());
        parcel.body = Bytes::new();
        if let Err(error) = store::until_stored(&self.jet, &parcel).await {
            tracing::error!(subject = parcel.subject, %error, "dead letter not kept");
        }
    }
}

impl DeadLetterBox for DeadStream {
    fn put(&self, letter: DeadLetter) -> BoxFuture<'_, ()> {
        let subject = match &letter.kind {
            DeadLetterKind::Event { subject } => {
                self.subjects.dead_event(self.subjects.site_of(subject))
            }
            DeadLetterKind::Delivery { app, installation } => {
                self.subjects.dead_delivery(app, installation)
            }
            DeadLetterKind::Record => self.subjects.dead_record(),
        };
        Box::pin(self.store(Parcel {
            stream: "dlq",
            subject,
            message_id: letter.message_id,
            headers: headers::write(&letter.headers),
            body: letter.body,
        }))
    }
}
