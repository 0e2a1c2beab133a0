//! Parsing, checking and compiling a typical filter, against the `cel` crate compiling the same
//! condition in the Common Expression Language. `make bench-expr-peers` prints medians and their ratio.

use std::hint::black_box;
use std::time::{Duration, Instant};

use switchyard_expr::{CheckProfile, Usage, compile_for};

const OURS: &str = "event.issue.fields.project.key == 'ABC' \
    && event.issue.fields.issuetype.name == 'Bug' \
    && event.changelog.items.some(item => item.fieldId == 'status' && item.toString == 'Done')";

const THEIRS: &str = "event.issue.fields.project.key == 'ABC' \
    && event.issue.fields.issuetype.name == 'Bug' \
    && event.changelog.items.exists(item, item.fieldId == 'status' && item.toString == 'Done')";

const RUNS: usize = 2_000;

fn main() {
    let usage = Usage { events: &["avi:jira:updated:issue"], delivers_on_error: false };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    // Alternating measurements, so that both run under the same conditions.
    for _ in 0..RUNS {
        ours.push(time(|| drop(black_box(compile_for(OURS, CheckProfile::Filter, &usage)))));
        theirs.push(time(|| drop(black_box(cel::Program::compile(THEIRS)))));
    }
    let (ours, theirs) = (median(ours), median(theirs));
    println!("a filter of {} characters", OURS.len());
    println!("switchyard-expr, parse + check + warnings + compile: {ours:?}");
    println!("cel, parse: {theirs:?}");
    println!("ratio: {:.2}", ours.as_secs_f64() / theirs.as_secs_f64());
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
