//! What is given up is kept: the original bytes, and headers that say why.

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::Fields;
use super::outcome::DeadReason;
use super::plan::Delivery;
use super::webhook;
use crate::domain::{AppId, Handler, InstallationId};
use crate::event::HeaderLookup;
use crate::event::codec::decoded;
use crate::event::webhook::delta;

/// Headers of an event that a dead letter keeps, so that it can be published again.
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

/// Keeps dead letters; implemented at the broker's edge.
pub trait DeadLetterBox: Send + Sync {
    /// Stores a letter. Ends once it is known to be stored, however long that takes: the same
    /// letter is sent again under the same id until then.
    fn put(&self, letter: DeadLetter) -> BoxFuture<'_, ()>;
}

/// Something given up.
#[derive(Clone, PartialEq, Debug)]
pub struct DeadLetter {
    /// What it was.
    pub kind: Kind,
    /// What makes two letters the same.
    pub message_id: String,
    /// Why, and what it takes to try again.
    pub fields: Fields,
    /// The original bytes.
    pub body: Bytes,
}

/// What a dead letter was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A message of the event stream, by its subject there.
    Event {
        /// The subject.
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

/// Why something is given up.
#[derive(Clone, Copy, Debug)]
pub struct Cause<'a> {
    /// The reason.
    pub reason: &'a DeadReason,
    /// Which stage gave up: `decode`, `match`, `delivery` or `parking`.
    pub stage: &'static str,
    /// One sentence for operators.
    pub error: &'a str,
}

impl DeadLetter {
    /// The letter of a delivery that is given up.
    #[must_use]
    pub fn of_delivery(delivery: &Delivery, cause: &Cause<'_>) -> Self {
        let (event, progress) = (&delivery.occurrence.event, &delivery.progress);
        let envelope = &event.envelope;
        let mut fields = cause_fields(cause);
        fields.extend([
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
        fields.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
        if let Handler::Webhook(webhook) = &*delivery.subscription.owner.terms.handler {
            fields.extend(webhook::letter_fields(delivery, webhook));
        }
        Self {
            kind: Kind::Delivery {
                app: delivery.subscription.owner.app.clone(),
                installation: delivery.subscription.owner.id.clone(),
            },
            message_id: format!("dead/{}/{}/{}", delivery.id, progress.attempt, progress.parks),
            fields,
            body: event.body.clone(),
        }
    }

    /// The letter of a message that is no event, or that no router survives.
    #[must_use]
    pub fn of_event(
        subject: &str,
        headers: &impl HeaderLookup,
        body: Bytes,
        sequence: u64,
        cause: &Cause<'_>,
    ) -> Self {
        let mut fields = cause_fields(cause);
        fields.push(("switchyard-sequence", sequence.to_string()));
        let value = |name| decoded(headers, name).ok().flatten();
        let kept = KEPT_HEADERS.iter().filter_map(|name| Some((*name, value(name)?)));
        fields.extend(kept.map(|(name, value)| (name, value.into_owned())));
        let message_id = format!("dead/event/{sequence}");
        Self { kind: Kind::Event { subject: subject.to_owned() }, message_id, fields, body }
    }

    /// The letter of a parked record that cannot be read.
    #[must_use]
    pub fn of_record(body: Bytes, sequence: u64, cause: &Cause<'_>) -> Self {
        let message_id = format!("dead/record/{sequence}");
        Self { kind: Kind::Record, message_id, fields: cause_fields(cause), body }
    }

    /// The value of one of its headers.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(at, _)| *at == name).map(|(_, value)| value.as_str())
    }
}

fn cause_fields(cause: &Cause<'_>) -> Fields {
    vec![
        ("switchyard-dlq-reason", cause.reason.text().into_owned()),
        ("switchyard-dlq-stage", cause.stage.to_owned()),
        ("switchyard-dlq-last-error", cause.error.chars().take(ERROR_CHARS_MAX).collect()),
    ]
}
