//! Which sequences of the event stream are covered by blocks: a decision without I/O or clock.

use std::collections::BTreeMap;

/// Most ranges that are kept apart; what would need more is read from the stream again.
const RANGES_MAX: usize = 65_536;

/// Ranges of covered sequences, which neither overlap nor touch.
#[derive(Clone, Debug, Default)]
pub(super) struct Coverage(BTreeMap<u64, u64>);

impl Coverage {
    /// Adds the sequences from `from` to `to`.
    pub(super) fn add(&mut self, mut from: u64, mut to: u64) {
        if to < from {
            return;
        }
        let touching = self.0.range(..=to.saturating_add(1)).rev();
        let touching: Vec<(u64, u64)> = touching
            .map(|(start, end)| (*start, *end))
            .take_while(|(_, end)| end.saturating_add(1) >= from)
            .collect();
        for (start, end) in touching {
            self.0.remove(&start);
            (from, to) = (from.min(start), to.max(end));
        }
        if self.0.len() < RANGES_MAX {
            self.0.insert(from, to);
        }
    }

    /// Returns the first covered sequence.
    pub(super) fn first(&self) -> Option<u64> {
        self.0.first_key_value().map(|(from, _)| *from)
    }

    /// Returns the last covered sequence.
    pub(super) fn last(&self) -> Option<u64> {
        self.0.last_key_value().map(|(_, to)| *to)
    }

    /// Returns the first range up to `last` that is not covered.
    pub(super) fn first_hole(&self, last: u64) -> Option<(u64, u64)> {
        let mut ranges = self.0.iter();
        let from = match ranges.next() {
            Some((0, to)) => to.saturating_add(1),
            Some((first, _)) => return (last > 0).then(|| (0, last.min(first.saturating_sub(1)))),
            None => 0,
        };
        let to = ranges.next().map_or(last, |(next, _)| last.min(next.saturating_sub(1)));
        (from <= last).then_some((from, to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coverage(ranges: &[(u64, u64)]) -> Coverage {
        let mut coverage = Coverage::default();
        for (from, to) in ranges {
            coverage.add(*from, *to);
        }
        coverage
    }

    #[test]
    fn holes_are_found_from_the_first() {
        let mut coverage = coverage(&[(0, 10), (21, 30), (15, 15)]);
        assert_eq!(coverage.first_hole(100), Some((11, 14)));
        assert_eq!(coverage.first_hole(12), Some((11, 12)));
        assert_eq!(coverage.first_hole(10), None);
        coverage.add(11, 14);
        assert_eq!(coverage.first_hole(100), Some((16, 20)));
        coverage.add(14, 29);
        assert_eq!(coverage.first_hole(100), Some((31, 100)));
        assert_eq!((coverage.first(), coverage.last(), coverage.0.len()), (Some(0), Some(30), 1));
    }

    #[test]
    fn any_order_covers_the_same() {
        for ranges in [
            [(0, 3), (4, 6), (7, 9)],
            [(7, 9), (0, 3), (4, 6)],
            [(4, 6), (0, 9), (2, 2)],
            [(5, 9), (2, 7), (0, 2)],
        ] {
            let coverage = coverage(&ranges);
            assert_eq!(coverage.0, BTreeMap::from([(0, 9)]), "{ranges:?}");
        }
        assert_eq!(Coverage::default().first_hole(5), Some((0, 5)));
        assert_eq!(coverage(&[(3, 2)]).first(), None);
    }

    #[test]
    fn more_ranges_than_are_kept_are_holes_again() {
        let mut coverage = Coverage::default();
        coverage.add(0, 0);
        for number in 1..=RANGES_MAX as u64 + 10 {
            coverage.add(number * 2, number * 2);
        }
        assert_eq!(coverage.0.len(), RANGES_MAX);
        assert_eq!(coverage.first_hole(u64::MAX), Some((1, 1)));
    }
}
