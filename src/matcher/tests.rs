//! Property tests of the contract: on generated filters and events, the matcher's outcome equals
//! that of the reference evaluator run on every filter alone.

mod bounds;
mod generate;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use metrics_exporter_prometheus::PrometheusBuilder;
use proptest::prelude::*;

use generate::{Act, act, event_text, filter, small_filter};
use world::{Registered, World};

use super::index::{BuildError, Defect, build};
use super::indexer::BuildSegment;
use super::{Matcher, Scratch};

proptest! {
    // `PROPTEST_CASES` may ask for more cases.
    #![proptest_config(ProptestConfig::default())]

    #[test]
    fn index_agrees_with_reference_evaluator(
        acts in prop::collection::vec(act(small_filter()), 2..40),
    ) {
        let mut world = World::new(switchyard_expr::limits::STEPS_MAX);
        for act in &acts {
            world.perform(act)?;
        }
        world.check_accounts()?;
    }

    #[test]
    fn index_agrees_on_nested_filters(acts in prop::collection::vec(act(filter()), 2..24)) {
        let mut world = World::new(switchyard_expr::limits::STEPS_MAX);
        for act in &acts {
            world.perform(act)?;
        }
        world.check_accounts()?;
    }

    #[test]
    fn index_agrees_under_any_step_limit(
        acts in prop::collection::vec(act(small_filter()), 2..16),
        steps_max in prop_oneof![0..80_u32, 80..4_000_u32],
    ) {
        let mut world = World::new(steps_max);
        for act in &acts {
            world.perform(act)?;
        }
        world.check_accounts()?;
    }

    /// Neither the time when a filter is evaluated nor the thread decides its verdict.
    #[test]
    fn matching_in_parts_and_later_has_the_same_outcome(
        acts in prop::collection::vec(act(small_filter()), 2..40),
        steps_at_once in prop_oneof![Just(0), 1..200_u64, Just(u64::MAX)],
        left_out in prop::collection::vec(0..4_usize, 0..4),
    ) {
        let mut world = World::new(switchyard_expr::limits::STEPS_MAX);
        world.limit(steps_at_once, &left_out);
        for act in &acts {
            world.perform(act)?;
        }
        world.check_accounts()?;
    }

    #[test]
    fn index_agrees_on_many_filters_of_one_event_type(
        filters in prop::collection::vec(small_filter(), 60..160),
        events in prop::collection::vec(event_text(), 1..8),
    ) {
        let mut world = World::new(switchyard_expr::limits::STEPS_MAX);
        world.perform(&Act::Register(0, filters.into_iter().map(Registered::plain).collect()))?;
        for event in events {
            world.perform(&Act::Event(event))?;
        }
        world.check_accounts()?;
    }
}

/// Filters that the index once decided wrongly, or easily could; each is matched against every
/// event below.
const TRAPS: &[&str] = &[
    "event.p.k == 'x' && event.q.r == 'y'",
    "event.q.r == 'y' && event.p.k == 'x'",
    "event.p.k == 'x' && event.n > 1",
    "event.n > 1 && event.p.k == 'x'",
    "event.p.k == null",
    "event.p?.k == null && event.a == 'x'",
    "event.a == 1 || event.p.k == 'x'",
    "event.p.k == 'x' || event.a == 1",
    "event.n && event.a == 'x'",
    "event.a == 'x' && event.n",
    "['x', 1, null].includes(event.p.k) && event.list.includes('x')",
    "event.list.includes('x') && event.a == 1",
    "event.list.includes('x')",
    "event.p.includes('x')",
    "event.changelog.items.some(i => i.field == 'x' && i.toString == 'y')",
    "event.changelog.items.some(i => i.toString == 'y' && i.field == 'x') && event.a == 1",
    "event.changelog.items.some(i => i.fieldId == 'x')",
    "event.a != 'x' && event.p.k != 'y'",
    "event.selfGenerated && event.a == 'x'",
    "event.selfGenerated == true",
    "event.permissions.scopes.includes('scope-0')",
    "event.permissions.scopes.includes('scope-1') && event.a == 'x'",
    "event.a == event.p.k && event.permissions.scopes.length > 0",
    "event.permissions.scopes.length == 0 || event.n > 1",
    "event.permissions.scopes[0] == 'scope-0' && event.q.r != 'y'",
    "event.n > 1 && event.n <= 2",
    "event.n != null && event.n > 1",
    "event.p.k == 'x' ? event.a == 1 : event.q.r",
    "event.a == event.p.k && event.q.r != 'y'",
    "event.q.r != 'y' && event.a == event.p.k",
    "event.a == event.p.k && event.n == 2",
    "event.a == event.p.k && event.n > 1 && event.q.r == 'y'",
    "(event.a == event.p.k || event.n > 1) && event.a != 'y'",
    "event.a == event.p.k && event.selfGenerated",
    "event.a == event.p.k && event.n",
    "event.a == event.p.k && event.list.some(l => l == event.a)",
    // More paths than tests have in the index.
    "event.a == 2 || event.b == 'x' || event.p.k == 'x' || event.q.r == 'y' || event.n == 2 \
        || event.list == 1 || event.missing == 'x'",
    "event.a == 1 && (event.a == 2 || event.b == 'x' || event.p.k == 'x' || event.q.r == 'y' \
        || event.n == 2 || event.list == 1 || event.missing == 'x')",
    // Rows that are shared by posting lists and bounds.
    "(event.a == 'x' || event.p.k == 'x' || event.n > 1 || event.n < 0) && event.q.r != 'z'",
    "event.n > 1 || event.n > 0 || event.n < 5",
    "['x', 'y', 1].includes(event.a) && event.q.r != 'z' && event.p.k != 'z'",
];

