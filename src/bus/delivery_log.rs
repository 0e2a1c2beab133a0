//! The stream of the delivery log, as the delivery stage writes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use async_nats::HeaderMap;
use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::confirmed_publish::{self, NotStored, PublishRequest};
use super::connect::JetStreamClient;
use super::metrics;
use super::publish_gate::PublishGates;
use super::subjects::Subjects;
use crate::delivery::{DeliveryLog, LogMessage};

/// Characters of the name of a replica.
const NAME_CHARS: usize = 12;

/// Writes the delivery log.
#[derive(Debug)]
pub struct DeliveryLogStream {
    jetstream_client: JetStreamClient,
    subjects: Subjects,
    gates: Arc<PublishGates>,
    router: String,
    /// Number of the last record.
    last: AtomicU64,
}

impl DeliveryLogStream {
    /// Stores records over `jetstream_client`, under a random name of this replica.
    #[must_use]
    pub fn new(
        jetstream_client: JetStreamClient,
        subjects: Subjects,
        gates: Arc<PublishGates>,
    ) -> Self {
        let mut router = Uuid::new_v4().simple().to_string();
        router.truncate(NAME_CHARS);
        Self { jetstream_client, subjects, gates, router, last: AtomicU64::new(0) }
    }

    async fn publish(&self, message: LogMessage) {
        let _pending = metrics::LogPending::new();
        let LogMessage { site, result, bucket, body } = message;
        // An id of its own for each record: a repeated publish is recognised, and the record of an event
        // that is redelivered never is one of the first time, whatever the broker's delivery count says.
        let number = self.last.fetch_add(1, Relaxed);
        let request = PublishRequest {
            stream: "log",
            subject: self.subjects.log_record(result, &site, bucket),
            message_id: format!("{}-{number}", self.router),
            headers: HeaderMap::new(),
            body,
        };
        let gate = &self.gates.log;
        loop {
            match confirmed_publish::until_stored(&self.jetstream_client, gate, &request).await {
                Ok(()) => return metrics::log_stored(result.token()),
                // The stream deletes its oldest records when it is full.
                Err(NotStored::StreamFull) => {}
                Err(NotStored::TooLarge) => {
                    metrics::log_lost();
                    let bytes = request.body.len();
                    tracing::error!(
                        subject = request.subject,
                        bytes,
                        "record of the delivery log not stored: larger than the broker's max_payload"
                    );
                    return;
                }
            }
        }
    }
}

impl DeliveryLog for DeliveryLogStream {
    fn router(&self) -> &str {
        &self.router
    }

    fn store(&self, message: LogMessage) -> BoxFuture<'_, ()> {
        Box::pin(self.publish(message))
    }
}
