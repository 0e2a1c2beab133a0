//! Bounds the subjects of webhooks that map to no event, whose names their senders make up.
//!
//! The broker keeps about 400 bytes of memory for each subject that has a stored event. So only the
//! first names of a site are part of a subject of their own; events of further names are stored under
//! [`unmapped::OTHER`]. Nothing else depends on that: the name of an event is its header `ce-type`,
//! by which subscriptions match it.
//!
//! A replica reads the names that are stored already, so the bound outlives restarts. Two replicas
//! may each give the last places to different names.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;

use super::metrics;
use super::subjects::event_type_token;
use super::unmapped_webhooks::UnmappedWebhookCounts;
use crate::clock;
use crate::domain::{CloudId, EventType};
use crate::event::unmapped;

/// Names of one site with a subject of their own.
const SITE_NAMES_MAX: usize = 200;
/// Names of all sites with a subject of their own: 100 sites may use all of theirs.
const NAMES_MAX: usize = 20_000;
/// Sites whose names are known at once; the names of further ones are stored as others.
const SITES_MAX: usize = 10_000;
/// How long the names of a site are used before they are read again: names whose events were deleted
/// make room.
const NAMES_LIFE: Duration = Duration::from_secs(3600);
/// How long an event waits for the names of its site. Without an answer, known names decide.
const READ_WAIT: Duration = Duration::from_secs(2);

/// Decides which unmapped names have a subject of their own.
#[derive(Debug)]
pub(super) struct UnmappedSubjects {
    counts: UnmappedWebhookCounts,
    table: Mutex<NameTable>,
}

impl UnmappedSubjects {
    /// Reads the stored names with `counts`.
    pub(super) fn new(counts: UnmappedWebhookCounts) -> Self {
        Self { counts, table: Mutex::default() }
    }

    /// Returns the event type in the subject of an event, one token.
    pub(super) async fn subject_type<'e>(
        &self,
        site: &CloudId,
        event_type: &'e EventType,
    ) -> Cow<'e, str> {
        let token = event_type_token(event_type);
        if !token.starts_with(unmapped::PREFIX) {
            return token;
        }
        let loaded = self.with_table(|table| table.site(site, clock::tick()));
        if let Some(loaded) = loaded {
            // No lock is held, and a request that is dropped lets the next one read.
            let _ = tokio::time::timeout(READ_WAIT, loaded.get_or_init(|| self.load(site))).await;
        }
        if self.with_table(|table| table.admits(site, &token)) {
            return token;
        }
        metrics::stored_as_other_name();
        Cow::Borrowed(unmapped::OTHER)
    }

    /// Reads the names of a site that are stored.
    async fn load(&self, site: &CloudId) {
        match self.counts.stored_names(site).await {
            Ok(stored) => self.with_table(|table| {
                for name in stored.names.keys() {
                    table.admits(site, &format!("{}{name}", unmapped::PREFIX));
                }
            }),
            Err(error) => tracing::debug!(%error, %site, "names of unmapped webhooks not read"),
        }
    }

    fn with_table<T>(&self, change: impl FnOnce(&mut NameTable) -> T) -> T {
        change(&mut self.table.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The names with a subject of their own, by site.
#[derive(Debug, Default)]
struct NameTable {
    sites: HashMap<CloudId, SiteNames>,
    /// Names of all sites.
    names: usize,
}

#[derive(Debug)]
struct SiteNames {
    since: Instant,
    names: HashSet<Box<str>>,
    /// Set once the stored names are known.
    loaded: Arc<OnceCell<()>>,
}

impl NameTable {
    /// Returns whether the stored names of a site are loaded, and forgets names that are too old.
    /// `None` if too many sites are known.
    fn site(&mut self, site: &CloudId, now: Instant) -> Option<Arc<OnceCell<()>>> {
        if self.sites.get(site).is_some_and(|known| known.is_expired(now)) {
            self.remove(|name, _| name == site);
        }
        if !self.sites.contains_key(site) && self.sites.len() >= SITES_MAX {
            self.remove(|_, known| known.is_expired(now));
            if self.sites.len() >= SITES_MAX {
                return None;
            }
        }
        let known = self.sites.entry(site.clone()).or_insert_with(|| SiteNames {
            since: now,
            names: HashSet::new(),
            loaded: Arc::default(),
        });
        Some(Arc::clone(&known.loaded))
    }

    /// Whether an event type of a site has a subject of its own, which it keeps.
    fn admits(&mut self, site: &CloudId, event_type: &str) -> bool {
        let Some(known) = self.sites.get_mut(site) else { return false };
        if event_type == unmapped::OTHER || known.names.contains(event_type) {
            return true;
        }
        if known.names.len() >= SITE_NAMES_MAX || self.names >= NAMES_MAX {
            return false;
        }
        self.names += 1;
        known.names.insert(event_type.into())
    }

    fn remove(&mut self, is_removed: impl Fn(&CloudId, &SiteNames) -> bool) {
        self.sites.retain(|site, known| {
            let is_kept = !is_removed(site, known);
            if !is_kept {
                self.names = self.names.saturating_sub(known.names.len());
            }
            is_kept
        });
    }
}

impl SiteNames {
    fn is_expired(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= NAMES_LIFE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(table: &mut NameTable, site: &str, count: usize) -> usize {
        let site = CloudId::from(site);
        table.site(&site, clock::tick());
        (0..count).filter(|number| table.admits(&site, &format!("webhook:{number}"))).count()
    }

    #[test]
    fn a_site_has_a_bounded_number_of_names_and_keeps_those_it_has() {
        let mut table = NameTable::default();
        assert_eq!(admitted(&mut table, "c1", 1_000), SITE_NAMES_MAX);
        assert_eq!(admitted(&mut table, "c1", 1_000), SITE_NAMES_MAX, "the same names");
        assert!(table.admits(&"c1".into(), unmapped::OTHER));
        assert_eq!(table.names, SITE_NAMES_MAX);
        assert_eq!(admitted(&mut table, "c2", 3), 3, "another site");
    }

    #[test]
    fn all_sites_together_are_bounded() {
        let mut table = NameTable::default();
        let admitted: usize =
            (0..300).map(|site| admitted(&mut table, &format!("c{site}"), 210)).sum();
        assert_eq!((admitted, table.names), (NAMES_MAX, NAMES_MAX));
        let now = clock::tick();
        for number in 0..SITES_MAX + 10 {
            table.site(&format!("s{number}").as_str().into(), now);
        }
        assert_eq!(table.sites.len(), SITES_MAX);
        assert!(!table.admits(&format!("s{}", SITES_MAX + 5).as_str().into(), "webhook:a"));
    }

    #[test]
    fn names_are_read_again_after_their_life() {
        let mut table = NameTable::default();
        let (site, now) = (CloudId::from("c1"), clock::tick());
        let first = table.site(&site, now).unwrap();
        first.set(()).unwrap();
        assert_eq!(admitted(&mut table, "c1", 1_000), SITE_NAMES_MAX);
        assert!(table.site(&site, now).unwrap().initialized());
        let later = table.site(&site, now + NAMES_LIFE).unwrap();
        assert_eq!((later.initialized(), table.names), (false, 0));
        assert!(table.admits(&site, "webhook:new"));
    }
}
