//! Records in the delivery log that what was stored of a delivery is removed.

use super::redrive::{LetterKind, StoredLetter};
use crate::clock;
use crate::delivery::{
    DeliveryLog, DeliveryReport, JobOrigin, LogCollector, Origin, ParkedDelivery, RemovalReason,
};
use crate::domain::{AppId, InstallationId};

/// Records that the delivery of a letter is removed, by `job`; letters of events have none.
pub(super) async fn record_removed(
    log: &dyn DeliveryLog,
    job: &str,
    letter: &StoredLetter,
    reason: RemovalReason,
) {
    let LetterKind::Delivery { app, installation } = &letter.kind else { return };
    let (app, installation) = (AppId::from(&**app), InstallationId::from(&**installation));
    let origin = JobOrigin::redrive(job, Vec::new());
    let (tokens, now) = ((&app, &installation), clock::broker_now());
    let read = ParkedDelivery::of_dead_letter(letter, letter.body.clone(), tokens, origin, now);
    let Some(parked) = read.ok().filter(|parked| !parked.subscriptions.is_empty()) else { return };
    let collector = LogCollector::new(Some(log), parked.event(), Origin::dead_letter());
    collector.add(DeliveryReport::of_taken_away(&parked, reason)).await;
    collector.store().await;
}
