//! Tombstones: deletion markers that stay.
//!
//! A file-based stream does not record which messages of a key were replaced. After an unclean stop
//! the broker reads its files again, and the last message of a key wins. So a key without its
//! marker gets its last document back, whether the marker expired or was purged. Hence markers have no
//! time-to-live, nothing compacts them, and those that earlier releases wrote with one are replaced.
//!
//! **Source:** nats-server issue 8505.
//!
//! Design: `docs/design/registry-watch.md`.

use std::collections::HashSet;

use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::{HeaderMap, Subject};
use metrics::gauge;
use tokio::sync::mpsc;
use tracing::{debug, info};

use super::bucket::{Bucket, DELETE_MARKER};

/// Markers that wait to be replaced; what finds no room is replaced after the next load.
const EXPIRING_MAX: usize = 10_000;

/// A marker that would expire.
pub(super) struct ExpiringMarker {
    subject: Subject,
    sequence: u64,
}

/// Returns the message that deletes a key.
pub(super) fn marker() -> PublishMessage {
    let (name, mark) = DELETE_MARKER;
    PublishMessage::build().header(name, mark)
}

/// The keys whose last message is a marker, as the watch sees them.
pub(super) struct Tombstones {
    subjects: HashSet<Box<str>>,
    expiring: mpsc::Sender<ExpiringMarker>,
}

impl Tombstones {
    /// Returns an empty set, and where to read the markers that would expire.
    pub(super) fn new() -> (Self, mpsc::Receiver<ExpiringMarker>) {
        let (expiring, received) = mpsc::channel(EXPIRING_MAX);
        (Self { subjects: HashSet::new(), expiring }, received)
    }

    /// Forgets all, at the start of a load.
    pub(super) fn clear(&mut self) {
        self.subjects.clear();
    }

    /// Notes a message: a marker with these headers, or a document if there are none.
    pub(super) fn note(&mut self, subject: &Subject, sequence: u64, marker: Option<&HeaderMap>) {
        match marker {
            Some(headers) => {
                self.subjects.insert(subject.as_str().into());
                if headers.get(async_nats::header::NATS_MESSAGE_TTL).is_some() {
                    let marker = ExpiringMarker { subject: subject.clone(), sequence };
                    let _ = self.expiring.try_send(marker);
                }
            }
            None => {
                self.subjects.remove(subject.as_str());
            }
        }
    }

    /// Sets the gauge of tombstones.
    #[expect(clippy::cast_precision_loss, reason = "a gauge needs no more than 53 bits")]
    pub(super) fn count(&self) {
        gauge!("switchyard_registry_tombstones").set(self.subjects.len() as f64);
    }
}

/// Replaces markers that would expire by ones that stay, until the sender is dropped.
pub(super) async fn keep(bucket: &Bucket, mut expiring: mpsc::Receiver<ExpiringMarker>) {
    while let Some(ExpiringMarker { subject, sequence }) = expiring.recv().await {
        let marker = marker().expected_last_subject_sequence(sequence);
        let sent = match bucket.context.send_publish(subject.clone(), marker).await {
            Ok(acknowledgement) => acknowledgement.await.map(|_| ()),
            Err(error) => Err(error),
        };
        match sent {
            Ok(()) => info!(%subject, "a deletion that would expire is kept"),
            // The key was written again, or another replica replaced the marker.
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => {}
            Err(error) => debug!(%subject, %error, "deletion not kept yet"),
        }
    }
}
