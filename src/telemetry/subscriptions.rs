//! Per-subscription series, for a bounded set of failing and busy subscriptions.
//!
//! The operator API has the counters of all subscriptions. The set has hysteresis: without it, two
//! subscriptions of about equal rank would replace each other and both series would have gaps.

use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};

use metrics::{counter, gauge};
use metrics_exporter_prometheus::PrometheusBuilder;

use super::{SubscriptionCounters, names};
use crate::domain::SubscriptionId;

/// A member stays until its rank is this many times the size of the set.
const STAYS_UNTIL_RANK: f64 = 1.25;

/// One subscription and its counters, as read for a scrape.
#[derive(Debug)]
pub struct SubscriptionSample<'a> {
    /// Id of the subscription.
    pub id: &'a SubscriptionId,
    /// Its app.
    pub app: &'a str,
    /// Its counters.
    pub stats: &'a SubscriptionCounters,
}

impl SubscriptionSample<'_> {
    fn failures(&self) -> u64 {
        self.stats.errors.load(Relaxed)
            + self.stats.failed_attempts.load(Relaxed)
            + self.stats.dead.load(Relaxed)
            + self.stats.over_share.load(Relaxed)
    }
}

/// The set of subscriptions that have series, kept between scrapes.
#[derive(Debug)]
pub struct TopSubscriptions {
    size: usize,
    pinned: HashSet<SubscriptionId>,
    members: Mutex<HashSet<SubscriptionId>>,
}

impl TopSubscriptions {
    /// Returns a set of at most `size` subscriptions in addition to the `pinned` ones.
    #[must_use]
    pub fn new(size: usize, pinned: HashSet<SubscriptionId>) -> Self {
        Self { size, pinned, members: Mutex::default() }
    }

    /// Parses `off` or `top:N`, and the ids of pinned subscriptions.
    ///
    /// # Errors
    /// The text is neither, or an id is none; the message names what is expected.
    pub fn parse(setting: &str, pinned: &[String]) -> Result<Self, String> {
        let size = match setting.split_once(':') {
            Some(("top", n)) => n.parse().ok(),
            None if setting == "off" => Some(0),
            _ => None,
        };
        let size = size.ok_or_else(|| {
            format!("metrics.subscriptions = \"{setting}\": expected `off` or `top:N`, such as `top:100`")
        })?;
        let id = |text: &String| {
            SubscriptionId::parse(text).ok_or_else(|| {
                format!(
                    "metrics.pinned: \"{text}\" is no subscription: expected `<installation>/<key>`"
                )
            })
        };
        Ok(Self::new(size, pinned.iter().map(id).collect::<Result<_, _>>()?))
    }

    /// Renders the series of the selected subscriptions in the Prometheus text format;
    /// `not_matched` is called for these only.
    #[must_use]
    pub fn render(
        &self,
        mut samples: Vec<SubscriptionSample<'_>>,
        not_matched: impl Fn(&SubscriptionId) -> Option<u64>,
    ) -> String {
        if self.size == 0 && self.pinned.is_empty() {
            return String::new();
        }
        self.choose(&mut samples);
        // A new recorder for each scrape, so that a subscription that leaves the set leaves no
        // stale series.
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            names::describe_families(names::SUBSCRIPTION_FAMILIES);
            for sample in &samples {
                record(sample, not_matched(sample.id));
            }
        });
        handle.render()
    }

    /// Retains the samples that have series: pinned ones, members that still rank high enough, and
    /// then the others by rank: those that fail most, then the busy ones.
    fn choose(&self, samples: &mut Vec<SubscriptionSample<'_>>) {
        samples.sort_by_cached_key(|sample| {
            let matched = sample.stats.matched.load(Relaxed);
            std::cmp::Reverse((sample.failures(), matched))
        });
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a small positive number by a constant factor"
        )]
        let stay_rank = (self.size as f64 * STAYS_UNTIL_RANK) as usize;
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let mut chosen: HashSet<SubscriptionId> = samples
            .iter()
            .take(stay_rank)
            .map(|sample| sample.id.clone())
            .filter(|id| members.contains(id))
            .take(self.size)
            .collect();
        for sample in samples.iter() {
            if chosen.len() >= self.size {
                break;
            }
            chosen.insert(sample.id.clone());
        }
        samples.retain(|s| chosen.contains(s.id) || self.pinned.contains(s.id));
        *members = chosen;
    }
}

