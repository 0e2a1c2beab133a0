//! Simulator of the router: seeded scenarios in virtual time, against a model of the broker.
//!
//! `docs/design/simulator.md` says what is real and what is modelled. `make sim SEEDS=10000` runs
//! many seeds, `make sim-mutants` checks that each deliberate fault is caught.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking; numbers of a scenario are positions in its lists"
)]

mod attempts;
mod broker;
mod campaign;
mod counting;
mod dice;
mod examination;
mod feeding;
mod fixture;
mod ledger;
mod mutation;
mod publishing;
mod replica;
mod routing;
mod scenario;
mod stops;
mod world;

use std::time::Duration;

use switchyard::clock;

use campaign::{Failure, report, run_seeds};
use dice::Ms;
use mutation::Mutation;
use scenario::{Behaviour, Entry, Period, Scenario, Trigger, What};

/// Seeds that `make test` runs; `SEEDS` sets another number.
const SEEDS: u64 = 1_000;
/// Seeds within which each mutation is caught.
const MUTANT_SEEDS: u64 = 1_000;
/// Scenarios that once broke an invariant: seed and the entries that are enough.
const REPLAYS: &[(u64, &[usize])] = &[SECOND_CHAIN, SLOW_HANDLERS_OF_ONE_EVENT];
/// A redelivered event starts its deliveries again: its records replace those of the first chain.
const SECOND_CHAIN: (u64, &[usize]) = (199, &[3, 6, 8, 9, 10, 12, 13, 14, 15]);
/// Slow handlers of an event held its whole share, and a quick handler got no permit in time.
const SLOW_HANDLERS_OF_ONE_EVENT: (u64, &[usize]) = (72_650, &[2, 10, 11]);

/// Returns how many seeds are run.
#[expect(clippy::disallowed_methods, reason = "tests have no configuration")]
fn seeds() -> u64 {
    std::env::var("SEEDS").map_or(SEEDS, |text| text.parse().expect("SEEDS is a number"))
}

#[test]
fn no_seed_breaks_an_invariant() {
    let seeds = seeds();
    let started = clock::tick();
    let campaign = run_seeds(seeds, None);
    let took = clock::since(started).as_secs_f64();
    if let Some(failure) = &campaign.failure {
        unreachable!("{}", report(failure, None));
    }
    println!(
        "{seeds} seeds in {took:.1} s: {:.0} seeds/s, {} steps, {} attempts; longest wait for a quick handler {} ms",
        f64::from(u32::try_from(seeds).unwrap_or(u32::MAX)) / took,
        campaign.steps,
        campaign.attempts,
        campaign.longest_wait_ms,
    );
}

#[test]
fn every_mutation_is_caught() {
    let mut survivors = Vec::new();
    for mutation in Mutation::ALL {
        let campaign = run_seeds(MUTANT_SEEDS, Some(mutation));
        match campaign.failure {
            Some(Failure { seed, violation }) => {
                println!("{mutation:?}: caught by seed {seed}: {violation}");
            }
            None => survivors.push(mutation),
        }
    }
    assert_eq!(survivors, [], "not caught within {MUTANT_SEEDS} seeds");
}

#[test]
fn kept_scenarios_break_no_invariant() {
    for (seed, kept) in REPLAYS {
        let outcome = world::run(&Scenario::of(*seed).keeping(kept), None, true);
        assert_eq!(outcome.violation, None, "seed {seed}: {}", outcome.trace.join("\n"));
    }
}

#[test]
fn record_of_a_second_chain_is_no_duplicate_of_the_one_it_replaces() {
    let (seed, kept) = SECOND_CHAIN;
    let scenario = Scenario::of(seed).keeping(kept);
    let outcome = world::run(&scenario, Some(Mutation::DedupIdWithoutDue), false);
    let invariant = outcome.violation.map(|violation| violation.invariant);
    assert_eq!(invariant, Some("no loss"));
}

#[test]
fn same_seed_has_the_same_trace() {
    for seed in 0..20 {
        let run = || world::run(&Scenario::of(seed), None, true);
        let (first, second) = (run(), run());
        assert!(!first.trace.is_empty());
        assert_eq!(first.trace, second.trace, "seed {seed}");
    }
}

