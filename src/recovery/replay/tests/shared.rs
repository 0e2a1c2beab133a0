//! Modules that share deliveries: dynamic webhooks of one owner and one address.

use super::*;
use crate::delivery::ParkedRecord;
use crate::event::codec::names::{dead_letter, parked};

/// The id of the shared delivery of the event 1.
fn shared_id() -> DeliveryId {
    id(1, "d1")
}

/// A record of the shared delivery of the event 1, which was for these webhooks.
fn shared_record(keys: &[&str], outcome: &str) -> Value {
    let mut record = record(1, "inst-1", keys[0], (outcome, None));
    record["deliveries"][0]["also"] = json!(keys[1..]);
    record["deliveries"][0]["id"] = json!(shared_id().as_str());
    record
}

/// A world with the event 1, which both webhooks match, and with these records of it.
fn world_of(records: &[Value]) -> (Arc<MemoryStreams>, Arc<Directory>) {
    let streams = MemoryStreams::default();
    streams.add(event(1, SITE, TYPE, r#"{"n": 1}"#));
    streams.log.lock().unwrap().extend(records.iter().map(|record| record.to_string().into()));
    let webhooks = vec![webhook(1, "event.n >= 0"), webhook(2, "event.n >= 0")];
    (Arc::new(streams), Arc::new(Directory(webhooks, -1_000_000)))
}

fn of(key: &str, mode: ReplayMode) -> ReplayRequest {
    ReplayRequest { key: Some(key.into()), delivery_key: Some("d1".into()), ..request(mode) }
}

fn header<'r>(record: &'r ParkedRecord, name: &str) -> Option<&'r str> {
    let found = record.headers.iter().find(|(at, _)| *at == name);
    found.map(|(_, value)| value.as_str())
}

/// Returns the webhooks that the only record that was handed over is for, and whether a letter is linked.
fn only_record(streams: &MemoryStreams) -> (Vec<String>, bool) {
    let records = streams.handed_over.lock().unwrap();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].id, shared_id());
    let others = header(&records[0], parked::COALESCED_WITH).unwrap_or_default();
    let first = header(&records[0], parked::MODULE_KEY).unwrap();
    let keys = std::iter::once(first).chain(others.split(' ')).filter(|key| !key.is_empty());
    (keys.map(str::to_owned).collect(), header(&records[0], parked::DEAD_LETTERS).is_some())
}

/// The letter of the shared delivery.
fn shared_letter(keys: &[&str]) -> crate::recovery::redrive::StoredLetter {
    let kind = LetterKind::Delivery { app: "app-1".into(), installation: "inst-1".into() };
    let (first, others) = (format!("inst-1/{}", keys[0]), keys[1..].join(" "));
    let headers = [
        ("switchyard-delivery-id", shared_id().to_string()),
        ("switchyard-sequence", "1".to_owned()),
        (dead_letter::SUBSCRIPTION, first),
        (parked::COALESCED_WITH, others),
    ];
    let headers: Vec<(&str, &str)> =
        headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    letter(7, kind, &headers)
}

#[tokio::test]
async fn replay_of_one_webhook_delivers_the_dead_letter_of_all_for_all() {
    for key in ["w1", "w2"] {
        let (streams, directory) = world_of(&[shared_record(&["w1", "w2"], "dead")]);
        let letters = MemoryLetters::of([shared_letter(&["w1", "w2"])]);
        let parts = ReplayParts { letters, ..MemoryStreams::shared(&streams, directory) };
        let counts = run(&parts, &of(key, ReplayMode::Failed), 10, false).await;
        assert_eq!((counts["matched"], counts["parked"]), (1, 1));
        assert_eq!(only_record(&streams), (vec!["w1".into(), "w2".into()], true));
    }
}

#[tokio::test]
async fn letter_that_is_for_a_further_webhook_stays() {
    // By its filter of now, the second one does not match.
    let (streams, _) = world_of(&[shared_record(&["w1", "w2"], "dead")]);
    let webhooks = vec![webhook(1, "event.n >= 0"), webhook(2, "event.n > 5")];
    let letters = || MemoryLetters::of([shared_letter(&["w1", "w2"])]);
    let directory = Arc::new(Directory(webhooks, 0));
    let parts = ReplayParts { letters: letters(), ..MemoryStreams::shared(&streams, directory) };
    run(&parts, &of("w1", ReplayMode::Failed), 10, false).await;
    assert_eq!(only_record(&streams), (vec!["w1".into()], false));

    // It was removed: nothing is lost with the letter.
    let (streams, _) = world_of(&[shared_record(&["w1", "w2"], "dead")]);
    let directory = Arc::new(Directory(vec![webhook(1, "event.n >= 0")], 0));
    let parts = ReplayParts { letters: letters(), ..MemoryStreams::shared(&streams, directory) };
    run(&parts, &of("w1", ReplayMode::Failed), 10, false).await;
    assert_eq!(only_record(&streams), (vec!["w1".into()], true));
}

#[tokio::test]
async fn delivery_to_one_webhook_is_missing_for_the_other() {
    for (key, expected) in [("w1", None), ("w2", Some("w2"))] {
        let (streams, directory) = world_of(&[shared_record(&["w1"], "delivered")]);
        let parts = MemoryStreams::shared(&streams, directory);
        let counts = run(&parts, &of(key, ReplayMode::Missing), 10, false).await;
        match expected {
            Some(other) => assert_eq!(only_record(&streams), (vec![other.into()], false)),
            None => assert_eq!(counts["skipped_delivered"], 1),
        }
    }
    // So it is if all webhooks are replayed.
    let (streams, directory) = world_of(&[shared_record(&["w1"], "delivered")]);
    let parts = MemoryStreams::shared(&streams, directory);
    run(&parts, &request(ReplayMode::Missing), 10, false).await;
    assert_eq!(only_record(&streams), (vec!["w2".into()], false));
}

#[tokio::test]
async fn ledger_knows_for_whom_a_shared_delivery_was() {
    for (keys, gap) in [(&["w1", "w2"][..], 0), (&["w2"], 1)] {
        let (streams, directory) = world_of(&[shared_record(keys, "delivered")]);
        let parts = MemoryStreams::shared(&streams, directory);
        let query = LedgerQuery {
            site: SITE.into(),
            installation: None,
            installations: vec!["inst-1".into()],
            window: Window { first_sequence: 1, last_sequence: 10 },
            log_from_ms: 0,
        };
        let mut report = LedgerReport::default();
        check_ledger(&parts, &query, &mut report, &|_| {}).await.unwrap();
        assert_eq!((report.gap, report.recorded, report.matched), (gap, 1 - gap, 1), "{keys:?}");
        let missing = report.gaps.iter().map(|gap| gap.subscription.to_string());
        assert_eq!(missing.collect::<Vec<_>>().len() as u64, gap);
        assert!(report.gaps.iter().all(|gap| gap.subscription.to_string() == "inst-1/w1"));
    }
}
