//! Queue of timers, at most one per installation, so that its length is bounded by their number.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::InstallationId;

/// Timers by installation, milliseconds since the epoch.
#[derive(Debug, Default)]
pub(crate) struct TimerQueue(Mutex<Timers>);

#[derive(Debug, Default)]
struct Timers {
    by_time: BTreeSet<(i64, InstallationId)>,
    of: HashMap<InstallationId, i64>,
}

impl TimerQueue {
    /// Sets the timer of an installation to `next_ms`; none removes it.
    pub(crate) fn set(&self, id: &InstallationId, next_ms: Option<i64>) {
        let mut moments = self.locked();
        let Timers { by_time, of } = &mut *moments;
        let known_ms = match next_ms {
            Some(next_ms) => of.insert(id.clone(), next_ms),
            None => of.remove(id),
        };
        if let Some(known_ms) = known_ms {
            by_time.remove(&(known_ms, id.clone()));
        }
        by_time.extend(next_ms.map(|next_ms| (next_ms, id.clone())));
    }

    /// Removes and returns an installation whose timer is due.
    pub(crate) fn pop_due(&self, now_ms: i64) -> Option<InstallationId> {
        let mut moments = self.locked();
        moments.by_time.first().filter(|(at_ms, _)| *at_ms <= now_ms)?;
        let (_, id) = moments.by_time.pop_first()?;
        moments.of.remove(&id);
        Some(id)
    }

    /// Returns the earliest timer.
    pub(crate) fn next_ms(&self) -> Option<i64> {
        self.locked().by_time.first().map(|(at_ms, _)| *at_ms)
    }

    fn locked(&self) -> MutexGuard<'_, Timers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_timers_pop_in_order_and_each_installation_once() {
        let timers = TimerQueue::default();
        let (a, b) = (InstallationId::from("a"), InstallationId::from("b"));
        for next_ms in 0..1000 {
            timers.set(&a, Some(next_ms));
        }
        timers.set(&b, Some(5));
        assert_eq!(timers.locked().by_time.len(), 2);
        assert_eq!(timers.next_ms(), Some(5));
        assert_eq!(timers.pop_due(4), None);
        assert_eq!(timers.pop_due(998), Some(b.clone()));
        assert_eq!(timers.pop_due(998), None);
        assert_eq!(timers.pop_due(999), Some(a.clone()));
        timers.set(&a, Some(1));
        timers.set(&a, None);
        assert_eq!(timers.pop_due(i64::MAX), None);
    }
}
