//! Measures the matcher by number of filters, as ratios to V: the time `serde_json` takes to check
//! that the same bytes are JSON, in the same run. `cargo bench --bench matcher -- --help` lists the
//! parts.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a bench fails by panicking, and its figures are small"
)]

mod churn;
mod generated;
mod measure;
mod workload;

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use switchyard::clock;
use switchyard::domain::InstallationId;
use switchyard::event::{Attributes, DecodedMessage, Decoder, HeaderLookup, RoutingKey};
use switchyard::matcher::{Matcher, Scratch, Subscription};

use measure::{Outcome, allocations, compare, live_bytes, verdict};
use workload::{EVENT_TYPE, Random, event, mixed_filter, projects, subscriptions};

#[global_allocator]
static ALLOCATOR: measure::Counting = measure::Counting;

/// Number of different events of one workload.
const EVENTS: usize = 1_000;

struct Binary<'a>(&'a str);

impl HeaderLookup for Binary<'_> {
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
    /// The ratio to V that is required, and the one that would be excellent.
    goal: Option<(f64, f64)>,
}

/// A matcher with its filters, and events with their sites.
struct BenchCase {
    matcher: Matcher,
    events: Vec<(Arc<str>, Bytes)>,
}

const USAGE: &str = "\
cargo bench --bench matcher [-- [--quick] [PART]...]

  --quick  up to 100,000 filters of one type, 1,000 tenants
  PART     of: load sizes none wide tenants generated fanout unindexable churn; all if none is named";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    if arguments.iter().any(|argument| argument == "--help") {
        println!("{USAGE}");
        return;
    }
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let parts: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|a| !a.starts_with("--")).collect();
    let wanted = |part: &str| parts.is_empty() || parts.contains(&part);
    measure::print_head();
    let most = if quick { 100_000 } else { 1_000_000 };
    if wanted("load") {
        load(most);
    }
    if wanted("sizes") {
        sizes(most);
    }
    if wanted("none") {
        none(most);
    }
    if wanted("wide") {
        wide_events();
    }
    if wanted("tenants") {
        let many = if quick { 1_000 } else { 10_000 };
        many_tenants("200 tenants interleaved, 100000 filters", 200, 500, (1.7, 1.0));
        many_tenants(&format!("{many} tenants, 100 filters each"), many, 100, (1.7, 1.0));
    }
    if wanted("generated") {
        generated::rows();
    }
    if wanted("fanout") {
        all_match();
    }
    if wanted("unindexable") {
        unindexable();
    }
    if wanted("churn") {
        churn::report(&one_tenant(most), most);
        churn::memory(&one_tenant(10_000).matcher, most);
    }
}

/// Measures up to `most` filters of one type in one site.
fn sizes(most: usize) {
    let goals = [
        (100, (1.5, 0.8)),
        (1_000, (1.5, 0.8)),
        (10_000, (2.0, 1.2)),
        (100_000, (2.0, 1.2)),
        (1_000_000, (2.5, 1.0)),
    ];
    let mut times = Vec::new();
    for (filters, goal) in goals.into_iter().filter(|(filters, _)| *filters <= most) {
        let name = format!("{filters} filters of one type");
        times.push(report(&Row { name: &name, goal: Some(goal) }, &one_tenant(filters)));
    }
    if let [_, small, .., large] = times[..] {
        println!(
            "growth from 1000 to {most} filters: {:.2} (must 2.0, stretch 1.5)",
            large / small
        );
    }
}

/// Measures loading from texts on all cores, the memory in use, and the memory that stays allocated
/// after all filters are removed.
fn load(filters: usize) {
    let texts = mix(1, filters);
    let per_filter = |bytes: usize| bytes as f64 / filters as f64;
    let before = live_bytes();
    let start = clock::tick();
    let subscriptions = workload::loaded("site", &texts);
    let compiled = clock::since(start);
    let held = live_bytes() - before;
    let matcher = Matcher::default();
    matcher.replace_many(subscriptions);
    let taken = clock::since(start);
    let all = per_filter(live_bytes() - before);
    let seconds = taken.as_secs_f64() * 1e6 / filters as f64;
    println!(
        "load of {filters} filters from text: {taken:.2?} ({compiled:.2?} to subscriptions), \
         {seconds:.2} s a million (must 5 {}, stretch 2 {})",
        verdict(seconds <= 5.0),
        verdict(seconds <= 2.0),
    );
    println!(
        "live bytes per filter: index {:.0} (must 64 {}), programs and subscriptions {:.0}, \
         everything {all:.0} (must 200 {}, stretch 120 {})",
        per_filter(matcher.index_bytes()),
        verdict(per_filter(matcher.index_bytes()) <= 64.0),
        per_filter(held),
        verdict(all <= 200.0),
        verdict(all <= 120.0),
    );
    drop(texts);
    leave(&matcher, filters);
}

