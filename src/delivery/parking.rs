//! Parked deliveries: the durable record of a delivery that waits, and its restoration.
//!
//! A record is the event's original body and a set of headers. It is complete, so the event may be
//! deleted from its stream while the delivery waits. The handler and whether it still subscribes to
//! the event are looked up when the record fires.
//!
//! Design: `docs/design/parking.md`.

mod erased;
mod redriven;
mod replayed;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use thiserror::Error;
use url::Url;

pub use self::erased::{erased_bytes, is_kept_when_erased};
use super::channel::channel_of;
use super::model::{
    DeadLetterReason, Delivery, JobOrigin, ParkReason, PreparedEvent, Progress, StreamPosition,
};
use super::shares::{ShareLevel, ShareOwner};
use crate::domain::{AppId, DeliveryId, FilterError, InstallationId, ModuleKey, SubscriptionId};
use crate::event::codec::names::{self, parked};
use crate::event::codec::{
    EnvelopeFormat, HeaderList, HeaderLookup, InvalidHeader, decoded, optional, parsed, required,
};
use crate::event::{Envelope, Event};
use crate::matcher::Subscription;

/// Stores deliveries until they are due; implemented in `bus`.
pub trait ParkingLot: Send + Sync {
    /// Stores a record. Completes once the broker confirmed it, however long that takes: the same
    /// record is published again under the same id until then. Dropping the future stops waiting;
    /// the record may be stored nevertheless.
    ///
    /// # Errors
    /// The record exceeds the broker's message size, or its owner's share is used up.
    fn park(&self, record: ParkedRecord) -> BoxFuture<'_, Result<(), ParkError>>;

    /// As [`ParkingLot::park`] for a delivery that a job hands over: stores the record only if the
    /// delivery does not wait, and within the part of the share that jobs may use.
    ///
    /// # Errors
    /// The record exceeds the broker's message size, or more than that part of the share is used.
    fn hand_over(&self, record: ParkedRecord) -> BoxFuture<'_, Result<HandOver, ParkError>> {
        // A lot in memory that has one writer needs no more.
        Box::pin(async move { self.park(record).await.map(|()| HandOver::Stored) })
    }

    /// Gives back the place of a delivery of `owner` with a body of `body_bytes` that is no longer
    /// parked.
    fn release(&self, owner: &ShareOwner, body_bytes: usize);
}

/// Looks up the current subscription of a parked delivery; implemented over the registry.
pub trait SubscriptionDirectory: Send + Sync {
    /// Returns the live subscription; none when it was removed or disabled.
    fn find(&self, id: &SubscriptionId) -> Option<Arc<Subscription>>;

    /// Returns the installations for whose documents the events of a site wait. Must be asked before
    /// the event is matched: an installation that is not returned is matched by its document.
    fn waiting_at(&self, _site: &str) -> Vec<UnmatchedFor> {
        Vec::new()
    }

    /// Whether the events and deliveries of an installation wait for a document.
    fn is_waiting(&self, _installation: &InstallationId) -> bool {
        false
    }

    /// Returns the live subscriptions of an installation, by its id or the token of its id.
    fn subscriptions_of(&self, _installation: &InstallationId) -> Vec<Arc<Subscription>> {
        Vec::new()
    }

    /// Returns when the module of a subscription, its installation or its app was registered or changed last,
    /// milliseconds since the epoch; none if that is not known.
    fn changed_ms(&self, _id: &SubscriptionId) -> Option<i64> {
        None
    }

    /// Waits until this replica has applied every change confirmed before this call.
    fn catch_up(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// An installation that an event is not matched for yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnmatchedFor {
    /// Its app.
    pub app: AppId,
    /// Its id, or the token of its id if only that is known.
    pub installation: InstallationId,
}

/// What became of a record that a job hands over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HandOver {
    /// It is stored.
    Stored,
    /// The delivery has a record already, perhaps this one from an earlier try; it stays as it is. With the
    /// job that handed it over, if one did.
    Occupied(Option<Box<JobOrigin>>),
    /// Whose record the delivery has is not known; one sentence.
    NotNow(String),
}

/// Why a record is not stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ParkError {
    /// It exceeds the broker's message size.
    #[error("too large to be parked")]
    TooLarge,
    /// Its owner has used its share of the parking stream.
    #[error("the parking share is used up: {}", .0.label())]
    ShareUsed(ShareLevel),
}

