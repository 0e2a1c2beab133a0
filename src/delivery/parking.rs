//! Parked deliveries: the durable record of a delivery that waits, and its restoration.
//!
//! A record is the event's original body and a set of headers. It is complete, so the event may be
//! deleted from its stream while the delivery waits. The handler and whether it still subscribes to
//! the event are looked up when the record fires.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use thiserror::Error;

use super::HeaderList;
use super::plan::{Delivery, PreparedEvent, Progress};
use crate::domain::{
    AppId, CloudId, DeliveryId, EventId, EventType, FilterError, InstallationId, ModuleKey,
    SubscriptionId,
};
use crate::event::envelope::decoded;
use crate::event::webhook::delta;
use crate::event::{Envelope, Event, HeaderLookup};
use crate::matcher::Subscription;

const DELIVERY_ID: &str = "switchyard-delivery-id";
const INSTALLATION: &str = "switchyard-installation";
const MODULE_KEY: &str = "switchyard-module-key";
const CLOUD_ID: &str = "switchyard-cloud-id";
const EVENT_ID: &str = "switchyard-event-id";
const EVENT_TYPE: &str = "switchyard-event-type";
const EVENT_TIME: &str = "switchyard-event-time";
const ORIGIN_APP: &str = "switchyard-origin-app";
const ENTITY: &str = "switchyard-entity";
const SEQUENCE: &str = "switchyard-sequence";
const ATTEMPT: &str = "switchyard-attempt";
const PARKS: &str = "switchyard-parks";
const FIRST_SEEN: &str = "switchyard-first-seen";
const PARK_REASON: &str = "switchyard-park-reason";
const LAST_CLASS: &str = "switchyard-last-class";
const RETRY_REASON: &str = "switchyard-retry-reason";
const RETRY_DATA: &str = "switchyard-retry-data";
const SELF_GENERATED: &str = "switchyard-self-generated";
const FILTER_ERROR: &str = "switchyard-filter-error";
/// Keys of further modules that the delivery is for, separated by spaces.
const ALSO: &str = "switchyard-also";
const TRACEPARENT: &str = "traceparent";

/// Stores deliveries until they are due; implemented in `bus`.
pub trait ParkingLot: Send + Sync {
    /// Stores a record. Completes once the broker confirmed it, however long that takes: the same
    /// record is published again under the same id until then. Dropping the future stops waiting;
    /// the record may be stored nevertheless.
    ///
    /// # Errors
    /// The record exceeds the broker's message size.
    fn park(&self, record: ParkedRecord) -> BoxFuture<'_, Result<(), RecordTooLarge>>;
}

/// Looks up the current subscription of a parked delivery; implemented over the registry.
pub trait SubscriptionDirectory: Send + Sync {
    /// Returns the live subscription; none when it was removed or disabled.
    fn find(&self, id: &SubscriptionId) -> Option<Arc<Subscription>>;
}

/// The record exceeds the broker's message size.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("the record is larger than the broker takes")]
pub struct RecordTooLarge;

/// Why a delivery is parked; a closed set of metric labels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ParkReason {
    /// Its attempt failed and is retried later.
    Backoff,
    /// The queue of its endpoint is full.
    Full,
    /// It waited too long for a permit.
    Late,
    /// The circuit breaker of its endpoint is open.
    Breaker,
    /// Its module is paused.
    Paused,
}

impl ParkReason {
    /// Returns the metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Backoff => "backoff",
            Self::Full => "full",
            Self::Late => "late",
            Self::Breaker => "breaker",
            Self::Paused => "paused",
        }
    }
}

/// A delivery as it is stored in the parking stream.
#[derive(Clone, PartialEq, Debug)]
pub struct ParkedRecord {
    /// Id of the delivery; a later record of the same delivery replaces an earlier one.
    pub id: DeliveryId,
    /// Message id for deduplication: delivery, attempt and number of parkings. Without the last, a
    /// delivery that finds its queue full twice would be dropped as a duplicate.
    pub message_id: String,
    /// Whether the delivery was parked before; this record then replaces one that is acknowledged
    /// once this one is stored.
    pub is_repark: bool,
    /// App whose subject the record is published to.
    pub app: AppId,
    /// When it is attempted again.
    pub due: Timestamp,
    /// Everything but the body, see [`ParkedDelivery::read`].
    pub headers: HeaderList,
    /// The event's body as it was published.
    pub body: Bytes,
}

