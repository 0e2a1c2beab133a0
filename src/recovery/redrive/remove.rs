//! Deletes a dead letter for an operator, an erasure or a retention, and records that its delivery is removed.

use std::time::Duration;

use thiserror::Error;

use super::letter::{LetterId, LetterKind, StoredLetter};
use super::store::{DeadLetters, ReadError};
use crate::clock;
use crate::delivery::{
    DeliveryLog, DeliveryReport, JobOrigin, LogCollector, Origin, ParkedDelivery, RemovalReason,
};
use crate::domain::{AppId, InstallationId};

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
/// dead. Without `log` nothing is recorded.
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
    let Some(parked) = delivery_of(letter) else { return };
    let collector = LogCollector::new(Some(log), parked.event(), Origin::dead_letter(letter));
    collector.add(DeliveryReport::of_removal(&parked, reason)).await;
    collector.store().await;
}

/// Returns the delivery of a letter; none if it holds none, such as one of an event.
fn delivery_of(letter: &StoredLetter) -> Option<ParkedDelivery> {
    let LetterKind::Delivery { app, installation } = &letter.kind else { return None };
    let tokens = (&AppId::from(&**app), &InstallationId::from(&**installation));
    let origin = JobOrigin::redrive("", Vec::new());
    let (body, now) = (letter.body.clone(), clock::broker_now());
    let parked = ParkedDelivery::of_dead_letter(letter, body, tokens, origin, now);
    let parked = parked.inspect_err(|error| {
        tracing::warn!(id = %letter.id, %error, "deletion of a dead letter is not recorded");
    });
    parked.ok().filter(|parked| !parked.subscriptions.is_empty())
}
