//! Dead letters: the original bytes of what cannot be delivered, with headers that say why.

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::HeaderList;
use super::outcome::DeadLetterReason;
use super::plan::Delivery;
use super::webhook;
use crate::domain::{AppId, Handler, InstallationId};
use crate::event::HeaderLookup;
use crate::event::envelope::decoded;
use crate::event::webhook::delta;

/// Headers of an event that its dead letter keeps, so that it can be published again.
const KEPT_HEADERS: [&str; 11] = [
    "ce-specversion",
    "ce-id",
    "ce-source",
    "ce-type",
    "ce-time",
    "ce-subject",
    "ce-cloudid",
    "ce-originapp",
    "content-type",
    "traceparent",
    delta::HEADER,
];
/// Longest error text kept, in characters.
const ERROR_CHARS_MAX: usize = 512;

/// Stores dead letters; implemented in `bus`.
pub trait DeadLetterBox: Send + Sync {
    /// Stores a dead letter. Completes once the broker confirmed it, however long that takes: the
    /// same letter is published again under the same id until then.
    fn put(&self, letter: DeadLetter) -> BoxFuture<'_, ()>;
}

/// An event, a delivery or a parked record that the router stops processing.
#[derive(Clone, PartialEq, Debug)]
pub struct DeadLetter {
    /// What the letter holds.
    pub kind: DeadLetterKind,
    /// Message id for deduplication.
    pub message_id: String,
    /// Why it was dead-lettered, and what a redrive needs.
    pub headers: HeaderList,
    /// The original bytes.
    pub body: Bytes,
}

/// What a dead letter holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DeadLetterKind {
    /// A message of the event stream.
    Event {
        /// Its subject in the event stream.
        subject: String,
    },
    /// A delivery of an app.
    Delivery {
        /// The app.
        app: AppId,
        /// The installation.
        installation: InstallationId,
    },
    /// A parked record that cannot be read.
    Record,
}

/// Why something is dead-lettered.
#[derive(Clone, Copy, Debug)]
pub struct DeadLetterCause<'a> {
    /// The reason.
    pub reason: &'a DeadLetterReason,
    /// The stage that failed: `decode`, `match`, `delivery` or `parking`.
    pub stage: &'static str,
    /// One sentence for operators.
    pub error: &'a str,
}

impl DeadLetter {
    /// Creates the dead letter of a delivery.
    #[must_use]
    pub fn of_delivery(delivery: &Delivery, cause: &DeadLetterCause<'_>) -> Self {
        let (event, progress) = (&delivery.prepared.event, &delivery.progress);
        let envelope = &event.envelope;
        let mut headers = cause_headers(cause);
        headers.extend([
            ("switchyard-dlq-first-seen", progress.first_seen.to_string()),
            ("switchyard-dlq-attempts", progress.attempt.to_string()),
            ("switchyard-dlq-last-class", progress.last_class.to_string()),
            ("switchyard-dlq-subscription", delivery.subscription.id().to_string()),
            ("switchyard-dlq-revision", delivery.subscription.revision.to_string()),
            ("switchyard-delivery-id", delivery.id.to_string()),
            ("switchyard-sequence", event.sequence.to_string()),
            ("ce-id", envelope.event_id.to_string()),
            ("ce-type", envelope.event_type.to_string()),
            ("ce-cloudid", envelope.cloud_id.to_string()),
        ]);
        let optional = [
            ("ce-time", envelope.time.map(|time| time.to_string())),
            ("ce-subject", envelope.entity.as_ref().map(ToString::to_string)),
            ("ce-originapp", envelope.origin_app.as_ref().map(ToString::to_string)),
            ("traceparent", envelope.traceparent.as_ref().map(ToString::to_string)),
            (delta::HEADER, envelope.webhook.as_ref().map(ToString::to_string)),
        ];
        headers.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
        if let Handler::Webhook(webhook) = &*delivery.subscription.owner.settings.handler {
            headers.extend(webhook::letter_headers(delivery, webhook));
        }
        Self {
            kind: DeadLetterKind::Delivery {
                app: delivery.subscription.owner.app.clone(),
                installation: delivery.subscription.owner.id.clone(),
            },
            message_id: format!("dead/{}/{}/{}", delivery.id, progress.attempt, progress.parks),
            headers,
            body: event.body.clone(),
        }
    }

    /// Creates the dead letter of a message that is not an event, or that crashes routers.
    #[must_use]
    pub fn of_event(
        subject: &str,
        event_headers: &impl HeaderLookup,
        body: Bytes,
        sequence: u64,
        cause: &DeadLetterCause<'_>,
    ) -> Self {
        let mut headers = cause_headers(cause);
        headers.push(("switchyard-sequence", sequence.to_string()));
        let value = |name| decoded(event_headers, name).ok().flatten();
        let kept = KEPT_HEADERS.iter().filter_map(|name| Some((*name, value(name)?)));
        headers.extend(kept.map(|(name, value)| (name, value.into_owned())));
        let message_id = format!("dead/event/{sequence}");
        Self {
            kind: DeadLetterKind::Event { subject: subject.to_owned() },
            message_id,
            headers,
            body,
        }
    }

    /// Creates the dead letter of a parked record that cannot be read.
    #[must_use]
    pub fn of_record(body: Bytes, sequence: u64, cause: &DeadLetterCause<'_>) -> Self {
        let message_id = format!("dead/record/{sequence}");
        Self { kind: DeadLetterKind::Record, message_id, headers: cause_headers(cause), body }
    }

    /// Returns the value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(at, _)| *at == name).map(|(_, value)| value.as_str())
    }
}

fn cause_headers(cause: &DeadLetterCause<'_>) -> HeaderList {
    vec![
        ("switchyard-dlq-reason", cause.reason.text().into_owned()),
        ("switchyard-dlq-stage", cause.stage.to_owned()),
        ("switchyard-dlq-last-error", cause.error.chars().take(ERROR_CHARS_MAX).collect()),
    ]
}