impl ParkError {
    /// Returns the reason of the dead letter that the delivery becomes.
    #[must_use]
    pub fn reason(self) -> DeadLetterReason {
        match self {
            Self::TooLarge => DeadLetterReason::TooLarge,
            Self::ShareUsed(_) => DeadLetterReason::BacklogFull,
        }
    }
}

/// Returns the owner of a parked record: that of its subscription, or, if none of its subscriptions
/// exists, its installation in the app with the token `app`. None if the headers are unreadable.
#[must_use]
pub fn parked_owner(
    headers: &impl HeaderLookup,
    directory: &dyn SubscriptionDirectory,
    app: &str,
) -> Option<ShareOwner> {
    if let Ok(Some(app)) = decoded(headers, parked::UNMATCHED_APP) {
        let installation = InstallationId::from(&*required(headers, parked::INSTALLATION).ok()?);
        return Some(ShareOwner::installation(&AppId::from(&*app), &installation));
    }
    let ids = subscriptions(headers).ok()?;
    let live = ids.iter().find_map(|id| directory.find(id));
    let removed = || ids.first().map(|id| ShareOwner::of_removed(app, &id.installation));
    live.map(|subscription| owner_of(&subscription)).or_else(removed)
}

fn owner_of(subscription: &Subscription) -> ShareOwner {
    let endpoint = channel_of(&subscription.owner.settings.handler).endpoint();
    ShareOwner::of(subscription, endpoint)
}

/// A delivery as it is stored in the parking stream.
#[derive(Clone, PartialEq, Debug)]
pub struct ParkedRecord {
    /// Id of the delivery; a later record of the same delivery replaces an earlier one.
    pub id: DeliveryId,
    /// Message id for deduplication: delivery, attempt, number of parkings and due time. Without the
    /// number, a delivery that finds its queue full twice would be dropped as a duplicate. Without
    /// the time, so would be one whose event was redelivered: its records replaced the earlier ones
    /// of the same attempt and number, which the deduplication window still remembers.
    pub message_id: String,
    /// Whether the delivery was parked before; this record then replaces one that is acknowledged
    /// once this one is stored.
    pub is_repark: bool,
    /// App whose subject the record is published to.
    pub app: AppId,
    /// Who pays for it.
    pub owner: ShareOwner,
    /// When it is attempted again.
    pub due: Timestamp,
    /// Whether it is due now and needs no schedule, which the broker would fire with all others of up to 250 ms.
    pub is_due: bool,
    /// Everything but the body, see [`ParkedDelivery::read`].
    pub headers: HeaderList,
    /// The event's body as it was published.
    pub body: Bytes,
}

impl ParkedRecord {
    /// Creates the record of `delivery`, whose `progress.parks` counts this parking already.
    #[must_use]
    pub fn of(delivery: &Delivery, due: Timestamp, reason: ParkReason) -> Self {
        let parts = RecordParts {
            id: &delivery.id,
            app: &delivery.subscription.owner.app,
            owner: owner_of(&delivery.subscription),
            installation: &delivery.subscription.owner.id,
            keys: delivery.subscriptions().map(|one| &one.key).collect(),
            event: &delivery.prepared.event,
            self_generated: delivery.self_generated,
            filter_error: delivery.filter_error.as_ref(),
            progress: &delivery.progress,
        };
        parts.record(due, reason)
    }
}

/// What a record is made of.
struct RecordParts<'a> {
    id: &'a DeliveryId,
    app: &'a AppId,
    owner: ShareOwner,
    installation: &'a InstallationId,
    /// Modules of the delivery; none if the event is not matched yet.
    keys: Vec<&'a ModuleKey>,
    event: &'a Event,
    self_generated: bool,
    filter_error: Option<&'a FilterError>,
    progress: &'a Progress,
}

