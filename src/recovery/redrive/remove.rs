//! Deletes a dead letter for an operator, an erasure or a retention, and records that its delivery is removed.

use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;

use super::letter::{LetterId, LetterKind, StoredLetter};
use super::store::{DeadLetters, ReadError};
use crate::clock;
use crate::delivery::{
    DeliveryLog, DeliveryOutcome, DeliveryReport, JobOrigin, LogCollector, MalformedRecord, Origin,
    ParkedDelivery, RemovalReason,
};
use crate::domain::{AppId, DeliveryId, InstallationId, SubscriptionId};
use crate::event::codec::names::{self, parked};
use crate::event::{Envelope, Event};

/// How long a removal waits until its record is stored.
const RECORD_MAX: Duration = Duration::from_secs(5);

/// Why a letter is not deleted.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum RemoveError {
    /// The broker does not answer.
    #[error(transparent)]
    Unavailable(#[from] ReadError),
    /// The broker does not confirm the record.
    #[error("the broker does not confirm the record of the deletion")]
    NotRecorded,
}

/// Deletes a letter; returns whether there was one with this id. If the leader of the stream has it, the record
/// that its delivery is removed is stored before: a crash in between leaves the letter, which then still counts as
/// dead. Without `log` nothing is recorded: accounts begin after the time in which the log was off.
///
/// # Errors
/// The broker does not answer. The letter stays, or is deleted nevertheless.
pub async fn remove(
    letters: &dyn DeadLetters,
    log: Option<&dyn DeliveryLog>,
    id: LetterId,
    reason: RemovalReason,
) -> Result<bool, RemoveError> {
    if let Some(log) = log {
        let Some(letter) = letters.get(id).await? else { return Ok(false) };
        let recorded = tokio::time::timeout(RECORD_MAX, record(log, &letter, reason)).await;
        recorded.map_err(|_| RemoveError::NotRecorded)?;
    }
    Ok(letters.delete(id).await?)
}

/// Records that the delivery of a letter is removed; completes once the record is stored. Letters of
/// events have no delivery. What is done again after a crash may be recorded twice.
async fn record(log: &dyn DeliveryLog, letter: &StoredLetter, reason: RemovalReason) {
    let LetterKind::Delivery { app, installation } = &letter.kind else { return };
    let (event, report) = match delivery_of(letter, app, installation) {
        Ok(parked) if parked.subscriptions.is_empty() => return,
        Ok(parked) => (parked.event().clone(), DeliveryReport::of_removal(&parked, reason)),
        Err(error) => {
            tracing::warn!(id = %letter.id, %error, "dead letter that is deleted cannot be read");
            let Some(report) = report_of_unreadable(letter, installation, reason) else { return };
            (event_of_unreadable(letter), report)
        }
    };
    let collector = LogCollector::new(Some(log), &event, Origin::dead_letter(letter));
    collector.add(report).await;
    collector.store().await;
}

/// Returns the delivery of a letter, or the event that it holds and that was not matched.
fn delivery_of(
    letter: &StoredLetter,
    app: &str,
    installation: &str,
) -> Result<ParkedDelivery, MalformedRecord> {
    let tokens = (&AppId::from(app), &InstallationId::from(installation));
    let origin = JobOrigin::redrive("", Vec::new());
    let (body, now) = (letter.body.clone(), clock::broker_now());
    ParkedDelivery::of_dead_letter(letter, body, tokens, origin, now)
}

/// Returns the report of a letter that cannot be read as a delivery, with what the account needs to know of it: its
/// delivery and subscription. None if it has no delivery.
fn report_of_unreadable(
    letter: &StoredLetter,
    installation: &str,
    reason: RemovalReason,
) -> Option<DeliveryReport> {
    let id = DeliveryId::from_record(&letter.text(names::DELIVERY_ID)?);
    let subscription = letter.subscription().and_then(|text| SubscriptionId::parse(&text));
    let unknown = || SubscriptionId { installation: installation.into(), key: "".into() };
    let SubscriptionId { installation, key } = subscription.unwrap_or_else(unknown);
    let others = letter.text(parked::COALESCED_WITH).unwrap_or_default();
    let others = others.split(' ').filter(|key| !key.is_empty());
    Some(DeliveryReport {
        outcome: DeliveryOutcome::Removed(reason),
        due: None,
        installation,
        key,
        coalesced_with: others.map(Into::into).collect(),
        id: Some(id),
        revision: None,
        replay: letter.text(names::REPEATED_BY).map(|job| (&*job).into()),
        job: None,
        number: 1,
        attempt: None,
    })
}

/// Returns as much of the event of a letter as its headers say.
fn event_of_unreadable(letter: &StoredLetter) -> Event {
    let text = |name| letter.text(name).unwrap_or_default();
    Event {
        envelope: Envelope {
            cloud_id: (&*text(names::EVENT_SITE)).into(),
            event_id: (&*text(names::EVENT_ID)).into(),
            event_type: (&*text(names::EVENT_TYPE)).into(),
            time: None,
            origin_app: None,
            entity: letter.text(names::EVENT_ENTITY).map(|key| (&*key).into()),
            traceparent: None,
            trace: None,
            webhook: None,
        },
        body: Bytes::new(),
        sequence: text(names::SEQUENCE).parse().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::recovery::redrive::testing::{MemoryLetters, MemoryLog, delivery_letter};

    #[tokio::test]
    async fn letter_that_cannot_be_read_as_a_delivery_is_recorded_by_its_headers() {
        // Neither an event, nor a filter error, nor a sequence.
        let mut unreadable = delivery_letter(3, "i1");
        unreadable
            .headers
            .retain(|(name, _)| !name.starts_with("ce-") && !name.ends_with("sequence"));
        unreadable.headers.push(("switchyard-filter-error".into(), "{".into()));
        unreadable.headers.push(("switchyard-stored-ms".into(), "17".into()));
        // Not even a subscription.
        let mut nameless = unreadable.clone();
        (nameless.id.0.sequence, nameless.body) = (4, Bytes::from_static(b"{"));
        nameless.headers.retain(|(name, _)| name.ends_with("delivery-id"));
        nameless.headers.push(("switchyard-dlq-subscription".into(), "i1".into()));
        let ids = [unreadable.id, nameless.id];
        let letters = MemoryLetters::of([unreadable, nameless]);
        let log = MemoryLog::default();
        for id in ids {
            let removed = remove(&*letters, Some(&log), id, RemovalReason::Erased).await;
            assert_eq!(removed, Ok(true));
        }
        let said: Vec<_> = log
            .deliveries()
            .iter()
            .map(|one| {
                json!([one["id"], one["installation"], one["key"], one["from"], one["outcome"]])
            })
            .collect();
        let expected = |key: &str| json!(["dlv_3", "i1", key, "dead", "removed"]);
        assert_eq!(said, [expected("k1"), expected("")]);
    }
}
