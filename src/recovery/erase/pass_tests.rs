//! Erasures over streams in memory: what is added, acknowledged and read again while they run.

use std::collections::BTreeMap;

use super::progress::REPUBLISHED_MAX;
use super::report::KeptReason;
use super::store::{ErasedStore, SequenceRange};
use super::testing::{Erasure, ID, MemoryStreams, counted, event, five_events};
use crate::recovery::jobs::testing::job_of;
use crate::recovery::jobs::{JobFailure, JobKind};

/// Stores an event with a message id; returns its sequence.
fn publish(streams: &MemoryStreams, message_id: &str) -> u64 {
    let headers = [("Nats-Msg-Id", message_id)];
    streams.add_later(ErasedStore::Events, "sw.ev.0.s.t", &headers, &event(ID))
}

/// Creates a redrive; returns the message id of an event that it publishes again.
async fn redrive(erasure: &Erasure) -> String {
    format!("redrive/{}/3-1700000000000", job_of(&erasure.jobs, JobKind::Redrive).await.id)
}

/// Stores a record of the delivery log about an event.
fn record(streams: &MemoryStreams, event: u64) -> u64 {
    let body = format!(r#"{{"event":{{"id":"{ID}","sequence":{event}}},"deliveries":[]}}"#);
    streams.add_later(ErasedStore::Log, "sw.att.ok.s.00", &[], &body)
}

#[tokio::test]
async fn event_that_a_redrive_publishes_again_is_removed_with_the_records_about_it() {
    let streams = five_events();
    let mut erasure = Erasure::of(&streams, None, Some(ID), false).await;
    assert_eq!(erasure.step(10).await, Ok(false));
    let republished = publish(&streams, &redrive(&erasure).await);
    let fresh = streams.add_later(ErasedStore::Events, "sw.ev.0.s.t", &[], &event(ID));
    // This pass has read the events already, and does not know the record of the first one.
    let (of_republished, of_fresh) = (record(&streams, republished), record(&streams, fresh));
    *streams.acknowledged.lock().unwrap() = fresh;
    erasure.run().await.unwrap_err();
    assert!(streams.left(ErasedStore::Log).contains(&of_republished), "not known yet");
    let report = erasure.finish().await;
    assert_eq!(streams.left(ErasedStore::Events), [1, 3, 5, fresh]);
    assert_eq!(streams.left(ErasedStore::Log), [of_fresh]);
    assert_eq!((report[&ErasedStore::Events].matched, report[&ErasedStore::Log].matched), (3, 1));
}

#[tokio::test]
async fn publisher_cannot_feign_that_a_redrive_published_its_events_again() {
    let streams = five_events();
    let mut erasure = Erasure::of(&streams, None, Some(ID), false).await;
    let genuine = redrive(&erasure).await;
    let replay = job_of(&erasure.jobs, JobKind::Replay).await.id;
    assert_eq!(erasure.step(10).await, Ok(false));
    for feigned in [
        // An event of the site `redrive`.
        "redrive/e1",
        "redrive/job_1/3-1700000000000",
        &format!("redrive/{replay}/3-1700000000000"),
        &genuine.replace("3-", "x-"),
        &genuine[..genuine.len() - 16],
    ] {
        publish(&streams, feigned);
    }
    *streams.acknowledged.lock().unwrap() = u64::MAX;
    let report = erasure.finish().await;
    assert_eq!(report[&ErasedStore::Events], counted(5, 2, 2));
    assert_eq!(streams.left(ErasedStore::Events), [1, 3, 5, 6, 7, 8, 9, 10]);
}

#[tokio::test]
async fn events_that_redrives_publish_again_beyond_a_bound_are_reported() {
    let streams = five_events();
    let mut erasure = Erasure::of(&streams, None, Some(ID), false).await;
    let message_id = redrive(&erasure).await;
    assert_eq!(erasure.step(10).await, Ok(false));
    for _ in 0..REPUBLISHED_MAX + 2 {
        publish(&streams, &message_id);
    }
    *streams.acknowledged.lock().unwrap() = u64::MAX;
    loop {
        match erasure.step(1_000).await {
            Ok(true) => break,
            Ok(false) => {}
            Err(JobFailure::Later(_)) => erasure.end_pause(),
            Err(JobFailure::Never(reason)) => panic!("{reason}"),
        }
    }
    let events = &erasure.report()[&ErasedStore::Events];
    assert_eq!(events.removed, 2 + REPUBLISHED_MAX as u64);
    assert_eq!(events.kept, BTreeMap::from([(KeptReason::Republished, 2)]));
    assert_eq!(events.matched, events.removed + 2);
}

#[tokio::test]
async fn message_that_names_no_event_is_removed_however_new_it_is() {
    let streams = five_events();
    let mut erasure = Erasure::of(&streams, None, Some(ID), false).await;
    assert_eq!(erasure.step(1).await, Ok(false));
    streams.add_later(ErasedStore::Parked, "sw.retry.dlv_a", &[], &event(ID));
    erasure.finish().await;
    assert_eq!(streams.left(ErasedStore::Parked), Vec::<u64>::new());
}

#[tokio::test]
async fn what_others_remove_while_the_job_waits_for_it_is_counted() {
    let streams = five_events();
    *streams.acknowledged.lock().unwrap() = 1;
    streams.add(ErasedStore::Parked, "sw.due.app", &[("switchyard-sequence", "4")], &event(ID));
    let mut erasure = Erasure::of(&streams, None, Some(ID), false).await;
    erasure.run().await.unwrap_err();
    let events = &erasure.report()[&ErasedStore::Events];
    assert_eq!(events.kept, BTreeMap::from([(KeptReason::NotAcknowledged, 2)]));
    // The trimmer deletes one of them, and the delivery ends.
    streams.stores.lock().unwrap().get_mut(&ErasedStore::Events).unwrap().remove(&2);
    streams.stores.lock().unwrap().get_mut(&ErasedStore::Parked).unwrap().remove(&1);
    *streams.acknowledged.lock().unwrap() = 5;
    erasure.end_pause();
    let report = erasure.finish().await;
    let events = &report[&ErasedStore::Events];
    assert_eq!((events.matched, events.removed, events.left), (2, 1, 1));
    let parked = &report[&ErasedStore::Parked];
    assert_eq!((parked.matched, parked.removed, parked.left), (1, 0, 1));
    assert!(events.kept.is_empty() && parked.kept.is_empty());
}

#[tokio::test]
async fn events_that_cannot_be_removed_yet_are_not_read_again() {
    let streams = five_events();
    *streams.acknowledged.lock().unwrap() = 1;
    let mut erasure = Erasure::of(&streams, None, Some(ID), false).await;
    let ranges = || {
        let reads = std::mem::take(&mut *streams.reads.lock().unwrap());
        let of_events = reads.into_iter().filter(|(store, _)| *store == ErasedStore::Events);
        of_events.map(|(_, range)| range).collect::<Vec<_>>()
    };
    erasure.run().await.unwrap_err();
    assert_eq!(ranges(), [SequenceRange { from: 1, to: 5 }]);
    for _ in 0..3 {
        erasure.end_pause();
        erasure.run().await.unwrap_err();
        assert_eq!(ranges(), [], "nothing is acknowledged, nothing is new");
    }
    let kept = &erasure.report()[&ErasedStore::Events].kept;
    assert_eq!(*kept, BTreeMap::from([(KeptReason::NotAcknowledged, 2)]));
    *streams.acknowledged.lock().unwrap() = 2;
    erasure.end_pause();
    erasure.run().await.unwrap_err();
    assert_eq!(ranges(), [SequenceRange { from: 2, to: 5 }]);
    *streams.acknowledged.lock().unwrap() = 5;
    assert_eq!(erasure.finish().await[&ErasedStore::Events].removed, 2);
}

#[tokio::test]
async fn pass_in_which_a_delivery_ended_is_not_the_last_one() {
    let streams = five_events();
    streams.add(ErasedStore::Parked, "sw.due.app", &[("switchyard-sequence", "1")], &event(ID));
    let mut erasure = Erasure::of(&streams, None, Some(ID), false).await;
    erasure.run().await.unwrap_err();
    // It was dead-lettered, and may be redriven before this pass comes to the dead letters.
    streams.stores.lock().unwrap().get_mut(&ErasedStore::Parked).unwrap().remove(&1);
    erasure.end_pause();
    erasure.run().await.unwrap_err();
    erasure.end_pause();
    erasure.run().await.unwrap();
}
