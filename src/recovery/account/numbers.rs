//! The numbers of records: each process numbers the records that it stores, so one that the stream
//! lost is missed by its number. Pure.
//!
//! A record also has the *floor* of its process: all lower numbers were stored before this record was
//! published. A number below a floor that is not there was lost. A higher one may never have been
//! stored: the process was killed before the broker had it, and the event was handled again.
//!
//! A reader begins in the middle of the log. What is stored before that is not missing: a number is
//! expected only from the first record on that was published after a record which was read was stored.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::limits::TooLarge;

/// Most runs of numbers without a hole between them.
const RUNS_MAX: usize = 1 << 20;
/// Most series.
const SERIES_MAX: usize = 1 << 16;

/// Number and floor of a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordNumber {
    /// Name of the series: the process, and how often it began to count.
    pub series: Box<str>,
    /// The number.
    pub number: u64,
    /// All lower numbers were stored before; 0 in records of earlier releases.
    pub floor: u64,
}

impl RecordNumber {
    /// Reads the message id of a record, and its floor; none if the id is another one.
    #[must_use]
    pub fn parse(message_id: &str, floor: Option<&str>) -> Option<Self> {
        let (series, number) = message_id.rsplit_once('-')?;
        let number = number.parse().ok()?;
        let floor = floor.and_then(|text| text.parse().ok()).unwrap_or(0);
        (!series.is_empty()).then(|| Self { series: series.into(), number, floor })
    }
}

/// Numbers of records that were lost.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct MissingRecords {
    /// The series.
    pub series: Box<str>,
    /// The first number.
    pub first: u64,
    /// The last one.
    pub last: u64,
}

/// The numbers that were read.
#[derive(Debug, Default)]
pub struct RecordNumbers {
    series: HashMap<Box<str>, Series>,
    runs: usize,
    /// Numbers whose records were deleted on purpose.
    erased: BTreeSet<(Box<str>, u64)>,
}

/// The numbers of one series.
#[derive(Debug, Default)]
struct Series {
    /// Runs of numbers: the first one, and the one after the last.
    runs: BTreeMap<u64, u64>,
    /// Lowest number from which on all are expected.
    expected: Option<u64>,
    floor: u64,
}

impl RecordNumbers {
    /// Notes a record; returns whether its number was not noted before.
    ///
    /// # Errors
    /// There are more holes than it can hold.
    pub fn note(&mut self, record: &RecordNumber) -> Result<bool, TooLarge> {
        if !self.series.contains_key(&record.series) {
            if self.series.len() >= SERIES_MAX {
                return Err(TooLarge::RecordNumbers);
            }
            self.series.insert(record.series.clone(), Series::default());
        }
        let Some(series) = self.series.get_mut(&record.series) else { return Ok(true) };
        let before = series.runs.len();
        let is_new = series.insert(record.number);
        series.floor = series.floor.max(record.floor);
        let lowest = series.runs.keys().next().copied().unwrap_or(record.number);
        if record.floor > lowest {
            let expected = series.expected.get_or_insert(record.number);
            *expected = (*expected).min(record.number);
        }
        self.runs = (self.runs + series.runs.len()).saturating_sub(before);
        if self.runs > RUNS_MAX { Err(TooLarge::RecordNumbers) } else { Ok(is_new) }
    }

    /// Notes that all numbers of a series below `floor` were stored, as its process says in another
    /// place than a record. A series of which no record was read is not examined.
    pub fn note_floor(&mut self, series: &str, floor: u64) {
        if let Some(known) = self.series.get_mut(series) {
            known.floor = known.floor.max(floor);
        }
    }

    /// Notes that a record was deleted on purpose, as a later record says.
    ///
    /// # Errors
    /// There are more than it can hold.
    pub fn note_erased(&mut self, record: RecordNumber) -> Result<(), TooLarge> {
        self.erased.insert((record.series, record.number));
        if self.erased.len() > RUNS_MAX { Err(TooLarge::RecordNumbers) } else { Ok(()) }
    }

    /// Returns what is missing, sorted.
    #[must_use]
    pub fn missing(&self) -> Vec<MissingRecords> {
        let mut missing = Vec::new();
        for (name, series) in &self.series {
            let holes = series.holes().into_iter();
            let kept = holes.flat_map(|hole| self.without_erased(name, hole));
            missing.extend(kept.map(|(first, end)| MissingRecords {
                series: name.clone(),
                first,
                last: end.saturating_sub(1),
            }));
        }
        missing.sort_unstable();
        missing
    }

