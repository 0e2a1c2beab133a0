//! Erasures over streams in memory: what is found, counted, waited for and removed.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::report::KeptReason;
use super::request::{EraseSubject, new_job};
use super::store::ErasedStore;
use super::testing::{Erasure, ID, MemoryStreams, counted, event, five_events};
use crate::recovery::jobs::testing::MemoryJobs;
use crate::recovery::jobs::{JobFailure, JobState, Jobs};

#[tokio::test]
async fn account_is_removed_and_its_neighbours_stay() {
    let streams = five_events();
    let mut erasure = Erasure::of(&streams, None, Some(ID), false).await;
    let report = erasure.finish().await;
    assert_eq!(report[&ErasedStore::Events], counted(5, 2, 2));
    assert_eq!(streams.left(ErasedStore::Events), [1, 3, 5]);
    assert_eq!(erasure.job.counts["matched"], 2);
    assert_eq!(erasure.job.counts["removed"], 2);
}

#[tokio::test]
async fn account_at_a_site_is_removed_there_only() {
    let streams = five_events();
    let mut erasure = Erasure::of(&streams, Some("s"), Some(ID), false).await;
    assert_eq!(erasure.finish().await[&ErasedStore::Events], counted(4, 1, 1));
    assert_eq!(streams.left(ErasedStore::Events), [1, 3, 4, 5]);
}

#[tokio::test]
async fn dry_run_counts_the_same_and_removes_nothing() {
    let streams = five_events();
    let mut erasure = Erasure::of(&streams, Some("s"), None, true).await;
    assert_eq!(erasure.finish().await[&ErasedStore::Events], counted(4, 4, 0));
    assert_eq!(streams.left(ErasedStore::Events), [1, 2, 3, 4, 5]);
    let mut erasure = Erasure::of(&streams, Some("s"), None, false).await;
    assert_eq!(erasure.finish().await[&ErasedStore::Events], counted(4, 4, 4));
}

#[tokio::test]
async fn event_that_is_not_acknowledged_waits_for_a_later_pass() {
    let streams = five_events();
    *streams.acknowledged.lock().unwrap() = 3;
    let mut erasure = Erasure::of(&streams, None, Some(ID), false).await;
    let waits = erasure.run().await.unwrap_err();
    assert!(matches!(waits, JobFailure::Later(reason) if reason.starts_with("1 events")));
    let events = &erasure.report()[&ErasedStore::Events];
    assert_eq!((events.matched, events.removed), (2, 1));
    assert_eq!(events.kept, BTreeMap::from([(KeptReason::NotAcknowledged, 1)]));
    *streams.acknowledged.lock().unwrap() = 5;
    erasure.end_pause();
    assert_eq!(erasure.finish().await[&ErasedStore::Events], counted(5, 2, 2));
}

#[tokio::test]
async fn job_ends_with_what_is_never_acknowledged() {
    let streams = five_events();
    *streams.acknowledged.lock().unwrap() = 0;
    let mut erasure = Erasure::of(&streams, None, Some(ID), false).await;
    erasure.run().await.unwrap_err();
    erasure.end_pause();
    erasure.job.cursor["first_ended_ms"] = json!(0);
    erasure.run().await.unwrap();
    let events = &erasure.report()[&ErasedStore::Events];
    assert_eq!((events.matched, events.removed), (2, 0));
    assert_eq!(events.kept, BTreeMap::from([(KeptReason::NotAcknowledged, 2)]));
}

#[tokio::test]
async fn step_that_is_interrupted_is_repeated_and_every_message_is_counted() {
    let streams = five_events();
    let mut erasure = Erasure::of(&streams, Some("s"), None, false).await;
    // It finds the messages, which are saved.
    assert_eq!(erasure.step(10).await, Ok(false));
    *streams.removals.lock().unwrap() = Some(2);
    assert!(erasure.step(10).await.is_err());
    *streams.removals.lock().unwrap() = None;
    let report = erasure.finish().await;
    let events = &report[&ErasedStore::Events];
    assert_eq!((events.matched, events.removed, events.left), (4, 2, 2));
    assert_eq!(streams.left(ErasedStore::Events), [4]);
}

