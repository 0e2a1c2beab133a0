//! What waits: deliveries, events that are not acknowledged, and jobs.

use super::*;

#[tokio::test]
async fn delivery_that_waits_is_not_replaced_whatever_the_log_says() {
    let streams = world();
    let parts = MemoryStreams::shared(&streams, directory());
    run(&parts, &request(ReplayMode::Failed), 10, false).await;
    let first = handed_over(&streams);
    // Its log is lost: the schedules say that they wait.
    streams.log.lock().unwrap().clear();
    for record in streams.parked.lock().unwrap().values_mut() {
        record.headers.retain(|(name, _)| *name != "switchyard-job");
    }
    let counts = run(&parts, &request(ReplayMode::Missing), 10, false).await;
    assert_eq!(counts["skipped_pending"], first.len() as u64);
    let ids: BTreeSet<_> = handed_over(&streams).into_iter().collect();
    assert_eq!(ids.len(), handed_over(&streams).len(), "none twice");
}

#[tokio::test]
async fn replay_waits_for_events_that_are_not_acknowledged() {
    let streams = world();
    let parts = MemoryStreams::shared(&streams, directory());
    *streams.settled.lock().unwrap() = Some(16);
    let request = request(ReplayMode::Missing);
    let dry = plan(&parts, &request).await.unwrap();
    assert!(!dry.is_complete);
    let (mut job, work) = (job(&request), ReplayWork::new(parts.clone()));
    let failure = loop {
        match work.step(&job, 10).await {
            Ok(step) => save(&mut job, &step),
            Err(failure) => break failure,
        }
    };
    let JobFailure::Later(reason) = failure else { panic!("it waits") };
    assert!(reason.contains("event 17 is not acknowledged"), "{reason}");
    assert_eq!(job.counts, dry.counts);
    *streams.settled.lock().unwrap() = None;
    loop {
        let step = work.step(&job, 10).await.unwrap();
        save(&mut job, &step);
        if step.is_done {
            break;
        }
    }
    assert_eq!(handed_over(&streams), expected(ReplayMode::Missing));
}

#[tokio::test]
async fn replay_waits_for_room_and_hands_nothing_over_twice() {
    let streams = world();
    let parts = MemoryStreams::shared(&streams, directory());
    *streams.room.lock().unwrap() = Some(1);
    let request = request(ReplayMode::All);
    let (mut job, work) = (job(&request), ReplayWork::new(parts.clone()));
    let mut waits = 0;
    loop {
        match work.step(&job, 100).await {
            Ok(step) => {
                save(&mut job, &step);
                if step.is_done {
                    break;
                }
            }
            Err(JobFailure::Later(_)) => {
                waits += 1;
                *streams.room.lock().unwrap() = Some(2);
            }
            Err(JobFailure::Never(reason)) => panic!("{reason}"),
        }
    }
    assert!(waits > 1, "{waits}");
    let sorted: BTreeSet<_> = handed_over(&streams).into_iter().collect();
    assert_eq!(sorted, expected(ReplayMode::All).into_iter().collect());
    assert_eq!(handed_over(&streams).len(), sorted.len());
    assert_eq!(job.counts["parked"], sorted.len() as u64);
}

#[tokio::test]
async fn delivery_that_another_writer_parks_at_this_moment_keeps_its_record() {
    let streams = world();
    let parts = MemoryStreams::shared(&streams, directory());
    let wanted = expected(ReplayMode::Failed);
    let others = BTreeMap::from([(wanted[0].clone(), ""), (wanted[1].clone(), "job_9")]);
    *streams.parked_before.lock().unwrap() = others;
    let counts = run(&parts, &request(ReplayMode::Failed), 10, false).await;
    assert_eq!(handed_over(&streams), wanted[2..]);
    assert_eq!(counts["parked"], wanted.len() as u64 - 2);
    let dry = plan(&parts, &request(ReplayMode::Failed)).await.unwrap().counts;
    assert_eq!(dry["skipped_pending"], wanted.len() as u64 + 2, "and those that waited before");
}

#[tokio::test]
async fn record_whose_confirmation_is_lost_counts_as_handed_over() {
    let streams = world();
    let parts = MemoryStreams::shared(&streams, directory());
    *streams.unconfirmed.lock().unwrap() = 2;
    let counts = run(&parts, &request(ReplayMode::Failed), 10, false).await;
    assert_eq!(handed_over(&streams), expected(ReplayMode::Failed));
    assert_eq!(counts["parked"], expected(ReplayMode::Failed).len() as u64);
}

