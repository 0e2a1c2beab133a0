//! What is handed over, and what the delivery log says of it.

use serde_json::Value;

use super::*;
use crate::delivery::StreamPosition;

const SAVED_MS: i64 = 5_000;

/// A job over all letters, whose position was saved at [`SAVED_MS`].
async fn job_over(letters: &MemoryLetters) -> Job {
    let job = job_of(letters, Selection::Query(LetterQuery::default())).await;
    Job { progressed_ms: Some(SAVED_MS), ..job }
}

fn work(letters: &Arc<MemoryLetters>, parking: &Arc<Parking>, log: &Arc<MemoryLog>) -> RedriveWork {
    let log = Arc::clone(log);
    RedriveWork::new(letters.clone(), parking.clone(), Arc::new(Directory), Some(log))
}

/// The members of a delivery in the log that say that it is handed over.
fn hand_over_of(delivery: &Value) -> [&Value; 4] {
    ["from", "outcome", "why", "job"].map(|member| &delivery[member])
}

fn counts(job: &Job) -> Vec<(&str, u64)> {
    job.counts.iter().map(|(name, number)| (name.as_str(), *number)).collect()
}

#[tokio::test]
async fn delivery_that_waits_keeps_its_record_and_its_letter() {
    let letters = MemoryLetters::of((1..=4).map(|number| delivery(number, "inst", "exhausted")));
    let (parking, log) = (Arc::<Parking>::default(), Arc::<MemoryLog>::default());
    let by_other = |letter| JobOrigin::redrive("job_other", vec![letter]);
    *parking.waiting.lock().unwrap() = BTreeMap::from([
        ("dlv_1".to_owned(), None),
        ("dlv_2".to_owned(), Some(JobOrigin::replay("job_other", None))),
        ("dlv_3".to_owned(), Some(by_other(letters.letters.lock().unwrap()[&3].id.0))),
    ]);
    let before = parking.waiting.lock().unwrap().clone();
    let mut job = job_over(&letters).await;
    run(&work(&letters, &parking, &log), &mut job, 10).await;
    assert_eq!(counts(&job), [("matched", 4), ("parked", 1), ("skipped_pending", 3)]);
    let mut after = parking.waiting.lock().unwrap().clone();
    assert_eq!(after.remove("dlv_4").flatten().map(|by| by.job), Some(job.id.as_str().into()));
    assert_eq!(after, before);
    assert_eq!(letters.letters.lock().unwrap().len(), 4);
    assert_eq!(log.deliveries().len(), 1, "only what is handed over is recorded");
}

#[tokio::test]
async fn second_letter_of_a_delivery_stays_for_a_later_redrive() {
    let second = StoredLetter {
        id: LetterId(StreamPosition { sequence: 2, stored_ms: 2_000 }),
        ..delivery(1, "inst", "exhausted")
    };
    let letters = MemoryLetters::of([delivery(1, "inst", "exhausted"), second]);
    let (parking, log) = (Arc::<Parking>::default(), Arc::<MemoryLog>::default());
    let mut job = job_over(&letters).await;
    run(&work(&letters, &parking, &log), &mut job, 10).await;
    // Otherwise two deliveries would be waited for, and one ends.
    assert_eq!(counts(&job), [("matched", 2), ("parked", 1), ("skipped_pending", 1)]);
    assert_eq!(parking.records.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn hand_over_is_recorded_as_that_of_the_letter_before_the_step_is_saved() {
    let letters = MemoryLetters::of([delivery(1, "inst", "exhausted"), event(2)]);
    let (parking, log) = (Arc::<Parking>::default(), Arc::<MemoryLog>::default());
    let job = job_over(&letters).await;
    work(&letters, &parking, &log).step(&job, 10).await.unwrap();
    let deliveries = log.deliveries();
    assert_eq!(deliveries.len(), 1, "a published event is no delivery yet");
    let expected = ["dead", "parked", "redrive", job.id.as_str()].map(Value::from);
    assert_eq!(hand_over_of(&deliveries[0]), expected.each_ref());
    assert_eq!((&deliveries[0]["id"], &deliveries[0]["attempt"]), (&json!("dlv_1"), &json!(1)));
    assert!(deliveries[0].get("replay").is_none());
}

#[tokio::test]
async fn repeated_step_finds_what_it_handed_over_and_counts_it_once() {
    let letters = MemoryLetters::of((1..=3).map(|number| delivery(number, "inst", "exhausted")));
    let (parking, log) = (Arc::<Parking>::default(), Arc::<MemoryLog>::default());
    let mut job = job_over(&letters).await;
    let killed = work(&letters, &parking, &log).step(&job, 2).await.unwrap();
    assert_eq!(killed.handed_over, 2);
    run(&work(&letters, &parking, &log), &mut job, 10).await;
    assert_eq!(counts(&job), [("matched", 3), ("parked", 3)]);
    assert_eq!(parking.records.lock().unwrap().len(), 3);
    // The end of a delivery follows what is recorded twice, whenever that is stored.
    let started: Vec<_> = log.records().iter().map(|one| one["started_ms"].clone()).collect();
    assert_eq!(started, vec![json!(SAVED_MS); 5]);
}

#[tokio::test]
async fn event_that_is_not_matched_yet_is_no_delivery_of_the_log() {
    let mut unmatched = delivery(1, "waiting", "expired");
    unmatched.headers.retain(|(name, _)| &**name != "switchyard-dlq-subscription");
    let letters = MemoryLetters::of([unmatched]);
    let (parking, log) = (Arc::<Parking>::default(), Arc::<MemoryLog>::default());
    let mut job = job_over(&letters).await;
    run(&work(&letters, &parking, &log), &mut job, 10).await;
    assert_eq!(counts(&job), [("matched", 1), ("parked", 1)]);
    assert!(log.records().is_empty());
}

#[tokio::test]
async fn letter_of_which_the_broker_says_nothing_is_tried_again() {
    let letters = MemoryLetters::of((1..=3).map(|number| delivery(number, "inst", "exhausted")));
    let (parking, log) = (Arc::<Parking>::default(), Arc::<MemoryLog>::default());
    *parking.unclear.lock().unwrap() = Some("dlv_2");
    let (mut job, work) = (job_over(&letters).await, work(&letters, &parking, &log));
    let step = work.step(&job, 10).await.unwrap();
    assert_eq!((step.counts["parked"], step.is_done), (1, false));
    job.cursor = step.cursor;
    job.count(&step.counts);
    assert_eq!(work.step(&job, 10).await, Err(JobFailure::Later("no answer".into())));
    *parking.unclear.lock().unwrap() = None;
    run(&work, &mut job, 10).await;
    assert_eq!(counts(&job), [("matched", 3), ("parked", 3)]);
    assert_eq!(parking.records.lock().unwrap().len(), 3);
}