#[tokio::test]
async fn parked_delivery_that_is_attempted_is_removed_once_it_waits_again() {
    let streams = Arc::<MemoryStreams>::default();
    let headers = [("switchyard-cloud-id", "s"), ("switchyard-sequence", "7")];
    streams.add(ErasedStore::Parked, "sw.retry.dlv_a", &headers, &event(ID));
    streams.add(ErasedStore::Parked, "sw.due.app", &headers, &event(ID));
    let others = [("switchyard-cloud-id", "other")];
    streams.add(ErasedStore::Parked, "sw.retry.dlv_b", &others, &event(ID));
    let mut erasure = Erasure::of(&streams, Some("s"), Some(ID), false).await;
    erasure.run().await.unwrap_err();
    let kept = &erasure.report()[&ErasedStore::Parked].kept;
    assert_eq!(*kept, BTreeMap::from([(KeptReason::InFlight, 1)]));
    assert_eq!(streams.left(ErasedStore::Parked), [2, 3]);
    // It failed, and is parked again.
    streams.stores.lock().unwrap().get_mut(&ErasedStore::Parked).unwrap().remove(&2);
    streams.add(ErasedStore::Parked, "sw.retry.dlv_c", &headers, &event(ID));
    erasure.end_pause();
    let report = erasure.finish().await;
    let parked = &report[&ErasedStore::Parked];
    assert_eq!((parked.matched, parked.removed), (3, 2));
    assert_eq!(streams.left(ErasedStore::Parked), [3]);
}

#[tokio::test]
async fn record_of_the_log_loses_the_texts_that_name_the_account() {
    let streams = Arc::<MemoryStreams>::default();
    let record = |text: &str, event: &str| {
        json!({"v": 1, "event": {"id": event, "sequence": 1}, "deliveries": [
            {"key": "k", "outcome": "dead", "response": {"body": text}}]})
        .to_string()
    };
    streams.add(ErasedStore::Log, "sw.att.failed.s.01", &[], &record(ID, "e1"));
    streams.add(ErasedStore::Log, "sw.att.failed.s.01", &[], &record("no", "e2"));
    streams.add(ErasedStore::Log, "sw.att.failed.s.01", &[], &record("no", ID));
    let mut erasure = Erasure::of(&streams, None, Some(ID), false).await;
    let report = erasure.finish().await;
    let log = &report[&ErasedStore::Log];
    assert_eq!((log.matched, log.body_removed, log.removed), (2, 1, 1));
    assert_eq!(streams.left(ErasedStore::Log), [2, 4]);
    let stores = streams.stores.lock().unwrap();
    let copy: Value = serde_json::from_slice(&stores[&ErasedStore::Log][&4].body).unwrap();
    assert_eq!(copy["recorded_ms"], 1);
    assert_eq!(copy["deliveries"], json!([{ "key": "k", "outcome": "dead" }]));
}

#[tokio::test]
async fn stream_that_forbids_deletions_and_the_registry_are_reported() {
    let streams = five_events();
    *streams.denies_delete.lock().unwrap() = true;
    streams.add(ErasedStore::Registry, "$KV.SW_REG.inst.i", &[], &format!("=='{ID}'"));
    let mut erasure = Erasure::of(&streams, None, Some(ID), false).await;
    let report = erasure.finish().await;
    assert_eq!(report[&ErasedStore::Events].kept, BTreeMap::from([(KeptReason::DenyDelete, 2)]));
    assert_eq!(report[&ErasedStore::Registry].kept, BTreeMap::from([(KeptReason::Registry, 1)]));
    assert_eq!(streams.left(ErasedStore::Events).len(), 5);
}

#[tokio::test]
async fn what_is_stored_of_later_events_stays() {
    let streams = five_events();
    let mut erasure = Erasure::of(&streams, None, Some(ID), false).await;
    assert_eq!(erasure.step(1).await, Ok(false));
    for sequence in ["9", "3"] {
        let headers = [("switchyard-sequence", sequence)];
        streams.add_later(ErasedStore::Parked, "sw.retry.dlv_a", &headers, &event(ID));
    }
    let headers = [("switchyard-sequence", "9")];
    streams.add(ErasedStore::Parked, "sw.retry.dlv_a", &headers, &event(ID));
    streams.add(ErasedStore::Events, "sw.ev.0.s.t", &[], &event(ID));
    let report = erasure.finish().await;
    assert_eq!(report[&ErasedStore::Events], counted(5, 2, 2));
    assert_eq!(streams.left(ErasedStore::Parked), [1]);
    assert_eq!(streams.left(ErasedStore::Events), [1, 3, 5, 6]);
}

#[tokio::test]
async fn account_is_forgotten_when_the_job_ends() {
    let streams = five_events();
    let subject = EraseSubject::new(None, Some(ID.into())).unwrap();
    let (new, private) = new_job(&subject, false, None).unwrap();
    let store = MemoryJobs::new();
    let jobs = Jobs::new(Arc::clone(&store) as _);
    let job = jobs.create_private(new, private).await.unwrap();
    assert!(serde_json::to_string(&store.job(&job.id)).unwrap().contains(ID));
    let mut erasure = Erasure::of(&streams, None, Some(ID), false).await;
    erasure.run().await.unwrap_err();
    assert!(!erasure.job.cursor.to_string().contains(ID));
    let ended = jobs.cancel(job.kind, &job.id).await.unwrap();
    assert_eq!(ended.state, JobState::Cancelled);
    assert!(!serde_json::to_string(&store.job(&job.id)).unwrap().contains(ID));
}
