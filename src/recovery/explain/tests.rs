//! Searches over streams in memory.

use std::sync::Arc;
use std::time::Duration;

use super::{Deadline, EventSearch, SearchReport, find_events};
use crate::matcher::Matcher;
use crate::recovery::replay::EventReader;
use crate::recovery::replay::testing::{MemoryStreams, event};

const TYPE: &str = "avi:jira:updated:issue";
const LONG: Duration = Duration::from_secs(600);

/// Streams with issues of two sites; events of `site-2` name their entity as an attribute.
fn streams() -> MemoryStreams {
    let streams = MemoryStreams::default();
    for number in 1..=40 {
        let body = format!(r#"{{"issue":{{"key":"XXX-{}"}},"text":"XXX-3"}}"#, number % 5);
        let site = if number % 2 == 0 { "site-2" } else { "site-1" };
        let mut one = event(number, site, TYPE, &body);
        if site == "site-2" {
            one.headers.push(("ce-subject".into(), format!("XXX-{}", number % 5).into()));
        }
        streams.add(one);
    }
    streams
}

async fn search(streams: &MemoryStreams, wanted: EventSearch, max: Duration) -> SearchReport {
    let reader = EventReader::new(Arc::new(Matcher::default()), 1 << 20, false);
    let deadline = Deadline::after(max);
    find_events((streams, &reader), wanted, deadline, &|_| {}).await.unwrap()
}

fn of(site: Option<&str>, entity: Option<&str>) -> EventSearch {
    EventSearch {
        site: site.map(Into::into),
        entity: entity.map(Into::into),
        keep: 3,
        ..EventSearch::default()
    }
}

fn sequences(report: &SearchReport) -> Vec<u64> {
    report.found.iter().map(|one| one.sequence).collect()
}

#[tokio::test]
async fn entity_is_found_by_its_attribute_or_by_the_body() {
    let streams = streams();
    for (site, expected) in [("site-1", [13, 23, 33]), ("site-2", [18, 28, 38])] {
        let found = search(&streams, of(Some(site), Some("XXX-3")), LONG).await;
        assert_eq!(sequences(&found), expected, "the newest ones of {site}");
        assert_eq!((found.matched, found.read, found.cut_at_ms), (4, 20, None));
        assert!(found.found.iter().all(|one| one.site.as_str() == site));
    }
    let all = search(&streams, of(None, Some("XXX-3")), LONG).await;
    assert_eq!((all.matched, all.read), (8, 40));
    assert_eq!(sequences(&all), [28, 33, 38]);
}

#[tokio::test]
async fn time_and_id_limit_what_is_found() {
    let streams = streams();
    let late = EventSearch { from_ms: 33_000, ..of(Some("site-1"), Some("XXX-3")) };
    let found = search(&streams, late, LONG).await;
    assert_eq!((sequences(&found), found.read), (vec![33], 4));
    let by_id = EventSearch { event: Some("e7".into()), ..of(Some("site-1"), None) };
    assert_eq!(sequences(&search(&streams, by_id.clone(), LONG).await), [7]);
    let other = EventSearch { site: Some("site-2".into()), ..by_id };
    let found = search(&streams, other, LONG).await;
    assert_eq!((found.matched, found.read), (0, 20));
}

#[tokio::test]
async fn nothing_found_says_what_was_read() {
    let streams = streams();
    let found = search(&streams, of(Some("site-2"), Some("XXX-9")), LONG).await;
    assert_eq!((found.matched, found.read, found.bounds.last), (0, 20, 40));
    assert_eq!(found.other_entities.len(), 3, "some entities are named: {found:?}");
    let found = search(&streams, of(Some("site-3"), None), LONG).await;
    assert_eq!((found.matched, found.read), (0, 0));
}

#[tokio::test]
async fn search_ends_at_its_deadline_and_says_where() {
    let streams = streams();
    // More than one read.
    for number in 41..=1_100 {
        streams.add(event(number, "site-1", TYPE, r#"{"issue":{"key":"XXX-3"}}"#));
    }
    let found = search(&streams, of(None, None), Duration::ZERO).await;
    assert_eq!((found.read, found.cut_at_ms), (1_000, Some(1_000_000)));
    let found = search(&streams, of(None, None), LONG).await;
    assert_eq!((found.read, found.cut_at_ms), (1_100, None));
}

#[tokio::test]
async fn unreadable_event_is_counted_and_others_are_found() {
    let streams = streams();
    let mut broken = event(41, "site-1", TYPE, "{}");
    broken.headers.push(("ce-subject".into(), "%FF".into()));
    streams.add(broken);
    // The body names the entity, and is not JSON.
    streams.add(event(42, "site-1", TYPE, r#"{"issue":{"key":"XXX-3"}"#));
    streams.add(event(43, "site-1", TYPE, "{"));
    let found = search(&streams, of(Some("site-1"), Some("XXX-3")), LONG).await;
    assert_eq!((found.matched, found.unreadable, found.read), (4, 2, 23));
}
