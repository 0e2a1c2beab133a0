//! Accounts over streams in memory.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::*;
use crate::event::codec::names;
use crate::recovery::account::SERIES_MAX;
use crate::recovery::account::sheet::DeliveryCounts;
use crate::recovery::account::testing::{MemoryRecord, MemoryStreams, delivery, erasure};
use crate::recovery::redrive::LetterKind;
use crate::recovery::redrive::testing::letter;

const HOUR_MS: i64 = 3_600_000;

struct Setup {
    streams: Arc<MemoryStreams>,
    now_ms: i64,
}

impl Setup {
    fn new(streams: MemoryStreams) -> Self {
        Self { streams: Arc::new(streams), now_ms: clock::broker_now_ms() }
    }

    /// Stores a record of the delivery of an event that was stored so long ago.
    fn record(&self, event: u64, age_ms: i64, what: (&str, &str)) -> u64 {
        let stored_ms = self.now_ms - age_ms;
        self.store(stored_ms, delivery(event, (stored_ms, stored_ms), what))
    }

    fn store(&self, stored_ms: i64, body: serde_json::Value) -> u64 {
        let message_id = format!("p-{}", self.streams.last.load(Ordering::Relaxed));
        self.streams.store(MemoryRecord { stored_ms, message_id, body })
    }

    fn park(&self, event: u64) {
        self.streams.parked.lock().unwrap().push(format!("dlv_{event}"));
    }

    fn dead_letter(&self, event: u64, sequence: u64) {
        let kind = LetterKind::Delivery { app: "a".into(), installation: "i".into() };
        let id = format!("dlv_{event}");
        let mut stored = letter(sequence, kind, &[(names::DELIVERY_ID, &id)]);
        stored.id.0.stored_ms = self.now_ms;
        self.streams.letters.leader.letters.lock().unwrap().insert(sequence, stored);
    }

    async fn account(&self, window_ms: i64) -> Result<Account, AccountError> {
        let streams = Arc::clone(&self.streams);
        let accountant = Accountant::new(Some(streams), Arc::clone(&self.streams.letters) as _);
        let (from_ms, until_ms) = (self.now_ms - window_ms, self.now_ms + HOUR_MS);
        let scope = Scope { from_ms, until_ms, site: None, installation: None, key: None };
        accountant.account(scope, &|_| {}).await
    }

    async fn total(&self) -> DeliveryCounts {
        self.account(HOUR_MS).await.expect("an account").total()
    }
}

fn named(account: &Account) -> Vec<&str> {
    account.gaps.iter().map(|gap| &*gap.delivery).collect()
}

#[tokio::test(start_paused = true)]
async fn parked_delivery_that_is_erased_is_removed_and_a_lost_one_is_a_gap() {
    let setup = Setup::new(MemoryStreams::default());
    for event in 1..=4 {
        setup.record(event, 1_000, ("new", "parked"));
    }
    setup.park(1);
    setup.record(2, 500, ("parked", "removed"));
    // A handling that was killed before its record parked it.
    setup.record(5, 500, ("parked", "removed"));
    setup.record(4, 500, ("parked", "removed"));
    setup.record(4, 400, ("new", "delivered"));
    let account = setup.account(HOUR_MS).await.unwrap();
    let expected = DeliveryCounts {
        matched: 5,
        pending: 1,
        removed: 2,
        delivered: 1,
        gap: 1,
        ..<_>::default()
    };
    assert_eq!(account.total(), expected);
    assert_eq!(named(&account), ["dlv_3"]);
}

#[tokio::test(start_paused = true)]
async fn log_whose_first_records_an_erasure_deleted_is_complete() {
    let setup = Setup::new(MemoryStreams::default());
    for event in 1..=4 {
        setup.record(event, 10_000, ("new", "delivered"));
    }
    setup.store(setup.now_ms, erasure(&["p-0", "p-1", "p-9"]));
    setup.streams.delete(1);
    let account = setup.account(HOUR_MS).await.unwrap();
    assert_eq!((account.since_ms, account.total().matched), (setup.now_ms - HOUR_MS, 3));
    assert_eq!(account.missing_records(), 0);
    setup.streams.delete(2);
    assert_eq!(setup.total().await.matched, 2);

    // One that no erasure names: the log deleted it by age.
    setup.streams.delete(3);
    setup.store(setup.now_ms, erasure(&["p-1"]));
    let setup = Setup { now_ms: setup.now_ms, ..setup };
    setup.streams.delete(4);
    let account = setup.account(HOUR_MS).await.unwrap();
    assert!(account.since_ms > setup.now_ms - 10_000, "the log is complete only from then on");
}

