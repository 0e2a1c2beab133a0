//! What operators see of the memory: metrics, the status of the API, and the log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::memory::{Memory, MemoryLimits};
use super::metrics;
use crate::clock;
use crate::event::{RepeatStatus, SiteRepeats};

/// Interval of the report that the memory is full.
const FULL_INTERVAL: Duration = Duration::from_secs(3600);
/// Sites in the status.
const SITES_LISTED_MAX: usize = 50;

/// Reports on a memory, and each change once.
#[derive(Debug)]
pub(super) struct Reporter {
    limits: MemoryLimits,
    /// Lag from which on repetitions may be stored again.
    behind_max: Duration,
    was_behind: bool,
    full_reported: Option<Instant>,
    reported_forgotten: u64,
}

impl Reporter {
    pub(super) fn new(limits: MemoryLimits, behind_max: Duration) -> Self {
        Self { limits, behind_max, was_behind: false, full_reported: None, reported_forgotten: 0 }
    }

    /// Updates metrics and log, and returns the status. `unread` is how long the first event that is
    /// not remembered has been stored, `silent` how long ago the memory was complete.
    pub(super) fn report(
        &mut self,
        memory: &Memory,
        (unread, silent): (Duration, Duration),
        covered_to: Option<u64>,
    ) -> RepeatStatus {
        // Without answers of the broker it is not known what is stored.
        let behind = if silent > self.behind_max { silent.max(unread) } else { unread };
        metrics::behind(behind);
        let is_behind = behind > self.behind_max;
        if is_behind != std::mem::replace(&mut self.was_behind, is_behind) {
            if is_behind {
                tracing::warn!(
                    ?behind,
                    "ids of stored events are not recorded in time; late repetitions may be stored again"
                );
            } else {
                tracing::info!("ids of stored events are recorded in time again");
            }
        }
        let (ids, forgotten) = (memory.len(), memory.forgotten());
        metrics::remembered(ids, self.limits.ids_max);
        metrics::forgotten(forgotten);
        let sites = memory.top_sites(SITES_LISTED_MAX);
        self.report_full(forgotten, &sites);
        let sites = sites.into_iter().map(|(site, ids)| SiteRepeats { site, ids });
        RepeatStatus {
            ids,
            ids_max: self.limits.ids_max,
            memory_ms: self.limits.age_ms,
            forgotten,
            behind_ms: u64::try_from(behind.as_millis()).unwrap_or(u64::MAX),
            is_behind,
            covered_to,
            sites: sites.collect(),
        }
    }

    fn report_full(&mut self, forgotten: u64, sites: &[(Arc<str>, usize)]) {
        let is_due = self.full_reported.is_none_or(|at| clock::since(at) >= FULL_INTERVAL);
        if forgotten > self.reported_forgotten && is_due {
            self.full_reported = Some(clock::tick());
            self.reported_forgotten = forgotten;
            let (site, ids) = sites.first().map_or(("", 0), |(site, ids)| (site, *ids));
            tracing::warn!(
                forgotten,
                site,
                ids,
                "events.repeat_ids_max ids are remembered; the site with the most forgets its oldest"
            );
        }
    }
}
