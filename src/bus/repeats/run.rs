//! A sorted, immutable list of remembered ids.
//!
//! 22 bytes an id: 16 of the hash, 4 of its sequence, 2 of its site. Hashes are uniform, so the
//! position of one is known to a few places from its value, and a lookup reads few cache lines.

use std::cmp::Ordering;

use super::id::RepeatId;

/// Number of a site in the table of sites.
pub(super) type SiteNumber = u16;

/// One id before it is part of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub(super) id: RepeatId,
    pub(super) sequence: u64,
    pub(super) site: SiteNumber,
}

/// First step of a search around the expected position.
const SEARCH_STEP: usize = 8;

/// A sorted list of ids of one period of time.
#[derive(Clone, Debug, Default)]
pub(super) struct Run {
    /// Number of the period.
    period: i64,
    /// Lowest sequence.
    base: u64,
    ids: Vec<u128>,
    /// Sequences, less `base`.
    offsets: Vec<u32>,
    sites: Vec<SiteNumber>,
}

impl Run {
    /// Sorts entries. Of equal ids the lowest sequence is kept.
    pub(super) fn new(period: i64, mut entries: Vec<Entry>) -> Self {
        entries.sort_unstable_by_key(|entry| (entry.id, entry.sequence));
        entries.dedup_by_key(|entry| entry.id);
        Self::from_sorted(period, entries.len(), entries.into_iter())
    }

    fn from_sorted(period: i64, len: usize, entries: impl Iterator<Item = Entry> + Clone) -> Self {
        let base = entries.clone().map(|entry| entry.sequence).min().unwrap_or(0);
        let mut run = Self {
            period,
            base,
            ids: Vec::with_capacity(len),
            offsets: Vec::with_capacity(len),
            sites: Vec::with_capacity(len),
        };
        for entry in entries {
            run.ids.push(entry.id.0);
            // Beyond 2^32 events in one period only the reported sequence is wrong.
            let offset = u32::try_from(entry.sequence.saturating_sub(base)).unwrap_or(u32::MAX);
            run.offsets.push(offset);
            run.sites.push(entry.site);
        }
        run
    }

    pub(super) fn period(&self) -> i64 {
        self.period
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// The site of each id.
    pub(super) fn sites(&self) -> &[SiteNumber] {
        &self.sites
    }

    /// Returns the sequence of an id.
    pub(super) fn find(&self, id: RepeatId) -> Option<u64> {
        let index = position(&self.ids, id.0)?;
        let offset = self.offsets.get(index)?;
        Some(self.base.saturating_add(u64::from(*offset)))
    }

    /// Merges two runs of one period. Of equal ids the lowest sequence is kept.
    pub(super) fn merge(&self, other: &Self) -> Self {
        let entries = Merged { left: self, right: other, at: (0, 0) };
        // Counted first, so that the lists have no spare capacity.
        let len = entries.clone().count();
        Self::from_sorted(self.period, len, entries)
    }

    /// Returns the run without the `count` oldest ids of `site`, and how many these are; `None` if
    /// it has no id of the site.
    pub(super) fn without_oldest(&self, site: SiteNumber, count: usize) -> Option<(Self, usize)> {
        let is_of_site = |entry: &Entry| entry.site == site;
        let mut sequences: Vec<u64> =
            self.entries().filter(is_of_site).map(|entry| entry.sequence).collect();
        let last = count.min(sequences.len()).checked_sub(1)?;
        let (_, newest_removed, _) = sequences.select_nth_unstable(last);
        let newest_removed = *newest_removed;
        let is_kept = |entry: &Entry| !is_of_site(entry) || entry.sequence > newest_removed;
        let len = self.entries().filter(is_kept).count();
        let run = Self::from_sorted(self.period, len, self.entries().filter(is_kept));
        Some((run, self.len() - len))
    }

    fn entries(&self) -> impl Iterator<Item = Entry> + Clone + '_ {
        (0..self.len()).filter_map(|index| self.entry(index))
    }

    fn entry(&self, index: usize) -> Option<Entry> {
        Some(Entry {
            id: RepeatId(*self.ids.get(index)?),
            sequence: self.base.saturating_add(u64::from(*self.offsets.get(index)?)),
            site: *self.sites.get(index)?,
        })
    }
}