impl ParkedRecord {
    /// Creates the record of `delivery`, whose `progress.parks` counts this parking already.
    #[must_use]
    pub fn of(delivery: &Delivery, due: Timestamp, reason: ParkReason) -> Self {
        let (event, progress) = (&delivery.prepared.event, &delivery.progress);
        let (attempt, parks) = (progress.attempt, progress.parks);
        let mut headers = vec![
            (DELIVERY_ID, delivery.id.to_string()),
            (INSTALLATION, delivery.subscription.owner.id.to_string()),
            (MODULE_KEY, delivery.subscription.key.to_string()),
            (CLOUD_ID, event.envelope.cloud_id.to_string()),
            (EVENT_ID, event.envelope.event_id.to_string()),
            (EVENT_TYPE, event.envelope.event_type.to_string()),
            (SEQUENCE, event.sequence.to_string()),
            (ATTEMPT, attempt.to_string()),
            (PARKS, parks.to_string()),
            (FIRST_SEEN, progress.first_seen.to_string()),
            (PARK_REASON, reason.label().to_owned()),
            (SELF_GENERATED, delivery.self_generated.to_string()),
        ];
        let filter_error = delivery.filter_error.as_ref();
        let optional = [
            (EVENT_TIME, event.envelope.time.map(|time| time.to_string())),
            (ORIGIN_APP, event.envelope.origin_app.as_ref().map(ToString::to_string)),
            (ENTITY, event.envelope.entity.as_ref().map(ToString::to_string)),
            (TRACEPARENT, event.envelope.traceparent.as_ref().map(ToString::to_string)),
            (delta::HEADER, event.envelope.webhook.as_ref().map(ToString::to_string)),
            (ALSO, present(&coalesced_with(delivery))),
            (LAST_CLASS, present(&progress.last_class)),
            (RETRY_REASON, present(&progress.retry_reason)),
            (RETRY_DATA, progress.retry_data.as_ref().map(ToString::to_string)),
            (FILTER_ERROR, filter_error.and_then(|error| serde_json::to_string(error).ok())),
        ];
        headers.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
        Self {
            id: delivery.id.clone(),
            message_id: format!("{}/{attempt}/{parks}", delivery.id),
            is_repark: parks > 1,
            app: delivery.subscription.owner.app.clone(),
            due,
            headers,
            body: event.body.clone(),
        }
    }
}

fn coalesced_with(delivery: &Delivery) -> String {
    let keys: Vec<&str> = delivery.coalesced_with.iter().map(|other| other.key.as_str()).collect();
    keys.join(" ")
}

fn present(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Why a parked record cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum MalformedRecord {
    /// A header is missing or invalid.
    #[error("the parked record has no valid header `{0}`")]
    Header(&'static str),
    /// The body is not an event object.
    #[error("the parked record holds no event: {0}")]
    Body(String),
}

/// A parsed parked record.
#[derive(Clone, Debug)]
pub struct ParkedDelivery {
    /// Id of the delivery.
    pub id: DeliveryId,
    /// Subscriptions of the delivery; at least one.
    pub subscriptions: Vec<SubscriptionId>,
    event: Event,
    self_generated: bool,
    filter_error: Option<FilterError>,
    progress: Progress,
}

impl ParkedDelivery {
    /// Parses a record.
    ///
    /// # Errors
    /// A header is missing or invalid.
    pub fn read(headers: &impl HeaderLookup, body: Bytes) -> Result<Self, MalformedRecord> {
        let text = |name| value(headers, name)?.ok_or(MalformedRecord::Header(name));
        let optional = |name| Ok(value(headers, name)?.map(Box::<str>::from));
        let envelope = Envelope {
            cloud_id: CloudId::from(&*text(CLOUD_ID)?),
            event_id: EventId::from(&*text(EVENT_ID)?),
            event_type: EventType::from(&*text(EVENT_TYPE)?),
            time: value(headers, EVENT_TIME)?.and_then(|time| time.parse().ok()),
            origin_app: value(headers, ORIGIN_APP)?.map(|app| AppId::from(&*app)),
            entity: optional(ENTITY)?,
            traceparent: optional(TRACEPARENT)?,
            webhook: optional(delta::HEADER)?,
        };
        let progress = Progress {
            attempt: parse(headers, ATTEMPT)?,
            parks: parse(headers, PARKS)?,
            first_seen: parse(headers, FIRST_SEEN)?,
            last_class: optional(LAST_CLASS)?.unwrap_or_default(),
            retry_reason: optional(RETRY_REASON)?.unwrap_or_default(),
            retry_data: optional(RETRY_DATA)?,
        };
        let filter_error = match value(headers, FILTER_ERROR)? {
            Some(json) => Some(
                serde_json::from_str(&json).map_err(|_| MalformedRecord::Header(FILTER_ERROR))?,
            ),
            None => None,
        };
        Ok(Self {
            id: DeliveryId::from_record(&text(DELIVERY_ID)?),
            subscriptions: subscriptions(headers)?,
            event: Event { envelope, body, sequence: parse(headers, SEQUENCE)? },
            self_generated: parse(headers, SELF_GENERATED)?,
            filter_error,
            progress,
        })
    }

    /// Restores the delivery for its current subscription; `coalesced_with` are the others that it
    /// is still for.
    ///
    /// # Errors
    /// The body is not an event object.
    pub fn resume(
        self,
        subscription: Arc<Subscription>,
        coalesced_with: Vec<Arc<Subscription>>,
    ) -> Result<Delivery, MalformedRecord> {
        let prepared = PreparedEvent::new(self.event)
            .map_err(|error| MalformedRecord::Body(error.to_string()))?;
        Ok(Delivery {
            id: self.id,
            subscription,
            coalesced_with: coalesced_with.into(),
            prepared: Arc::new(prepared),
            self_generated: self.self_generated,
            filter_error: self.filter_error,
            progress: self.progress,
        })
    }
}

fn value<'h>(
    headers: &'h impl HeaderLookup,
    name: &'static str,
) -> Result<Option<Cow<'h, str>>, MalformedRecord> {
    decoded(headers, name).map_err(|_| MalformedRecord::Header(name))
}

