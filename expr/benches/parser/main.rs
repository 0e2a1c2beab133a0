//! Two ways to parse infix operators with nom, on the same tokens and to the same tree.
//!
//! `levels` is the usual grammar of combinators, a parser for each precedence. `row` is the way of
//! `src/parse`: a flat list of operands, grouped by precedence afterwards. `docs/design/parser.md`
//! keeps the figures. Run: `cargo bench -p switchyard-expr --bench parser`.

#![expect(clippy::disallowed_methods, reason = "a bench reads the time")]
#![expect(clippy::print_stdout, reason = "a bench prints")]

mod levels;
mod row;
mod token;

use std::hint::black_box;
use std::time::{Duration, Instant};

use switchyard_expr::{CheckProfile, canonical, compile, token_count};

use crate::token::{Parsed, Tokens, Tree, stack_bytes, tokens};

const RUNS: usize = 2_001;

const TYPICAL: &str = "event.issue.fields.project.key == abc && event.issue.fields.type.name == bug \
    && event.changelog.items.some(field == status, value == done)";

/// Levels of brackets in the nested source.
const NESTED: usize = 120;

fn main() {
    let nested = format!("{}a{}", "(".repeat(NESTED), ")".repeat(NESTED));
    let chain = vec!["a + b * c"; 1_000].join(" && ");
    println!("{:<28}{:>12}{:>12}{:>8}", "source", "levels", "row", "ratio");
    for (name, source) in [("typical filter", TYPICAL), ("nested", &nested), ("chain", &chain)] {
        compare(name, source);
    }
    let tokens = tokens(&nested);
    let [levels, row] = [levels::expression, row::expression].map(|parser| {
        let stack = stack_bytes(|| drop(parser(Tokens::new(&tokens))));
        stack / NESTED
    });
    let ratio = ratio(levels, row);
    println!("{:<28}{levels:>12}{row:>12}{ratio:>8.2}", "stack bytes per bracket");
    stages();
}

/// Prints the median times of both parsers on a source.
fn compare(name: &str, source: &str) {
    let tokens = tokens(source);
    let parse = |parser: fn(Tokens<'_>) -> Parsed<'_, Tree>| {
        parser(Tokens::new(&tokens)).ok().filter(|(rest, _)| rest.is_empty()).map(|(_, tree)| tree)
    };
    if parse(levels::expression) != parse(row::expression) || parse(row::expression).is_none() {
        return println!("{name}: the parsers differ");
    }
    let (mut levels, mut row) = (Vec::with_capacity(RUNS), Vec::with_capacity(RUNS));
    // Alternating measurements, so that both run under the same conditions.
    for _ in 0..RUNS {
        levels.push(time(|| drop(black_box(levels::expression(Tokens::new(&tokens))))));
        row.push(time(|| drop(black_box(row::expression(Tokens::new(&tokens))))));
    }
    let (levels, row) = (median(levels), median(row));
    let ratio = levels.as_secs_f64() / row.as_secs_f64();
    println!("{name:<28}{levels:>12.1?}{row:>12.1?}{ratio:>8.2}");
}

/// Prints the times of the stages of the filter language on a typical filter.
fn stages() {
    let filter = "event.issue.fields.project.key == 'ABC' && event.issue.fields.issuetype.name == \
        'Bug' && event.changelog.items.some(item => item.fieldId == 'status')";
    let (mut lex, mut print, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        lex.push(time(|| drop(black_box(token_count(filter)))));
        print.push(time(|| drop(black_box(canonical(filter)))));
        whole.push(time(|| drop(black_box(compile(filter, CheckProfile::Filter)))));
    }
    let [lex, print, whole] = [lex, print, whole].map(median);
    println!(
        "filter language: lex {lex:.1?}, lex + parse + print {print:.1?}, compile {whole:.1?}"
    );
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

fn ratio(a: usize, b: usize) -> f64 {
    let count = |bytes: usize| f64::from(u32::try_from(bytes).unwrap_or(u32::MAX));
    count(a) / count(b.max(1))
}