    /// Splits a hole of a series at the numbers that were erased.
    fn without_erased(&self, name: &str, (mut first, end): (u64, u64)) -> Vec<(u64, u64)> {
        let mut parts = Vec::new();
        for (_, erased) in self.erased.range((Box::from(name), first)..(Box::from(name), end)) {
            parts.push((first, *erased));
            first = erased.saturating_add(1);
        }
        parts.push((first, end));
        parts.retain(|(first, end)| first < end);
        parts
    }
}

impl Series {
    /// Adds a number; returns whether it is new.
    fn insert(&mut self, number: u64) -> bool {
        let (mut first, mut end) = (number, number.saturating_add(1));
        if let Some((before, before_end)) = self.runs.range(..=number).next_back() {
            if *before_end > number {
                return false;
            }
            if *before_end == number {
                first = *before;
            }
        }
        if let Some(after_end) = self.runs.remove(&end) {
            end = after_end;
        }
        self.runs.insert(first, end);
        true
    }

    /// Returns the holes from the first expected number to the floor.
    fn holes(&self) -> Vec<(u64, u64)> {
        let Some(mut next) = self.expected else { return Vec::new() };
        let mut holes = Vec::new();
        for (first, end) in &self.runs {
            if *first > next {
                holes.push((next, (*first).min(self.floor)));
            }
            next = next.max(*end);
        }
        if next < self.floor {
            holes.push((next, self.floor));
        }
        holes.retain(|(first, end)| first < end);
        holes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(numbers: &mut RecordNumbers, number: u64, floor: u64) {
        numbers.note(&RecordNumber { series: "p".into(), number, floor }).unwrap();
    }

    fn missing(numbers: &RecordNumbers) -> Vec<(u64, u64)> {
        numbers.missing().iter().map(|one| (one.first, one.last)).collect()
    }

    #[test]
    fn message_id_is_read_from_its_end() {
        let read = RecordNumber::parse("0a1b.2-17", Some("12")).unwrap();
        assert_eq!((&*read.series, read.number, read.floor), ("0a1b.2", 17, 12));
        assert_eq!(RecordNumber::parse("p-1", None).map(|one| one.floor), Some(0));
        for other in ["", "x", "-1", "p-", "p-x"] {
            assert_eq!(RecordNumber::parse(other, None), None, "{other}");
        }
    }

    #[test]
    fn number_below_a_floor_is_missing_and_one_above_may_never_have_been_stored() {
        let mut numbers = RecordNumbers::default();
        for (number, floor) in [(0, 0), (1, 1), (3, 1), (2, 2), (5, 4), (8, 6), (9, 6)] {
            note(&mut numbers, number, floor);
        }
        assert_eq!(missing(&numbers), [(4, 4)], "6 and 7 were under way when it was killed");
        numbers.note_floor("p", 10);
        assert_eq!(missing(&numbers), [(4, 4), (6, 7)]);
        numbers.note_floor("unknown", 10);
        assert_eq!(numbers.missing().len(), 2);
    }

    #[test]
    fn what_may_have_been_stored_before_the_first_record_is_not_missing() {
        let mut numbers = RecordNumbers::default();
        // 11 was stored before 10, and before the window began.
        for (number, floor) in [(10, 8), (12, 9), (13, 12), (15, 13), (16, 16)] {
            note(&mut numbers, number, floor);
        }
        assert_eq!(missing(&numbers), [(14, 14)]);
    }

    #[test]
    fn erased_records_are_not_missing() {
        let mut numbers = RecordNumbers::default();
        for (number, floor) in [(4, 4), (5, 5), (12, 12)] {
            note(&mut numbers, number, floor);
        }
        assert_eq!(missing(&numbers), [(6, 11)]);
        for number in [1, 6, 8, 9, 12] {
            numbers.note_erased(RecordNumber { series: "p".into(), number, floor: 0 }).unwrap();
        }
        assert_eq!(missing(&numbers), [(7, 7), (10, 11)]);
    }

    #[test]
    fn records_without_floors_are_never_missed() {
        let mut numbers = RecordNumbers::default();
        for number in [1, 5, 9] {
            note(&mut numbers, number, 0);
        }
        assert!(missing(&numbers).is_empty());
    }
}
