//! Worst-case cost of the language, compared with its limits.
//!
//! `cargo bench -p switchyard-expr --bench worst` measures the cases of `cases.json`. Most of them were
//! found by a search: `-- --search SECONDS` mutates expressions of a grammar, keeps the most
//! expensive ones, and writes them to that file. There are two limits:
//!
//! - a source of 10,000 characters is parsed, checked and compiled in 5 ms;
//! - an evaluation takes at most three times as long as `serde_json` takes to read the event, or the
//!   event of 1 MiB that it reads fastest, into a `Value`: measured in the same run.
//!
//! Design: `docs/design/step-prices.md`.

#![expect(clippy::disallowed_methods, reason = "a bench reads the time")]
#![expect(clippy::print_stdout, reason = "a bench prints")]

mod events;
mod grammar;
mod search;

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use switchyard_expr::{CheckProfile, Env, EvalScratch, Usage, compile, compile_for};

use crate::events::Event;

/// The time limit of compiling a source.
const COMPILE_MAX: Duration = Duration::from_millis(5);
/// The time limit of an evaluation, as a multiple of parsing its event.
const PARSES_MAX: f64 = 3.0;
/// Repetitions of a measurement. The fastest counts, because other load only adds time.
const RUNS: usize = 99;

/// Event types with distinct schemas, as many as the checker distinguishes.
const EVENTS: [&str; 8] = [
    "avi:jira:created:issue",
    "avi:jira:updated:issue",
    "avi:jira:deleted:issue",
    "avi:jira:commented:issue",
    "avi:jira:created:issuelink",
    "avi:jira:created:worklog",
    "avi:jira:created:attachment",
    "avi:jira:created:version",
];

const USAGE: Usage<'static> = Usage { events: &EVENTS, delivers_on_error: false };

/// An expensive source.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Case {
    /// The event it is evaluated on; none if compiling is the expensive part.
    event: Option<String>,
    source: String,
}

/// The cost of a case as a fraction of its limit, and its description.
struct Cost {
    part: f64,
    words: String,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let seconds = arguments
        .iter()
        .position(|argument| argument == "--search")
        .map(|at| arguments.get(at + 1).and_then(|seconds| seconds.parse().ok()).unwrap_or(60_u64));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/worst/cases.json");
    let known = std::fs::read_to_string(path).unwrap_or_default();
    let known: Vec<Case> = serde_json::from_str(&known).unwrap_or_default();
    let bench = Bench::new();
    let cases = match seconds {
        None => known,
        Some(seconds) => {
            let found = search::search(&bench, known, Duration::from_secs(seconds));
            let text = serde_json::to_string_pretty(&found).unwrap_or_default();
            if let Err(error) = std::fs::write(path, text + "\n") {
                println!("{path}: {error}");
            }
            found
        }
    };
    bench.report(&cases);
}

/// The events, with the time of parsing each.
struct Bench {
    events: Vec<Event>,
    /// Index of the event of 1 MiB that is parsed fastest.
    fastest: usize,
}

impl Bench {
    fn new() -> Bench {
        let events = events::all();
        let large = events.iter().enumerate();
        let large = large.filter(|(_, event)| event.text.len() >= events::LARGE_BYTES);
        let fastest = large.min_by_key(|(_, event)| event.parse).map_or(0, |(at, _)| at);
        let bench = Bench { events, fastest };
        println!("reading the fastest event of 1 MiB into a Value: {:?}", bench.allowance());
        bench
    }

    fn allowance(&self) -> Duration {
        self.events.get(self.fastest).map_or(Duration::MAX, |event| event.parse)
    }

    fn report(&self, cases: &[Case]) {
        let mut worst: [f64; 2] = [0.0; 2];
        for case in cases {
            let Some(cost) = self.cost(case, RUNS) else {
                println!("  refused: {:.100}", case.source);
                continue;
            };
            let kind = usize::from(case.event.is_some());
            if let Some(worst) = worst.get_mut(kind) {
                *worst = worst.max(cost.part);
            }
            println!(
                "{:4.0} % of the bound: {}: {:.100}",
                cost.part * 100.0,
                cost.words,
                case.source
            );
        }
        let [compiling, evaluating] = worst;
        println!("worst: compiling {:.2} of 5 ms", compiling * 5.0);
        println!("worst: evaluating {:.2} of 3 times reading the event", evaluating * PARSES_MAX);
    }

    /// Measures a case; none if its source is rejected or its event is unknown.
    fn cost(&self, case: &Case, runs: usize) -> Option<Cost> {
        match &case.event {
            None => Some(compiling(&case.source, runs)),
            Some(name) => {
                let event = self.events.iter().find(|event| event.name == *name)?;
                self.evaluating(&case.source, event, runs)
            }
        }
    }

    fn evaluating(&self, source: &str, event: &Event, runs: usize) -> Option<Cost> {
        let compiled = compile(source, CheckProfile::Filter).ok()?;
        let mut scratch = EvalScratch::new();
        let mut evaluate =
            || drop(compiled.program.verdict(&event.tape, &Env::at(0), &mut scratch));
        // Alternating measurements, so that both run under the same conditions.
        let mut took = Duration::MAX;
        let mut read = if runs == RUNS { Duration::MAX } else { self.allowance() };
        for _ in 0..runs {
            took = took.min(fastest(1, &mut evaluate));
            if let Some(event) = self.events.get(self.fastest).filter(|_| runs == RUNS) {
                read = read.min(event.parse_time(1));
            }
        }
        let read = read.max(event.parse);
        let part = took.as_secs_f64() / (PARSES_MAX * read.as_secs_f64());
        let steps = scratch.steps();
        let nanos = took.as_nanos() / u128::from(steps.max(1));
        let words = format!("{took:?}, {steps} steps of {nanos} ns on {}", event.name);
        Some(Cost { part, words })
    }
}

fn compiling(source: &str, runs: usize) -> Cost {
    let took = fastest(runs, || drop(compile_for(source, CheckProfile::Filter, &USAGE)));
    let part = took.as_secs_f64() / COMPILE_MAX.as_secs_f64();
    Cost { part, words: format!("{took:?} to compile {} bytes", source.len()) }
}

/// The shortest time of `runs` runs.
fn fastest(runs: usize, mut work: impl FnMut()) -> Duration {
    let time = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    (0..runs).map(|_| time(&mut work)).min().unwrap_or_default()
}
