//! The remembered ids of one replica: a decision without I/O or clock.
//!
//! Ids are kept in sorted [`Run`]s of twelfths of the time that they are remembered. Runs of the
//! current period are merged so that each is at least twice as long as the next, those of an ended
//! one into one: a lookup searches 12 runs and a few short ones. A period is forgotten as a whole.
//!
//! At the bound the site with the most ids loses its oldest ones, so a site is only cut while no
//! other has more.

use std::sync::Arc;

use super::block::Block;
use super::id::RepeatId;
use super::run::{Entry, Run};
use super::sites::SiteTable;

/// Periods of the time that ids are remembered.
const PERIODS: i64 = 12;
/// Ids that are sorted at once.
const SORTED_MAX: usize = 262_144;
/// At the bound, this part of it is made free at once.
const SLACK_DIVISOR: usize = 64;

/// How much is remembered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct MemoryLimits {
    /// Number of ids.
    pub(super) ids_max: usize,
    /// Time that an id is remembered, in milliseconds.
    pub(super) age_ms: i64,
}

/// The remembered ids, for their only writer.
#[derive(Debug)]
pub(super) struct Memory {
    limits: MemoryLimits,
    runs: Vec<Arc<Run>>,
    sites: SiteTable,
    /// Ids that were forgotten at the bound, since the start.
    forgotten: u64,
}

/// The remembered ids at one moment, for readers.
#[derive(Clone, Debug, Default)]
pub(super) struct Runs(Vec<Arc<Run>>);

impl Runs {
    /// Returns the sequence of an id.
    pub(super) fn find(&self, id: RepeatId) -> Option<u64> {
        // Most repetitions are young.
        self.0.iter().rev().find_map(|run| run.find(id))
    }
}

impl Memory {
    pub(super) fn new(limits: MemoryLimits) -> Self {
        Self { limits, runs: Vec::new(), sites: SiteTable::default(), forgotten: 0 }
    }

    /// Returns the remembered ids.
    pub(super) fn runs(&self) -> Runs {
        Runs(self.runs.clone())
    }

    /// Returns the number of ids.
    pub(super) fn len(&self) -> usize {
        self.runs.iter().map(|run| run.len()).sum()
    }

    /// Returns the sites with the most ids, and their number of ids.
    pub(super) fn top_sites(&self, count: usize) -> Vec<(Arc<str>, usize)> {
        self.sites.top(count)
    }

    /// Returns how many ids were forgotten at the bound, since the start.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Adds the ids of blocks, in the order of time.
    pub(super) fn add(&mut self, blocks: &[Block]) {
        let mut entries: Vec<Entry> = Vec::new();
        let mut blocks = blocks.iter().peekable();
        while let Some(block) = blocks.next() {
            for stored in &block.ids {
                let site = self.sites.number(&stored.site);
                entries.push(Entry { id: stored.id, sequence: stored.sequence, site });
            }
            let period = self.period(block.newest_ms);
            let next = blocks.peek().map(|next| self.period(next.newest_ms));
            // Many small blocks at once are sorted once.
            if next != Some(period) || entries.len() >= SORTED_MAX {
                let entries = std::mem::take(&mut entries);
                if !entries.is_empty() {
                    self.push(Run::new(period, entries));
                    self.enforce_bound();
                }
            }
        }
    }

    /// Forgets the periods that ended longer ago than ids are remembered.
    pub(super) fn expire(&mut self, now_ms: i64) {
        let last_expired = self.period(now_ms.saturating_sub(self.limits.age_ms)).saturating_sub(1);
        let sites = &mut self.sites;
        self.runs.retain(|run| {
            let is_kept = run.period() > last_expired;
            if !is_kept {
                sites.remove(run);
            }
            is_kept
        });
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.runs.clear();
        self.sites = SiteTable::default();
    }

    fn period(&self, time_ms: i64) -> i64 {
        time_ms.div_euclid((self.limits.age_ms / PERIODS).max(1))
    }

    fn push(&mut self, run: Run) {
        let is_new_period = self.runs.last().is_some_and(|last| last.period() != run.period());
        if is_new_period {
            // The ended period.
            self.merge_last_while(|_, _| true);
        }
        self.sites.add(&run);
        self.runs.push(Arc::new(run));
        self.merge_last_while(|previous, last| previous.len() / 2 < last.len());
    }

    /// Merges the last two runs of the last period while `may_merge` allows it.
    fn merge_last_while(&mut self, may_merge: impl Fn(&Run, &Run) -> bool) {
        while let [.., previous, last] = self.runs.as_slice() {
            if previous.period() != last.period() || !may_merge(previous, last) {
                return;
            }
            let merged = previous.merge(last);
            for replaced in [previous, last] {
                self.sites.remove(replaced);
            }
            self.sites.add(&merged);
            self.runs.truncate(self.runs.len().saturating_sub(2));
            self.runs.push(Arc::new(merged));
        }
    }