const TRAP_EVENTS: &[&str] = &[
    "{}",
    r#"{"a":"x","p":null,"q":1,"list":null,"n":null,"changelog":null}"#,
    r#"{"a":1,"p":{"k":"x"},"q":{"r":"y"},"n":2,"list":["x",1],"changelog":{"items":[]}}"#,
    r#"{"a":"x","p":{"k":"y","k":"x"},"q":{},"n":"2","list":"axb","changelog":{"items":null}}"#,
    r#"{"p":"text","a":true,"list":{"includes":1},"changelog":{"items":[{"field":"x","toString":"y"}]}}"#,
    r#"{"p":{"\u006b":"x"},"a":1.0,"changelog":{"items":[{"field":"x"},null,{"field":"x","toString":"y"}]}}"#,
    r#"{"a":1,"changelog":{"items":[1]},"selfGenerated":true,"atlassianId":"acc-1"}"#,
    r#"{"a":"x","permissions":{"scopes":["scope-0","scope-1"]},"n":2}"#,
    r#"{"a":1,"changelog":{"items":[{"toString":"y","field":"x","field":"z"}]},"n":9007199254740993}"#,
    r#"{"a":1,"changelog":{"items":{"field":"x"}},"n":-0.0,"p":[]}"#,
    r#"{"list":["x","x",1,"x"],"changelog":{"items":[{"field":"x","toString":"y"},{"field":"x","toString":"y"}]}}"#,
];

fn world_with_traps() -> World {
    let mut world = World::new(switchyard_expr::limits::STEPS_MAX);
    let all = TRAPS.iter().map(|text| Registered::plain((*text).to_owned()));
    world.perform(&Act::Register(0, all.collect())).unwrap();
    world
}

#[test]
fn index_agrees_on_known_traps() {
    let mut world = world_with_traps();
    for event in TRAP_EVENTS {
        world.perform(&Act::Event((*event).to_owned())).unwrap();
    }
    world.check_accounts().unwrap();
}

/// The index may name a candidate too many, never one too few, even if it is corrupt.
#[test]
fn corrupt_segments_are_evaluated_without_index() {
    for defect in
        [Defect::PostingLists, Defect::Rows, Defect::TestTables, Defect::Columns, Defect::Listeners]
    {
        let mut world = world_with_traps();
        let no_filter = Registered { text: None, ..Registered::plain(String::new()) };
        let foreign = Registered { ignore_self: true, ..Registered::plain(TRAPS[0].to_owned()) };
        world.perform(&Act::Register(1, vec![no_filter, foreign])).unwrap();
        world.corrupt(defect);
        for event in TRAP_EVENTS {
            world.perform(&Act::Event((*event).to_owned())).unwrap();
        }
        world.check_accounts().unwrap();
        assert!(world.index_errors() > 0, "no lookup met {defect:?}");
    }
}

/// A defect of the build costs time, but leaves no filter out.
#[test]
fn filters_for_which_no_index_can_be_built_are_evaluated() {
    let of_some: BuildSegment = |listeners, projections, steps_max| {
        let mut sources = listeners.iter().filter_map(|one| Some(one.program()?.source()));
        match sources.any(|source| source.contains("event.q")) {
            true => Err(BuildError::DEFECT),
            false => build(listeners, projections, steps_max),
        }
    };
    for build in [of_some, |_, _, _| Err(BuildError::DEFECT)] {
        let recorder = PrometheusBuilder::new().build_recorder();
        let mut world = World::new(switchyard_expr::limits::STEPS_MAX);
        world.build_with(build);
        let all = TRAPS.iter().map(|text| Registered::plain((*text).to_owned()));
        let acts = [
            Act::Register(0, all.collect()),
            Act::Register(1, vec![Registered { text: None, ..Registered::plain(String::new()) }]),
        ];
        metrics::with_local_recorder(&recorder, || {
            acts.iter().try_for_each(|act| world.perform(act)).unwrap();
        });
        let counted = recorder.handle().render();
        let errors = counted.lines().find_map(|l| l.strip_prefix("switchyard_index_errors_total "));
        assert!(errors.is_some_and(|errors| errors != "0"), "{counted}");
        for event in TRAP_EVENTS {
            world.perform(&Act::Event((*event).to_owned())).unwrap();
        }
        world.perform(&Act::Register(0, Vec::new())).unwrap();
        world.perform(&Act::Event(TRAP_EVENTS[2].to_owned())).unwrap();
        world.check_accounts().unwrap();
    }
}

