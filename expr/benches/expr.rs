//! Cost of typical filters: median times, and heap allocations of an evaluation. The `worst` bench
//! measures the most expensive filters.

#![expect(clippy::disallowed_methods, reason = "a bench reads the time")]
#![expect(clippy::print_stdout, reason = "a bench prints")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use switchyard_expr::{
    CheckProfile, Env, EvalScratch, Tape, TapeLimits, Usage, Verdict, compile, compile_for,
};

const TYPICAL: &str = "event.issue.fields.project.key == 'ABC' \
    && event.issue.fields.issuetype.name == 'Bug' \
    && event.changelog.items.some(item => item.fieldId == 'status' && item.toString == 'Done')";

/// Filters with the shapes of public apps, all true on [`EVENT`].
const FILTERS: [&str; 8] = [
    TYPICAL,
    "event.issue.fields.project.key == 'ABC'",
    "['High', 'Highest'].includes(event.issue.fields.priority.name)",
    "event.issue.fields.labels.includes('urgent') || event.issue.fields.labels.length > 3",
    "event.issue.fields.summary.trim().includes('fails')",
    "event.issue.fields.assignee?.accountId == 'x' || event.issue.key.indexOf('ABC-') == 0",
    "event.issue.key.match('^ABC-[0-9]+$') != null",
    "event.issue.fields.components.map(c => c.name).includes('API')",
];

const EVENT: &str = r#"{"issue": {"key": "ABC-1", "fields": {"project": {"key": "ABC"},
    "issuetype": {"name": "Bug"}, "priority": {"name": "High"}, "labels": ["urgent"],
    "summary": "  Payment fails", "assignee": null, "components": [{"name": "API"}]}},
    "changelog": {"items": [{"fieldId": "status",
    "field": "status", "fromString": "Open", "toString": "Done"}]}}"#;

/// Counts heap allocations.
struct Counting;

static TAKEN: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "allocators are unsafe; this one hands on what it is given")]
// SAFETY: every call goes to the system's allocator with its arguments unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TAKEN.fetch_add(1, Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const UPDATED: Usage<'static> =
    Usage { events: &["avi:jira:updated:issue"], delivers_on_error: false };

fn main() {
    let typical = median(2_000, || drop(compile(TYPICAL, CheckProfile::Filter)));
    let checked = median(2_000, || drop(compile_for(TYPICAL, CheckProfile::Filter, &UPDATED)));
    println!("compile, typical filter of {} characters: {typical:?}", TYPICAL.len());
    println!("compile for its events, with warnings: {checked:?}");
    let mut tape = Tape::new();
    if tape.parse(EVENT.as_bytes(), &TapeLimits::default()).is_err() {
        return println!("the event is refused");
    }
    FILTERS.iter().for_each(|source| evaluate(source, &tape));
}

/// Prints time, steps and allocations of one evaluation.
fn evaluate(source: &str, tape: &Tape) {
    let Ok(compiled) = compile(source, CheckProfile::Filter) else {
        return println!("refused: {source}");
    };
    let mut scratch = EvalScratch::new();
    let mut run = || compiled.program.verdict(tape, &Env::at(0), &mut scratch);
    if run() != Verdict::Match {
        return println!("not true of the event: {source}");
    }
    // The stack has grown to the needs of the filter.
    let before = TAKEN.load(Relaxed);
    let verdict = run();
    let taken = TAKEN.load(Relaxed) - before;
    let time = median(20_000, || drop(run()));
    drop(verdict);
    let steps = scratch.steps();
    println!("evaluate: {time:?}, {steps} steps, {taken} allocations: {source:.80}");
}

/// The median time of `runs` runs.
fn median(runs: usize, mut work: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        })
        .collect();
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