    fn enforce_bound(&mut self) {
        let mut ids = self.len();
        while ids > self.limits.ids_max {
            let excess = ids - self.limits.ids_max + self.limits.ids_max / SLACK_DIVISOR;
            let Some(site) = self.sites.largest() else { return };
            let shorter = self.runs.iter_mut().find_map(|run| {
                let (shorter, removed) = run.without_oldest(site, excess)?;
                let replaced = std::mem::replace(run, Arc::new(shorter));
                Some((replaced, Arc::clone(run), removed))
            });
            let Some((replaced, shorter, removed)) = shorter else { return };
            self.sites.remove(&replaced);
            self.sites.add(&shorter);
            self.runs.retain(|run| run.len() > 0);
            ids = ids.saturating_sub(removed);
            self.forgotten = self.forgotten.saturating_add(u64::try_from(removed).unwrap_or(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::block::StoredId;
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    fn id(site: &str, number: u64) -> RepeatId {
        RepeatId::of(&format!("{site}/{number}")).unwrap()
    }

    fn block(site: &str, numbers: std::ops::Range<u64>, newest_ms: i64) -> Block {
        let ids = numbers
            .clone()
            .map(|number| StoredId { id: id(site, number), sequence: number, site: site.into() })
            .collect();
        Block { created_ns: 1, newest_ms, covered: vec![(numbers.start, numbers.end - 1)], ids }
    }

    fn memory(ids_max: usize) -> Memory {
        Memory::new(MemoryLimits { ids_max, age_ms: 24 * HOUR_MS })
    }

    #[test]
    fn an_id_is_remembered_for_the_time_and_at_most_a_twelfth_longer() {
        let mut memory = memory(100_000);
        for hour in 0..100_u64 {
            let now_ms = i64::try_from(hour).unwrap() * HOUR_MS;
            memory.add(&[block("c1", hour * 10..hour * 10 + 10, now_ms)]);
            memory.expire(now_ms);
            let runs = memory.runs();
            for age in 0..=hour {
                let found = runs.find(id("c1", (hour - age) * 10 + 3));
                if age <= 24 {
                    assert_eq!(found, Some((hour - age) * 10 + 3), "hour {hour}, age {age}");
                } else if age > 26 {
                    assert_eq!(found, None, "hour {hour}, age {age}");
                }
            }
            assert!(memory.runs.len() <= 20, "{} runs", memory.runs.len());
        }
        assert_eq!(memory.forgotten(), 0);
        memory.expire(1_000 * HOUR_MS);
        assert_eq!((memory.len(), memory.top_sites(9).len()), (0, 0));
    }

    #[test]
    fn many_small_blocks_become_few_runs() {
        let mut memory = memory(1_000_000);
        for number in 0..5_000 {
            memory.add(&[block("c1", number..number + 1, 5 * HOUR_MS)]);
        }
        assert!(memory.runs.len() <= 14, "{} runs", memory.runs.len());
        assert!((0..5_000).all(|number| memory.runs().find(id("c1", number)) == Some(number)));
    }

    #[test]
    fn blocks_that_are_loaded_at_once_are_remembered_as_if_they_came_one_by_one() {
        let blocks: Vec<Block> = (0..200_u64)
            .map(|n| block("c1", n * 5..n * 5 + 5, i64::try_from(n / 7).unwrap() * HOUR_MS))
            .collect();
        let (mut at_once, mut one_by_one) = (memory(10_000), memory(10_000));
        at_once.add(&blocks);
        for block in &blocks {
            one_by_one.add(std::slice::from_ref(block));
        }
        for memory in [&at_once, &one_by_one] {
            assert!((0..1_000).all(|number| memory.runs().find(id("c1", number)) == Some(number)));
        }
    }

    #[test]
    fn at_the_bound_only_the_site_with_the_most_ids_forgets_its_oldest() {
        let mut memory = memory(10_000);
        for site in 0..50 {
            memory.add(&[block(&format!("small-{site}"), 1..101, HOUR_MS)]);
        }
        for number in 0..100_u64 {
            let now_ms = HOUR_MS + i64::try_from(number).unwrap() * 600_000;
            memory.add(&[block("flood", 1_000 + number * 1_000..2_000 + number * 1_000, now_ms)]);
            assert!(memory.len() <= 10_000);
        }
        let runs = memory.runs();
        for site in 0..50 {
            let name = format!("small-{site}");
            assert!((1..101).all(|number| runs.find(id(&name, number)) == Some(number)), "{name}");
        }
        let kept = (1_000..101_000).filter(|n| runs.find(id("flood", *n)).is_some()).count();
        assert_eq!(memory.forgotten(), 100_000 - kept as u64);
        assert!(kept > 4_500, "{kept}");
        assert!((97_000..101_000).all(|n| runs.find(id("flood", n)) == Some(n)), "the newest");
        assert_eq!(memory.top_sites(1), [("flood".into(), kept)]);
    }

    #[test]
    fn one_site_alone_may_use_the_whole_memory() {
        let mut memory = memory(1_000);
        memory.add(&[block("c1", 0..5_000, 0)]);
        let (runs, len) = (memory.runs(), memory.len());
        assert!(len > 950 && len <= 1_000, "{len}");
        assert!((4_050..5_000).all(|number| runs.find(id("c1", number)) == Some(number)));
    }
}
