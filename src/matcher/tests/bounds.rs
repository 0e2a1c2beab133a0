//! What a change costs is bounded by the filters it adds, whatever else is registered. Work is
//! counted in index entries.

use std::sync::Arc;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

use super::generate::Act;
use super::world::{Registered, World};
use crate::matcher::index::{INSTALLATION_ENTRIES_MAX, entries};
use crate::matcher::{Matcher, Subscription};

/// A list of so many constants that no other filter contains.
fn list(number: usize, constants: usize) -> String {
    let items: Vec<_> =
        (0..constants).map(|at| format!("'{:05}'", number * constants + at)).collect();
    format!("[{}].includes(event.a)", items.join(", "))
}

fn plain(text: String) -> Registered {
    Registered::plain(text)
}

fn entries_of(subscription: &Subscription) -> usize {
    entries(subscription.event_subscriptions[0].program.as_deref())
}

/// Returns the value of a metric; 0 if it is not there.
fn metric(recorder: &PrometheusRecorder, name: &str) -> usize {
    let text = recorder.handle().render();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |number| number.parse().unwrap())
}

const BUILT: &str = "switchyard_index_built_entries_total";

/// Replaces module number `at` by an equal one without end, as switching it does; returns how many
/// entries were built per change.
fn entries_per_switch(
    matcher: &Matcher,
    world: &mut World,
    modules: &[Registered],
    at: usize,
    recorder: &PrometheusRecorder,
) -> usize {
    const CHANGES: usize = 50;
    let mut live = world.subscriptions(0, modules);
    let installation = live[0].owner.id.clone();
    let before = metric(recorder, BUILT);
    for _ in 0..CHANGES {
        live[at] = world.subscriptions(0, modules).swap_remove(at);
        matcher.replace_installation(&installation, live.clone());
    }
    (metric(recorder, BUILT) - before) / CHANGES
}

#[test]
fn switching_a_module_builds_what_it_has_and_not_what_others_have() {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        let matcher = Matcher::default();
        let mut world = World::new(switchyard_expr::limits::STEPS_MAX);
        let mut modules: Vec<_> = (0..8).map(|number| plain(list(number, 200))).collect();
        modules.push(plain("event.b == 'x'".to_owned()));
        let live = world.subscriptions(0, &modules);
        let all: usize = live.iter().map(|one| entries_of(one)).sum();
        let (large, small) = (entries_of(&live[3]), entries_of(&live[8]));
        assert!(all > 8 * large && large > 50 * small, "{all}, {large}, {small}");
        matcher.replace_installation(&live[0].owner.id.clone(), live);
        let built = metric(&recorder, BUILT);
        assert!((all..=2 * all).contains(&built), "{built} of {all}");
        // A segment as small as the module is built for it, and merged with those of its size.
        let per_switch = entries_per_switch(&matcher, &mut world, &modules, 3, &recorder);
        assert!((large..=3 * large).contains(&per_switch), "{per_switch} for {large} of {all}");
        let per_switch = entries_per_switch(&matcher, &mut world, &modules, 8, &recorder);
        assert!(per_switch <= 3 * large, "{per_switch} for {small} of {all}");
    });
}

#[test]
fn rows_of_a_filter_are_linear_in_its_size() {
    let matcher = Matcher::default();
    let mut world = World::new(switchyard_expr::limits::STEPS_MAX);
    // Each of the constants leads to the filter, which has many tests.
    let tests: Vec<_> = (0..50).map(|n| format!("event.n != {n}")).collect();
    let filter = format!("{} && {}", list(0, 400), tests.join(" && "));
    let live = world.subscriptions(0, &[plain(filter)]);
    let entries = entries_of(&live[0]);
    matcher.replace_installation(&live[0].owner.id.clone(), live);
    let bytes = matcher.index_bytes();
    // Copies alone would be 400 * 51 * 8 bytes.
    assert!(bytes < 64 * entries && bytes < 100_000, "{bytes} bytes, {entries} entries");
}

