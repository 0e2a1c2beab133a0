//! Measures matching while registrations change: one module per millisecond, compared with none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use switchyard::clock;
use switchyard::domain::InstallationId;
use switchyard::event::Decoder;
use switchyard::matcher::{Matcher, Scratch, Subscription};

use crate::measure::{live_bytes, median, verdict};
use crate::workload::subscriptions;
use crate::{BenchCase, mix, one};

/// Time between two changes.
const PERIOD: Duration = Duration::from_millis(1);
/// Rounds with and without changes, in turn; odd, so that one of them is the median.
const ROUNDS: usize = 7;
/// Duration of a round.
const ROUND: Duration = Duration::from_millis(700);
/// Number of different modules that are added and removed.
const MODULES: usize = 2_000;

/// Prints the effect of changes on matching.
pub(crate) fn report(case: &BenchCase, filters: usize) {
    let modules = modules();
    let mut ratios = Vec::new();
    let (mut quiet, mut busy) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let before = run(case, 1, None);
        let during = run(case, 1, Some(&modules));
        ratios.push(during.p99_ns / before.p99_ns);
        quiet.push(before.p99_ns / 1e3);
        busy.push(during.p99_ns / 1e3);
    }
    let ratio = median(ratios);
    println!(
        "p99 of a match with {filters} filters: {:.1} us, {:.1} us at 1000 changes/s: {ratio:.2} x (must 1.2 {})",
        median(quiet),
        median(busy),
        verdict(ratio <= 1.2)
    );
    let ratios = (0..ROUNDS).map(|_| {
        let one = run(case, 1, Some(&modules)).events_per_s;
        run(case, 2, Some(&modules)).events_per_s / one
    });
    let ratio = median(ratios.collect());
    println!(
        "two threads against one, at 1000 changes/s: {ratio:.2} x (must 1.9 {})",
        verdict(ratio >= 1.9)
    );
}

/// Adds and removes `times` modules and prints how much memory stays allocated.
pub(crate) fn memory(matcher: &Matcher, times: usize) {
    let modules = modules();
    let id = InstallationId::from("churn");
    let before = live_bytes();
    let start = clock::tick();
    for at in 0..times {
        matcher.replace_installation(&id, vec![Arc::clone(&modules[at % modules.len()])]);
        if at % 64 == 63 {
            matcher.replace_installation(&id, Vec::new());
        }
    }
    matcher.replace_installation(&id, Vec::new());
    let taken = clock::since(start).as_secs_f64();
    let after = live_bytes();
    println!(
        "{times} modules added and removed in {taken:.1} s: {:.1} MB before, {:.1} MB after (must not grow {})",
        before as f64 / 1e6,
        after as f64 / 1e6,
        verdict(after <= before + before / 100)
    );
}

fn modules() -> Vec<Arc<Subscription>> {
    let all = subscriptions("site", &mix(9, MODULES));
    all.into_iter().flat_map(|(_, modules)| modules).collect()
}

struct Outcome {
    p99_ns: f64,
    events_per_s: f64,
}

/// Matches on `readers` threads for one round while `changes` are added and removed.
fn run(case: &BenchCase, readers: usize, changes: Option<&[Arc<Subscription>]>) -> Outcome {
    let done = AtomicBool::new(false);
    let start = clock::tick();
    let times: Vec<Vec<u32>> = thread::scope(|scope| {
        let readers: Vec<_> = (0..readers).map(|_| scope.spawn(|| read(case, &done))).collect();
        match changes {
            None => thread::sleep(ROUND),
            Some(modules) => change(&case.matcher, modules),
        }
        done.store(true, Relaxed);
        readers.into_iter().map(|reader| reader.join().expect("a reader")).collect()
    });
    let taken = clock::since(start).as_secs_f64();
    let mut times = times.concat();
    times.sort_unstable();
    let p99_ns = f64::from(times[times.len() * 99 / 100]);
    Outcome { p99_ns, events_per_s: times.len() as f64 / taken }
}

/// Returns the nanoseconds of each match until it is `done`.
fn read(case: &BenchCase, done: &AtomicBool) -> Vec<u32> {
    let mut decoder = Decoder::new(1 << 20, false);
    let mut scratch = Scratch::default();
    let mut times = Vec::with_capacity(1 << 20);
    for event in case.events.iter().cycle() {
        if done.load(Relaxed) {
            break;
        }
        let start = clock::tick();
        one(case, event, &mut decoder, &mut scratch);
        times.push(clock::since(start).as_nanos() as u32);
    }
    times
}

/// Adds or removes a module each period, for one round.
fn change(matcher: &Matcher, modules: &[Arc<Subscription>]) {
    let start = clock::tick();
    for at in 0..u32::MAX {
        let due = PERIOD * at;
        if due >= ROUND {
            break;
        }
        thread::sleep(due.saturating_sub(clock::since(start)));
        let id = InstallationId::from(format!("new-{}", at / 2 % 100));
        let module = &modules[at as usize % modules.len()];
        let replacement = if at % 2 == 0 { vec![Arc::clone(module)] } else { Vec::new() };
        matcher.replace_installation(&id, replacement);
    }
}
