//! Dead letters that account for deliveries, in addition to the log.

use super::*;

fn query() -> LedgerQuery {
    LedgerQuery {
        site: SITE.into(),
        installation: None,
        installations: vec!["inst-1".into()],
        window: Window { first_sequence: 1, last_sequence: 1_000 },
        log_from_ms: 0,
    }
}

async fn ledger(parts: &ReplayParts) -> LedgerReport {
    let mut report = LedgerReport::default();
    check_ledger(parts, &query(), &mut report, &|_| {}).await.unwrap();
    report
}

/// The id of the event `sequence` while it waits to be matched for `inst-1`.
fn unmatched(sequence: u64) -> DeliveryId {
    let identity = SubscriptionId { installation: "inst-1".into(), key: "".into() };
    DeliveryId::derive(&SITE.into(), &format!("e{sequence}").into(), &identity)
}

/// Streams with the events 1 and 2, of which the log knows nothing, and a letter of one of them.
fn world_with_letter(
    id: &DeliveryId,
    subscription: Option<&str>,
) -> (Arc<MemoryStreams>, ReplayParts) {
    let kind = LetterKind::Delivery { app: "app-1".into(), installation: "inst-1".into() };
    let mut headers = vec![("switchyard-delivery-id", id.as_str()), ("switchyard-sequence", "1")];
    headers.extend(subscription.map(|id| ("switchyard-dlq-subscription", id)));
    world_with(letter(7, kind, &headers))
}

/// Streams with the events 1 and 2, of which the log knows nothing, and a letter.
fn world_with(letter: StoredLetter) -> (Arc<MemoryStreams>, ReplayParts) {
    let streams = MemoryStreams::default();
    for sequence in [1, 2] {
        streams.add(event(sequence, SITE, TYPE, r#"{"n": 1}"#));
    }
    let streams = Arc::new(streams);
    let letters = MemoryLetters::of([letter]);
    let parts = ReplayParts { letters, ..MemoryStreams::shared(&streams, directory()) };
    (streams, parts)
}

#[tokio::test]
async fn event_that_was_dead_lettered_before_it_was_matched_is_no_gap_and_is_left_to_a_redrive() {
    let (streams, parts) = world_with_letter(&unmatched(1), None);
    let report = ledger(&parts).await;
    assert_eq!((report.matched, report.recorded, report.gap), (2, 1, 1));
    assert_eq!(report.gaps[0].sequence, 2);
    for mode in [ReplayMode::Missing, ReplayMode::All] {
        let dry = plan(&parts, &request(mode)).await.unwrap().counts;
        assert_eq!((dry["skipped_unmatched_letter"], dry["parked"]), (1, 1), "{mode:?}");
    }
    let counts = run(&parts, &request(ReplayMode::Missing), 10, false).await;
    assert_eq!(counts["skipped_unmatched_letter"], 1);
    assert_eq!(handed_over(&streams), [id(2, "k1").to_string()]);
}

#[tokio::test]
async fn event_that_was_dead_lettered_as_a_whole_is_no_gap_and_is_left_to_a_redrive() {
    let kind = LetterKind::Event { site: SITE.into() };
    let (streams, parts) = world_with(letter(7, kind, &[("switchyard-sequence", "1")]));
    let report = ledger(&parts).await;
    assert_eq!((report.matched, report.recorded, report.gap), (2, 1, 1));
    assert_eq!(report.gaps[0].sequence, 2);
    for mode in [ReplayMode::Missing, ReplayMode::All] {
        let dry = plan(&parts, &request(mode)).await.unwrap().counts;
        assert_eq!((dry["skipped_unmatched_letter"], dry["parked"]), (1, 1), "{mode:?}");
    }
    run(&parts, &request(ReplayMode::Missing), 10, false).await;
    assert_eq!(handed_over(&streams), [id(2, "k1").to_string()]);
}

#[tokio::test]
async fn delivery_whose_record_is_lost_is_accounted_for_by_its_letter_which_is_linked() {
    let (streams, parts) = world_with_letter(&id(1, "k1"), Some("inst-1/k1"));
    assert_eq!(ledger(&parts).await.gap, 1);
    let counts = run(&parts, &request(ReplayMode::Failed), 10, false).await;
    assert_eq!((counts["parked"], counts["skipped_not_failed"]), (1, 1));
    let records = streams.handed_over.lock().unwrap();
    assert!(records[0].headers.iter().any(|(name, _)| *name == "switchyard-dead-letters"));
}

#[tokio::test]
async fn letter_that_was_read_before_the_record_of_its_delivery_is_linked() {
    let streams = MemoryStreams::default();
    for sequence in [1, 2] {
        streams.add(event(sequence, SITE, TYPE, r#"{"n": 1}"#));
    }
    let dead = |sequence| record(sequence, "inst-1", "k1", ("dead", None)).to_string();
    streams.log.lock().unwrap().push(dead(1).into());
    let streams = Arc::new(streams);
    let of = |sequence: u64| {
        let kind = LetterKind::Delivery { app: "app-1".into(), installation: "inst-1".into() };
        let (id, event) = (id(sequence, "k1"), sequence.to_string());
        letter(
            sequence,
            kind,
            &[("switchyard-delivery-id", id.as_str()), ("switchyard-sequence", &event)],
        )
    };
    let letters = MemoryLetters::of([of(1), of(2)]);
    let parts = ReplayParts { letters, ..MemoryStreams::shared(&streams, directory()) };
    let (mut job, work) = (job(&request(ReplayMode::Failed)), ReplayWork::new(parts));
    *streams.settled.lock().unwrap() = Some(1);
    let step = work.step(&job, 1).await.unwrap();
    save(&mut job, &step);
    assert_eq!(handed_over(&streams).len(), 1);
    streams.log.lock().unwrap().push(dead(2).into());
    *streams.settled.lock().unwrap() = None;
    finish(&work, &mut job, 10).await;
    let records = streams.handed_over.lock().unwrap();
    let is_linked = |record: &crate::delivery::ParkedRecord| {
        record.headers.iter().any(|(name, _)| *name == "switchyard-dead-letters")
    };
    assert_eq!(records.iter().map(is_linked).collect::<Vec<_>>(), [true, true]);
}

#[tokio::test]
async fn change_shortly_before_an_event_makes_its_delivery_not_verifiable() {
    // The event is stored a second after the epoch.
    for (changed_ms, not_verifiable) in [(-5_000, 0), (-3_000, 1)] {
        let streams = MemoryStreams::default();
        streams.add(event(1, SITE, TYPE, r#"{"n": 1}"#));
        let changed = Arc::new(Directory(directory().0.clone(), changed_ms));
        let report = ledger(&MemoryStreams::shared(&Arc::new(streams), changed)).await;
        assert_eq!((report.not_verifiable, report.gap), (not_verifiable, 1 - not_verifiable));
    }
}