#[test]
fn filters_beyond_the_share_of_an_installation_are_evaluated() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let beyond = "switchyard_filters_beyond_index{reason=\"share\"}";
    metrics::with_local_recorder(&recorder, || {
        let mut world = World::new(switchyard_expr::limits::STEPS_MAX);
        let modules: Vec<_> = (0..20).map(|number| plain(list(number, 200))).collect();
        let live = world.subscriptions(0, &modules);
        let within = INSTALLATION_ENTRIES_MAX / entries_of(&live[0]);
        assert!((2..15).contains(&within), "{within}");
        world.perform(&Act::Register(0, modules.clone())).unwrap();
        // Another installation has a share of its own.
        world.perform(&Act::Register(1, modules[..2].to_vec())).unwrap();
        assert_eq!(metric(&recorder, beyond), 20 - within);
        for at in [0, 200 * within - 1, 200 * within, 3999, 4000] {
            let event = format!(r#"{{"a":"{at:05}"}}"#);
            let decoded = world.decode(&event).unwrap();
            let (_, outcome) = world.matches(&decoded);
            let evaluated = outcome.evaluated.matched + outcome.evaluated.not_matched;
            assert_eq!(evaluated as usize, 20 - within, "{event}");
            world.perform(&Act::Event(event)).unwrap();
        }
        // What is removed makes room for what is added later.
        world.perform(&Act::Register(0, modules[10..].to_vec())).unwrap();
        assert_eq!(metric(&recorder, beyond), 10_usize.saturating_sub(within));
        world.perform(&Act::Event(r#"{"a":"03999"}"#.to_owned())).unwrap();
        world.perform(&Act::Register(0, Vec::new())).unwrap();
        assert_eq!(metric(&recorder, beyond), 0);
    });
}

#[test]
fn predicates_beyond_the_bound_of_a_filter_are_evaluated() {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        let mut world = World::new(switchyard_expr::limits::STEPS_MAX);
        let any: Vec<_> = (0..40).map(|n| format!("event.a{n} == 'x'")).collect();
        let all = any.join(" && ");
        let any = any.join(" || ");
        let texts = [any.clone(), format!("event.a == 'x' && ({any})"), all];
        world.perform(&Act::Register(0, texts.map(plain).into())).unwrap();
        assert_eq!(metric(&recorder, "switchyard_filters_beyond_index{reason=\"size\"}"), 3);
        let every: Vec<_> = (0..40).map(|n| format!(r#""a{n}":"x""#)).collect();
        let every = format!("{{{}}}", every.join(","));
        // The last two are found by what is within the bound, the first never is.
        for (event, evaluated) in [
            (r#"{"a3":"x"}"#, 1),
            (r#"{"a":"x","a39":"x"}"#, 2),
            (r#"{"a":"y"}"#, 1),
            (every.as_str(), 2),
        ] {
            let decoded = world.decode(event).unwrap();
            let (_, outcome) = world.matches(&decoded);
            let count = outcome.evaluated.matched + outcome.evaluated.not_matched;
            assert_eq!(count, evaluated, "{event}");
            world.perform(&Act::Event(event.to_owned())).unwrap();
        }
    });
}

/// A projection finds names by their last eight bytes and compares all that end alike.
#[test]
fn names_that_end_alike_are_evaluated_beyond_a_bound() {
    let mut world = World::new(switchyard_expr::limits::STEPS_MAX);
    let filter = |n: usize| plain(format!("event.n{n:03}_same_ending == 'x'"));
    // One event type has at most 24 columns in tests.
    world.perform(&Act::Register(0, (0..20).map(filter).collect())).unwrap();
    for n in [0, 15, 16, 19, 20] {
        let event = format!(r#"{{"n{n:03}_same_ending":"x"}}"#);
        world.perform(&Act::Event(event)).unwrap();
    }
}

/// Changes of different installations do not wait for each other, even of one partition.
#[test]
fn concurrent_changes_are_all_published() {
    let matcher = Arc::new(Matcher::default());
    let mut world = World::new(switchyard_expr::limits::STEPS_MAX);
    let sets: Vec<_> = (0..4)
        .map(|installation| {
            let filter = |n: usize| plain(format!("event.a == 'x' || event.b == {n}"));
            world.subscriptions(installation, &(0..10).map(filter).collect::<Vec<_>>())
        })
        .collect();
    std::thread::scope(|scope| {
        for set in &sets {
            scope.spawn(|| {
                let id = set[0].owner.id.clone();
                for round in 0..50 {
                    matcher.replace_installation(&id, set[..round % 10].to_vec());
                }
                matcher.replace_installation(&id, set.clone());
            });
        }
    });
    let event = world.decode(r#"{"a":"x"}"#).unwrap();
    let mut scratch = crate::matcher::Scratch::default();
    let found = matcher.matches(event.envelope.routing_key(), world.decoder(), &mut scratch);
    assert_eq!(found.len(), 40);
    for set in &sets {
        matcher.replace_installation(&set[0].owner.id, Vec::new());
    }
    assert!(!matcher.has_subscriptions(event.envelope.routing_key()));
}
