//! Drops by owner, for a bounded number of named owners. Pure.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use metrics::counter;
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::telemetry::{LogBudget, names};

/// Maximum number of owners with a series of their own.
const NAMED_MAX: usize = names::OWNERS_MAX;
/// Maximum number of owners that are counted one by one.
const COUNTED_MAX: usize = 1_000;
/// Value of both labels of the drops without a series of their own.
const OTHER: &str = "other";

impl Default for Count {
    fn default() -> Self {
        Self { drops: 0, log: LogBudget::one_a_minute(), own_series: None }
    }
}

/// Drops of an owner beyond its share. At most [`NAMED_MAX`] owners with most drops have series;
/// the drops of others are counted together.
#[derive(Debug, Default)]
pub struct DropsByOwner {
    counts: Mutex<Counts>,
    /// Of all owners together.
    log: LogBudget,
}

#[derive(Debug, Default)]
struct Counts {
    /// By app and installation.
    owners: HashMap<(Box<str>, Box<str>), Count>,
    other: u64,
}

#[derive(Debug)]
struct Count {
    drops: u64,
    log: LogBudget,
    /// The drops in its own series, if it has one: those since it got it. Earlier ones stay in `other`,
    /// and a series that ends is added there, so that the series together count each drop once.
    own_series: Option<u64>,
}

impl DropsByOwner {
    /// Counts a drop. Returns the number of log lines that were suppressed since the last one if one
    /// may be written now: one a minute for each owner.
    pub fn count(&self, app: &str, installation: &str) -> Option<u64> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.count(app, installation) {
            Some(owner) => owner.log.take_of(&self.log),
            None => self.log.take(),
        }
    }

    /// Renders the series in the Prometheus text format.
    #[must_use]
    pub fn render(&self) -> String {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.owners.is_empty() {
            return String::new();
        }
        // A new recorder, so that an owner that loses its series leaves no stale one.
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            names::describe_families(names::OWNER_FAMILIES);
            let series = |app: &str, installation: &str, drops| {
                let labels = [("app", app.to_owned()), ("installation", installation.to_owned())];
                counter!("switchyard_share_exceeded_total", &labels).absolute(drops);
            };
            for ((app, installation), count) in &counts.owners {
                if let Some(drops) = count.own_series {
                    series(app, installation, drops);
                }
            }
            if counts.other > 0 {
                series(OTHER, OTHER, counts.other);
            }
        });
        recorder.handle().render()
    }
}

impl Counts {
    /// Counts a drop and returns its owner; none if too many are counted one by one.
    fn count(&mut self, app: &str, installation: &str) -> Option<&Count> {
        let key = (Box::from(app), Box::from(installation));
        if self.owners.len() >= COUNTED_MAX && !self.owners.contains_key(&key) {
            self.other = self.other.saturating_add(1);
            return None;
        }
        self.count_one(&key);
        self.owners.get(&key)
    }

    fn count_one(&mut self, key: &(Box<str>, Box<str>)) {
        let named = self.owners.iter().filter(|(_, count)| count.own_series.is_some());
        let full = named.clone().count() >= NAMED_MAX;
        let rival = named.min_by_key(|(_, count)| count.drops).filter(|_| full);
        let rival = rival.map(|(key, count)| (key.clone(), count.drops));
        let own = self.owners.entry(key.clone()).or_default();
        own.drops = own.drops.saturating_add(1);
        if let Some(drops) = &mut own.own_series {
            *drops = drops.saturating_add(1);
            return;
        }
        match rival {
            None => own.own_series = Some(1),
            // Twice as many: two owners of about equal rank do not replace each other.
            Some((rival, drops)) if own.drops > drops.saturating_mul(2) => {
                own.own_series = Some(1);
                let rival = self.owners.get_mut(&rival).and_then(|count| count.own_series.take());
                self.other = self.other.saturating_add(rival.unwrap_or_default());
            }
            Some(_) => self.other = self.other.saturating_add(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_with_most_drops_have_series_and_the_rest_is_other() {
        let drops = DropsByOwner::default();
        for owner in 0..NAMED_MAX {
            let _log = drops.count("app", &format!("i{owner}"));
        }
        for _ in 0..3 {
            let _log = drops.count("app", "busy");
        }
        let text = drops.render();
        // The third drop of the busy owner is the first in its own series; the series that it replaced
        // is among the others.
        assert!(text.contains(r#"{app="app",installation="busy"} 1"#), "{text}");
        assert!(text.contains(r#"{app="other",installation="other"} 3"#), "{text}");
        let series: Vec<u64> = text
            .lines()
            .filter(|line| line.starts_with("switchyard_share"))
            .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
            .collect();
        assert_eq!(series.len(), NAMED_MAX + 1, "{text}");
        assert_eq!(
            series.iter().sum::<u64>(),
            NAMED_MAX as u64 + 3,
            "each drop counts once: {text}"
        );
    }

    #[test]
    fn owners_beyond_the_bound_are_counted_together() {
        let drops = DropsByOwner::default();
        for owner in 0..COUNTED_MAX + 5 {
            let _log = drops.count("app", &format!("i{owner}"));
        }
        let counts = drops.counts.lock().unwrap();
        assert_eq!(counts.owners.len(), COUNTED_MAX);
        let named: u64 = counts.owners.values().filter_map(|count| count.own_series).sum();
        assert_eq!(named + counts.other, (COUNTED_MAX + 5) as u64);
    }
}