/// The entries of two runs in order, each id once.
#[derive(Clone)]
struct Merged<'r> {
    left: &'r Run,
    right: &'r Run,
    at: (usize, usize),
}

impl Iterator for Merged<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        let (left, right) = (self.left.entry(self.at.0), self.right.entry(self.at.1));
        let order = match (&left, &right) {
            (Some(left), Some(right)) => left.id.cmp(&right.id),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return None,
        };
        if order != Ordering::Greater {
            self.at.0 += 1;
        }
        if order != Ordering::Less {
            self.at.1 += 1;
        }
        match order {
            Ordering::Less => left,
            Ordering::Greater => right,
            Ordering::Equal => left.into_iter().chain(right).min_by_key(|entry| entry.sequence),
        }
    }
}

/// Returns the index of `id` in a sorted list of uniform values.
fn position(ids: &[u128], id: u128) -> Option<usize> {
    let len = ids.len();
    let expected = ((id >> 64).checked_mul(u128::try_from(len).ok()?)?) >> 64;
    let expected = usize::try_from(expected).ok()?.min(len);
    let at = |index: usize| ids.get(index).copied();
    let mut step = SEARCH_STEP;
    let mut low = expected.saturating_sub(step);
    while low > 0 && at(low).is_some_and(|found| found > id) {
        step = step.saturating_mul(2);
        low = expected.saturating_sub(step);
    }
    let mut step = SEARCH_STEP;
    let mut high = expected.saturating_add(step).min(len);
    while high < len && at(high).is_some_and(|found| found <= id) {
        step = step.saturating_mul(2);
        high = expected.saturating_add(step).min(len);
    }
    let near = ids.get(low..high)?;
    near.binary_search(&id).ok().map(|index| low + index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u64) -> Entry {
        let id = RepeatId::of(&format!("c1/{number}")).unwrap();
        Entry { id, sequence: number, site: SiteNumber::from(number.is_multiple_of(10)) }
    }

    fn run(numbers: impl Iterator<Item = u64>) -> Run {
        Run::new(0, numbers.map(entry).collect())
    }

    #[test]
    fn each_id_is_found_with_its_sequence_and_no_other() {
        for len in [0, 1, 2, 7, 100, 5_000] {
            let run = run(1_000..1_000 + len);
            for number in 0..1_000 + len + 500 {
                let expected = (number >= 1_000 && number < 1_000 + len).then_some(number);
                assert_eq!(run.find(entry(number).id), expected, "{number} of {len}");
            }
        }
    }

    #[test]
    fn ids_at_the_ends_and_clustered_ones_are_found() {
        let ids = [0, 1, 2, 3, u128::MAX - 1, u128::MAX];
        let entries: Vec<Entry> = ids
            .iter()
            .chain(&[1 << 100, (1 << 100) + 1, (1 << 100) + 2])
            .enumerate()
            .map(|(index, id)| Entry { id: RepeatId(*id), sequence: index as u64, site: 0 })
            .collect();
        let run = Run::new(0, entries.clone());
        for entry in entries {
            assert_eq!(run.find(entry.id), Some(entry.sequence), "{entry:?}");
        }
        assert_eq!(run.find(RepeatId(4)), None);
        assert_eq!(run.find(RepeatId(1 << 99)), None);
    }

    #[test]
    fn merged_runs_have_each_id_once_with_its_first_sequence() {
        let older = run(1..500);
        let twice = Run::new(0, vec![Entry { sequence: 900, ..entry(7) }]);
        let merged = older.merge(&run(300..800)).merge(&twice);
        assert_eq!(merged.len(), 799);
        assert_eq!(merged.find(entry(7).id), Some(7));
        assert!((1..800).all(|number| merged.find(entry(number).id) == Some(number)));
    }

    #[test]
    fn the_oldest_ids_of_one_site_are_removed() {
        let run = run(1..101);
        let (kept, removed) = run.without_oldest(1, 4).unwrap();
        assert_eq!((kept.len(), removed), (96, 4));
        for number in 1..101 {
            let is_removed = [10, 20, 30, 40].contains(&number);
            assert_eq!(kept.find(entry(number).id).is_none(), is_removed, "{number}");
        }
        assert_eq!(kept.without_oldest(1, 1_000).map(|(_, removed)| removed), Some(6));
        assert!(run.without_oldest(9, 4).is_none());
        assert!(run.without_oldest(1, 0).is_none());
    }
}
