//! What a backtest counts. Pure.

use std::collections::{BTreeMap, VecDeque};

use switchyard_expr::Verdict;

use crate::matcher::{TriggerDecision, UnmetCondition};

/// Samples of one kind: the newest ones.
const SAMPLES_MAX: usize = 10;

/// What the filter would have done. Each event that was read is in exactly one of `unreadable`,
/// `of_other_sites`, `of_other_types`, `without_licence`, `of_itself`, `matched`, `not_matched` and `failed`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BacktestCounts {
    /// Events that were read.
    pub events: u64,
    /// Those that are not decoded; a router dead-letters them.
    pub unreadable: u64,
    /// Those that name another site than their address does.
    pub of_other_sites: u64,
    /// Those of types that it is not for.
    pub of_other_types: u64,
    /// Those that the condition `appIsLicensed` leaves out.
    pub without_licence: u64,
    /// Those that `ignoreSelf` leaves out.
    pub of_itself: u64,
    /// Those for which it is true, or which no filter is for.
    pub matched: u64,
    /// Those for which it is false.
    pub not_matched: u64,
    /// Those on which it ends in an error.
    pub failed: u64,
    /// How many of those `onError` delivers nevertheless.
    pub delivered_on_error: u64,
    /// Errors by kind.
    pub errors: BTreeMap<&'static str, u64>,
    /// Steps of its evaluations.
    pub steps: StepCounts,
    /// Events that it would deliver and the current filter would not.
    pub gained: u64,
    /// Events that the current filter would deliver and it would not.
    pub lost: u64,
    /// Events that both would deliver.
    pub kept: u64,
    /// Events that matched, failed, and differ.
    pub samples: SampledEvents,
}

/// Sequences of some events, the newest ones, oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SampledEvents {
    /// Events for which the filter is true.
    pub matched: VecDeque<u64>,
    /// Events on which it ends in an error.
    pub failed: VecDeque<u64>,
    /// See [`BacktestCounts::gained`].
    pub gained: VecDeque<u64>,
    /// See [`BacktestCounts::lost`].
    pub lost: VecDeque<u64>,
}

impl BacktestCounts {
    /// Events that the filter would have delivered.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.matched + self.delivered_on_error
    }

    /// Counts an event that is not decoded.
    pub(super) fn add_unreadable(&mut self) {
        self.events += 1;
        self.unreadable += 1;
    }

    /// Counts an event that is routed at another site.
    pub(super) fn add_of_other_site(&mut self) {
        self.events += 1;
        self.of_other_sites += 1;
    }

    /// Counts an event with the decision of the filter, its steps, and whether the current filter would
    /// deliver; none without a current filter.
    pub(super) fn add(
        &mut self,
        sequence: u64,
        (decision, steps): (&TriggerDecision, u64),
        current: Option<bool>,
    ) {
        self.events += 1;
        match decision {
            TriggerDecision::NotSubscribed => self.of_other_types += 1,
            TriggerDecision::Ignored(UnmetCondition::Licence) => self.without_licence += 1,
            TriggerDecision::Ignored(UnmetCondition::IgnoreSelf) => self.of_itself += 1,
            TriggerDecision::NoExpression => {
                self.matched += 1;
                sample(&mut self.samples.matched, sequence);
            }
            TriggerDecision::Evaluated { verdict, on_error, .. } => {
                self.steps.add(steps);
                match verdict {
                    Verdict::Match => {
                        self.matched += 1;
                        sample(&mut self.samples.matched, sequence);
                    }
                    Verdict::NoMatch => self.not_matched += 1,
                    Verdict::Failed(error) => {
                        self.failed += 1;
                        self.delivered_on_error += u64::from(on_error.delivers());
                        *self.errors.entry(error.kind().as_str()).or_default() += 1;
                        sample(&mut self.samples.failed, sequence);
                    }
                }
            }
        }
        match (decision.is_delivered(), current) {
            (true, Some(true)) => self.kept += 1,
            (true, Some(false)) => {
                self.gained += 1;
                sample(&mut self.samples.gained, sequence);
            }
            (false, Some(true)) => {
                self.lost += 1;
                sample(&mut self.samples.lost, sequence);
            }
            (false, Some(false)) | (_, None) => {}
        }
    }
}

fn sample(samples: &mut VecDeque<u64>, sequence: u64) {
    if samples.len() == SAMPLES_MAX {
        samples.pop_front();
    }
    samples.push_back(sequence);
}

/// How many evaluations took how many steps. As many entries as there are different costs, which the step
/// budget of an evaluation bounds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StepCounts {
    evaluations: BTreeMap<u64, u64>,
}

impl StepCounts {
    fn add(&mut self, steps: u64) {
        *self.evaluations.entry(steps).or_default() += 1;
    }

    /// Number of evaluations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.evaluations.values().sum()
    }

    /// Steps of all evaluations.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.evaluations.iter().fold(0, |sum, (steps, count)| sum + steps * count)
    }

    /// Steps of the costliest evaluation; none without one.
    #[must_use]
    pub fn max(&self) -> Option<u64> {
        self.evaluations.keys().next_back().copied()
    }

    /// Steps that `percent` of the evaluations do not exceed; none without an evaluation.
    #[must_use]
    pub fn percentile(&self, percent: u64) -> Option<u64> {
        let wanted = (self.count() * percent).div_ceil(100);
        let mut seen = 0;
        self.evaluations.iter().find_map(|(steps, count)| {
            seen += count;
            (seen >= wanted).then_some(*steps)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_exact() {
        let mut steps = StepCounts::default();
        assert_eq!((steps.percentile(50), steps.max(), steps.total()), (None, None, 0));
        (1..=100).rev().for_each(|cost| steps.add(cost));
        assert_eq!((steps.percentile(50), steps.percentile(99)), (Some(50), Some(99)));
        assert_eq!((steps.max(), steps.count(), steps.total()), (Some(100), 100, 5_050));
        let mut one = StepCounts::default();
        one.add(7);
        assert_eq!((one.percentile(1), one.percentile(99)), (Some(7), Some(7)));
    }

    #[test]
    fn newest_samples_are_kept_oldest_first() {
        let mut counts = BacktestCounts::default();
        for sequence in 1..=25 {
            counts.add(sequence, (&TriggerDecision::NoExpression, 0), Some(sequence % 2 == 0));
        }
        assert_eq!(counts.samples.matched, (16..=25).collect::<VecDeque<_>>());
        assert_eq!(counts.samples.gained, [7, 9, 11, 13, 15, 17, 19, 21, 23, 25]);
        assert_eq!((counts.gained, counts.kept, counts.lost), (13, 12, 0));
        assert_eq!((counts.delivered(), counts.steps.count()), (25, 0));
    }
}