#[tokio::test(start_paused = true)]
async fn record_that_is_deleted_while_the_log_is_read_is_no_gap() {
    let setup = Setup::new(MemoryStreams::default());
    setup.record(1, 1_000, ("new", "delivered"));
    let parked = setup.record(2, 1_000, ("new", "parked"));
    setup.record(3, 1_000, ("new", "delivered"));
    setup.streams.deleted_at_looks.lock().unwrap().push_back(parked);
    assert_eq!(setup.account(HOUR_MS).await, Err(AccountError::Trimmed));

    // A gap is named while an erasure deletes other records.
    let lost = setup.record(4, 1_000, ("new", "parked"));
    setup.streams.deleted_at_looks.lock().unwrap().push_back(lost - 1);
    assert_eq!(named(&setup.account(HOUR_MS).await.unwrap()), ["dlv_4"]);
}

#[tokio::test(start_paused = true)]
async fn record_that_an_erasure_deletes_while_the_oldest_ones_are_deleted_is_no_gap() {
    let setup = Setup::new(MemoryStreams::default());
    for event in 1..=3 {
        setup.record(event, 2 * HOUR_MS, ("new", "delivered"));
    }
    setup.record(4, 1_000, ("new", "delivered"));
    let parked = setup.record(5, 1_000, ("new", "parked"));
    setup.record(6, 1_000, ("new", "delivered"));
    setup.streams.delete(2);
    // The log has one hole before and after.
    setup.streams.deleted_at_looks.lock().unwrap().extend([parked, 1]);
    assert_eq!(setup.account(HOUR_MS).await, Err(AccountError::Trimmed));
}

#[tokio::test(start_paused = true)]
async fn more_gaps_than_are_named_are_no_account_while_an_erasure_deletes_records() {
    let setup = Setup::new(MemoryStreams::default());
    for event in [1, 200] {
        setup.record(event, 2 * HOUR_MS, ("new", "delivered"));
    }
    let lost: Vec<u64> =
        (2..104).map(|event| setup.record(event, 1_000, ("new", "parked"))).collect();
    setup.record(104, 1_000, ("new", "delivered"));
    // The log deletes its oldest record by age.
    setup.streams.deleted_at_looks.lock().unwrap().push_back(1);
    let account = setup.account(HOUR_MS).await.unwrap();
    assert_eq!((account.total().gap, account.gaps.len()), (102, 100));
    // Of the last one nothing is read again.
    setup.streams.deleted_at_looks.lock().unwrap().extend(lost.last());
    assert_eq!(setup.account(HOUR_MS).await, Err(AccountError::Trimmed));
    assert_eq!(setup.total().await.gap, 101);
}

#[tokio::test(start_paused = true)]
async fn copy_of_a_record_counts_no_delivery_twice() {
    let setup = Setup::new(MemoryStreams::default());
    setup.record(9, 2 * HOUR_MS, ("new", "delivered"));
    let stored_ms = setup.now_ms - 1_000;
    for message_id in ["q-0", "erase/job_1/1/1000", "erase/job_2/2/1000"] {
        let body = delivery(1, (stored_ms, stored_ms), ("new", "delivered"));
        setup.streams.store(MemoryRecord { stored_ms, message_id: message_id.into(), body });
    }
    let expected = DeliveryCounts { matched: 1, delivered: 1, ..<_>::default() };
    assert_eq!(setup.total().await, expected);
    setup.streams.delete(2);
    assert_eq!(setup.total().await, expected);
}

#[tokio::test(start_paused = true)]
async fn erasures_of_however_many_records_prevent_no_account() {
    let setup = Setup::new(MemoryStreams::default());
    setup.record(1, 1_000, ("new", "delivered"));
    let ids: Vec<String> = (0..=SERIES_MAX).map(|process| format!("q{process}-1")).collect();
    setup.store(setup.now_ms, erasure(&ids.iter().map(String::as_str).collect::<Vec<_>>()));
    let account = setup.account(HOUR_MS).await.unwrap();
    assert_eq!((account.total().matched, account.gap()), (1, 0));
    assert_eq!((account.missing, account.has_too_many_erased), (None, true));
}

