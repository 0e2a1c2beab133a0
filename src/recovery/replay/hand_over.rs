//! Hands deliveries over: parks them, then records that.

use futures_util::{StreamExt, stream};
use jiff::Timestamp;

use super::choose::{Chosen, PARKED, add};
use super::decide::Skipped;
use super::parts::ReplayParts;
use crate::clock;
use crate::delivery::{
    Delivery, DeliveryReport, HandOver, LogCollector, Origin, ParkError, ParkedRecord,
};
use crate::domain::DeliveryId;
use crate::recovery::jobs::JobCounts;

/// Deliveries of one event that are handed over at once.
const DELIVERIES_AT_ONCE: usize = 8;

/// An event whose deliveries are handed over.
pub(super) struct DoneEvent {
    pub(super) sequence: u64,
    pub(super) counts: JobCounts,
    /// What was handed over.
    pub(super) ids: Vec<DeliveryId>,
    /// Why some cannot be handed over now, in one sentence; none if all are.
    pub(super) stopped: Option<String>,
}

/// What became of a delivery.
enum Parked {
    /// It is parked by this job.
    Done,
    Skipped(Skipped),
    /// It cannot be parked now; one sentence.
    NotNow(String),
}

/// Parks the deliveries of an event, then records that.
pub(super) async fn of_event(parts: &ReplayParts, mut chosen: Chosen) -> DoneEvent {
    let sequence = chosen.sequence;
    let Some(prepared) = chosen.prepared.take() else {
        let (counts, ids) = (chosen.counts, Vec::new());
        return DoneEvent { sequence, counts, ids, stopped: None };
    };
    let due = clock::broker_now();
    // Begun before anything is due, so that no record of what follows seems to be earlier.
    let (log, stored_ms) = (parts.log.as_deref(), chosen.stored_ms);
    let made_again = LogCollector::new(log, &prepared.event, Origin::replayed(stored_ms));
    let continued = LogCollector::new(log, &prepared.event, Origin::continued(stored_ms));
    let mut handed_over: Vec<Delivery> = std::mem::take(&mut chosen.repeated);
    let parking = std::mem::take(&mut chosen.deliveries).into_iter();
    let parking: Vec<_> =
        parking.map(async |one| (of_delivery(parts, &one, due).await, one)).collect();
    let mut parked = stream::iter(parking).buffer_unordered(DELIVERIES_AT_ONCE);
    let mut stopped = None;
    while let Some((result, delivery)) = parked.next().await {
        match result {
            Parked::Done => handed_over.push(delivery),
            Parked::Skipped(why) => chosen.skip(why),
            Parked::NotNow(reason) => stopped = Some(reason),
        }
    }
    drop(parked);
    for delivery in &handed_over {
        let log = if is_made_again(delivery) { &made_again } else { &continued };
        log.add(DeliveryReport::of_replayed(delivery, due)).await;
    }
    made_again.store().await;
    continued.store().await;
    add(&mut chosen.counts, PARKED, handed_over.len() as u64);
    let ids = handed_over.into_iter().map(|delivery| delivery.id).collect();
    DoneEvent { sequence, counts: chosen.counts, ids, stopped }
}

/// Parks a delivery unless it waits already, by whatever was first.
async fn of_delivery(parts: &ReplayParts, delivery: &Delivery, due: Timestamp) -> Parked {
    match parts.parking.hand_over(ParkedRecord::replayed(delivery, due)).await {
        Ok(HandOver::Stored) => Parked::Done,
        // An earlier try was stored, whose confirmation was lost.
        Ok(HandOver::Occupied(Some(by))) if Some(&by.job) == delivery.progress.replay_job() => {
            Parked::Done
        }
        Ok(HandOver::Occupied(_)) => Parked::Skipped(Skipped::Pending),
        Ok(HandOver::NotNow(reason)) => Parked::NotNow(reason),
        Err(ParkError::TooLarge) => Parked::Skipped(Skipped::TooLarge),
        Err(error @ ParkError::ShareUsed(_)) => {
            Parked::NotNow(format!("{error}; it goes on when there is room"))
        }
    }
}

/// Whether the replay makes a delivery once more.
fn is_made_again(delivery: &Delivery) -> bool {
    let progress = &delivery.progress;
    progress.repeated_by().is_some() && progress.repeated_by() == progress.replay_job()
}
