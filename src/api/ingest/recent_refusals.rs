//! Refusals of one site by reason, with the time since when they are counted.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock;
use crate::domain::CloudId;

/// Time without a refusal after which a site counts as recovered, in milliseconds. Jira repeats a refused
/// webhook after up to 15 minutes.
pub(super) const RECOVERED_AFTER_MS: i64 = 15 * 60 * 1000;
/// Sites whose refused events are counted.
const SITES_MAX: usize = 1_000;

/// What of a site is being refused, or was until it recovered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefusedSite {
    /// The site.
    pub site: CloudId,
    /// The first refusal since the site last recovered, milliseconds since the epoch.
    pub since_ms: i64,
    /// The last refusal.
    pub last_ms: i64,
    /// Number of refusals since then by reason, those that occurred.
    pub reasons: Vec<(&'static str, u64)>,
}

/// Refusals of a site since it last recovered. Reasons are from a closed set.
#[derive(Debug, Default)]
pub(super) struct RecentRefusals {
    since_ms: i64,
    last_ms: i64,
    by_reason: BTreeMap<&'static str, u64>,
}

impl RecentRefusals {
    pub(super) fn add(&mut self, reason: &'static str, now_ms: i64) {
        if self.has_recovered(now_ms) {
            *self = Self { since_ms: now_ms, ..Self::default() };
        }
        self.last_ms = now_ms;
        let count = self.by_reason.entry(reason).or_default();
        *count = count.saturating_add(1);
    }

    pub(super) fn has_recovered(&self, now_ms: i64) -> bool {
        now_ms.saturating_sub(self.last_ms) > RECOVERED_AFTER_MS
    }

    pub(super) fn view(&self, site: &CloudId) -> RefusedSite {
        let Self { since_ms, last_ms, .. } = *self;
        let reasons = self.by_reason.iter().map(|(reason, count)| (*reason, *count)).collect();
        RefusedSite { site: site.clone(), since_ms, last_ms, reasons }
    }
}

/// Refused events of `POST /admin/v1/events` by site and code.
#[derive(Debug, Default)]
pub(super) struct RefusedEvents(Mutex<HashMap<CloudId, RecentRefusals>>);

impl RefusedEvents {
    pub(super) fn count(&self, site: &CloudId, code: &'static str) {
        let now_ms = clock::now_ms();
        let mut sites = self.lock();
        if let Some(recent) = sites.get_mut(site) {
            recent.add(code, now_ms);
            return;
        }
        if sites.len() >= SITES_MAX {
            sites.retain(|_, recent| !recent.has_recovered(now_ms));
        }
        if sites.len() < SITES_MAX {
            sites.entry(site.clone()).or_default().add(code, now_ms);
        }
    }

    pub(super) fn of(&self, site: &CloudId) -> Option<RefusedSite> {
        self.lock().get(site).map(|recent| recent.view(site))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CloudId, RecentRefusals>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_events_are_counted_for_a_bounded_number_of_sites() {
        let refused = RefusedEvents::default();
        for site in 0..SITES_MAX + 5 {
            refused.count(&format!("s{site}").into(), "SY-1002");
        }
        refused.count(&"s7".into(), "SY-1003");
        assert_eq!(refused.lock().len(), SITES_MAX);
        let found = refused.of(&"s7".into()).unwrap();
        assert_eq!(found.reasons, [("SY-1002", 1), ("SY-1003", 1)]);
        assert!(found.since_ms > 0 && found.since_ms <= found.last_ms);
        assert_eq!(refused.of(&format!("s{SITES_MAX}").into()), None);
    }
}
