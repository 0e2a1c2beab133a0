//! The numbers of records: each process numbers the records that it stores, so a record that the stream
//! lost is found missing by its number. Pure.
//!
//! A record also has the *floor* of its process: all lower numbers were stored before this record was
//! published. A number below a floor that is not there was lost. A higher one may never have been
//! stored: the process was killed before the broker had it, and the event was handled again.
//!
//! A reader begins in the middle of the log. What is stored before that is not missing: a number is
//! expected only from the first record on that was published after a record which was read was stored.

use std::collections::{BTreeMap, HashMap};

use super::limits::{SERIES_MAX, TooLarge};

/// Most runs of numbers without a hole between them.
const RUNS_MAX: usize = 1 << 20;

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
    /// Reads the message id of a record, and its floor; none if the id is another one. The copies that
    /// an erasure stores, `erase/<job>/<sequence>/<milliseconds>`, are a series of their own, so that
    /// a copy that is stored twice is recognized; they have no floor.
    #[must_use]
    pub fn parse(message_id: &str, floor: Option<&str>) -> Option<Self> {
        let (series, number) = match message_id.rsplit_once('/') {
            Some((copy, _)) => copy.rsplit_once('/')?,
            None => message_id.rsplit_once('-')?,
        };
        let number = number.parse().ok()?;
        let floor = floor.and_then(|text| text.parse().ok()).unwrap_or(0);
        (!series.is_empty()).then(|| Self { series: series.into(), number, floor })
    }
}

/// Numbers of records that were lost.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
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
pub(super) struct RecordNumbers {
    series: HashMap<Box<str>, Series>,
    /// Numbers whose records were deleted on purpose, by series.
    erased: HashMap<Box<str>, Runs>,
    erased_records: u64,
    runs: usize,
}

/// The numbers of one series.
#[derive(Debug, Default)]
struct Series {
    read: Runs,
    /// Lowest number from which on all are expected.
    expected: Option<u64>,
    floor: u64,
}

/// Runs of numbers: the first one, and the one after the last.
#[derive(Debug, Default)]
struct Runs(BTreeMap<u64, u64>);

impl RecordNumbers {
    /// Notes a record; returns whether its number was not noted before.
    ///
    /// # Errors
    /// There are more holes than it can hold.
    pub(super) fn note(&mut self, record: &RecordNumber) -> Result<bool, TooLarge> {
        let series = bounded_entry(&mut self.series, &record.series)?;
        let before = series.read.0.len();
        let is_new = series.read.insert(record.number);
        series.floor = series.floor.max(record.floor);
        let lowest = series.read.0.keys().next().copied().unwrap_or(record.number);
        if record.floor > lowest {
            let expected = series.expected.get_or_insert(record.number);
            *expected = (*expected).min(record.number);
        }
        let after = series.read.0.len();
        self.count_runs(before, after)?;
        Ok(is_new)
    }

    /// Notes that all numbers of a series below `floor` were stored, as its process says in another
    /// place than a record. A series of which no record was read is not examined.
    pub(super) fn note_floor(&mut self, series: &str, floor: u64) {
        if let Some(known) = self.series.get_mut(series) {
            known.floor = known.floor.max(floor);
        }
    }

    /// Notes that a record was deleted on purpose, as another record says.
    ///
    /// # Errors
    /// There are more than it can hold.
    pub(super) fn note_erased(&mut self, record: &RecordNumber) -> Result<(), TooLarge> {
        let erased = bounded_entry(&mut self.erased, &record.series)?;
        let before = erased.0.len();
        self.erased_records += u64::from(erased.insert(record.number));
        let after = erased.0.len();
        self.count_runs(before, after)
    }

    /// Returns how many records were deleted on purpose.
    #[must_use]
    pub(super) fn erased(&self) -> u64 {
        self.erased_records
    }