/// A segment has at most 24 columns in tests.
#[test]
fn listeners_too_many_for_one_segment_are_split() {
    let mut world = World::new(switchyard_expr::limits::STEPS_MAX);
    let filter = |n: usize| Registered::plain(format!("event.a{n} == 'x' && event.b{n} != 'y'"));
    world.perform(&Act::Register(0, (0..60).map(filter).collect())).unwrap();
    let split = world.segments();
    assert!(split >= 5, "120 columns are in {split} segments");
    let check = |world: &mut World| {
        for n in [0, 11, 12, 24, 59, 60] {
            let event = format!(r#"{{"a{n}":"x","b{n}":"z","a1":"x","b1":"y"}}"#);
            world.perform(&Act::Event(event)).unwrap();
        }
    };
    check(&mut world);
    // The full segments stay as they are.
    world.perform(&Act::Register(1, vec![filter(60)])).unwrap();
    assert_eq!(world.segments(), split + 1);
    check(&mut world);
    world.perform(&Act::Register(0, (0..60).rev().map(filter).collect())).unwrap();
    check(&mut world);
    world.perform(&Act::Register(0, Vec::new())).unwrap();
    check(&mut world);
    assert_eq!(world.segments(), 1);
    world.check_accounts().unwrap();
}

#[test]
fn filter_too_large_for_a_segment_is_evaluated() {
    let mut world = World::new(switchyard_expr::limits::STEPS_MAX);
    // Too many columns, and too many tests.
    let any = |count: usize, test: fn(usize) -> String| {
        (0..count).map(test).collect::<Vec<_>>().join(" || ")
    };
    let columns = any(25, |n| format!("event.a{n} == 'x'"));
    let tests = any(70, |n| format!("event.a != {n}"));
    let filters = ["event.a == 'x'", &columns, &tests, "event.a24 == 'x' && event.a == 1"];
    let modules = filters.map(|text| Registered::plain(text.to_owned()));
    world.perform(&Act::Register(0, modules.into())).unwrap();
    for event in [r#"{"a24":"x","a":1}"#, r#"{"a":"x"}"#, r#"{"a0":"x"}"#, "{}"] {
        let decoded = world.decode(event).unwrap();
        let (_, outcome) = world.matches(&decoded);
        assert!(outcome.evaluated.matched + outcome.evaluated.not_matched >= 2, "{event}");
        world.perform(&Act::Event(event.to_owned())).unwrap();
    }
}

#[test]
fn rejects_malformed_events() {
    let mut world = World::new(switchyard_expr::limits::STEPS_MAX);
    let anything = vec![Registered::plain("event.a == 'x'".to_owned())];
    world.perform(&Act::Register(0, anything)).unwrap();
    for text in [
        r#"{"a":"x""#,
        r#"{"a":"x"}}"#,
        r#"{"a":"x",}"#,
        r#"{"a":"x" "b":1}"#,
        r#"{"a":"x","b":01}"#,
        r#"{"a":"x","b":tru}"#,
        "{\"a\":\"x\",\"b\":\"\u{1}\"}",
        r#"{"a":"x","b":"\ud80"}"#,
        r#"{"a":"x","b":[1,]}"#,
        r#"{"a":"x","b":"\q"}"#,
        r#"["a"]"#,
        "",
    ] {
        assert!(world.decode(text).is_err(), "{text}");
    }
}

#[test]
fn readers_see_a_registration_whole_or_not_at_all() {
    let matcher = Arc::new(Matcher::default());
    let mut world = World::new(switchyard_expr::limits::STEPS_MAX);
    let set = |world: &mut World, text: &str| {
        let modules: Vec<_> = (0..20).map(|_| Registered::plain(text.to_owned())).collect();
        world.subscriptions(0, &modules)
    };
    let (old, new) = (set(&mut world, "event.a == 'x'"), set(&mut world, "event.b == 'x'"));
    let (installation, done) = (old[0].owner.id.clone(), AtomicBool::new(false));
    matcher.replace_installation(&installation, old.clone());
    // Both sets match, so each snapshot has exactly one of them, whole.
    let event = world.decode(r#"{"a":"x","b":"x"}"#).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..400 {
                let set = if round % 2 == 0 { &new } else { &old };
                matcher.replace_installation(&installation, set.clone());
            }
            done.store(true, Relaxed);
        });
        let mut scratch = Scratch::default();
        while !done.load(Relaxed) {
            let found =
                matcher.matches(event.envelope.routing_key(), world.decoder(), &mut scratch);
            assert_eq!(found.len(), 20);
            let of = |set: &[Arc<super::Subscription>]| {
                found.matched_subscriptions().all(|found| set.iter().any(|s| Arc::ptr_eq(s, found)))
            };
            assert!(of(&old) || of(&new), "an event saw half of a registration");
        }
    });
}

