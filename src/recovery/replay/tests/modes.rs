//! Which deliveries each mode hands over, and what the records of that say.

use super::*;

#[tokio::test]
async fn each_mode_hands_over_its_deliveries_once_over_kills() {
    for mode in [ReplayMode::Failed, ReplayMode::Missing, ReplayMode::All] {
        for (max, kills) in [(1, false), (100, false), (1, true), (3, true), (100, true)] {
            let streams = world();
            let parts = MemoryStreams::shared(&streams, directory());
            let dry = plan(&parts, &request(mode)).await.unwrap();
            assert!(dry.is_complete && handed_over(&streams).is_empty());
            let counts = run(&parts, &request(mode), max, kills).await;
            assert_eq!(handed_over(&streams), expected(mode), "{mode:?} {max} {kills}");
            assert_eq!(counts, dry.counts, "{mode:?} {max} {kills}");
            assert_eq!(counts["matched"], HISTORIES.len() as u64);
            assert_eq!(counts["skipped_unreadable"], 1);
            assert_eq!(counts["events"], HISTORIES.len() as u64 * 3 + 1);
            let reason = ParkReason::Replay.label();
            {
                let records = streams.handed_over.lock().unwrap();
                let is_replay = |one: &&crate::delivery::ParkedRecord| {
                    one.headers.iter().any(|(_, value)| value == reason)
                };
                assert_eq!(records.iter().filter(is_replay).count(), records.len());
            }
            // What was handed over waits now.
            let again = run(&parts, &request(mode), max, kills).await;
            assert_eq!(again.get("parked").copied().unwrap_or(0), counts["parked"]);
            assert_eq!(handed_over(&streams), expected(mode), "by this job already");
        }
    }
}

#[tokio::test]
async fn records_of_handed_over_deliveries_name_the_replay() {
    let streams = world();
    let parts = MemoryStreams::shared(&streams, directory());
    let before = streams.log.lock().unwrap().len();
    let counts = run(&parts, &request(ReplayMode::Failed), 100, false).await;
    let log = streams.log.lock().unwrap();
    let added: Vec<Value> =
        log.iter().skip(before).map(|record| serde_json::from_slice(record).unwrap()).collect();
    assert_eq!(added.len() as u64, counts["parked"]);
    for record in added {
        let delivery = &record["deliveries"][0];
        let job = JobId::new(1, 1);
        assert_eq!(delivery["replay"], job.as_str());
        assert_eq!((&delivery["from"], &delivery["outcome"]), (&json!("new"), &json!("parked")));
        assert_eq!(delivery["why"], "replay");
        assert!(record["event"]["stored_ms"].is_i64());
    }
}

#[tokio::test]
async fn subscription_filter_and_target_limit_what_is_replayed() {
    let streams = MemoryStreams::default();
    for sequence in 1..=5 {
        streams.add(event(sequence, SITE, TYPE, &format!(r#"{{"n": {sequence}}}"#)));
    }
    let streams = Arc::new(streams);
    let parts = MemoryStreams::shared(&streams, directory());
    let all = || request(ReplayMode::All);
    let only = ReplayRequest { key: Some("k2".into()), ..all() };
    let counts = plan(&parts, &only).await.unwrap().counts;
    assert_eq!(counts["matched"], 1);
    let filtered = ReplayRequest { filter: Some("event.n > 3".into()), ..all() };
    assert_eq!(plan(&parts, &filtered).await.unwrap().counts["matched"], 2);
    let failing = ReplayRequest { filter: Some("event.a.b == 1".into()), ..all() };
    let counts = plan(&parts, &failing).await.unwrap().counts;
    assert_eq!(counts.get("matched"), None);
    assert_eq!(counts["skipped_filter_error"], 6);
    let window = Window { first_sequence: 2, last_sequence: 4 };
    let part = plan(&parts, &ReplayRequest { window, ..all() }).await.unwrap();
    assert_eq!((part.counts["events"], part.counts["matched"]), (3, 4));

    let target = Some("https://elsewhere.example/".to_owned());
    run(&parts, &ReplayRequest { target, ..only }, 10, false).await;
    let sent = handed_over(&streams);
    assert!(sent.len() == 1 && sent[0] != id(3, "k2").as_str(), "it is another delivery");

    let other = ReplayRequest { installation: "inst-9".into(), ..all() };
    assert!(matches!(plan(&parts, &other).await, Err(JobFailure::Never(_))));
    // The installation of another site has none of these events.
    let foreign = ReplayRequest { installation: "inst-3".into(), ..all() };
    assert_eq!(plan(&parts, &foreign).await.unwrap().counts.get("matched"), None);
}

#[tokio::test]
async fn order_of_the_records_in_the_log_changes_nothing() {
    for mode in [ReplayMode::Failed, ReplayMode::Missing, ReplayMode::All] {
        let streams = world();
        // An erasure copies records to the end; those of one delivery are ten seconds apart.
        {
            let mut log = streams.log.lock().unwrap();
            for (number, record) in log.iter_mut().enumerate() {
                let mut parsed: Value = serde_json::from_slice(record).unwrap();
                parsed["started_ms"] = json!(number * 10_000);
                *record = parsed.to_string().into();
            }
            log.reverse();
        }
        let parts = MemoryStreams::shared(&streams, directory());
        run(&parts, &request(mode), 3, true).await;
        assert_eq!(handed_over(&streams), expected(mode), "{mode:?}");
    }
}

#[tokio::test]
async fn delivery_that_continues_a_dead_letter_is_recorded_and_no_other_replay_takes_it() {
    let streams = MemoryStreams::default();
    streams.add(event(1, SITE, TYPE, r#"{"n": 1}"#));
    streams.log.lock().unwrap().push(record(1, "inst-1", "k1", ("dead", None)).to_string().into());
    let streams = Arc::new(streams);
    let kind = LetterKind::Delivery { app: "app-1".into(), installation: "inst-1".into() };
    let delivery = id(1, "k1");
    let stored = letter(7, kind, &[("switchyard-delivery-id", delivery.as_str())]);
    let letters = MemoryLetters::of([stored]);
    let parts = ReplayParts { letters, ..MemoryStreams::shared(&streams, directory()) };
    let counts = run(&parts, &request(ReplayMode::Failed), 10, false).await;
    assert_eq!(counts["parked"], 1);
    let last: Value = serde_json::from_slice(streams.log.lock().unwrap().last().unwrap()).unwrap();
    let handed_over = &last["deliveries"][0];
    assert_eq!((&handed_over["from"], &handed_over["outcome"]), (&json!("dead"), &json!("parked")));
    assert_eq!(handed_over["job"], JobId::new(1, 1).as_str());
    assert_eq!(handed_over.get("replay"), None, "it is the delivery that the event made");

    // It is due: no schedule says that it waits.
    streams.parked.lock().unwrap().clear();
    let (other, work) = (job_with_id(2, &request(ReplayMode::Missing)), ReplayWork::new(parts));
    let mut other = other;
    finish(&work, &mut other, 10).await;
    assert_eq!((other.counts["skipped_pending"], other.counts.get("parked")), (1, None));
}
