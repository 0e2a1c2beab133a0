//! What the log cannot prove: nothing is taken for missing because its records are not there.

use super::*;

#[tokio::test]
async fn missing_leaves_out_events_that_are_older_than_the_log() {
    let streams = world();
    let parts = MemoryStreams::shared(&streams, directory());
    let coverage = Coverage { log_from_ms: Some(2_000), ..Coverage::default() };
    let late = ReplayRequest { coverage, ..request(ReplayMode::Missing) };
    let counts = plan(&parts, &late).await.unwrap().counts;
    assert_eq!(counts["skipped_before_log"], 1, "the one without a record");
    assert_eq!(counts["parked"], expected(ReplayMode::Missing).len() as u64 - 1);
}

#[tokio::test]
async fn check_of_the_ledger_lists_each_delivery_that_the_log_does_not_know() {
    let streams = world();
    let query = |installation: Option<&str>| LedgerQuery {
        site: SITE.into(),
        installation: installation.map(Into::into),
        installations: match installation {
            Some(only) => vec![only.into()],
            None => vec!["inst-1".into(), "inst-2".into()],
        },
        window: Window { first_sequence: 1, last_sequence: 1_000 },
        log_from_ms: 0,
    };
    let parts = MemoryStreams::shared(&streams, directory());
    let page = ledger(&parts, &query(None)).await;
    let all = HISTORIES.len() as u64 * 2;
    assert_eq!((page.matched, page.recorded, page.not_verifiable), (all, all - 1, 0));
    assert_eq!((page.gaps.len(), page.gap, page.unreadable), (1, 1, 1));
    assert!(page.open.is_empty());
    let gap = &page.gaps[0];
    assert_eq!((gap.sequence, gap.event.as_str()), (1, "e1"));
    assert_eq!(gap.subscription.to_string(), "inst-1/k1");
    assert_eq!(gap.delivery, id(1, "k1"));
    assert_eq!(ledger(&parts, &query(Some("inst-2"))).await.gap, 0);

    // A module that was changed later says nothing about the past; nor does a log that began later.
    let changed = Arc::new(Directory(directory().0.clone(), 1_000_000));
    let later = MemoryStreams::shared(&streams, changed);
    let page = ledger(&later, &query(None)).await;
    assert_eq!((page.gaps.len(), page.not_verifiable), (0, 1));
    let began_later = LedgerQuery { log_from_ms: 1_500, ..query(None) };
    assert_eq!(ledger(&parts, &began_later).await.not_verifiable, 1);

    // Events from 17 on are not acknowledged: what becomes of them is open.
    *streams.settled.lock().unwrap() = Some(16);
    let page = ledger(&parts, &query(None)).await;
    assert_eq!(page.open, [(SITE.into(), 17)]);
    assert!(page.matched < all, "{}", page.matched);
}

async fn ledger(parts: &ReplayParts, query: &LedgerQuery) -> LedgerReport {
    let mut report = LedgerReport::default();
    check_ledger(parts, query, &mut report, &|_| {}).await.unwrap();
    report
}

/// Executes the first step of a replay of what is missing, then `lose`, then the rest on another replica.
async fn counts_after(lose: impl Fn(&MemoryStreams)) -> (JobCounts, Vec<String>) {
    let streams = world();
    // The newest event has no record, and neither has the first.
    streams.add(event(900, SITE, TYPE, r#"{"n": 1}"#));
    let parts = MemoryStreams::shared(&streams, directory());
    let (mut job, work) = (job(&request(ReplayMode::Missing)), ReplayWork::new(parts.clone()));
    let step = work.step(&job, 1).await.unwrap();
    save(&mut job, &step);
    assert_eq!(handed_over(&streams), [id(1, "k1").to_string()], "the first step");
    lose(&streams);
    finish(&ReplayWork::new(parts), &mut job, 100).await;
    (job.counts, handed_over(&streams))
}

#[tokio::test]
async fn records_that_the_log_deletes_while_the_job_runs_make_nothing_missing() {
    let (counts, all) = counts_after(|_| {}).await;
    assert!(!counts.contains_key("skipped_before_log") && all.contains(&id(900, "k1").to_string()));
    let (counts, handed_over) = counts_after(|streams| {
        *streams.log_first.lock().unwrap() = streams.log.lock().unwrap().len() as u64 + 1;
        *streams.log_from_ms.lock().unwrap() = 1_000_000;
    })
    .await;
    assert_eq!(handed_over, [id(1, "k1").to_string()], "nothing more");
    assert_eq!(counts["skipped_before_log"], HISTORIES.len() as u64, "all but the first");
}

#[tokio::test]
async fn log_that_a_replica_does_not_keep_proves_nothing_before() {
    let (counts, handed_over) = counts_after(|streams| {
        *streams.log_off_until_ms.lock().unwrap() = Some(800_000);
    })
    .await;
    let failed = expected(ReplayMode::Failed).len();
    assert_eq!(handed_over.len(), 1 + failed + 1, "the failed ones, and the newest one");
    assert!(handed_over.contains(&id(900, "k1").to_string()));
    assert!(!counts.contains_key("skipped_before_log"), "each of the others has a record");
    let (counts, handed_over) = counts_after(|streams| {
        *streams.log_off_until_ms.lock().unwrap() = Some(1_000_000);
    })
    .await;
    assert_eq!((handed_over.len(), counts["skipped_before_log"]), (1 + failed, 1));
}

#[tokio::test]
async fn job_waits_while_the_log_is_off_unless_it_replays_all() {
    let streams = world();
    let parts = MemoryStreams::shared(&streams, directory());
    let off = ReplayParts { log: None, ..parts.clone() };
    for mode in [ReplayMode::Missing, ReplayMode::Failed] {
        let work = ReplayWork::new(off.clone());
        let Err(JobFailure::Later(reason)) = work.step(&job(&request(mode)), 10).await else {
            panic!("it waits")
        };
        assert!(reason.contains("delivery.log"), "{reason}");
    }
    assert!(handed_over(&streams).is_empty());
    run(&off, &request(ReplayMode::All), 100, false).await;
    assert_eq!(handed_over(&streams).len(), HISTORIES.len(), "nothing says that it waits");
}

#[tokio::test]
async fn event_that_is_deleted_while_it_is_examined_does_not_count_as_expired() {
    let streams = MemoryStreams::default();
    for sequence in [5, 6] {
        streams.add(event(sequence, SITE, TYPE, r#"{"n": 1}"#));
    }
    *streams.deleted_before.lock().unwrap() = Some(6);
    let parts = streams.parts(directory());
    let counts = plan(&parts, &request(ReplayMode::Missing)).await.unwrap().counts;
    assert_eq!((counts["events"], counts["sequences_expired"]), (2, 4), "1 to 4 are deleted");
}