#[tokio::test(start_paused = true)]
async fn what_was_removed_while_the_log_was_off_is_no_gap() {
    let setup = Setup::new(MemoryStreams::default());
    setup.record(1, 10_000, ("new", "parked"));
    setup.record(2, 10_000, ("new", "dead"));
    setup.record(3, 1_000, ("new", "delivered"));
    assert_eq!(setup.total().await.gap, 2);
    let off_until_ms = setup.now_ms - 5_000;
    *setup.streams.log_off_until_ms.lock().unwrap() = Some(off_until_ms);
    let account = setup.account(HOUR_MS).await.unwrap();
    assert_eq!((account.total().matched, account.gap()), (1, 0));
    assert_eq!(account.since_ms, off_until_ms);
    // Another router has it off now.
    *setup.streams.log_off_until_ms.lock().unwrap() = Some(i64::MAX);
    assert_eq!(setup.account(HOUR_MS).await.unwrap().records, 0);
}

#[tokio::test(start_paused = true)]
async fn as_many_parked_deliveries_are_undetermined_as_due_records_are_unread() {
    let setup = Setup::new(MemoryStreams::default());
    for event in 1..=4 {
        setup.record(event, 1_000, ("new", "parked"));
    }
    setup.record(5, 900, ("new", "dead"));
    setup.streams.unread.store(2, Ordering::Relaxed);
    let account = setup.account(HOUR_MS).await.unwrap();
    let expected = DeliveryCounts { matched: 5, pending: 2, gap: 3, ..<_>::default() };
    assert_eq!((account.total(), account.undetermined), (expected, 2));
    assert_eq!(named(&account), ["dlv_1", "dlv_2", "dlv_5"]);
    setup.streams.unread.store(9, Ordering::Relaxed);
    let account = setup.account(HOUR_MS).await.unwrap();
    assert_eq!((account.total().gap, account.undetermined), (1, 4));
    assert_eq!(named(&account), ["dlv_5"], "a lost letter is never undetermined");
}

#[tokio::test(start_paused = true)]
async fn letter_expires_by_the_time_of_its_own_delivery() {
    let setup = Setup::new(MemoryStreams::default());
    setup.record(1, 31 * 24 * HOUR_MS, ("new", "dead"));
    setup.record(2, 29 * 24 * HOUR_MS, ("new", "dead"));
    // An old event whose delivery was dead-lettered again later.
    setup.record(3, 31 * 24 * HOUR_MS, ("new", "dead"));
    let old_ms = setup.now_ms - 31 * 24 * HOUR_MS;
    setup.store(setup.now_ms, delivery(3, (old_ms, setup.now_ms), ("parked", "dead")));
    let account = setup.account(40 * 24 * HOUR_MS).await.unwrap();
    let expected = DeliveryCounts { matched: 3, removed: 1, gap: 2, ..<_>::default() };
    assert_eq!(account.total(), expected);
    assert_eq!(named(&account), ["dlv_2", "dlv_3"]);
}

#[tokio::test(start_paused = true)]
async fn letters_that_a_server_does_not_have_yet_are_read_from_the_leader_and_none_twice() {
    let setup = Setup::new(MemoryStreams::default());
    for event in 1..=5 {
        setup.record(event, 1_000, ("new", "dead"));
        if event < 5 {
            setup.dead_letter(event, event);
        }
    }
    setup.streams.letters.lag.store(2, Ordering::Relaxed);
    let total = setup.total().await;
    assert_eq!((total.dead, total.gap), (4, 1));
    let reads = setup.streams.letters.reads.lock().unwrap();
    assert_eq!(*reads, [1, 4], "seven looks read each letter once");
}

#[tokio::test(start_paused = true)]
async fn server_without_the_start_of_the_window_makes_no_empty_account() {
    let setup = Setup::new(MemoryStreams::default());
    setup.record(1, 2 * HOUR_MS, ("new", "delivered"));
    setup.record(2, 1_000, ("new", "delivered"));
    setup.streams.start_lags.store(2, Ordering::Relaxed);
    assert_eq!(setup.total().await.matched, 1);
    setup.streams.start_lags.store(u64::from(REPLICA_ASKED), Ordering::Relaxed);
    assert!(matches!(setup.account(HOUR_MS).await, Err(AccountError::Unavailable(_))));
    assert_eq!(setup.account(500).await.unwrap().records, 0, "nothing is that young");
}
