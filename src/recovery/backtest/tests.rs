//! Backtests over streams in memory.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use switchyard_expr::{CheckProfile, compile};

use super::*;
use crate::domain::{AppId, CloudId, OnError};
use crate::matcher::{EventConditions, EventSubscription, Matcher};
use crate::recovery::explain::{Deadline, OwnedSubscriber};
use crate::recovery::replay::testing::{MemoryStreams, event};
use crate::recovery::replay::{EventReader, StartAt};

const UPDATED: &str = "avi:jira:updated:issue";
const CREATED: &str = "avi:jira:created:issue";
const LONG: Duration = Duration::from_secs(600);

/// 40 events, every second one of `site-2`; the numbers of `site-1` are odd. Every fifth is of another type.
fn streams() -> MemoryStreams {
    let streams = MemoryStreams::default();
    for number in 1..=40 {
        let body = match number % 10 {
            7 => r#"{"n":null}"#.to_owned(),
            _ => format!(r#"{{"n":{{"is":{number}}}}}"#),
        };
        let site = if number % 2 == 0 { "site-2" } else { "site-1" };
        let event_type = if number % 5 == 0 { CREATED } else { UPDATED };
        streams.add(event(number, site, event_type, &body));
    }
    streams
}

fn subscribed(event_type: &str, filter: &str, on_error: OnError) -> EventSubscription {
    let conditions = EventConditions::unconditional(event_type.into());
    let program = compile(filter, CheckProfile::Filter).unwrap().program;
    let conditions = Arc::new(EventConditions { on_error, ..conditions });
    EventSubscription { conditions, program: Some(Arc::new(program)) }
}

fn query(site: Option<&str>, tried: TestedFilter) -> BacktestQuery {
    let subscriber = OwnedSubscriber {
        app: AppId::from("app"),
        app_account_id: None,
        is_licensed: true,
        permissions: None,
    };
    BacktestQuery {
        site: site.map(CloudId::from),
        from: StartAt::Time(0),
        until_ms: None,
        events_max: 1_000,
        tried,
        current: None,
        subscriber: Arc::new(subscriber),
    }
}

async fn run(streams: &MemoryStreams, query: BacktestQuery, max: Duration) -> BacktestReport {
    let turns = Arc::new(BacktestTurns::default());
    let turn = turns.take(query.site.as_ref(), LONG).await.unwrap();
    let reader = EventReader::new(Arc::new(Matcher::default()), 1 << 20, false);
    let deadline = Deadline::after(max);
    backtest((streams, &reader), query, (deadline, turn), &|_| {}).await.unwrap()
}

fn of_type(filter: &str) -> TestedFilter {
    TestedFilter::OfTypes(vec![subscribed(UPDATED, filter, OnError::Receive)])
}

#[tokio::test]
async fn each_event_of_the_site_is_counted_once() {
    let report = run(&streams(), query(Some("site-1"), of_type("event.n.is < 20")), LONG).await;
    let counts = &report.counts;
    // 5, 15, 25 and 35 are of another type; 7, 17, 27 and 37 end in an error.
    assert_eq!((counts.events, counts.of_other_types, counts.failed), (20, 4, 4));
    assert_eq!((counts.matched, counts.not_matched, counts.delivered()), (6, 6, 10));
    assert_eq!(Vec::from(counts.samples.matched.clone()), [1, 3, 9, 11, 13, 19]);
    assert_eq!(Vec::from(counts.samples.failed.clone()), [7, 17, 27, 37]);
    assert_eq!(counts.errors.values().sum::<u64>(), 4);
    assert_eq!((counts.steps.count(), report.of, report.next), (16, Some(20), None));
    assert_eq!(report.last, Some((39, 39_000)));
}

#[tokio::test]
async fn filter_of_all_types_has_the_type_of_each_event() {
    let any = || TestedFilter::OfAll(subscribed("", "event.n?.is != null", OnError::Ignore));
    let report = run(&streams(), query(None, any()), LONG).await;
    assert_eq!((report.counts.events, report.counts.matched), (40, 36));
    assert_eq!((report.counts.of_other_types, report.counts.failed), (0, 0));
}

#[tokio::test]
async fn events_that_differ_from_the_current_filter_are_counted_both_ways() {
    let current = vec![
        subscribed(UPDATED, "event.n.is < 20", OnError::Ignore),
        subscribed(CREATED, "event.n.is < 20", OnError::Ignore),
    ];
    let tried = of_type("event.n.is >= 11");
    let query = BacktestQuery { current: Some(current), ..query(Some("site-1"), tried) };
    let counts = run(&streams(), query, LONG).await.counts;
    // The tried filter delivers errors; the current one has one type more.
    assert_eq!(Vec::from(counts.samples.lost), [1, 3, 5, 9, 15]);
    assert_eq!(Vec::from(counts.samples.gained), [7, 17, 21, 23, 27, 29, 31, 33, 37, 39]);
    assert_eq!((counts.lost, counts.gained, counts.kept), (5, 10, 3));
}

#[tokio::test]
async fn bounds_say_what_was_not_read_and_where_to_go_on() {
    let streams = streams();
    let site = |from| BacktestQuery { from, ..query(Some("site-1"), of_type("true")) };
    let some = BacktestQuery { events_max: 6, ..site(StartAt::Sequence(10)) };
    let report = run(&streams, some.clone(), LONG).await;
    assert_eq!((report.counts.events, report.of), (6, Some(6)));
    assert_eq!((report.last, report.next), (Some((21, 21_000)), Some(22)));
    let rest = BacktestQuery { events_max: 9, ..site(StartAt::Sequence(22)) };
    let report = run(&streams, rest, LONG).await;
    assert_eq!((report.counts.events, report.next), (9, None), "these are all that are left");
    let until = BacktestQuery { until_ms: Some(20_000), ..site(StartAt::Time(10_000)) };
    let report = run(&streams, until, LONG).await;
    assert_eq!((report.counts.events, report.of, report.next), (5, Some(5), None));
    assert_eq!(report.last, Some((19, 19_000)));
    let report = run(&streams, some, Duration::ZERO).await;
    assert_eq!((report.counts.events, report.last, report.next), (0, None, Some(11)));
    let none = BacktestQuery { site: Some("site-3".into()), ..site(StartAt::Time(0)) };
    let report = run(&streams, none, LONG).await;
    assert_eq!((report.counts, report.next), (BacktestCounts::default(), None));
}

#[tokio::test]
async fn event_that_names_another_site_and_one_that_is_no_event_are_counted_apart() {
    let streams = streams();
    let mut moved = event(41, "site-1", UPDATED, "{}");
    moved.headers.push(("ce-cloudid".into(), "site-2".into()));
    streams.add(moved);
    streams.add(event(43, "site-1", UPDATED, "{"));
    let counts = run(&streams, query(Some("site-1"), of_type("true")), LONG).await.counts;
    assert_eq!((counts.events, counts.of_other_sites, counts.unreadable), (22, 1, 1));
    assert_eq!((counts.matched, counts.of_other_types), (16, 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turn_ends_with_the_thread_after_the_caller_left() {
    let turns = Arc::new(BacktestTurns::default());
    let turn = turns.take(None, LONG).await.unwrap();
    let streams = MemoryStreams::default();
    (1..=3_000).for_each(|number| streams.add(event(number, "site-1", UPDATED, r#"{"n":1}"#)));
    let list = (0..50).map(|at| at.to_string()).collect::<Vec<_>>().join(",");
    let costly = format!("[{list}].some(a => [{list}].some(b => a + b + event.n < 0))");
    let reader = EventReader::new(Arc::new(Matcher::default()), 1 << 20, false);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let running = tokio::spawn(async move {
        let query = query(None, of_type(&costly));
        let note = move |at: &BacktestProgress| noted.lock().unwrap().push(*at);
        backtest((&streams, &reader), query, (Deadline::after(LONG), turn), &note).await
    });
    while !seen.lock().unwrap().iter().any(|at| at.status.events > 0) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let is_early = seen.lock().unwrap().iter().all(|at| at.status.events < 1_000);
    assert!(is_early, "the filter is too cheap for this test");
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    assert!(turns.take(None, LONG).await.is_some());
    let seen = seen.lock().unwrap();
    assert!(seen.is_sorted_by_key(|at| at.status.events), "progress never goes back");
    assert!(seen.iter().all(|at| at.of.is_none_or(|of| of == 1_000)));
}
