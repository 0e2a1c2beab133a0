//! The matcher by number of filters, in ratios to V: the time `serde_json` takes to check that the
//! same bytes are JSON, in the same run. `cargo bench --bench matcher [-- --quick]`.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a bench fails by panicking, and its figures are small"
)]

mod measure;
mod workload;

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use switchyard::clock;
use switchyard::domain::InstallationId;
use switchyard::event::{Decoder, Event, Headers};
use switchyard::matcher::{Matcher, Scratch, Subscription};

use measure::{allocations, compare, live_bytes, median};
use workload::{EVENT_TYPE, Random, event, mixed_filter, projects, subscriptions};

#[global_allocator]
static ALLOCATOR: measure::Counting = measure::Counting;

/// Different events of one workload.
const EVENTS: usize = 1_000;

struct Binary<'a>(&'a str);

impl Headers for Binary<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        match name {
            "ce-cloudid" => Some(self.0),
            "ce-type" => Some(EVENT_TYPE),
            "ce-id" => Some("1"),
            _ => None,
        }
    }
}

/// One line of the report.
struct Row<'a> {
    name: &'a str,
    /// What the ratio to V must reach, and what would be splendid.
    goal: Option<(f64, f64)>,
}

/// Events with their sites, and what is registered.
struct Case {
    matcher: Matcher,
    events: Vec<(Arc<str>, Bytes)>,
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    println!(
        "| workload | matches | candidates | V us | us | x V | must | stretch | events/s | MB/s | allocations |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    let sizes: &[(usize, (f64, f64))] = &[
        (100, (1.5, 0.8)),
        (1_000, (1.5, 0.8)),
        (10_000, (2.0, 1.2)),
        (100_000, (2.0, 1.2)),
        (1_000_000, (2.5, 1.0)),
    ];
    let mut times = Vec::new();
    for (filters, goal) in sizes.iter().filter(|(filters, _)| !quick || *filters <= 100_000) {
        let name = format!("{filters} filters of one type");
        let case = one_tenant(*filters);
        times.push((*filters, report(&Row { name: &name, goal: Some(*goal) }, &case)));
        if *filters == 1_000_000 || (quick && *filters == 100_000) {
            no_match(&case.matcher, *filters);
            changes(&case.matcher, *filters);
        }
    }
    if let (Some((_, small)), Some((most, large))) = (times.get(1), times.last()) {
        println!(
            "growth from 1000 to {most} filters: {:.2} (must 2.0, stretch 1.5)",
            large / small
        );
    }
    wide_events();
    let many = if quick { 1_000 } else { 10_000 };
    many_tenants("200 tenants interleaved, 100000 filters", 200, 500, (1.7, 1.0));
    many_tenants(&format!("{many} tenants, 100 filters each"), many, 100, (1.7, 1.0));
    all_match();
    unindexable();
}

fn mix(seed: u64, filters: usize) -> Vec<String> {
    let mut random = Random(seed);
    let projects = projects(filters);
    (0..filters).map(|_| mixed_filter(&mut random, projects)).collect()
}

fn issue_events(
    site: &Arc<str>,
    count: usize,
    filters: usize,
    prose: usize,
) -> Vec<(Arc<str>, Bytes)> {
    let mut random = Random(7);
    let projects = projects(filters);
    let one = |_| {
        let project = format!("P{}", random.below(projects));
        (Arc::clone(site), event(&mut random, &project, projects * 4, prose))
    };
    (0..count).map(one).collect()
}

fn one_tenant(filters: usize) -> Case {
    let before = live_bytes();
    let start = clock::tick();
    let subscriptions = subscriptions("site", &mix(1, filters));
    let compiled = clock::since(start);
    let held = live_bytes();
    let matcher = Matcher::default();
    let start = clock::tick();
    matcher.replace_many(subscriptions);
    let built = clock::since(start);
    let per_filter = |bytes: usize| bytes as f64 / filters as f64;
    eprintln!(
        "{filters} filters: index {:.0} B each ({:.0} with all tables of the matcher), with \
         programs and subscriptions {:.0} B; compiled in {compiled:.1?}, indexed in {built:.1?}",
        per_filter(matcher.index_bytes()),
        per_filter(live_bytes().saturating_sub(held)),
        per_filter(live_bytes() - before),
    );
    Case { matcher, events: issue_events(&"site".into(), EVENTS, filters, 0) }
}

/// Times a case and prints its row; yields microseconds per event.
fn report(row: &Row<'_>, case: &Case) -> f64 {
    let mut decoder = Decoder::new(1 << 20, false);
    let mut scratch = Scratch::default();
    let (mut matches, mut candidates) = (0, 0);
    for (site, body) in &case.events {
        let event = decode(&mut decoder, site, body);
        let found = case.matcher.matches(&event, &decoder, &mut scratch);
        assert!(found.failures.is_empty());
        matches += found.matches.len();
        candidates += found.candidates;
    }
    let bytes: usize = case.events.iter().map(|(_, body)| body.len()).sum();
    let of = |at: usize| &case.events[at % case.events.len()];
    let allocated = allocations();
    let mut calls = 0_u64;
    let (v, ours) = compare(
        |at| {
            let body = &of(at).1;
            black_box(serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok());
        },
        |at| {
            let (site, body) = of(at);
            let event = decode(&mut decoder, site, body);
            black_box(case.matcher.matches(&event, &decoder, &mut scratch));
            calls += 1;
        },
    );
    let count = case.events.len() as f64;
    let (must, stretch) = row.goal.map_or_else(Default::default, |(must, stretch)| {
        let verdict = |goal: f64| if ours / v <= goal { "holds" } else { "missed" };
        (format!("{must} {}", verdict(must)), format!("{stretch} {}", verdict(stretch)))
    });
    println!(
        "| {} | {:.1} | {:.0} | {:.2} | {:.2} | {:.2} | {must} | {stretch} | {:.0} | {:.0} | {:.1} |",
        row.name,
        matches as f64 / count,
        candidates as f64 / count,
        v / 1e3,
        ours / 1e3,
        ours / v,
        1e9 / ours,
        bytes as f64 / count / ours * 1e3,
        (allocations() - allocated) as f64 / calls as f64,
    );
    ours / 1e3
}