#[tokio::test]
async fn registry_that_has_not_caught_up_fails_no_job() {
    let streams = world();
    let late = LateDirectory { known: directory(), early: 0, is_current: AtomicBool::new(false) };
    let parts = MemoryStreams::shared(&streams, Arc::new(late));
    let (mut job, work) = (job(&request(ReplayMode::Missing)), ReplayWork::new(parts));
    finish(&work, &mut job, 10).await;
    assert_eq!(handed_over(&streams), expected(ReplayMode::Missing));
}

#[tokio::test]
async fn replica_that_knows_some_subscriptions_only_leaves_none_out() {
    let streams = MemoryStreams::default();
    streams.add(event(1, SITE, TYPE, r#"{"n": 3}"#));
    let streams = Arc::new(streams);
    let late = LateDirectory { known: directory(), early: 1, is_current: AtomicBool::new(false) };
    let parts = MemoryStreams::shared(&streams, Arc::new(late));
    let counts = run(&parts, &request(ReplayMode::Missing), 10, false).await;
    assert_eq!(counts["parked"], 2, "those of k1 and of k2");
}

#[tokio::test]
async fn what_was_handed_over_before_the_room_ended_is_not_handed_over_again_without_a_log() {
    let streams = MemoryStreams::default();
    streams.add(event(1, SITE, TYPE, r#"{"n": 3}"#));
    let streams = Arc::new(streams);
    let parts = ReplayParts { log: None, ..MemoryStreams::shared(&streams, directory()) };
    *streams.room.lock().unwrap() = Some(1);
    let (mut job, work) = (job(&request(ReplayMode::All)), ReplayWork::new(parts));
    assert!(matches!(work.step(&job, 10).await, Err(JobFailure::Later(_))));
    // It is delivered at once, and the broker has forgotten its message id.
    streams.parked.lock().unwrap().clear();
    let first = std::mem::take(&mut *streams.handed_over.lock().unwrap());
    *streams.room.lock().unwrap() = None;
    finish(&work, &mut job, 10).await;
    assert_eq!((first.len(), handed_over(&streams).len(), job.counts["parked"]), (1, 1, 2));
    assert_ne!(first[0].id.to_string(), handed_over(&streams)[0]);
}

#[tokio::test]
async fn what_is_kept_of_a_job_is_compiled_once_and_freed_when_the_job_is_released() {
    let parts = MemoryStreams::shared(&world(), directory());
    let filtered =
        ReplayRequest { filter: Some("event.n > 0".into()), ..request(ReplayMode::Missing) };
    let (mut job, work) = (job(&filtered), ReplayWork::new(parts));
    let step = work.step(&job, 1).await.unwrap();
    save(&mut job, &step);
    let first = work.condition_of(&job.id).unwrap();
    finish(&work, &mut job, 1).await;
    assert!(Arc::ptr_eq(&first, &work.condition_of(&job.id).unwrap()));
    work.release(&job.id);
    assert!(work.condition_of(&job.id).is_none());
}

#[test]
fn replays_overlap_if_they_may_hand_the_same_delivery_over() {
    let all = || request(ReplayMode::All);
    let key = |key: &str| Some(key.into());
    let window = |first_sequence, last_sequence| Window { first_sequence, last_sequence };
    let overlap = |one: &ReplayRequest, other: &ReplayRequest| {
        let (one, other) = (job(one), job(other));
        assert_eq!(do_overlap(&one, &other), do_overlap(&other, &one));
        do_overlap(&one, &other)
    };
    assert!(overlap(&all(), &all()));
    assert!(overlap(&all(), &ReplayRequest { key: key("k1"), ..all() }));
    let one = ReplayRequest { key: key("k1"), ..all() };
    assert!(!overlap(&one, &ReplayRequest { key: key("k2"), ..all() }));
    let shared = |of: &str| ReplayRequest { key: key(of), delivery_key: key("d1"), ..all() };
    assert!(overlap(&shared("w1"), &shared("w2")), "they share deliveries");
    let elsewhere = ReplayRequest { delivery_key: key("d2"), ..shared("w3") };
    assert!(!overlap(&shared("w1"), &elsewhere) && !overlap(&shared("w1"), &one));
    assert!(!overlap(&all(), &ReplayRequest { installation: "inst-2".into(), ..all() }));
    let early = ReplayRequest { window: window(1, 10), ..all() };
    assert!(overlap(&early, &ReplayRequest { window: window(10, 20), ..all() }));
    assert!(!overlap(&early, &ReplayRequest { window: window(11, 20), ..all() }));
    let target = Some("https://elsewhere.example/".to_owned());
    assert!(!overlap(&all(), &ReplayRequest { target, ..all() }), "those are other deliveries");
    let redrive = Job { kind: JobKind::Redrive, ..job(&all()) };
    assert!(!do_overlap(&job(&all()), &redrive));
}
