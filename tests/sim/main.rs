//! Simulator of the router: seeded scenarios in virtual time, against a model of the broker.
//!
//! `docs/design/simulator.md` says what is real and what is modelled. `make sim SEEDS=10000` runs
//! many seeds, `make sim-mutants` checks that each deliberate fault is caught.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking; numbers of a scenario are positions in its lists"
)]

mod broker;
mod campaign;
mod dice;
mod feeding;
mod fixture;
mod ledger;
mod mutation;
mod policy;
mod publishing;
mod replica;
mod routing;
mod scenario;
mod world;

use std::time::Duration;

use switchyard::clock;

use campaign::{Failure, report, run_seeds};
use mutation::Mutation;
use scenario::{Behaviour, Entry, Period, Scenario, Trigger, What};

/// Seeds that `make test` runs.
const SEEDS: u64 = 1_000;
/// Seeds within which each mutation is caught.
const MUTANT_SEEDS: u64 = 1_000;
/// Scenarios that once broke an invariant: seed and the entries that are enough.
const REPLAYS: &[(u64, &[usize])] = &[SECOND_CHAIN];
/// A redelivered event starts its deliveries again: its records replace those of the first chain.
const SECOND_CHAIN: (u64, &[usize]) = (1711, &[0, 1, 2, 3, 4, 5, 9, 11, 12, 13]);

/// Returns a number that the Makefile passes on.
#[expect(clippy::disallowed_methods, reason = "tests have no configuration")]
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn check(seeds: u64) {
    let started = clock::tick();
    let campaign = run_seeds(seeds, None);
    let took = clock::since(started).as_secs_f64();
    if let Some(failure) = &campaign.failure {
        unreachable!("{}", report(failure, None));
    }
    println!(
        "{seeds} seeds in {took:.1} s: {:.0} seeds/s, {} steps, {} attempts",
        f64::from(u32::try_from(seeds).unwrap_or(u32::MAX)) / took,
        campaign.steps,
        campaign.attempts,
    );
}

#[test]
fn no_seed_breaks_an_invariant() {
    check(SEEDS);
}

#[test]
#[ignore = "run by `make sim`"]
fn many_seeds_break_no_invariant() {
    check(setting("SEEDS", 10_000));
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
        triggers: vec![Trigger { installation: 0, kinds: 1, created: -60_000, removed: None }],
        periods: vec![Period { endpoint: 0, from: 0, until: i64::MAX, behaviour }],
        entries: vec![Entry { at: 0, what: publish }],
        schedule_s: schedule_s.to_vec(),
        jitter: 0.0,
        in_flight_max: 64,
        pending_max: 128,
        event_messages_max: 1000,
        parking_share: 1000,
        letter_share: 1000,
        permits: 12,
        permits_per_owner: 3,
        unknown_percent: 0,
        is_instant: true,
    }
}

#[test]
fn default_retry_schedule_is_exact_in_virtual_time() {
    let schedule_s =
        switchyard::config::Config::defaults().expect("valid").delivery.retry_schedule_s;
    let outcome = world::run(&failing_handler(&schedule_s), None, true);
    assert_eq!(outcome.violation, None);
    let at = |line: &String| {
        let is_attempt = line.contains(" attempts ");
        is_attempt.then(|| line.split_whitespace().next().and_then(|ms| ms.parse::<u64>().ok()))
    };
    let attempts: Vec<u64> = outcome.trace.iter().filter_map(at).flatten().collect();
    let first = attempts[0];
    let expected = schedule_s.iter().scan(0, |sum, delay| {
        *sum += delay * 1000;
        Some(*sum)
    });
    let expected: Vec<u64> = std::iter::once(0).chain(expected).map(|ms| first + ms).collect();
    assert_eq!(attempts, expected);
    let whole = Duration::from_millis(attempts[8] - first);
    assert_eq!(whole, Duration::from_secs(27 * 3600 + 35 * 60 + 35));
}
