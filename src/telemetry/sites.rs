//! Counters of the events of each site, for a bounded number of sites; those of further ones are counted together.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use foldhash::{HashMap, HashMapExt};

/// Sites that are counted one by one: the first ones with an event.
pub const SITES_COUNTED_MAX: usize = 10_000;

/// Those of the process, whatever worker counts.
static SITES: LazyLock<Sites> = LazyLock::new(|| Sites::new(SITES_COUNTED_MAX));

/// What a site sent, as counted since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SiteActivity {
    /// Events that the broker delivered to this replica for the first time.
    pub events: u64,
    /// Matches of them.
    pub matched: u64,
    /// When the last event was routed, milliseconds since the epoch; 0 = never.
    pub last_event_ms: i64,
}

/// Returns what was counted of a site; none if it is one of those that are counted together, or sent nothing.
#[must_use]
pub fn activity_of(site: &str) -> Option<SiteActivity> {
    SITES.get(site).map(|counters| counters.read())
}

/// Returns what was counted of all sites beyond [`SITES_COUNTED_MAX`]; none if there are none.
#[must_use]
pub fn activity_of_others() -> Option<SiteActivity> {
    Some(SITES.others.read()).filter(|others| others.last_event_ms > 0)
}

#[derive(Debug)]
struct Sites {
    max: usize,
    counted: RwLock<HashMap<Box<str>, Arc<Counters>>>,
    others: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    events: AtomicU64,
    matched: AtomicU64,
    last_event_ms: AtomicI64,
}

impl Sites {
    fn new(max: usize) -> Self {
        Self { max, counted: RwLock::new(HashMap::new()), others: Arc::default() }
    }

    fn get(&self, site: &str) -> Option<Arc<Counters>> {
        let counted = self.counted.read().unwrap_or_else(PoisonError::into_inner);
        counted.get(site).map(Arc::clone)
    }

    /// Returns the counters of a site, which gets its own if there are less than the bound.
    fn admit(&self, site: &str) -> Arc<Counters> {
        if let Some(known) = self.get(site) {
            return known;
        }
        let mut counted = self.counted.write().unwrap_or_else(PoisonError::into_inner);
        if counted.len() >= self.max && !counted.contains_key(site) {
            return Arc::clone(&self.others);
        }
        Arc::clone(counted.entry(site.into()).or_default())
    }
}

impl Counters {
    fn read(&self) -> SiteActivity {
        SiteActivity {
            events: self.events.load(Relaxed),
            matched: self.matched.load(Relaxed),
            last_event_ms: self.last_event_ms.load(Relaxed),
        }
    }
}

/// The counters of sites as one worker keeps them.
#[derive(Debug)]
pub struct SiteCounters {
    sites: &'static Sites,
    known: HashMap<Box<str>, Arc<Counters>>,
}

impl Default for SiteCounters {
    fn default() -> Self {
        Self { sites: &SITES, known: HashMap::new() }
    }
}

impl SiteCounters {
    /// Counts an event of a site with its matches. Allocates only for a site that is new to the worker.
    pub fn count_event(&mut self, site: &str, matches: u64, now_ms: i64) {
        let counters = self.counters(site);
        counters.events.fetch_add(1, Relaxed);
        counters.last_event_ms.store(now_ms, Relaxed);
        add(&counters.matched, matches);
    }

    /// Counts matches of an event that was counted before.
    pub fn count_matches(&mut self, site: &str, matches: u64) {
        add(&self.counters(site).matched, matches);
    }

    fn counters(&mut self, site: &str) -> &Counters {
        if !self.known.contains_key(site) {
            let counters = self.sites.admit(site);
            // A site that has none of its own is not remembered: their number has no bound.
            if Arc::ptr_eq(&counters, &self.sites.others) {
                return &self.sites.others;
            }
            self.known.insert(site.into(), counters);
        }
        self.known.get(site).map_or(&self.sites.others, |known| known)
    }
}

fn add(count: &AtomicU64, number: u64) {
    if number > 0 {
        count.fetch_add(number, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_beyond_the_bound_are_counted_together() {
        let sites: &'static Sites = Box::leak(Box::new(Sites::new(2)));
        let worker = || SiteCounters { sites, known: HashMap::new() };
        let (mut one, mut other) = (worker(), worker());
        one.count_event("a", 3, 10);
        other.count_event("b", 0, 11);
        other.count_event("a", 1, 12);
        other.count_matches("a", 2);
        for number in 0..5 {
            one.count_event(&format!("late-{number}"), 1, 13);
        }
        let read = |site: &str| sites.get(site).map(|counters| counters.read());
        assert_eq!(read("a"), Some(SiteActivity { events: 2, matched: 6, last_event_ms: 12 }));
        assert_eq!(read("b"), Some(SiteActivity { events: 1, matched: 0, last_event_ms: 11 }));
        assert_eq!(read("late-0"), None);
        let others = SiteActivity { events: 5, matched: 5, last_event_ms: 13 };
        assert_eq!(sites.others.read(), others);
        assert_eq!(
            one.known.len(),
            1,
            "a worker remembers no site that has no counters of its own"
        );
    }
}
