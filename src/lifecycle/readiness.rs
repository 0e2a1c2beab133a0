//! Readiness: which checks of the broker fail since when, and what is to be created again. Pure.

use crate::bus::broker_probe::{Check, Observation};

/// Consecutive rounds in which an object is missing before it is created again. A single answer may come from a
/// server that has not caught up.
const MISSING_ROUNDS: u32 = 2;
/// Pause between two attempts to create missing objects, in milliseconds.
const REPAIR_PAUSE_MS: i64 = 5_000;

/// The state of all checks.
#[derive(Debug)]
pub(super) struct Readiness {
    states: Vec<CheckState>,
    repaired_ms: Option<i64>,
}

/// The state of one check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct CheckState {
    pub(super) check: Check,
    pub(super) observation: Observation,
    /// When the observation changed last.
    pub(super) since_ms: i64,
    /// Consecutive rounds with this observation.
    rounds: u32,
}

/// What a round calls for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Repair {
    /// Streams and consumers to be created again.
    pub(super) missing: Vec<Check>,
}

impl Readiness {
    /// Returns the state before the first round: nothing passed.
    pub(super) fn new(now_ms: i64) -> Self {
        let states = Check::ALL.map(|check| CheckState {
            check,
            observation: Observation::NotChecked,
            since_ms: now_ms,
            rounds: 0,
        });
        Self { states: states.into(), repaired_ms: None }
    }

    /// Records the results of a round at `now_ms`; returns what must be created again now.
    pub(super) fn step(&mut self, results: &[(Check, Observation)], now_ms: i64) -> Repair {
        for state in &mut self.states {
            let found = results.iter().find(|(check, _)| *check == state.check);
            let observation =
                found.map_or(Observation::NotChecked, |(_, observation)| *observation);
            if observation == state.observation {
                state.rounds = state.rounds.saturating_add(1);
            } else {
                *state = CheckState { observation, since_ms: now_ms, rounds: 1, ..*state };
            }
        }
        let is_too_early =
            self.repaired_ms.is_some_and(|at| now_ms.saturating_sub(at) < REPAIR_PAUSE_MS);
        if is_too_early {
            return Repair::default();
        }
        let is_lost = |state: &&CheckState| {
            state.observation == Observation::Missing
                && state.rounds >= MISSING_ROUNDS
                && is_created_by_us(state.check)
        };
        let missing: Vec<Check> =
            self.states.iter().filter(is_lost).map(|state| state.check).collect();
        if !missing.is_empty() {
            self.repaired_ms = Some(now_ms);
        }
        Repair { missing }
    }

    /// Returns the state of every check.
    pub(super) fn states(&self) -> &[CheckState] {
        &self.states
    }

    /// Whether every check passed in the last round.
    pub(super) fn is_ready(&self) -> bool {
        self.states.iter().all(|state| state.observation == Observation::Passed)
    }
}

impl CheckState {
    /// Whether an operator must know of it. A check that was not made says nothing; the broker's own check fails
    /// then.
    pub(super) fn is_failing(&self) -> bool {
        matches!(self.observation, Observation::Missing | Observation::Unavailable)
    }
}

/// Whether a missing object is created again. The bucket of the registry is not: an empty one would remove all
/// subscriptions of every replica, and their events would be acknowledged without a delivery. The replicas keep
/// the registry in memory until an operator restores the bucket.
fn is_created_by_us(check: Check) -> bool {
    check != Check::Registry
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_but(failing: &[(Check, Observation)]) -> Vec<(Check, Observation)> {
        let passed = Check::ALL.map(|check| (check, Observation::Passed));
        let mut results = passed.to_vec();
        for (check, observation) in failing {
            results.iter_mut().filter(|(at, _)| at == check).for_each(|at| at.1 = *observation);
        }
        results
    }

    fn failing(readiness: &Readiness) -> Vec<(Check, i64)> {
        let states = readiness.states().iter().filter(|state| state.is_failing());
        states.map(|state| (state.check, state.since_ms)).collect()
    }

    #[test]
    fn ready_only_after_a_round_in_which_all_checks_passed() {
        let mut readiness = Readiness::new(0);
        assert!(!readiness.is_ready());
        readiness.step(&all_but(&[]), 10);
        assert!(readiness.is_ready());
        for check in Check::ALL {
            readiness.step(&all_but(&[(check, Observation::Unavailable)]), 20);
            assert!(!readiness.is_ready());
            assert_eq!(failing(&readiness), [(check, 20)]);
            readiness.step(&all_but(&[]), 30);
            assert!(readiness.is_ready(), "ready again by itself");
        }
    }

    #[test]
    fn broker_without_an_answer_fails_alone_and_keeps_its_time() {
        let mut readiness = Readiness::new(0);
        readiness.step(&all_but(&[]), 10);
        for now_ms in [20, 30, 40] {
            let repair = readiness.step(&[(Check::Broker, Observation::Unavailable)], now_ms);
            assert_eq!(repair, Repair::default());
            assert_eq!(failing(&readiness), [(Check::Broker, 20)]);
            assert!(!readiness.is_ready());
        }
    }

    #[test]
    fn missing_objects_are_created_again_after_two_rounds_and_not_too_often() {
        let mut readiness = Readiness::new(0);
        let lost = all_but(&[
            (Check::Events, Observation::Missing),
            (Check::RouterConsumer, Observation::Missing),
        ]);
        assert_eq!(readiness.step(&lost, 0), Repair::default());
        let missing = vec![Check::Events, Check::RouterConsumer];
        assert_eq!(readiness.step(&lost, 1_000), Repair { missing: missing.clone() });
        for now_ms in [2_000, 3_000, 999 + REPAIR_PAUSE_MS] {
            assert_eq!(readiness.step(&lost, now_ms), Repair::default());
        }
        assert_eq!(readiness.step(&lost, 1_000 + REPAIR_PAUSE_MS), Repair { missing });
    }

    #[test]
    fn bucket_of_the_registry_is_never_replaced_by_an_empty_one() {
        let mut readiness = Readiness::new(0);
        let lost = all_but(&[(Check::Registry, Observation::Missing)]);
        for now_ms in (0..100_000).step_by(1_000) {
            assert_eq!(readiness.step(&lost, now_ms), Repair::default());
        }
        assert!(!readiness.is_ready());
    }

    #[test]
    fn answer_of_one_server_that_has_not_caught_up_creates_nothing() {
        let mut readiness = Readiness::new(0);
        for now_ms in (0..100_000).step_by(2_000) {
            let repair = readiness.step(&all_but(&[(Check::Events, Observation::Missing)]), now_ms);
            assert_eq!(repair, Repair::default());
            readiness.step(&all_but(&[(Check::Events, Observation::Unavailable)]), now_ms + 1_000);
        }
    }
}
