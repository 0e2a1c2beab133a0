//! Events that are stored twice.

use super::*;

/// A stream where the events 1 and 4 are one event, stored twice.
fn world_with_a_repeat() -> Arc<MemoryStreams> {
    let streams = MemoryStreams::default();
    for sequence in 1..=5 {
        let mut event = event(sequence, SITE, TYPE, r#"{"n": 1}"#);
        if sequence == 4 {
            event.headers = vec![("ce-id".into(), "e1".into())];
        }
        streams.add(event);
    }
    Arc::new(streams)
}

#[tokio::test]
async fn event_that_is_stored_twice_is_replayed_once() {
    for mode in [ReplayMode::Missing, ReplayMode::All] {
        for (max, kills) in [(1, false), (100, false), (1, true), (100, true)] {
            let streams = world_with_a_repeat();
            let parts = MemoryStreams::shared(&streams, directory());
            let dry = plan(&parts, &request(mode)).await.unwrap();
            let counts = run(&parts, &request(mode), max, kills).await;
            let wanted: Vec<_> =
                [1, 2, 3, 5].iter().map(|sequence| id(*sequence, "k1").to_string()).collect();
            assert_eq!(handed_over(&streams), wanted, "{mode:?} {max} {kills}");
            assert_eq!((counts["parked"], counts["skipped_repeated_event"]), (4, 1));
            assert_eq!(counts, dry.counts, "{mode:?} {max} {kills}");
        }
    }
}

#[tokio::test]
async fn repeat_of_an_event_that_was_handed_over_before_a_restart_is_found_in_the_log() {
    let streams = world_with_a_repeat();
    let parts = MemoryStreams::shared(&streams, directory());
    let (mut job, work) = (job(&request(ReplayMode::Missing)), ReplayWork::new(parts.clone()));
    while job.cursor.is_null() || job.cursor["next"].as_u64().unwrap() < 4 {
        let step = work.step(&job, 1).await.unwrap();
        save(&mut job, &step);
    }
    // What it handed over is delivered, and the broker has forgotten the message ids.
    streams.parked.lock().unwrap().clear();
    let before = std::mem::take(&mut *streams.handed_over.lock().unwrap()).len();
    assert_eq!(before, 3);
    finish(&ReplayWork::new(parts), &mut job, 1).await;
    assert_eq!(handed_over(&streams), [id(5, "k1").to_string()]);
    assert_eq!((job.counts["parked"], job.counts["skipped_repeated_event"]), (4, 1));
}