impl RecordParts<'_> {
    fn record(self, due: Timestamp, reason: ParkReason) -> ParkedRecord {
        let Self { id, app, event, progress, .. } = self;
        let (first, others) = match self.keys.split_first() {
            Some((first, others)) => ((parked::MODULE_KEY, first.to_string()), others),
            None => ((parked::UNMATCHED_APP, app.to_string()), &[] as &[_]),
        };
        let others: Vec<&str> = others.iter().map(|key| key.as_str()).collect();
        let mut headers = vec![
            (names::DELIVERY_ID, id.to_string()),
            (parked::INSTALLATION, self.installation.to_string()),
            first,
            (names::SEQUENCE, event.sequence.to_string()),
            (parked::PARK_REASON, reason.label().to_owned()),
            (parked::SELF_GENERATED, self.self_generated.to_string()),
        ];
        let filter_error = self.filter_error.map(FilterError::to_json);
        push_present(&mut headers, parked::COALESCED_WITH, Some(others.join(" ")));
        push_present(&mut headers, parked::FILTER_ERROR, filter_error);
        headers.extend(progress_headers(progress));
        headers.extend(EnvelopeFormat::PARKED.write(&event.envelope));
        let (attempt, parks, due_ms) = (progress.attempt, progress.parks, due.as_millisecond());
        ParkedRecord {
            id: id.clone(),
            message_id: format!("{id}/{attempt}/{parks}/{due_ms}"),
            is_repark: progress.parks > 1,
            app: app.clone(),
            owner: self.owner,
            due,
            is_due: false,
            headers,
            body: event.envelope.stored_body(event.body.clone()),
        }
    }
}

fn progress_headers(progress: &Progress) -> HeaderList {
    let mut headers = vec![
        (parked::ATTEMPT, progress.attempt.to_string()),
        (parked::PARKS, progress.parks.to_string()),
        (parked::FIRST_SEEN, progress.first_seen.to_string()),
    ];
    push_present(&mut headers, parked::LAST_CLASS, Some(progress.last_class.to_string()));
    let stored_ms = progress.stored_ms.map(|ms| ms.to_string());
    push_present(&mut headers, names::STORED_MS, stored_ms);
    let job = progress.job.as_deref();
    push_present(&mut headers, names::JOB, job.map(|origin| origin.job.to_string()));
    let letters = job.map(|origin| origin.dead_letters.iter().map(ToString::to_string));
    let letters = letters.map(|all| all.collect::<Vec<_>>().join(" "));
    push_present(&mut headers, parked::DEAD_LETTERS, letters);
    push_present(&mut headers, names::REPLAY, progress.replay_job().map(ToString::to_string));
    push_present(&mut headers, names::REPEATED_BY, progress.repeated_by().map(ToString::to_string));
    let target = job.and_then(|origin| origin.target.as_ref()).map(ToString::to_string);
    push_present(&mut headers, parked::TARGET, target);
    push_present(&mut headers, parked::RETRY_REASON, Some(progress.retry_reason.to_string()));
    push_present(
        &mut headers,
        parked::RETRY_DATA,
        progress.retry_data.as_ref().map(ToString::to_string),
    );
    headers
}

/// Appends a header unless its value is missing or empty.
fn push_present(headers: &mut HeaderList, name: &'static str, value: Option<String>) {
    headers.extend(value.filter(|value| !value.is_empty()).map(|value| (name, value)));
}

/// Why a parked record cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum MalformedRecord {
    /// A header is missing or invalid.
    #[error("the parked record has {0}")]
    Header(#[from] InvalidHeader),
    /// The body is not an event object.
    #[error("the parked record holds no event: {0}")]
    Body(String),
}