/// Removes all filters, then adds and removes a tenth as many others, installation by installation.
fn leave(matcher: &Matcher, filters: usize) {
    let installations = filters.div_ceil(workload::MODULES);
    let id = |at: usize| InstallationId::from(format!("site-inst-{at}"));
    let full = live_bytes();
    matcher.replace_many((0..installations).map(|at| (id(at), Vec::new())));
    let empty = live_bytes();
    for (installation, modules) in subscriptions("site", &mix(2, filters / 10)) {
        matcher.replace_installation(&installation, modules);
        matcher.replace_installation(&installation, Vec::new());
    }
    println!(
        "live bytes: {full} with {filters} filters, {empty} without, {} after {} more were added and removed",
        live_bytes(),
        filters / 10
    );
}

/// Measures events that match no filter, events whose type has no subscription, and the cost of
/// changes.
fn none(filters: usize) {
    let mut case = one_tenant(filters);
    // Events of projects without a filter.
    let mut random = Random(3);
    let unasked = |at| ("site".into(), event(&mut random, &format!("Q{at}"), usize::MAX, 0));
    case.events = (0..EVENTS).map(unasked).collect();
    let name = format!("0 matches, {filters} filters");
    report(&Row { name: &name, goal: Some((0.8, 0.4)) }, &case);
    let unsubscribed = BenchCase { matcher: Matcher::default(), events: case.events.clone() };
    report(&Row { name: "no trigger for the event type", goal: None }, &unsubscribed);
    changes(&case.matcher, &format!("{filters} filters"));
    let name = format!("0 matches, {filters} filters, after these changes");
    report(&Row { name: &name, goal: None }, &case);
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

fn one_tenant(filters: usize) -> BenchCase {
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
    BenchCase { matcher, events: issue_events(&"site".into(), EVENTS, filters, 0) }
}

/// Measures a case and prints its row; returns microseconds per event.
fn report(row: &Row<'_>, case: &BenchCase) -> f64 {
    let mut decoder = Decoder::new(1 << 20, false);
    let mut scratch = Scratch::default();
    let (mut matches, mut candidates) = (0, 0);
    for (site, body) in &case.events {
        let headers = Binary(site);
        let event = decode_if_subscribed(&case.matcher, &mut decoder, &headers, body);
        if !event.is_body_decoded() {
            continue;
        }
        let found = case.matcher.matches(event.routing_key(), &decoder, &mut scratch);
        assert!(found.failures.is_empty());
        matches += found.len();
        candidates += found.candidates;
    }
    let of = |at: usize| &case.events[at % case.events.len()];
    let check = |at: usize| {
        black_box(serde_json::from_slice::<serde::de::IgnoredAny>(&of(at).1).is_ok());
    };
    let (v, ours) = compare(check, |at| one(case, of(at), &mut decoder, &mut scratch));
    let (v_then, delivered) =
        compare(check, |at| to_deliveries(case, of(at), &mut decoder, &mut scratch));
    let allocated = allocations();
    case.events.iter().for_each(|event| one(case, event, &mut decoder, &mut scratch));
    let allocated = allocations() - allocated;
    let outcome = Outcome {
        events: case.events.len(),
        bytes: case.events.iter().map(|(_, body)| body.len()).sum(),
        matches,
        candidates,
        allocations: allocated,
        v,
        ours,
        delivered: Some(delivered / v_then),
    };
    outcome.print(row.name, row.goal);
    ours / 1e3
}

/// Matches one event, from its bytes.
fn one(case: &BenchCase, event: &(Arc<str>, Bytes), decoder: &mut Decoder, scratch: &mut Scratch) {
    let (site, body) = event;
    let headers = Binary(site);
    let event = decode_if_subscribed(&case.matcher, decoder, &headers, body);
    if event.is_body_decoded() {
        black_box(case.matcher.matches(event.routing_key(), decoder, scratch));
    }
}

/// Does what [`one`] does, then takes the matches and makes the event, as the router does for
/// delivery.
fn to_deliveries(
    case: &BenchCase,
    event: &(Arc<str>, Bytes),
    decoder: &mut Decoder,
    scratch: &mut Scratch,
) {
    let (site, body) = event;
    let headers = Binary(site);
    let event = decode_if_subscribed(&case.matcher, decoder, &headers, body);
    if event.is_body_decoded() {
        let outcome = case.matcher.matches(event.routing_key(), decoder, scratch);
        black_box(outcome.take_matches(event.routing_key(), decoder));
        black_box(event.into_event());
    }
}

/// Decodes an event as the router does.
fn decode_if_subscribed<'m>(
    matcher: &Matcher,
    decoder: &mut Decoder,
    headers: &'m Binary<'_>,
    body: &Bytes,
) -> DecodedMessage<'m> {
    let has_subscribers = |routing_key: RoutingKey<'_>| matcher.has_subscriptions(routing_key);
    let attributes = Attributes::from_headers(headers).expect("attributes");
    decoder.decode_if_subscribed(attributes, body.clone(), 1, has_subscribers).expect("an event")
}