fn decode(decoder: &mut Decoder, site: &str, body: &Bytes) -> Event {
    decoder.decode("", &Binary(site), body.clone(), 1).expect("an event")
}

fn no_match(matcher: &Matcher, filters: usize) {
    // The same filters, and events of projects that nobody asked for.
    let site: Arc<str> = "site".into();
    let mut random = Random(3);
    let mut decoder = Decoder::new(1 << 20, false);
    let mut scratch = Scratch::default();
    let events: Vec<_> = (0..EVENTS)
        .map(|at| (Arc::clone(&site), event(&mut random, &format!("Q{at}"), usize::MAX, 0)))
        .collect();
    let (mut ours, mut v) = (Vec::new(), Vec::new());
    let of = |at: usize| &events[at % events.len()];
    let (of_v, of_ours) = compare(
        |at| {
            black_box(serde_json::from_slice::<serde::de::IgnoredAny>(&of(at).1).is_ok());
        },
        |at| {
            let event = decode(&mut decoder, &site, &of(at).1);
            black_box(matcher.matches(&event, &decoder, &mut scratch));
        },
    );
    v.push(of_v);
    ours.push(of_ours);
    let (v, ours) = (median(v), median(ours));
    let verdict = if ours / v <= 0.8 { "holds" } else { "missed" };
    println!(
        "| 0 matches, {filters} filters | 0 | | {:.2} | {:.2} | {:.2} | 0.8 {verdict} | 0.4 | {:.0} | | |",
        v / 1e3,
        ours / 1e3,
        ours / v,
        1e9 / ours
    );
}

/// Adds and removes one module at a time.
fn changes(matcher: &Matcher, filters: usize) {
    let texts = mix(9, 2_000);
    let modules = subscriptions("site", &texts).into_iter().flat_map(|(_, modules)| modules);
    let mut taken = Vec::new();
    for (at, module) in modules.enumerate() {
        let installation = InstallationId::from(format!("new-{}", at % 500));
        let replacement = if at % 2 == 0 { vec![module] } else { Vec::new() };
        let start = clock::tick();
        matcher.replace_installation(&installation, replacement);
        taken.push(clock::since(start).as_secs_f64() * 1e6);
    }
    taken.sort_by(f64::total_cmp);
    let at = |share: f64| taken[(taken.len() as f64 * share) as usize];
    println!(
        "change of one module beside {filters} filters: p50 {:.1} us (must 20), p99 {:.1} us (must 1000), max {:.0} us",
        at(0.5),
        at(0.99),
        taken[taken.len() - 1]
    );
}

fn wide_events() {
    let mut case = one_tenant(1_000);
    case.events = issue_events(&"site".into(), 100, 1_000, 64 * 1024);
    report(&Row { name: "69 KB event, 1000 filters", goal: Some((1.2, 0.6)) }, &case);
}

fn many_tenants(name: &str, tenants: usize, filters: usize, goal: (f64, f64)) {
    let matcher = Matcher::default();
    let sites: Vec<Arc<str>> = (0..tenants).map(|at| format!("site-{at}").into()).collect();
    let mut all: Vec<(InstallationId, Vec<Arc<Subscription>>)> = Vec::new();
    for (at, site) in sites.iter().enumerate() {
        all.extend(subscriptions(site, &mix(at as u64, filters)));
    }
    matcher.replace_many(all);
    let mut events = Vec::new();
    for at in 0..5_000 {
        let site = &sites[at * 7919 % tenants];
        events.extend(issue_events(site, 1, filters, 0));
    }
    report(&Row { name, goal: Some(goal) }, &Case { matcher, events });
}

fn all_match() {
    let matcher = Matcher::default();
    let text =
        |at| format!("event.issue.fields.project.key == 'P1' && event.issue.key != 'none-{at}'");
    matcher.replace_many(subscriptions("site", &(0..10_000).map(text).collect::<Vec<_>>()));
    let mut random = Random(5);
    let events = (0..50).map(|_| ("site".into(), event(&mut random, "P1", 10, 0))).collect();
    report(&Row { name: "10000 matches", goal: None }, &Case { matcher, events });
}

fn unindexable() {
    let indexed = one_tenant(10_000);
    let fast = report(&Row { name: "10000 filters, all indexed", goal: None }, &indexed);
    let mut texts = mix(1, 9_500);
    let mut random = Random(2);
    texts.extend((0..500).map(|_| workload::unindexable_filter(&mut random)));
    let matcher = Matcher::default();
    matcher.replace_many(subscriptions("site", &texts));
    let case = Case { matcher, events: indexed.events };
    let slow = report(&Row { name: "10000 filters, 5 % un-indexable", goal: None }, &case);
    println!(
        "un-indexable against indexed: {:.1} x (must 10); {:.0} ns per evaluation",
        slow / fast,
        (slow - fast) * 1e3 / 500.0
    );
}
