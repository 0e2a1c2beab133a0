//! The deliveries that one job handed over, within a bound of memory. Pure.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use crate::delivery::StoredRecord;
use crate::domain::DeliveryId;

/// Deliveries that are remembered: about five megabytes.
const REMEMBERED_MAX: usize = 200_000;

/// What a job handed over, by the hash of the delivery id: the sequence of the event. An event that is
/// stored twice has the same deliveries each time.
#[derive(Clone, Debug)]
pub struct HandedOver {
    /// None for a dry run.
    job: Option<Box<str>>,
    hasher: RandomState,
    sequences: HashMap<u64, u64>,
    max: usize,
}

impl HandedOver {
    /// Begins with nothing that `job` handed over.
    #[must_use]
    pub fn new(job: Option<&str>) -> Self {
        let (job, hasher) = (job.map(Into::into), RandomState::new());
        Self { job, hasher, sequences: HashMap::new(), max: REMEMBERED_MAX }
    }

    /// Notes a delivery of the event with `sequence`. If there are too many, those of the older half of
    /// the events are forgotten.
    pub(super) fn note(&mut self, id: &DeliveryId, sequence: u64) {
        self.sequences.entry(self.hasher.hash_one(id)).or_insert(sequence);
        if self.sequences.len() > self.max {
            let mut all: Vec<u64> = self.sequences.values().copied().collect();
            let middle = all.len() / 2;
            let (_, median, _) = all.select_nth_unstable(middle);
            let oldest = *median;
            self.sequences.retain(|_, sequence| *sequence > oldest);
        }
    }

    /// Notes what a record of the delivery log says that the job handed over, before a restart perhaps.
    pub(super) fn note_record(&mut self, record: &StoredRecord) {
        let Some(job) = self.job.clone() else { return };
        for one in &record.deliveries {
            if one.replay.as_deref() == Some(&*job) || one.job.as_deref() == Some(&*job) {
                self.note(&one.delivery_id(&record.event), record.event.sequence);
            }
        }
    }

    /// Returns the sequence of the event whose delivery was handed over; none if it was not.
    pub(super) fn sequence_of(&self, id: &DeliveryId) -> Option<u64> {
        self.sequences.get(&self.hasher.hash_one(id)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> DeliveryId {
        DeliveryId::from_record(&format!("dlv_{number}"))
    }

    #[test]
    fn first_event_of_a_delivery_is_remembered_and_the_number_is_bounded() {
        let mut known = HandedOver { max: 10, ..HandedOver::new(Some("job_1")) };
        known.note(&id(1), 1);
        known.note(&id(1), 7);
        assert_eq!(known.sequence_of(&id(1)), Some(1));
        (2..=11).for_each(|number| known.note(&id(number), number));
        assert!(known.sequences.len() <= 10, "{}", known.sequences.len());
        assert_eq!(known.sequence_of(&id(1)), None, "the oldest are forgotten");
        assert_eq!(known.sequence_of(&id(11)), Some(11));
        // Many deliveries of one event are no reason to remember more.
        (20..50).for_each(|number| known.note(&id(number), 12));
        assert!(known.sequences.len() <= 10, "{}", known.sequences.len());
    }
}
