//! The sites of remembered ids: a number for each, and how many ids it has.

use std::collections::HashMap;
use std::sync::Arc;

use super::run::{Run, SiteNumber};

/// Site of the ids of all sites beyond the numbers.
const OTHER: &str = "other";
/// Most sites that have a number of their own.
const SITES_MAX: usize = SiteNumber::MAX as usize;

/// The table of sites. Numbers are not used again: a process sees few more sites than exist.
#[derive(Debug)]
pub(super) struct SiteTable {
    numbers: HashMap<Arc<str>, SiteNumber>,
    sites: Vec<Site>,
}

#[derive(Debug)]
struct Site {
    name: Arc<str>,
    ids: usize,
}

impl Default for SiteTable {
    fn default() -> Self {
        let other = Site { name: OTHER.into(), ids: 0 };
        Self { numbers: HashMap::new(), sites: vec![other] }
    }
}

impl SiteTable {
    /// Returns the number of a site, a new one if it has none.
    pub(super) fn number(&mut self, name: &str) -> SiteNumber {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let Ok(number) = SiteNumber::try_from(self.sites.len()) else { return 0 };
        if self.sites.len() >= SITES_MAX {
            return 0;
        }
        let name: Arc<str> = name.into();
        self.numbers.insert(Arc::clone(&name), number);
        self.sites.push(Site { name, ids: 0 });
        number
    }

    /// Counts the ids of a run that was added.
    pub(super) fn add(&mut self, run: &Run) {
        self.change(run, |ids| ids.saturating_add(1));
    }

    /// Counts the ids of a run that was removed.
    pub(super) fn remove(&mut self, run: &Run) {
        self.change(run, |ids| ids.saturating_sub(1));
    }

    fn change(&mut self, run: &Run, change: impl Fn(usize) -> usize) {
        for number in run.sites() {
            if let Some(site) = self.sites.get_mut(usize::from(*number)) {
                site.ids = change(site.ids);
            }
        }
    }

    /// Returns the site with the most ids.
    pub(super) fn largest(&self) -> Option<SiteNumber> {
        let (number, _) = self.sites.iter().enumerate().max_by_key(|(_, site)| site.ids)?;
        SiteNumber::try_from(number).ok()
    }

    /// Returns the sites with the most ids, and their number of ids.
    pub(super) fn top(&self, count: usize) -> Vec<(Arc<str>, usize)> {
        let used = self.sites.iter().filter(|site| site.ids > 0);
        let mut sites: Vec<_> = used.map(|site| (Arc::clone(&site.name), site.ids)).collect();
        sites.sort_unstable_by(|(a, a_ids), (b, b_ids)| b_ids.cmp(a_ids).then(a.cmp(b)));
        sites.truncate(count);
        sites
    }
}
