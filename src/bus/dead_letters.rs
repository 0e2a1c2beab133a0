//! The dead-letter stream, as the delivery stage writes it.

use std::sync::Arc;

use async_nats::HeaderValue;
use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::confirmed_publish::{self, NotStored, PublishRequest};
use super::connect::JetStreamClient;
use super::headers;
use super::publish_gate::PublishGates;
use super::subjects::Subjects;
use crate::delivery::{
    DeadLetter, DeadLetterBox, DeadLetterKind, DeadLetterStored, ShareOwner, Shares,
};
use crate::domain::token;
use crate::event::codec::names;

/// Bytes of header values beyond which the broker may refuse a message: it accepts 64 KiB of headers.
const HEADERS_BYTES_MAX: usize = 48 * 1024;
/// Longest header that such a letter keeps, in bytes.
const LONG_HEADER_BYTES: usize = 2 * 1024;

/// Writes the dead-letter stream.
#[derive(Clone, Debug)]
pub struct DeadLetterStream {
    jetstream_client: JetStreamClient,
    subjects: Subjects,
    shares: Arc<Shares>,
    gates: Arc<PublishGates>,
}

/// Who pays for a letter: for the ledger, and by name for operators.
struct LetterOwner {
    owner: ShareOwner,
    app: String,
    installation: String,
}

impl DeadLetterStream {
    /// Stores dead letters over `jetstream_client`, within `shares`.
    #[must_use]
    pub fn new(
        jetstream_client: JetStreamClient,
        subjects: Subjects,
        shares: Arc<Shares>,
        gates: Arc<PublishGates>,
    ) -> Self {
        Self { jetstream_client, subjects, shares, gates }
    }

    async fn store(&self, mut request: PublishRequest, by: LetterOwner) -> DeadLetterStored {
        loop {
            let place = match self.shares.dead_letter(&by.owner, request.body.len()) {
                Ok(place) => place,
                Err(level) => {
                    self.shares.record_drop(&by.app, &by.installation, level);
                    return DeadLetterStored::ShareExceeded;
                }
            };
            let gate = &self.gates.dead_letters;
            match confirmed_publish::until_stored(&self.jetstream_client, gate, &request).await {
                Ok(_) => {
                    place.keep();
                    return DeadLetterStored::Stored;
                }
                // An owner within its guaranteed amount waits at the gate; others are dropped.
                Err(NotStored::StreamFull) => self.shares.set_dead_letters_full(),
                Err(NotStored::TooLarge) if omit_long_headers(&mut request) => {}
                Err(NotStored::TooLarge) if request.body.is_empty() => {
                    tracing::error!(subject = request.subject, "dead letter not stored: too large");
                    return DeadLetterStored::Stored;
                }
                // The letter's own headers make it larger than the broker's limit.
                Err(NotStored::TooLarge) => omit_body(&mut request),
            }
        }
    }

    fn owner_of(&self, kind: &DeadLetterKind) -> (String, LetterOwner) {
        let named = |owner, app: &str, installation: &str| LetterOwner {
            owner,
            app: app.to_owned(),
            installation: installation.to_owned(),
        };
        match kind {
            DeadLetterKind::Event { subject } => {
                let site = self.subjects.site_of(subject);
                let owner = ShareOwner::events_of(&token(site));
                (self.subjects.dead_letter_of_event(site), named(owner, "events", site))
            }
            DeadLetterKind::Delivery { app, installation } => {
                let owner = ShareOwner::installation(app, installation);
                let subject = self.subjects.dead_letter_of_delivery(app, installation);
                (subject, named(owner, app.as_str(), installation.as_str()))
            }
            DeadLetterKind::Record => {
                let subject = self.subjects.dead_letter_of_record();
                (subject, named(ShareOwner::records(), "records", ""))
            }
        }
    }
}

/// Removes the long headers if the broker refuses so many bytes of headers; returns whether it did.
fn omit_long_headers(request: &mut PublishRequest) -> bool {
    let bytes = |values: &[HeaderValue]| values.iter().map(|v| v.as_str().len()).sum::<usize>();
    let total: usize = request.headers.iter().map(|(_, values)| bytes(values)).sum();
    let is_kept = |values: &[HeaderValue]| bytes(values) <= LONG_HEADER_BYTES;
    if total <= HEADERS_BYTES_MAX || request.headers.iter().all(|(_, values)| is_kept(values)) {
        return false;
    }
    let kept = request.headers.iter().filter(|(_, values)| is_kept(values));
    let kept = kept.flat_map(|(name, values)| {
        values.iter().map(|value| (name.clone(), value.clone())).collect::<Vec<_>>()
    });
    request.headers = kept.collect();
    tracing::warn!(subject = request.subject, "dead letter stored without its long headers");
    true
}

fn omit_body(request: &mut PublishRequest) {
    tracing::warn!(subject = request.subject, "dead letter stored without its body: too large");
    let bytes = request.body.len().to_string();
    request.headers.insert(names::dead_letter::BODY_OMITTED, bytes.as_str());
    request.body = Bytes::new();
}

impl DeadLetterBox for DeadLetterStream {
    fn put(&self, letter: DeadLetter) -> BoxFuture<'_, DeadLetterStored> {
        let (subject, owner) = self.owner_of(&letter.kind);
        let request = PublishRequest {
            stream: "dlq",
            subject,
            message_id: letter.message_id,
            headers: headers::write(&letter.headers),
            body: letter.body,
        };
        Box::pin(self.store(request, owner))
    }
}
