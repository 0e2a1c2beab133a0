//! Erasures over streams in memory: whose messages are removed, and what is recorded of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::report::KeptReason;
use super::store::ErasedStore;
use super::testing::{Erasure, ID, MemoryStreams, event};
use crate::domain::token;
use crate::recovery::redrive::testing::{MemoryLetters, MemoryLog, delivery_letter};

/// An id that is no token itself.
const SITE: &str = "ari:cloud:jira::site/1";

/// Four letters: of the site, of a site whose id is the token of the first, of one that is named by an
/// installation, and of none.
fn letters_of_sites() -> Arc<MemoryStreams> {
    let (streams, other) = (Arc::<MemoryStreams>::default(), token(SITE));
    let by_installation = format!("sw.dlq.delivery.app.{other}");
    for (subject, site) in [
        ("sw.dlq.delivery.app.i1", Some(SITE)),
        (&*format!("sw.dlq.event.{other}"), Some(&*other)),
        (&*by_installation, Some("site-2")),
        ("sw.dlq.record", None),
    ] {
        let headers: Vec<_> = site.map(|site| ("ce-cloudid", site)).into_iter().collect();
        streams.add(ErasedStore::DeadLetters, subject, &headers, &json!({"of": SITE}).to_string());
    }
    streams
}

#[tokio::test]
async fn letter_of_another_site_is_never_deleted() {
    let streams = letters_of_sites();
    let letters = MemoryLetters::of((1..=4).map(|sequence| {
        let mut letter = delivery_letter(sequence, "i1");
        letter.id.0.stored_ms = 1;
        letter
    }));
    let log = Arc::<MemoryLog>::default();
    let erasure = Erasure::of(&streams, Some(SITE), None, false).await;
    let mut erasure = erasure.with_letters(&streams, Arc::clone(&letters), &log);
    let report = erasure.finish().await;
    let report = &report[&ErasedStore::DeadLetters];
    assert_eq!((report.read, report.matched, report.removed), (4, 2, 1));
    assert_eq!(report.kept, BTreeMap::from([(KeptReason::UnknownSite, 1)]));
    assert_eq!(letters.letters.lock().unwrap().keys().copied().collect::<Vec<_>>(), [2, 3, 4]);
    let recorded = log.deliveries();
    assert_eq!(recorded.len(), 1, "{recorded:?}");
    assert_eq!(
        (&recorded[0]["outcome"], &recorded[0]["why"]),
        (&json!("removed"), &json!("erased"))
    );
}

#[tokio::test]
async fn letter_that_is_not_there_any_more_is_not_recorded_as_removed() {
    let streams = letters_of_sites();
    // A server answers that lags behind the leader of the stream.
    streams.absent_on_leader.lock().unwrap().insert(1);
    let (letters, log) = (MemoryLetters::of([]), Arc::<MemoryLog>::default());
    let erasure = Erasure::of(&streams, Some(SITE), None, false).await;
    let mut erasure = erasure.with_letters(&streams, letters, &log);
    let report = erasure.finish().await;
    let report = &report[&ErasedStore::DeadLetters];
    assert_eq!((report.matched, report.removed, report.left), (2, 0, 1));
    assert_eq!(log.deliveries(), Vec::<serde_json::Value>::new());
}

#[tokio::test]
async fn letter_of_an_unknown_form_is_removed() {
    let streams = Arc::<MemoryStreams>::default();
    let of_site = [("ce-cloudid", SITE)];
    streams.add(ErasedStore::DeadLetters, "sw.dlq.later.form", &of_site, "{}");
    let mut erasure = Erasure::of(&streams, Some(SITE), None, false).await;
    let report = erasure.finish().await;
    let report = &report[&ErasedStore::DeadLetters];
    assert_eq!((report.matched, report.removed, report.left), (1, 1, 0));
    assert_eq!(streams.left(ErasedStore::DeadLetters), Vec::<u64>::new());
}

#[tokio::test]
async fn publisher_cannot_hide_an_event_by_the_header_of_erased_records() {
    let streams = Arc::<MemoryStreams>::default();
    let headers = [("Switchyard-Erased", "1")];
    streams.add(ErasedStore::Events, "sw.ev.0.s.t", &headers, &event(ID));
    streams.add(ErasedStore::Parked, "sw.retry.dlv_a", &headers, &event(ID));
    *streams.acknowledged.lock().unwrap() = 1;
    let mut erasure = Erasure::of(&streams, None, Some(ID), false).await;
    erasure.finish().await;
    assert_eq!(streams.left(ErasedStore::Events), Vec::<u64>::new());
    assert_eq!(streams.left(ErasedStore::Parked), [1], "the router accounts for it");
}

#[tokio::test]
async fn revisions_that_name_the_account_are_counted_and_stay() {
    let streams = Arc::<MemoryStreams>::default();
    let body = json!({"installation": "i1", "data": {"filter": format!("=='{ID}'")}}).to_string();
    streams.add(ErasedStore::Revisions, "sw.rev.i1.k1", &[], &body);
    streams.add(ErasedStore::Revisions, "sw.rev.i1.k2", &[], "{}");
    let mut erasure = Erasure::of(&streams, None, Some(ID), false).await;
    let report = erasure.finish().await;
    let revisions = &report[&ErasedStore::Revisions];
    assert_eq!((revisions.read, revisions.matched), (2, 1));
    assert_eq!(revisions.kept, BTreeMap::from([(KeptReason::Revisions, 1)]));
    assert_eq!(streams.left(ErasedStore::Revisions), [1, 2]);
}