#[test]
fn removed_subscriptions_are_freed() {
    let matcher = Matcher::default();
    let mut world = World::new(switchyard_expr::limits::STEPS_MAX);
    let modules: Vec<_> =
        (0..50).map(|n| Registered::plain(format!("event.a == 'x{n}'"))).collect();
    let subscriptions = world.subscriptions(0, &modules);
    let installation = subscriptions[0].owner.id.clone();
    let held: Vec<_> = subscriptions.iter().map(Arc::downgrade).collect();
    matcher.replace_installation(&installation, subscriptions);
    let event = world.decode(r#"{"a":"x7"}"#).unwrap();
    let mut scratch = Scratch::default();
    assert_eq!(
        matcher.matches(event.envelope.routing_key(), world.decoder(), &mut scratch).len(),
        1
    );
    assert!(matcher.has_subscriptions(event.envelope.routing_key()));
    matcher.replace_installation(&installation, Vec::new());
    assert!(!matcher.has_subscriptions(event.envelope.routing_key()));
    assert!(
        matcher.matches(event.envelope.routing_key(), world.decoder(), &mut scratch).is_empty()
    );
    assert!(held.iter().all(|subscription| subscription.upgrade().is_none()));
}

/// A shared subexpression that the index has no test for leads to the filters that contain it:
/// where it is false, none of them is a candidate, and where it fails, all of them fail.
#[test]
fn shared_subexpression_leads_to_its_filters() {
    let mut world = World::new(switchyard_expr::limits::STEPS_MAX);
    let filter = |n| format!("event.a == event.p.k && event.n != {n}");
    let modules = (0..100).map(|n| Registered::plain(filter(n))).collect();
    world.perform(&Act::Register(0, modules)).unwrap();
    for (text, matches, failures, candidates) in [
        (r#"{"a":"x","p":{"k":"y"},"n":7}"#, 0, 0, 0),
        (r#"{"a":"x","p":{"k":"x"},"n":7}"#, 99, 0, 100),
        (r#"{"a":"x","p":null,"n":7}"#, 0, 100, 100),
    ] {
        let event = world.decode(text).unwrap();
        let (found, outcome) = world.matches(&event);
        let counts = (found.len(), outcome.failures.len(), outcome.candidates);
        assert_eq!(counts, (matches, failures, candidates), "{text}");
        world.perform(&Act::Event(text.to_owned())).unwrap();
    }
}

/// Constants that contain each other have many hits in one text, whose memory has a bound.
#[test]
fn search_with_too_many_hits_is_left_to_evaluation() {
    const FILTERS: usize = 40;
    let mut world = World::new(switchyard_expr::limits::STEPS_MAX);
    let filter = |n| Registered::plain(format!("event.a.includes('{}')", "x".repeat(n)));
    world.perform(&Act::Register(0, (1..=FILTERS).map(filter).collect())).unwrap();
    for (bytes, evaluated) in [(1_000, 0), (4_000, FILTERS)] {
        let text = format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes));
        let event = world.decode(&text).unwrap();
        let (found, outcome) = world.matches(&event);
        assert_eq!((found.len(), outcome.evaluated.matched as usize), (FILTERS, evaluated));
        world.perform(&Act::Event(text)).unwrap();
    }
}

#[test]
fn equal_filters_are_evaluated_once_for_all_installations() {
    let mut world = World::new(switchyard_expr::limits::STEPS_MAX);
    let filter = "event.p.includes('x') == true";
    for installation in 0..5 {
        let modules = vec![Registered::plain(filter.to_owned()); 3];
        world.perform(&Act::Register(installation, modules)).unwrap();
    }
    let event = world.decode(r#"{"p":"axb"}"#).unwrap();
    let (matches, found) = world.matches(&event);
    assert_eq!(matches.len(), 15);
    assert_eq!(found.evaluated.matched, 1);
}
