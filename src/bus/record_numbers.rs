//! Numbers the records that this process stores in the delivery log, so that a lost one is found missing.
//!
//! A record has the *floor* of its series: all lower numbers were stored before it was published. A number
//! that is abandoned, because its event is handled again, would be missing for ever: a new series begins
//! then, and nothing is said about the numbers of the old one that were not stored yet.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The numbers of a process.
#[derive(Debug)]
pub(super) struct RecordSeries {
    process: String,
    current: Mutex<Current>,
}

#[derive(Debug, Default)]
struct Current {
    /// How many series there were before.
    series: u32,
    next: u64,
    floor: u64,
    /// Stored numbers above the floor; bounded by the records that are not confirmed yet.
    stored: BTreeSet<u64>,
}

/// A number whose record is not stored yet. Dropping it abandons it.
#[derive(Debug)]
pub(super) struct TakenNumber<'a> {
    of: &'a RecordSeries,
    series: u32,
    number: u64,
    /// All lower numbers are stored.
    pub(super) floor: u64,
    is_stored: bool,
}

impl RecordSeries {
    /// Begins the first series of `process`.
    pub(super) fn new(process: String) -> Self {
        Self { process, current: Mutex::default() }
    }

    /// Returns the name of the process.
    pub(super) fn process(&self) -> &str {
        &self.process
    }

    /// Takes the next number.
    pub(super) fn take(&self) -> TakenNumber<'_> {
        let mut current = self.lock();
        let number = current.next;
        current.next += 1;
        let (series, floor) = (current.series, current.floor);
        TakenNumber { of: self, series, number, floor, is_stored: false }
    }

    /// Returns the name of the current series, and its floor.
    pub(super) fn floor(&self) -> (String, u64) {
        let current = self.lock();
        (self.name(current.series), current.floor)
    }

    fn name(&self, series: u32) -> String {
        match series {
            0 => self.process.clone(),
            more => format!("{}.{more}", self.process),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TakenNumber<'_> {
    /// Returns the message id of the record.
    pub(super) fn message_id(&self) -> String {
        format!("{}-{}", self.of.name(self.series), self.number)
    }

    /// Notes that the record is stored, or lost for good.
    pub(super) fn settle(mut self) {
        self.is_stored = true;
        let mut current = self.of.lock();
        if current.series != self.series {
            return;
        }
        current.stored.insert(self.number);
        while current.stored.first() == Some(&current.floor) {
            current.stored.pop_first();
            current.floor += 1;
        }
    }
}

impl Drop for TakenNumber<'_> {
    fn drop(&mut self) {
        if self.is_stored {
            return;
        }
        let mut current = self.of.lock();
        if current.series == self.series {
            *current = Current { series: self.series.wrapping_add(1), ..Current::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floor_is_below_all_that_is_not_stored() {
        let series = RecordSeries::new("p".into());
        let [first, second, third] = [series.take(), series.take(), series.take()];
        assert_eq!((first.floor, &*third.message_id()), (0, "p-2"));
        third.settle();
        assert_eq!(series.take().floor, 0, "abandoned at once");
        // That began a new series.
        first.settle();
        second.settle();
        assert_eq!(series.floor(), ("p.1".to_owned(), 0));
        let next = series.take();
        assert_eq!(next.message_id(), "p.1-0");
        next.settle();
        assert_eq!(series.take().floor, 1);
    }
}