/// Adds one module at a time and removes the one that was added `LIVE` changes before.
fn changes(matcher: &Matcher, others: &str) {
    const LIVE: usize = 200;
    let texts = mix(9, 2_000);
    let modules = subscriptions("site", &texts).into_iter().flat_map(|(_, modules)| modules);
    let mut taken = Vec::new();
    let mut change = |at: usize, modules: Vec<Arc<Subscription>>| {
        let installation = InstallationId::from(format!("new-{at}"));
        let start = clock::tick();
        matcher.replace_installation(&installation, modules);
        taken.push(clock::since(start).as_secs_f64() * 1e6);
    };
    for (at, module) in modules.enumerate() {
        change(at, vec![module]);
        if let Some(before) = at.checked_sub(LIVE) {
            change(before, Vec::new());
        }
    }
    taken.sort_by(f64::total_cmp);
    let at = |share: f64| taken[(taken.len() as f64 * share) as usize];
    println!(
        "change of one module with {others}: p50 {:.1} us (must 20), p99 {:.1} us (must 1000), max {:.0} us",
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
    report(&Row { name, goal: Some(goal) }, &BenchCase { matcher, events });
}

fn all_match() {
    let matcher = Matcher::default();
    let text =
        |at| format!("event.issue.fields.project.key == 'P1' && event.issue.key != 'none-{at}'");
    matcher.replace_many(subscriptions("site", &(0..10_000).map(text).collect::<Vec<_>>()));
    let mut random = Random(5);
    let events = (0..50).map(|_| ("site".into(), event(&mut random, "P1", 10, 0))).collect();
    report(&Row { name: "10000 matches", goal: None }, &BenchCase { matcher, events });
}

/// Measures 10,000 filters of which 5 % cannot be indexed: with a subexpression in common, and
/// without.
fn unindexable() {
    let mut case = one_tenant(10_000);
    let fast = report(&Row { name: "10000 filters, all indexed", goal: None }, &case);
    for (kind, filter) in [
        ("sharing an operand", workload::unindexable_filter as fn(&mut Random) -> String),
        ("sharing nothing", workload::unshared_filter),
    ] {
        let mut texts = mix(1, 9_500);
        let mut random = Random(2);
        texts.extend((0..500).map(|_| filter(&mut random)));
        case.matcher = Matcher::default();
        case.matcher.replace_many(subscriptions("site", &texts));
        let name = format!("10000 filters, 5 % un-indexable, {kind}");
        let slow = report(&Row { name: &name, goal: None }, &case);
        println!(
            "un-indexable, {kind}, against indexed: {:.1} x (must 10 {}); {:.0} ns per filter",
            slow / fast,
            verdict(slow / fast <= 10.0),
            (slow - fast) * 1e3 / 500.0
        );
    }
    // So few that each change rebuilds their segment.
    let mut random = Random(2);
    let few: Vec<String> = (0..400).map(|_| workload::unshared_filter(&mut random)).collect();
    let matcher = Matcher::default();
    matcher.replace_many(subscriptions("site", &few));
    changes(&matcher, "400 un-indexable filters");
}