fn record(sample: &SubscriptionSample<'_>, not_matched: Option<u64>) {
    let labels = [
        ("app", sample.app.to_owned()),
        ("installation", sample.id.installation.to_string()),
        ("key", sample.id.key.to_string()),
    ];
    let stats = sample.stats;
    let counts = [
        ("switchyard_subscription_matched_total", stats.matched.load(Relaxed)),
        ("switchyard_subscription_errors_total", stats.errors.load(Relaxed)),
        ("switchyard_subscription_parked_total", stats.parked.load(Relaxed)),
        ("switchyard_subscription_resumed_total", stats.resumed.load(Relaxed)),
        ("switchyard_subscription_over_share_total", stats.over_share.load(Relaxed)),
        ("switchyard_subscription_delivered_total", stats.delivered.load(Relaxed)),
        ("switchyard_subscription_failed_total", stats.failed_attempts.load(Relaxed)),
        ("switchyard_subscription_dead_total", stats.dead.load(Relaxed)),
        ("switchyard_subscription_steps_total", stats.steps.load(Relaxed)),
    ];
    for (name, count) in counts {
        counter!(name, &labels).absolute(count);
    }
    // Unknown if the module was removed since the samples were taken; 0 would be a counter reset.
    if let Some(count) = not_matched {
        counter!("switchyard_subscription_not_matched_total", &labels).absolute(count);
    }
    #[expect(clippy::cast_precision_loss, reason = "milliseconds fit a double for 285,000 years")]
    let last_match_s = stats.last_match_ms.load(Relaxed) as f64 / 1000.0;
    gauge!("switchyard_subscription_last_match_timestamp_seconds", &labels).set(last_match_s);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: usize) -> SubscriptionId {
        SubscriptionId { installation: "i".into(), key: format!("k{n}").into() }
    }

    fn sample<'a>(
        id: &'a SubscriptionId,
        stats: &'a SubscriptionCounters,
    ) -> SubscriptionSample<'a> {
        SubscriptionSample { id, app: "a", stats }
    }

    fn render(
        top: &TopSubscriptions,
        ids: &[SubscriptionId],
        stats: &[SubscriptionCounters],
    ) -> String {
        top.render(ids.iter().zip(stats).map(|(id, stats)| sample(id, stats)).collect(), |_| {
            Some(5)
        })
    }

    #[test]
    fn failing_subscription_has_series_before_busy_ones() {
        let ids: Vec<_> = (0..3).map(id).collect();
        let stats: Vec<SubscriptionCounters> =
            (0..3).map(|_| SubscriptionCounters::default()).collect();
        stats[0].matched.store(100, Relaxed);
        stats[1].matched.store(50, Relaxed);
        stats[2].count_error("boom", 1);
        let text = render(&TopSubscriptions::new(2, HashSet::new()), &ids, &stats);
        assert!(text.contains("key=\"k2\"") && text.contains("key=\"k0\""), "{text}");
        assert!(!text.contains("key=\"k1\""), "{text}");
        assert!(text.contains("switchyard_subscription_not_matched_total"), "{text}");
    }

    #[test]
    fn subscription_that_fails_and_matches_nothing_has_series_before_busy_ones_that_fail_seldom() {
        let ids: Vec<_> = (0..200).map(id).collect();
        let stats: Vec<SubscriptionCounters> =
            (0..200).map(|_| SubscriptionCounters::default()).collect();
        for stats in &stats[1..] {
            stats.matched.store(1_000_000, Relaxed);
            stats.failed_attempts.store(1, Relaxed);
        }
        stats[0].errors.store(9, Relaxed);
        let text = render(&TopSubscriptions::new(100, HashSet::new()), &ids, &stats);
        assert!(text.contains("key=\"k0\""), "{text}");
    }

    #[test]
    fn member_stays_while_it_ranks_near_the_top() {
        let ids: Vec<_> = (0..5).map(id).collect();
        let stats: Vec<SubscriptionCounters> =
            (0..5).map(|_| SubscriptionCounters::default()).collect();
        for (n, stats) in stats.iter().enumerate() {
            stats.matched.store(100 - n as u64, Relaxed);
        }
        let top = TopSubscriptions::new(4, HashSet::new());
        assert!(!render(&top, &ids, &stats).contains("key=\"k4\""));
        stats[4].matched.store(98, Relaxed);
        let text = render(&top, &ids, &stats);
        assert!(text.contains("key=\"k3\"") && !text.contains("key=\"k4\""), "{text}");
    }

    #[test]
    fn pinned_subscription_has_series_whatever_its_rank() {
        let ids: Vec<_> = (0..2).map(id).collect();
        let stats: Vec<SubscriptionCounters> =
            (0..2).map(|_| SubscriptionCounters::default()).collect();
        stats[0].matched.store(9, Relaxed);
        let top = TopSubscriptions::parse("top:1", &["i/k1".into()]).unwrap();
        let text = render(&top, &ids, &stats);
        assert!(text.contains("key=\"k0\"") && text.contains("key=\"k1\""), "{text}");
    }

    #[test]
    fn setting_is_off_or_top_n() {
        assert!(
            TopSubscriptions::parse("off", &[]).unwrap().render(Vec::new(), |_| None).is_empty()
        );
        assert!(TopSubscriptions::parse("all", &[]).is_err());
        let error = TopSubscriptions::parse("off", &["no-key".into()]).unwrap_err();
        assert!(error.contains("\"no-key\" is no subscription"), "{error}");
    }
}