    fn count_runs(&mut self, before: usize, after: usize) -> Result<(), TooLarge> {
        self.runs = (self.runs + after).saturating_sub(before);
        if self.runs > RUNS_MAX { Err(TooLarge::RecordNumbers) } else { Ok(()) }
    }

    /// Returns what is missing, sorted.
    #[must_use]
    pub(super) fn missing(&self) -> Vec<MissingRecords> {
        let mut missing = Vec::new();
        for (name, series) in &self.series {
            let erased = self.erased.get(name);
            let kept = series.holes().into_iter().flat_map(|hole| match erased {
                Some(erased) => erased.without(hole),
                None => vec![hole],
            });
            missing.extend(kept.map(|(first, end)| MissingRecords {
                series: name.clone(),
                first,
                last: end.saturating_sub(1),
            }));
        }
        missing.sort_unstable();
        missing
    }
}

/// Returns the entry of a series, one without numbers if it is new.
fn bounded_entry<'m, T: Default>(
    map: &'m mut HashMap<Box<str>, T>,
    series: &str,
) -> Result<&'m mut T, TooLarge> {
    if !map.contains_key(series) && map.len() >= SERIES_MAX {
        return Err(TooLarge::RecordNumbers);
    }
    Ok(map.entry(series.into()).or_default())
}

impl Series {
    /// Returns the holes from the first expected number to the floor.
    fn holes(&self) -> Vec<(u64, u64)> {
        let Some(expected) = self.expected else { return Vec::new() };
        self.read.without((expected, self.floor))
    }
}

impl Runs {
    /// Adds a number; returns whether it is new.
    fn insert(&mut self, number: u64) -> bool {
        let (mut first, mut end) = (number, number.saturating_add(1));
        if let Some((before, before_end)) = self.0.range(..=number).next_back() {
            if *before_end > number {
                return false;
            }
            if *before_end == number {
                first = *before;
            }
        }
        if let Some(after_end) = self.0.remove(&end) {
            end = after_end;
        }
        self.0.insert(first, end);
        true
    }

    /// Returns the parts of a range that have none of these numbers.
    fn without(&self, (mut next, end): (u64, u64)) -> Vec<(u64, u64)> {
        let mut parts = Vec::new();
        let before = self.0.range(..=next).next_back().map(|(first, _)| *first);
        if next < end {
            for (first, run_end) in self.0.range(before.unwrap_or(next)..end) {
                parts.push((next, *first));
                next = next.max(*run_end);
            }
        }
        parts.push((next, end));
        parts.retain(|(first, end)| first < end);
        parts
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
        let copy = RecordNumber::parse("erase/job-1/17/1800000000000", None).unwrap();
        assert_eq!((&*copy.series, copy.number, copy.floor), ("erase/job-1", 17, 0));
        for other in ["", "x", "-1", "p-", "p-x", "a/1", "a/b/1"] {
            assert_eq!(RecordNumber::parse(other, None), None, "{other}");
        }
    }

    #[test]
    fn number_below_a_floor_is_missing_and_one_above_may_never_have_been_stored() {
        let mut numbers = RecordNumbers::default();
        for (number, floor) in [(0, 0), (1, 1), (3, 1), (2, 2), (5, 4), (8, 6), (9, 6)] {
            note(&mut numbers, number, floor);
        }
        assert_eq!(missing(&numbers), [(4, 4)], "6 and 7 were not confirmed when it was killed");
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
            let erased = RecordNumber { series: "p".into(), number, floor: 0 };
            numbers.note_erased(&erased).unwrap();
            numbers.note_erased(&erased).unwrap();
        }
        assert_eq!(numbers.erased(), 5, "one that is named twice counts once");
        assert_eq!(missing(&numbers), [(7, 7), (10, 11)]);
    }

    #[test]
    fn records_without_floors_are_never_missing() {
        let mut numbers = RecordNumbers::default();
        for number in [1, 5, 9] {
            note(&mut numbers, number, 0);
        }
        assert!(missing(&numbers).is_empty());
    }
}