/// A parsed parked record.
#[derive(Clone, Debug)]
pub struct ParkedDelivery {
    /// Id of the delivery.
    pub id: DeliveryId,
    /// The installation, or the token of its id if only that was known.
    pub installation: InstallationId,
    /// Subscriptions of the delivery; none if the event waits for the installation and is not matched
    /// yet.
    pub subscriptions: Vec<SubscriptionId>,
    /// App of an event that is not matched yet.
    unmatched_app: Option<AppId>,
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
        let filter_error = match decoded(headers, parked::FILTER_ERROR)? {
            Some(json) => {
                Some(serde_json::from_str(&json).map_err(|_| InvalidHeader(parked::FILTER_ERROR))?)
            }
            None => None,
        };
        let unmatched_app = decoded(headers, parked::UNMATCHED_APP)?;
        Ok(Self {
            id: DeliveryId::from_record(&required(headers, names::DELIVERY_ID)?),
            installation: InstallationId::from(&*required(headers, parked::INSTALLATION)?),
            subscriptions: match unmatched_app {
                Some(_) => Vec::new(),
                None => subscriptions(headers)?,
            },
            unmatched_app: unmatched_app.map(|app| AppId::from(&*app)),
            event: EnvelopeFormat::PARKED.read(headers, body, parsed(headers, names::SEQUENCE)?)?,
            self_generated: parsed(headers, parked::SELF_GENERATED)?,
            filter_error,
            progress: read_progress(headers)?,
        })
    }

    /// Returns the id of the record of an event that waits for an installation. No module has an empty
    /// key, so it is the id of no delivery.
    #[must_use]
    pub fn unmatched_id(envelope: &Envelope, installation: &InstallationId) -> DeliveryId {
        let identity = SubscriptionId { installation: installation.clone(), key: "".into() };
        DeliveryId::derive(&envelope.cloud_id, &envelope.event_id, &identity)
    }

    /// Creates the record of an event that waits for an installation.
    #[must_use]
    pub fn unmatched(event: Event, waiting: UnmatchedFor, now: Timestamp) -> Self {
        let UnmatchedFor { app, installation } = waiting;
        Self {
            id: Self::unmatched_id(&event.envelope, &installation),
            installation,
            subscriptions: Vec::new(),
            unmatched_app: Some(app),
            event,
            self_generated: false,
            filter_error: None,
            progress: Progress::new(now),
        }
    }

    /// Sets when the broker stored the event, milliseconds since the epoch.
    #[must_use]
    pub fn stored_at(mut self, stored_ms: Option<i64>) -> Self {
        self.progress.stored_ms = stored_ms;
        self
    }

    /// The event.
    #[must_use]
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// Its attempts and parkings so far.
    #[must_use]
    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Whether the app itself caused the event.
    #[must_use]
    pub(super) fn self_generated(&self) -> bool {
        self.self_generated
    }

    /// Evaluation error of its filter.
    #[must_use]
    pub(super) fn filter_error(&self) -> Option<&FilterError> {
        self.filter_error.as_ref()
    }

    /// Returns the app: that of an event that is not matched yet, else `due_app`, the one that the
    /// record came due for.
    pub(super) fn app_or(&self, due_app: &AppId) -> AppId {
        self.unmatched_app.clone().unwrap_or_else(|| due_app.clone())
    }

    /// Counts one more parking and returns the record that waits until `due` for its installation.
    pub(super) fn wait(&mut self, app: &AppId, due: Timestamp, reason: ParkReason) -> ParkedRecord {
        self.progress.parks += 1;
        let parts = RecordParts {
            id: &self.id,
            app,
            owner: ShareOwner::installation(app, &self.installation),
            installation: &self.installation,
            keys: self.subscriptions.iter().map(|id| &id.key).collect(),
            event: &self.event,
            self_generated: self.self_generated,
            filter_error: self.filter_error.as_ref(),
            progress: &self.progress,
        };
        parts.record(due, reason)
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
            target: self.progress.target(&subscription),
            subscription,
            coalesced_with: coalesced_with.into(),
            prepared: Arc::new(prepared),
            self_generated: self.self_generated,
            filter_error: self.filter_error,
            progress: self.progress,
        })
    }
}

/// Reads the subscriptions of the delivery: one, or several of one app that share a request.
fn subscriptions(headers: &impl HeaderLookup) -> Result<Vec<SubscriptionId>, InvalidHeader> {
    let installation = InstallationId::from(&*required(headers, parked::INSTALLATION)?);
    let first = required(headers, parked::MODULE_KEY)?;
    let others = decoded(headers, parked::COALESCED_WITH)?.unwrap_or_default();
    let others = others.split(' ').filter(|key| !key.is_empty());
    let id = |key: &str| SubscriptionId {
        installation: installation.clone(),
        key: ModuleKey::from(key),
    };
    Ok(std::iter::once(&*first).chain(others).map(id).collect())
}

/// Returns when the broker stored the event of a parked record or a dead letter; none if an earlier
/// release wrote it.
pub(super) fn stored_ms(headers: &impl HeaderLookup) -> Option<i64> {
    headers.get(names::STORED_MS)?.parse().ok()
}

fn read_progress(headers: &impl HeaderLookup) -> Result<Progress, InvalidHeader> {
    Ok(Progress {
        attempt: parsed(headers, parked::ATTEMPT)?,
        parks: parsed(headers, parked::PARKS)?,
        first_seen: parsed(headers, parked::FIRST_SEEN)?,
        last_class: optional(headers, parked::LAST_CLASS)?.unwrap_or_default(),
        retry_reason: optional(headers, parked::RETRY_REASON)?.unwrap_or_default(),
        retry_data: optional(headers, parked::RETRY_DATA)?,
        job: job_origin(headers)?.map(Arc::new),
        stored_ms: stored_ms(headers),
    })
}

