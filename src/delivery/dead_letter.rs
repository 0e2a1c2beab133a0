//! Dead letters: the original bytes of what cannot be delivered, with headers that say why.

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::channel::channel_of;
use super::model::{DeadLetterReason, Delivery, Progress, StreamPosition};
use super::parking::ParkedDelivery;
use crate::domain::{AppId, DeliveryId, FilterError, InstallationId, ModuleKey};
use crate::event::codec::names::{self, dead_letter, parked};
use crate::event::codec::{EnvelopeFormat, HeaderList, HeaderLookup, forwarded_headers};

/// Longest error text kept, in characters.
const ERROR_CHARS_MAX: usize = 512;
/// Why the letter of an installation that keeps no bodies has none.
const RETENTION: &str = "retention";

/// Stores dead letters; implemented in `bus`.
pub trait DeadLetterBox: Send + Sync {
    /// Stores a dead letter, unless its owner has used its share. Completes once the broker
    /// confirmed it, however long that takes: the same letter is published again under the same id
    /// until then.
    fn put(&self, letter: DeadLetter) -> BoxFuture<'_, DeadLetterStored>;
}

/// What became of a dead letter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeadLetterStored {
    /// The broker confirmed it.
    Stored,
    /// It was dropped by the policy `share_exceeded`.
    ShareExceeded,
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
        let owner = &delivery.subscription.owner;
        let redrive = RedriveParts {
            id: &delivery.id,
            progress: &delivery.progress,
            others: delivery.coalesced_with.iter().map(|one| &one.key).collect(),
            self_generated: delivery.self_generated,
            filter_error: delivery.filter_error.as_ref(),
        };
        let event = &delivery.prepared.event;
        let mut headers = cause_headers(cause);
        headers.extend(redrive.headers());
        headers.extend([
            (dead_letter::SUBSCRIPTION, delivery.subscription.id().to_string()),
            (dead_letter::REVISION, delivery.subscription.revision.to_string()),
            (names::SEQUENCE, event.sequence.to_string()),
        ]);
        headers.extend(EnvelopeFormat::CLOUD_EVENTS.write(&event.envelope));
        headers.extend(channel_of(delivery.handler()).dead_letter_headers(delivery));
        let mut body = event.envelope.stored_body(event.body.clone());
        if !owner.settings.kept_bodies.in_dead_letters {
            headers.push((dead_letter::BODY_OMITTED, body.len().to_string()));
            headers.push((dead_letter::BODY_REMOVED, RETENTION.to_owned()));
            body = Bytes::new();
        }
        Self {
            kind: DeadLetterKind::Delivery {
                app: owner.app.clone(),
                installation: owner.id.clone(),
            },
            message_id: redrive.message_id(),
            headers,
            body,
        }
    }

    /// Creates the dead letter of a delivery, or of an event that is not matched yet, that waited
    /// for the document of its installation.
    #[must_use]
    pub fn of_waiting(parked: &ParkedDelivery, app: AppId, cause: &DeadLetterCause<'_>) -> Self {
        let redrive = RedriveParts {
            id: &parked.id,
            progress: parked.progress(),
            others: parked.subscriptions.iter().skip(1).map(|id| &id.key).collect(),
            self_generated: parked.self_generated(),
            filter_error: parked.filter_error(),
        };
        let event = parked.event();
        let mut headers = cause_headers(cause);
        headers.extend(redrive.headers());
        headers.push((names::SEQUENCE, event.sequence.to_string()));
        match parked.subscriptions.first() {
            Some(id) => headers.push((dead_letter::SUBSCRIPTION, id.to_string())),
            None => headers.extend([
                (parked::INSTALLATION, parked.installation.to_string()),
                (parked::UNMATCHED_APP, app.to_string()),
            ]),
        }
        headers.extend(EnvelopeFormat::CLOUD_EVENTS.write(&event.envelope));
        Self {
            kind: DeadLetterKind::Delivery { app, installation: parked.installation.clone() },
            message_id: redrive.message_id(),
            headers,
            body: event.envelope.stored_body(event.body.clone()),
        }
    }

    /// Creates the dead letter of a message that is not an event, or that crashes routers. The broker
    /// stored it as `position`.
    #[must_use]
    pub fn of_event(
        subject: &str,
        event_headers: &impl HeaderLookup,
        body: Bytes,
        position: StreamPosition,
        cause: &DeadLetterCause<'_>,
    ) -> Self {
        let mut headers = cause_headers(cause);
        headers.extend([
            (names::SEQUENCE, position.sequence.to_string()),
            (dead_letter::SUBJECT, subject.to_owned()),
        ]);
        let message_id = event_headers.get(names::MESSAGE_ID);
        headers.extend(message_id.map(|id| (dead_letter::MESSAGE_ID, id.to_owned())));
        headers.extend(forwarded_headers(event_headers));
        let message_id = format!("dead/event/{position}");
        Self {
            kind: DeadLetterKind::Event { subject: subject.to_owned() },
            message_id,
            headers,
            body,
        }
    }

    /// Creates the dead letter of a parked record that cannot be read.
    #[must_use]
    pub fn of_record(body: Bytes, position: StreamPosition, cause: &DeadLetterCause<'_>) -> Self {
        let message_id = format!("dead/record/{position}");
        Self { kind: DeadLetterKind::Record, message_id, headers: cause_headers(cause), body }
    }

    /// Returns the value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(at, _)| *at == name).map(|(_, value)| value.as_str())
    }
}

