//! Runs many seeds, and shrinks a scenario that breaks an invariant.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::thread;

use crate::ledger::Violation;
use crate::mutation::Mutation;
use crate::scenario::Scenario;
use crate::world::{self, Outcome};

/// Lines of the trace that a failure prints.
const TRACE_LINES: usize = 60;
/// Runs that shrinking may take.
const SHRINK_RUNS: usize = 2_000;

/// The first seed that broke an invariant.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) seed: u64,
    pub(crate) violation: Violation,
}

/// Figures of a campaign.
#[derive(Debug)]
pub(crate) struct Campaign {
    pub(crate) failure: Option<Failure>,
    pub(crate) steps: u64,
    pub(crate) attempts: u64,
    /// Longest time until the first attempt at a quick handler on a day when others fail.
    pub(crate) longest_wait_ms: i64,
}

/// Runs the seeds `0..seeds` on all cores, up to the first failure.
pub(crate) fn run_seeds(seeds: u64, mutation: Option<Mutation>) -> Campaign {
    let (next, steps, attempts) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let (failed_at, longest_wait_ms) = (AtomicU64::new(u64::MAX), AtomicI64::new(0));
    let work = || {
        let mut failure: Option<Failure> = None;
        loop {
            let seed = next.fetch_add(1, Relaxed);
            if seed >= seeds || seed > failed_at.load(Relaxed) {
                return failure;
            }
            let outcome = world::run(&Scenario::of(seed), mutation, false);
            steps.fetch_add(outcome.steps, Relaxed);
            attempts.fetch_add(u64::from(outcome.attempts), Relaxed);
            longest_wait_ms.fetch_max(outcome.longest_wait, Relaxed);
            if let Some(violation) = outcome.violation {
                failed_at.fetch_min(seed, Relaxed);
                failure = Some(Failure { seed, violation });
            }
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut failures: Vec<Failure> = thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, Option<Failure>>| {
            worker.join().expect("panics of a run are caught")
        };
        workers.into_iter().filter_map(join).collect()
    });
    failures.sort_by_key(|failure| failure.seed);
    let failure = failures.into_iter().next();
    Campaign {
        failure,
        steps: steps.into_inner(),
        attempts: attempts.into_inner(),
        longest_wait_ms: longest_wait_ms.into_inner(),
    }
}

/// Returns the positions of the entries that are enough to break the same invariant.
pub(crate) fn shrink(
    scenario: &Scenario,
    mutation: Option<Mutation>,
    invariant: &str,
) -> Vec<usize> {
    let mut kept: Vec<usize> = (0..scenario.entries.len()).collect();
    let mut runs = 0;
    let mut chunk = kept.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        let mut removed = false;
        while at < kept.len() && runs < SHRINK_RUNS {
            let mut fewer = kept.clone();
            fewer.drain(at..(at + chunk).min(kept.len()));
            runs += 1;
            let outcome = world::run(&scenario.keeping(&fewer), mutation, false);
            if outcome.violation.is_some_and(|found| found.invariant == invariant) {
                kept = fewer;
                removed = true;
            } else {
                at += chunk;
            }
        }
        if chunk == 1 && !removed || runs >= SHRINK_RUNS {
            return kept;
        }
        chunk = (chunk / 2).max(1);
    }
}

/// Returns a report of a failure: the smallest scenario, its trace, and how to keep it as a test.
pub(crate) fn report(failure: &Failure, mutation: Option<Mutation>) -> String {
    let scenario = Scenario::of(failure.seed);
    let kept = shrink(&scenario, mutation, failure.violation.invariant);
    let smallest = scenario.keeping(&kept);
    let Outcome { violation, trace, .. } = world::run(&smallest, mutation, true);
    let entries: Vec<String> = smallest.entries.iter().map(ToString::to_string).collect();
    let periods: Vec<String> = smallest.periods.iter().map(|of| format!("  {of:?}")).collect();
    let triggers: Vec<String> = smallest.triggers.iter().map(|of| format!("  {of:?}")).collect();
    let from = trace.len().saturating_sub(TRACE_LINES);
    format!(
        "seed {seed} breaks `{violation}`\n\
         {kept_count} of {count} entries are enough; {replicas} replicas\nentries:\n{entries}\n\
         subscriptions:\n{triggers}\nhandlers:\n{periods}\ntrace (last {TRACE_LINES} lines):\n{trace}\n\
         To keep it as a test, add this to REPLAYS in tests/sim/main.rs:\n    ({seed}, &{kept:?}),\n",
        seed = failure.seed,
        violation = violation.unwrap_or_else(|| failure.violation.clone()),
        kept_count = kept.len(),
        count = scenario.entries.len(),
        replicas = scenario.replicas,
        entries = entries.join("\n"),
        triggers = triggers.join("\n"),
        periods = periods.join("\n"),
        trace = trace.get(from..).unwrap_or_default().join("\n"),
    )
}
