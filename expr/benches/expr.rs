//! What the language costs: typical filters, and the worst that a search finds.
//!
//! `cargo bench -p switchyard-expr` prints medians. The two bounds it is there for: no source of
//! 10,000 characters takes more than 5 ms to compile, and no filter more on an event of 1 MiB than
//! three times what parsing that event into a `serde_json::Value` takes.

#![expect(clippy::disallowed_methods, reason = "a bench reads the time")]
#![expect(clippy::print_stdout, reason = "a bench prints")]

use std::time::{Duration, Instant};

use switchyard_expr::limits::SOURCE_CHARS_MAX;
use switchyard_expr::{Env, Profile, Scratch, Tape, TapeLimits, Usage, compile, compile_for};

const TYPICAL: &str = "event.issue.fields.project.key == 'ABC' \
    && event.issue.fields.issuetype.name == 'Bug' \
    && event.changelog.items.some(item => item.fieldId == 'status' && item.toString == 'Done')";

const UPDATED: Usage<'static> =
    Usage { events: &["avi:jira:updated:issue"], delivers_on_error: false };

/// Pieces that a source is filled with; each stands alone or is joined by what follows it.
const PIECES: [(&str, &str); 30] = [
    ("event.issue.fields.priority.name=='a'", "&&"),
    ("event.isue.kye=='a'", "&&"),
    ("event.issue.fields.assignee.accountId=='a'", "||"),
    ("event.a", "."),
    ("a", "."),
    ("x=>", ""),
    ("[", ""),
    ("(", ""),
    ("!", ""),
    ("1", "+"),
    ("1", "=="),
    ("'a'.match('a{900}')", "&&"),
    ("'a'.match('(a|b|c)*d{99}')", "&&"),
    ("event.a.match('[\\\\w]{50}')", "&&"),
    ("let a=1;", ""),
    ("x.some(a=>a)", "&&"),
    ("a?", "b:"),
    ("`${a}`", "+"),
    ("{a:1}", "=="),
    ("[1,2,3]", "=="),
    ("'aaaaaaaa'", ","),
    ("=", " "),
    ("===", " "),
    ("a b", " "),
    ("1===2", "&"),
    ("event.issue.key=='a'", "&&"),
    ("event.issue.fields.customfield_10010?.value!=null", "&&"),
    ("if(a){b}else ", ""),
    ("x.map(a=>", ""),
    ("event.issue.fields.x", "=="),
];

fn main() {
    let typical = median(2_000, || drop(compile(TYPICAL, Profile::Filter)));
    let checked = median(2_000, || drop(compile_for(TYPICAL, Profile::Filter, &UPDATED)));
    println!("compile, typical filter of {} characters: {typical:?}", TYPICAL.len());
    println!("compile for its events, with warnings: {checked:?}");
    worst_sources();
    worst_evaluations();
}

/// Fills 10,000 characters with each piece, and with each pair of pieces, and times them all.
fn worst_sources() {
    let mut found: Vec<(Duration, String)> = Vec::new();
    for (at, (piece, joint)) in PIECES.iter().enumerate() {
        for (other, other_joint) in PIECES.iter().skip(at) {
            let unit = format!("{piece}{joint}{other}{other_joint}");
            let mut source = unit.repeat(SOURCE_CHARS_MAX / unit.len());
            source.push_str(
                "1".get(..SOURCE_CHARS_MAX.saturating_sub(source.len()).min(1)).unwrap_or(""),
            );
            let took = median(3, || drop(compile_for(&source, Profile::Filter, &UPDATED)));
            found.push((took, unit));
        }
    }
    found.sort();
    println!("{} sources of 10,000 characters, the slowest to compile:", found.len());
    for (took, unit) in found.iter().rev().take(5) {
        println!("  {took:?}  {unit}");
    }
}

/// Events of 1 MiB, each of another shape.
fn events() -> Vec<(&'static str, String)> {
    let mib = 1 << 20;
    let list = |item: &str| {
        let items = vec![item; mib / (item.len() + 1)].join(",");
        format!(r#"{{"xs":[{items}],"s":"a","ys":[{}]}}"#, vec!["1"; 200].join(","))
    };
    vec![
        ("one long text", format!(r#"{{"s":"{}","xs":[1],"ys":[1]}}"#, "a".repeat(mib - 40))),
        ("numbers", list("1")),
        ("texts", list("\"ab\"")),
        ("maps", list("{\"k\":1}")),
        ("long texts", list(&format!("\"{}\"", "x".repeat(999)))),
    ]
}

/// Filters that try to spend as much as they may.
const SPENDERS: [&str; 18] = [
    "event.xs.some(x => x == 'no')",
    "event.xs.every(x => event.ys.some(y => y == 2))",
    "event.xs.map(x => x).length == 1",
    "event.xs.sort((a, b) => 1).length == 1",
    "event.xs.includes('none')",
    "event.xs.indexOf({a: 1}) == 0",
    "event.xs == event.xs",
    "event.xs.join('') == 'a'",
    "JSON.stringify(event) == ''",
    "event.s.toLowerCase().toUpperCase().trim() == 'b'",
    "event.s.includes('b') || event.s.indexOf('ab') == 1",
    "event.s.split('').length == 1",
    "event.s.match('(a*)*b') != null",
    "event.s.matchAll('[a-z]{1,50}b').length == 1",
    "event.s.replace('a', 'bb') == 'b'",
    "let f = g => g(g); f(f)",
    "event.xs.reduce((a, b) => a + 1, 0) == 1",
    "event.xs.flatMap(x => [x, x]).flatten().slice(1).concat(event.xs).length == 1",
];

/// Each spender alone and repeated, on each event, against parsing that event with serde_json.
fn worst_evaluations() {
    let mut found: Vec<(f64, String)> = Vec::new();
    for (name, event) in events() {
        let parse = median(5, || drop(serde_json::from_str::<serde_json::Value>(&event)));
        let mut tape = Tape::new();
        if tape.parse(event.as_bytes(), &TapeLimits::default()).is_err() {
            println!("  {name}: more values than an event may have");
            continue;
        }
        for spender in SPENDERS {
            for repeated in [1, 40] {
                let source = vec![format!("({spender}) != 3"); repeated].join(" && ");
                let Ok(compiled) = compile(&source, Profile::Filter) else { continue };
                let mut scratch = Scratch::new();
                let took = median(3, || {
                    drop(compiled.program.verdict(&tape, &Env::at(0), &mut scratch));
                });
                let ratio = took.as_secs_f64() / parse.as_secs_f64();
                let steps = scratch.steps();
                found.push((
                    ratio,
                    format!("{took:?}, {steps} steps, {name}: {repeated} x {spender}"),
                ));
            }
        }
    }
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    println!("evaluation against parsing the event, the slowest of {}:", found.len());
    for (ratio, what) in found.iter().rev().take(8) {
        println!("  {ratio:.2}  {what}");
    }
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