/// What a redrive of a delivery needs in addition to its event and subscription.
struct RedriveParts<'a> {
    id: &'a DeliveryId,
    progress: &'a Progress,
    /// Modules of the delivery in addition to that of its subscription.
    others: Vec<&'a ModuleKey>,
    self_generated: bool,
    filter_error: Option<&'a FilterError>,
}

impl RedriveParts<'_> {
    fn headers(&self) -> HeaderList {
        let progress = self.progress;
        let others: Vec<&str> = self.others.iter().map(|key| key.as_str()).collect();
        let mut headers = vec![
            (names::DELIVERY_ID, self.id.to_string()),
            (dead_letter::FIRST_SEEN, progress.first_seen.to_string()),
            (dead_letter::ATTEMPTS, progress.attempt.to_string()),
            (dead_letter::LAST_CLASS, progress.last_class.to_string()),
        ];
        let present = [
            (names::STORED_MS, progress.stored_ms.map(|ms| ms.to_string())),
            (names::JOB, progress.job.as_ref().map(|origin| origin.job.to_string())),
            (names::REPEATED_BY, progress.repeated_by().map(ToString::to_string)),
            (parked::COALESCED_WITH, (!others.is_empty()).then(|| others.join(" "))),
            (parked::SELF_GENERATED, self.self_generated.then(|| "true".to_owned())),
            (parked::FILTER_ERROR, self.filter_error.map(FilterError::to_json)),
        ];
        headers.extend(present.into_iter().filter_map(|(name, value)| Some((name, value?))));
        headers
    }

    /// Returns the message id. A delivery that a job handed over has attempts of its own: its letter
    /// is no duplicate of the one that the job redrove, which is deleted then.
    fn message_id(&self) -> String {
        let Progress { attempt, parks, job, .. } = self.progress;
        let id = format!("dead/{}/{attempt}/{parks}", self.id);
        match job {
            Some(origin) => format!("{id}/{}", origin.job),
            None => id,
        }
    }
}

fn cause_headers(cause: &DeadLetterCause<'_>) -> HeaderList {
    vec![
        (dead_letter::REASON, cause.reason.text().into_owned()),
        (dead_letter::STAGE, cause.stage.to_owned()),
        (dead_letter::LAST_ERROR, cause.error.chars().take(ERROR_CHARS_MAX).collect()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::model::JobOrigin;
    use crate::delivery::testing::{delivery_to, function};

    #[test]
    fn headers_of_a_delivery_are_a_stored_format() {
        let mut delivery = delivery_to("inst-1", function("f"), "e1");
        delivery.progress.first_seen = "2026-11-21T08:00:00Z".parse().unwrap();
        delivery.progress.last_class = "5xx".into();
        let reason = DeadLetterReason::Exhausted;
        let cause = DeadLetterCause { reason: &reason, stage: "delivery", error: "status 503" };
        let letter = DeadLetter::of_delivery(&delivery, &cause);
        let mut headers: Vec<_> =
            letter.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        headers.sort_unstable();
        let expected = format!(
            "ce-cloudid: site-1
ce-id: e1
ce-originapp: app-2
ce-subject: ABC-1
ce-time: 2026-11-21T07:59:59Z
ce-type: avi:jira:created:issue
switchyard-delivery-id: {id}
switchyard-dlq-attempts: 1
switchyard-dlq-first-seen: 2026-11-21T08:00:00Z
switchyard-dlq-last-class: 5xx
switchyard-dlq-last-error: status 503
switchyard-dlq-reason: exhausted
switchyard-dlq-revision: 5
switchyard-dlq-stage: delivery
switchyard-dlq-subscription: inst-1/k1
switchyard-sequence: 42
traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            id = delivery.id
        );
        assert_eq!(headers.join("\n"), expected);
        assert_eq!(letter.message_id, format!("dead/{}/1/0", delivery.id));
    }

    #[test]
    fn letter_of_a_redriven_delivery_is_no_duplicate_of_the_one_that_was_redriven() {
        let mut delivery = delivery_to("inst-1", function("f"), "e1");
        let reason = DeadLetterReason::Exhausted;
        let cause = DeadLetterCause { reason: &reason, stage: "delivery", error: "status 503" };
        let id = |delivery: &Delivery| DeadLetter::of_delivery(delivery, &cause).message_id;
        let first = id(&delivery);
        for job in ["job_1", "job_2"] {
            let origin = JobOrigin::redrive(job, Vec::new());
            delivery.progress.job = Some(std::sync::Arc::new(origin));
            assert_eq!(id(&delivery), format!("{first}/{job}"));
        }
        let letter = DeadLetter::of_delivery(&delivery, &cause);
        assert_eq!(letter.header(names::JOB), Some("job_2"));
    }
}