/// Reads the subscriptions of the delivery: one, or several of one app that share a request.
fn subscriptions(headers: &impl HeaderLookup) -> Result<Vec<SubscriptionId>, MalformedRecord> {
    let text = |name: &'static str| value(headers, name)?.ok_or(MalformedRecord::Header(name));
    let installation = InstallationId::from(&*text(INSTALLATION)?);
    let first = text(MODULE_KEY)?;
    let others = value(headers, ALSO)?.unwrap_or_default();
    let others = others.split(' ').filter(|key| !key.is_empty());
    let id = |key: &str| SubscriptionId {
        installation: installation.clone(),
        key: ModuleKey::from(key),
    };
    Ok(std::iter::once(&*first).chain(others).map(id).collect())
}

fn parse<T: std::str::FromStr>(
    headers: &impl HeaderLookup,
    name: &'static str,
) -> Result<T, MalformedRecord> {
    let text = value(headers, name)?;
    text.and_then(|text| text.parse().ok()).ok_or(MalformedRecord::Header(name))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{delivery_to, function};
    use super::*;
    use crate::delivery::plan::Delivery;

    struct Map(HeaderList);

    impl HeaderLookup for Map {
        fn get(&self, name: &str) -> Option<&str> {
            self.0.iter().find(|(at, _)| *at == name).map(|(_, value)| value.as_str())
        }
    }

    fn parked() -> Delivery {
        let mut delivery = delivery_to("inst-1", function("f"), "e1");
        delivery.self_generated = true;
        delivery.filter_error = Some(FilterError {
            kind: "limit".into(),
            message: "zu viele Schritte \u{2014} \"x\"".into(),
            offset: 7,
            line: 1,
            column: 8,
        });
        delivery.progress = Progress {
            attempt: 3,
            parks: 4,
            first_seen: "2026-11-21T08:00:00.123Z".parse().unwrap(),
            last_class: "5xx".into(),
            retry_reason: "BUSY".into(),
            retry_data: Some(r#"{"n":1}"#.into()),
        };
        delivery
    }

    #[test]
    fn record_reads_back_as_the_same_delivery() {
        let delivery = parked();
        let due = "2026-11-21T09:00:00Z".parse().unwrap();
        let record = ParkedRecord::of(&delivery, due, ParkReason::Backoff);
        assert_eq!(record.message_id, format!("{}/3/4", delivery.id));
        let fired =
            ParkedDelivery::read(&Map(record.headers.clone()), record.body.clone()).unwrap();
        assert_eq!(fired.subscriptions, std::slice::from_ref(&delivery.subscription.id()));
        let resumed = fired.resume(Arc::clone(&delivery.subscription), Vec::new()).unwrap();
        assert_eq!(resumed.progress, delivery.progress);
        assert_eq!(ParkedRecord::of(&resumed, due, ParkReason::Backoff), record);
    }

    #[test]
    fn each_parking_of_an_attempt_has_an_id_of_its_own() {
        let mut delivery = parked();
        let id = |delivery: &Delivery| {
            ParkedRecord::of(delivery, Timestamp::UNIX_EPOCH, ParkReason::Late).message_id
        };
        let first = id(&delivery);
        assert_eq!(first, id(&delivery));
        delivery.progress.parks += 1;
        assert_ne!(first, id(&delivery));
    }

    #[test]
    fn record_without_a_header_is_rejected_by_its_name() {
        let delivery = parked();
        let headers = ParkedRecord::of(&delivery, Timestamp::UNIX_EPOCH, ParkReason::Late).headers;
        for missing in [DELIVERY_ID, INSTALLATION, CLOUD_ID, EVENT_ID, ATTEMPT, PARKS, SEQUENCE] {
            let rest = headers.iter().filter(|(name, _)| *name != missing).cloned().collect();
            let error = ParkedDelivery::read(&Map(rest), Bytes::new()).unwrap_err();
            assert_eq!(error, MalformedRecord::Header(missing));
        }
        let fired = ParkedDelivery::read(&Map(headers), Bytes::from_static(b"[]")).unwrap();
        assert!(matches!(
            fired.resume(delivery.subscription, Vec::new()),
            Err(MalformedRecord::Body(_))
        ));
    }
}
