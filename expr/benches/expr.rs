//! What a typical filter costs: medians. What the language can be made to cost is in `worst`.

#![expect(clippy::disallowed_methods, reason = "a bench reads the time")]
#![expect(clippy::print_stdout, reason = "a bench prints")]

use std::time::{Duration, Instant};

use switchyard_expr::{Env, Profile, Scratch, Tape, TapeLimits, Usage, compile, compile_for};

const TYPICAL: &str = "event.issue.fields.project.key == 'ABC' \
    && event.issue.fields.issuetype.name == 'Bug' \
    && event.changelog.items.some(item => item.fieldId == 'status' && item.toString == 'Done')";

const EVENT: &str = r#"{"issue": {"key": "ABC-1", "fields": {"project": {"key": "ABC"},
    "issuetype": {"name": "Bug"}}}, "changelog": {"items": [{"fieldId": "status",
    "field": "status", "fromString": "Open", "toString": "Done"}]}}"#;

const UPDATED: Usage<'static> =
    Usage { events: &["avi:jira:updated:issue"], delivers_on_error: false };

fn main() {
    let typical = median(2_000, || drop(compile(TYPICAL, Profile::Filter)));
    let checked = median(2_000, || drop(compile_for(TYPICAL, Profile::Filter, &UPDATED)));
    println!("compile, typical filter of {} characters: {typical:?}", TYPICAL.len());
    println!("compile for its events, with warnings: {checked:?}");
    let mut tape = Tape::new();
    let (Ok(()), Ok(compiled)) =
        (tape.parse(EVENT.as_bytes(), &TapeLimits::default()), compile(TYPICAL, Profile::Filter))
    else {
        return println!("the event or the filter is refused");
    };
    let mut scratch = Scratch::new();
    let evaluated = median(20_000, || {
        drop(compiled.program.verdict(&tape, &Env::at(0), &mut scratch));
    });
    println!("evaluate, {} steps: {evaluated:?}", scratch.steps());
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