#[test]
fn failure_shrinks_to_what_is_needed() {
    let mutation = Some(Mutation::AckBeforeParked);
    let failure = run_seeds(MUTANT_SEEDS, mutation).failure.expect("the mutation is caught");
    let scenario = Scenario::of(failure.seed);
    let kept = campaign::shrink(&scenario, mutation, failure.violation.invariant);
    assert!(kept.len() < scenario.entries.len(), "{kept:?}");
    assert!(report(&failure, mutation).contains("To keep it as a test"));
}

/// One subscription whose handler always answers 503; nothing else takes time.
fn failing_handler(schedule_s: &[u64]) -> Scenario {
    let publish = What::Publish { event: 0, kind: 0, poison: false };
    let behaviour = Behaviour::Status(503);
    Scenario {
        seed: 0,
        replicas: 1,
        skews: vec![0],
        installations: 1,
        app_size: 1,
        host_size: 1,
        triggers: vec![Trigger { installation: 0, kinds: 1, created: -60_000, removed: None }],
        periods: vec![Period { endpoint: 0, from: 0, until: i64::MAX, behaviour }],
        entries: vec![Entry { at: 0, what: publish }],
        schedule_s: schedule_s.to_vec(),
        jitter: 0.0,
        in_flight_max: 64,
        pending_max: 128,
        event_messages_max: 1000,
        event_age_max: None,
        parking_share: 1000,
        letter_share: 1000,
        unknown_percent: 0,
        is_instant: true,
    }
}

/// Returns the delays of the default configuration.
fn default_schedule_s() -> Vec<u64> {
    switchyard::config::Config::defaults().expect("valid").delivery.retry_schedule_s
}

/// Returns when the attempts of a run were made.
fn attempts(scenario: &Scenario) -> Vec<Ms> {
    let outcome = world::run(scenario, None, true);
    assert_eq!(outcome.violation, None, "{}", outcome.trace.join("\n"));
    let at = |line: &String| {
        let is_attempt = line.contains(" attempts ");
        is_attempt.then(|| line.split_whitespace().next().and_then(|ms| ms.parse().ok()))
    };
    outcome.trace.iter().filter_map(at).flatten().collect()
}

#[test]
fn default_retry_schedule_is_exact_in_virtual_time() {
    let schedule_s = default_schedule_s();
    let attempts = attempts(&failing_handler(&schedule_s));
    let first = attempts[0];
    let expected = schedule_s.iter().scan(first, |at, delay| {
        *at += milliseconds(*delay);
        Some(*at)
    });
    let expected: Vec<Ms> = std::iter::once(first).chain(expected).collect();
    assert_eq!(attempts, expected);
    let whole = Duration::from_secs(27 * 3600 + 35 * 60 + 35);
    assert_eq!(attempts[8] - first, milliseconds(whole.as_secs()));
}

#[test]
fn outages_late_schedules_and_wrong_clocks_delay_a_retry_and_lose_none() {
    /// The broker does not answer from so long before a retry is due, for so long.
    const BEFORE: Ms = 2_000;
    const OUTAGE: Ms = 30_000;
    /// Network, handler and lateness of a schedule.
    const LATE_MAX: Ms = 500;
    let schedule_s = default_schedule_s();
    let mut scenario = Scenario {
        replicas: 2,
        skews: vec![7_200_000, -7_200_000],
        is_instant: false,
        ..failing_handler(&schedule_s)
    };
    let mut due = 0;
    for delay in &schedule_s {
        due += milliseconds(*delay);
        let what = What::LeaderChange { length: OUTAGE };
        scenario.entries.push(Entry { at: due - BEFORE, what });
        due += OUTAGE - BEFORE;
    }
    let attempts = attempts(&scenario);
    assert_eq!(attempts.len(), schedule_s.len() + 1);
    for (pair, delay) in attempts.windows(2).zip(&schedule_s) {
        let late = pair[1] - pair[0] - milliseconds(*delay);
        assert!((OUTAGE - BEFORE - 8 * LATE_MAX..=OUTAGE + LATE_MAX).contains(&late), "{late} ms");
    }
}

fn milliseconds(seconds: u64) -> Ms {
    Ms::try_from(seconds * 1000).expect("a time")
}