fn optional_url(headers: &impl HeaderLookup) -> Result<Option<Url>, InvalidHeader> {
    let Some(text) = decoded(headers, parked::TARGET)? else { return Ok(None) };
    Url::parse(&text).map(Some).map_err(|_| InvalidHeader(parked::TARGET))
}

/// Reads which job handed over the delivery of a parked record; none if no job did.
///
/// # Errors
/// A header does not decode, or names no position.
pub fn job_origin(headers: &impl HeaderLookup) -> Result<Option<JobOrigin>, InvalidHeader> {
    let Some(job) = decoded(headers, names::JOB)? else { return Ok(None) };
    let letters = decoded(headers, parked::DEAD_LETTERS)?.unwrap_or_default();
    let letters = letters.split(' ').filter(|text| !text.is_empty());
    let position = |text: &str| {
        text.parse::<StreamPosition>().map_err(|_| InvalidHeader(parked::DEAD_LETTERS))
    };
    let dead_letters = letters.map(position).collect::<Result<_, _>>()?;
    Ok(Some(JobOrigin {
        job: (&*job).into(),
        dead_letters,
        is_replay: decoded(headers, names::REPLAY)?.is_some(),
        repeated_by: decoded(headers, names::REPEATED_BY)?.map(|job| (&*job).into()),
        target: optional_url(headers)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{delivery_to, function};
    use super::super::{DeadLetter, DeadLetterCause, FailedWebhook};
    use super::*;
    use crate::event::codec::names::dead_letter;
    use crate::event::webhook::OriginalWebhook;

    struct Map(HeaderList);

    impl HeaderLookup for Map {
        fn get(&self, name: &str) -> Option<&str> {
            self.0.iter().find(|(at, _)| *at == name).map(|(_, value)| value.as_str())
        }
    }

    fn parked_delivery() -> Delivery {
        let mut delivery = delivery_to("inst-1", function("f"), "e1");
        delivery.self_generated = true;
        delivery.filter_error = Some(FilterError {
            kind: "limit".into(),
            message: "zu viele Schritte \u{2014} \"x\"".into(),
            offset: 7,
            line: 1,
            column: 8,
            part: String::new(),
        });
        delivery.progress = Progress {
            attempt: 3,
            parks: 4,
            first_seen: "2026-11-21T08:00:00.123Z".parse().unwrap(),
            last_class: "5xx".into(),
            retry_reason: "BUSY".into(),
            retry_data: Some(r#"{"n":1}"#.into()),
            job: None,
            stored_ms: Some(1_700_000_000_123),
        };
        delivery
    }

    #[test]
    fn record_reads_back_as_the_same_delivery() {
        let delivery = parked_delivery();
        let due = "2026-11-21T09:00:00Z".parse().unwrap();
        let record = ParkedRecord::of(&delivery, due, ParkReason::Backoff);
        assert_eq!(record.message_id, format!("{}/3/4/{}", delivery.id, due.as_millisecond()));
        let fired =
            ParkedDelivery::read(&Map(record.headers.clone()), record.body.clone()).unwrap();
        assert_eq!(fired.subscriptions, std::slice::from_ref(&delivery.subscription.id()));
        let resumed = fired.resume(Arc::clone(&delivery.subscription), Vec::new()).unwrap();
        assert_eq!(resumed.progress, delivery.progress);
        assert_eq!(ParkedRecord::of(&resumed, due, ParkReason::Backoff), record);
    }

    #[test]
    fn record_keeps_the_job_and_its_dead_letters_over_parkings() {
        let mut delivery = parked_delivery();
        let letters = [(7, 1_000), (9, 2_000)]
            .map(|(sequence, stored_ms)| StreamPosition { sequence, stored_ms });
        let origin = JobOrigin::redrive("job_1", letters.to_vec());
        delivery.progress.job = Some(Arc::new(origin.clone()));
        let record = ParkedRecord::of(&delivery, Timestamp::UNIX_EPOCH, ParkReason::Backoff);
        let headers = Map(record.headers);
        assert_eq!(headers.get(parked::DEAD_LETTERS), Some("7/1000 9/2000"));
        assert_eq!(job_origin(&headers), Ok(Some(origin)));
        let fired = ParkedDelivery::read(&headers, record.body).unwrap();
        assert_eq!(*fired.progress(), delivery.progress);
    }

    #[test]
    fn record_and_dead_letter_hold_the_webhook_as_it_was_sent() {
        let sent = Bytes::from_static(b"{ \"webhookEvent\": \"half \\ud83d\" }\n");
        let mut delivery = parked_delivery();
        let mut event = delivery.prepared.event.clone();
        event.envelope.webhook = Some(OriginalWebhook::Whole(sent.clone()));
        delivery.prepared = Arc::new(PreparedEvent::new(event.clone()).unwrap());
        let record = ParkedRecord::of(&delivery, Timestamp::UNIX_EPOCH, ParkReason::Backoff);
        let fired = ParkedDelivery::read(&Map(record.headers), record.body).unwrap();
        assert_eq!(*fired.event(), event);

        let reason = DeadLetterReason::Exhausted;
        let cause = DeadLetterCause { reason: &reason, stage: "delivery", error: "status 503" };
        let mut letter = DeadLetter::of_delivery(&delivery, &cause);
        letter.headers.push((dead_letter::WEBHOOK_URL, "https://a.example/".to_owned()));
        letter.headers.push((dead_letter::WEBHOOK_EVENT, "x".to_owned()));
        let failed = FailedWebhook::read(&Map(letter.headers), letter.body, 1).unwrap();
        assert_eq!(failed.body.unwrap().as_bytes(), sent);
    }

    #[test]
    fn headers_of_a_record_are_a_stored_format() {
        let delivery = Delivery { filter_error: None, ..parked_delivery() };
        let record = ParkedRecord::of(&delivery, Timestamp::UNIX_EPOCH, ParkReason::Backoff);
        let mut headers: Vec<_> =
            record.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        headers.sort_unstable();
        let expected = format!(
            r#"switchyard-attempt: 3
switchyard-cloud-id: site-1
switchyard-delivery-id: {id}
switchyard-entity: ABC-1
switchyard-event-id: e1
switchyard-event-time: 2026-11-21T07:59:59Z
switchyard-event-type: avi:jira:created:issue
switchyard-first-seen: 2026-11-21T08:00:00.123Z
switchyard-installation: inst-1
switchyard-last-class: 5xx
switchyard-module-key: k1
switchyard-origin-app: app-2
switchyard-park-reason: backoff
switchyard-parks: 4
switchyard-retry-data: {{"n":1}}
switchyard-retry-reason: BUSY
switchyard-self-generated: true
switchyard-sequence: 42
switchyard-stored-ms: 1700000000123
traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"#,
            id = record.id
        );
        assert_eq!(headers.join("\n"), expected);
    }

    #[test]
    fn each_parking_of_an_attempt_has_an_id_of_its_own() {
        let mut delivery = parked_delivery();
        let id = |delivery: &Delivery| {
            ParkedRecord::of(delivery, Timestamp::UNIX_EPOCH, ParkReason::Late).message_id
        };
        let first = id(&delivery);
        assert_eq!(first, id(&delivery));
        delivery.progress.parks += 1;
        assert_ne!(first, id(&delivery));
    }

    #[test]
    fn record_of_a_redelivered_event_is_no_duplicate_of_the_one_it_replaces() {
        let delivery = parked_delivery();
        let id = |due| ParkedRecord::of(&delivery, due, ParkReason::Late).message_id;
        let later = Timestamp::from_millisecond(1).unwrap();
        assert_ne!(id(Timestamp::UNIX_EPOCH), id(later));
    }

    #[test]
    fn record_without_a_header_is_rejected_by_its_name() {
        let delivery = parked_delivery();
        let headers = ParkedRecord::of(&delivery, Timestamp::UNIX_EPOCH, ParkReason::Late).headers;
        for missing in [
            names::DELIVERY_ID,
            parked::INSTALLATION,
            parked::SITE,
            parked::EVENT_ID,
            parked::ATTEMPT,
            parked::PARKS,
            names::SEQUENCE,
        ] {
            let rest = headers.iter().filter(|(name, _)| *name != missing).cloned().collect();
            let error = ParkedDelivery::read(&Map(rest), Bytes::new()).unwrap_err();
            assert_eq!(error, MalformedRecord::Header(InvalidHeader(missing)));
        }
        let fired = ParkedDelivery::read(&Map(headers), Bytes::from_static(b"[]")).unwrap();
        assert!(matches!(
            fired.resume(delivery.subscription, Vec::new()),
            Err(MalformedRecord::Body(_))
        ));
    }
}
