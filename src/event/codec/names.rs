//! Every header name of our messages on the broker, in one place.
//!
//! All are lower case; readers compare case-insensitively. Headers that only one broker needs
//! (message id, schedules) belong to the edge.

/// CloudEvents version of an event.
pub const SPEC_VERSION: &str = "ce-specversion";
/// Event id, unique inside the site.
pub const EVENT_ID: &str = "ce-id";
/// Site ARI of the publisher.
pub const EVENT_SOURCE: &str = "ce-source";
/// Event type.
pub const EVENT_TYPE: &str = "ce-type";
/// Time of the event, RFC 3339.
pub const EVENT_TIME: &str = "ce-time";
/// Key of the entity the event is about.
pub const EVENT_ENTITY: &str = "ce-subject";
/// Site of the event, an extension attribute of ours.
pub const EVENT_SITE: &str = "ce-cloudid";
/// App that caused the event, an extension attribute of ours.
pub const EVENT_ORIGIN_APP: &str = "ce-originapp";
/// Media type of the body.
pub const CONTENT_TYPE: &str = "content-type";
/// W3C trace context of the publisher.
pub const TRACEPARENT: &str = "traceparent";
/// W3C trace context of the event in the traces of routers (parked records, dead letters).
pub const TRACE: &str = "switchyard-trace";
/// The webhook of an event, or that the body holds it; see [`crate::event::webhook::OriginalWebhook`].
pub const WEBHOOK: &str = "switchyard-webhook";
/// The text between the members of a webhook.
pub const WEBHOOK_TEXT: &str = "switchyard-webhook-text";
/// Message id of the broker, the event id of publishers that send no `ce-id`.
pub const MESSAGE_ID: &str = "nats-msg-id";

/// Id of a delivery (parked records, dead letters).
pub const DELIVERY_ID: &str = "switchyard-delivery-id";
/// Sequence number of the event in its stream (parked records, dead letters).
pub const SEQUENCE: &str = "switchyard-sequence";
/// When the broker stored the event, milliseconds since the epoch (parked records, dead letters).
pub const STORED_MS: &str = "switchyard-stored-ms";
/// Number below which all records of the process were stored before (records of the delivery log).
pub const LOG_FLOOR: &str = "switchyard-log-floor";
/// Chunk of the delivery log that an entry of its index is about: when that stream was created, nanoseconds
/// since the epoch, a dash, and the number of the chunk (index of the delivery log).
pub const INDEX_CHUNK: &str = "switchyard-index-chunk";
/// Random key of the hashes of a chunk, in decimal digits (index of the delivery log).
pub const INDEX_KEY: &str = "switchyard-index-key";
/// Job that the present attempts belong to (parked records, dead letters).
pub const JOB: &str = "switchyard-job";
/// Job that replays the event (parked records, requests to handlers).
pub const REPLAY: &str = "switchyard-replay";
/// Replay that made the delivery once more (parked records, dead letters).
pub const REPEATED_BY: &str = "switchyard-repeated-by";

/// Headers of a parked record. A dead letter has those of them that a redrive needs.
pub mod parked {
    /// Positions of the dead letters that the delivery redrives, separated by spaces.
    pub const DEAD_LETTERS: &str = "switchyard-dead-letters";
    /// Endpoint that a replay sends the delivery to in place of its handler.
    pub const TARGET: &str = "switchyard-target";
    /// Installation of the delivery.
    pub const INSTALLATION: &str = "switchyard-installation";
    /// Module of the delivery.
    pub const MODULE_KEY: &str = "switchyard-module-key";
    /// Keys of further modules that the delivery is for, separated by spaces.
    pub const COALESCED_WITH: &str = "switchyard-also";
    /// Site of the event.
    pub const SITE: &str = "switchyard-cloud-id";
    /// Event id.
    pub const EVENT_ID: &str = "switchyard-event-id";
    /// Event type.
    pub const EVENT_TYPE: &str = "switchyard-event-type";
    /// Time of the event.
    pub const EVENT_TIME: &str = "switchyard-event-time";
    /// App that caused the event.
    pub const ORIGIN_APP: &str = "switchyard-origin-app";
    /// Key of the entity.
    pub const ENTITY: &str = "switchyard-entity";
    /// Number of the next attempt.
    pub const ATTEMPT: &str = "switchyard-attempt";
    /// How often the delivery was parked.
    pub const PARKS: &str = "switchyard-parks";
    /// When the delivery was first attempted.
    pub const FIRST_SEEN: &str = "switchyard-first-seen";
    /// Why it is parked, a metric label.
    pub const PARK_REASON: &str = "switchyard-park-reason";
    /// Class of the last attempt's outcome.
    pub const LAST_CLASS: &str = "switchyard-last-class";
    /// `retryReason` of the next attempt.
    pub const RETRY_REASON: &str = "switchyard-retry-reason";
    /// `retryData` of the next attempt, JSON.
    pub const RETRY_DATA: &str = "switchyard-retry-data";
    /// Whether the app itself caused the event.
    pub const SELF_GENERATED: &str = "switchyard-self-generated";
    /// App of an event that waits for an installation: it is not matched yet, and has no module.
    pub const UNMATCHED_APP: &str = "switchyard-unmatched-app";
    /// Evaluation error of the filter, JSON.
    pub const FILTER_ERROR: &str = "switchyard-filter-error";
    /// Size of the body that an erasure removed.
    pub const ERASED: &str = "switchyard-erased";
}

/// Headers of a dead letter only.
pub mod dead_letter {
    /// Why it was dead-lettered.
    pub const REASON: &str = "switchyard-dlq-reason";
    /// The stage that dead-lettered it.
    pub const STAGE: &str = "switchyard-dlq-stage";
    /// Last error as one sentence.
    pub const LAST_ERROR: &str = "switchyard-dlq-last-error";
    /// When the delivery was first attempted.
    pub const FIRST_SEEN: &str = "switchyard-dlq-first-seen";
    /// Number of attempts.
    pub const ATTEMPTS: &str = "switchyard-dlq-attempts";
    /// Class of the last attempt's outcome.
    pub const LAST_CLASS: &str = "switchyard-dlq-last-class";
    /// Subscription of the delivery.
    pub const SUBSCRIPTION: &str = "switchyard-dlq-subscription";
    /// Revision of the subscription.
    pub const REVISION: &str = "switchyard-dlq-revision";
    /// Subject of an event in its stream.
    pub const SUBJECT: &str = "switchyard-dlq-subject";
    /// Message id of an event, the event id of publishers that send no `ce-id`.
    pub const MESSAGE_ID: &str = "switchyard-dlq-message-id";
    /// Size of a body that is not stored with the letter: too large, or removed.
    pub const BODY_OMITTED: &str = "switchyard-dlq-body-omitted";
    /// Why a body that could be stored was omitted: `retention`.
    pub const BODY_REMOVED: &str = "switchyard-dlq-body-removed";
    /// URL a webhook was posted to.
    pub const WEBHOOK_URL: &str = "switchyard-webhook-url";
    /// Webhook name the app subscribed to; absent if it was posted without a body.
    pub const WEBHOOK_EVENT: &str = "switchyard-webhook-event";
    /// Ids of the dynamic webhooks it was for, a JSON list.
    pub const WEBHOOK_MATCHED: &str = "switchyard-webhook-matched";
    /// Keys of the issue properties that the body of a webhook includes, a JSON list.
    pub const WEBHOOK_PROPERTIES: &str = "switchyard-webhook-properties";
}
