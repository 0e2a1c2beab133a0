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

/// Most runs of numbers that were read, without a hole between them.
const RUNS_MAX: usize = 1 << 20;
/// Most runs of numbers whose records were deleted on purpose. Those of the whole log are noted, whatever the window, so
/// more of them must not prevent an account.
const ERASED_RUNS_MAX: usize = 1 << 20;
/// Begin of the series of copies that an erasure stores.
const COPIES_PREFIX: &str = "erase/";

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

    /// Whether the record is the copy of another one, which an erasure stored.
    pub(super) fn is_of_copy(&self) -> bool {
        self.series.starts_with(COPIES_PREFIX)
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
    runs: usize,
    erased: ErasedNumbers,
}

/// The numbers of records that were deleted on purpose.
#[derive(Debug)]
struct ErasedNumbers {
    /// By series; empty if there were too many.
    runs: HashMap<Box<str>, Runs>,
    runs_number: usize,
    runs_max: usize,
    /// How many records; if there were too many runs, one that is named twice counts twice from then on.
    records: u64,
    is_full: bool,
}

impl Default for ErasedNumbers {
    fn default() -> Self {
        Self {
            runs: HashMap::new(),
            runs_number: 0,
            runs_max: ERASED_RUNS_MAX,
            records: 0,
            is_full: false,
        }
    }
}

impl ErasedNumbers {
    fn note(&mut self, record: &RecordNumber) {
        if self.is_full {
            self.records += 1;
            return;
        }
        let Ok(runs) = bounded_entry(&mut self.runs, &record.series) else { return self.fill() };
        let before = runs.0.len();
        self.records += u64::from(runs.insert(record.number));
        self.runs_number = (self.runs_number + runs.0.len()).saturating_sub(before);
        if self.runs_number > self.runs_max {
            self.fill();
        }
    }

    fn fill(&mut self) {
        self.is_full = true;
        self.runs = HashMap::new();
    }
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
    pub(super) fn note_erased(&mut self, record: &RecordNumber) {
        self.erased.note(record);
    }

    /// Returns how many records were deleted on purpose.
    #[must_use]
    pub(super) fn erased(&self) -> u64 {
        self.erased.records
    }

    /// Whether so many records or more were certainly deleted on purpose.
    #[must_use]
    pub(super) fn has_erased(&self, records: u64) -> bool {
        !self.erased.is_full && self.erased.records >= records
    }

    fn count_runs(&mut self, before: usize, after: usize) -> Result<(), TooLarge> {
        self.runs = (self.runs + after).saturating_sub(before);
        if self.runs > RUNS_MAX { Err(TooLarge::RecordNumbers) } else { Ok(()) }
    }

    /// Returns what is missing, sorted; none if that is not known, because too many were deleted on purpose.
    #[must_use]
    pub(super) fn missing(&self) -> Option<Vec<MissingRecords>> {
        if self.erased.is_full {
            return None;
        }
        let mut missing = Vec::new();
        for (name, series) in &self.series {
            let erased = self.erased.runs.get(name);
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
        Some(missing)
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
        numbers.missing().unwrap().iter().map(|one| (one.first, one.last)).collect()
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
        assert_eq!(missing(&numbers).len(), 2);
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
            numbers.note_erased(&erased);
            numbers.note_erased(&erased);
        }
        assert_eq!(numbers.erased(), 5, "one that is named twice counts once");
        assert_eq!(missing(&numbers), [(7, 7), (10, 11)]);
        assert!(numbers.has_erased(5) && !numbers.has_erased(6));
    }

    #[test]
    fn too_many_erased_records_are_counted_and_what_is_missing_is_not_known() {
        let mut numbers = RecordNumbers::default();
        numbers.erased.runs_max = 3;
        let erase = |numbers: &mut RecordNumbers, number| {
            numbers.note_erased(&RecordNumber { series: "p".into(), number, floor: 0 });
        };
        for number in [1, 3, 5, 2] {
            erase(&mut numbers, number);
        }
        assert_eq!(missing(&numbers), [], "two runs");
        for number in [7, 9, 11] {
            erase(&mut numbers, number);
        }
        assert_eq!((numbers.missing(), numbers.erased()), (None, 7));
        assert!(!numbers.has_erased(7), "one may be named twice");
        // The records of the window have a bound of their own.
        for number in 0..100 {
            note(&mut numbers, 2 * number, 0);
        }
    }

    #[test]
    fn erased_records_of_too_many_processes_are_counted() {
        let mut numbers = RecordNumbers::default();
        for series in 0..=SERIES_MAX {
            let series = series.to_string().into();
            numbers.note_erased(&RecordNumber { series, number: 1, floor: 0 });
        }
        assert_eq!(numbers.missing(), None);
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
