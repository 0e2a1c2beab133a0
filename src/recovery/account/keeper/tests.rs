//! The keeper over documents and streams in memory.

use std::sync::Mutex;

use futures_util::FutureExt;
use futures_util::future;

use super::*;
use crate::recovery::account::limits::TooLarge;
use crate::recovery::account::testing::{MemoryRecord, MemoryStreams, delivery};
use crate::recovery::account::{DeliveryCounts, SubscriptionCounts};

const MINUTE: Duration = Duration::from_secs(60);

/// A document in memory.
#[derive(Default)]
struct MemoryStore {
    document: Mutex<(KeeperDocument, u64)>,
    /// How many further writes succeed; all if there is no number.
    writes: Mutex<Option<u32>>,
}

impl KeeperStore for MemoryStore {
    fn read(&self) -> BoxFuture<'_, Result<(KeeperDocument, u64), KeeperStoreError>> {
        future::ready(Ok(self.document.lock().unwrap().clone())).boxed()
    }

    fn replace<'a>(
        &'a self,
        document: &'a KeeperDocument,
        revision: u64,
    ) -> BoxFuture<'a, Result<u64, KeeperStoreError>> {
        let mut known = self.document.lock().unwrap();
        if let Some(left) = &mut *self.writes.lock().unwrap() {
            if *left == 0 {
                return future::ready(Err(KeeperStoreError::Unavailable("no answer".into())))
                    .boxed();
            }
            *left -= 1;
        }
        if revision != known.1 {
            return future::ready(Err(KeeperStoreError::Conflict)).boxed();
        }
        *known = (document.clone(), revision + 1);
        future::ready(Ok(revision + 1)).boxed()
    }
}

fn keeper(streams: MemoryStreams, store: &Arc<MemoryStore>) -> AccountKeeper {
    let streams = Arc::new(streams);
    let accountant = Accountant::new(Some(Arc::clone(&streams) as _), streams.letters.clone());
    AccountKeeper::new(Arc::new(accountant), Arc::clone(store) as _, MINUTE)
}

fn document(store: &MemoryStore) -> KeeperDocument {
    store.document.lock().unwrap().0.clone()
}

#[tokio::test(start_paused = true)]
async fn failed_renewal_of_the_lease_ends_the_check() {
    let store = Arc::new(MemoryStore::default());
    let hanging = || keeper(MemoryStreams { hangs: true, ..MemoryStreams::default() }, &store);
    let mut keeper = hanging();
    // The lease, and one renewal.
    *store.writes.lock().unwrap() = Some(2);
    let ended = keeper.check_if_due().await;
    assert_eq!(ended, Err(KeeperStoreError::Unavailable("no answer".into())));
    assert_eq!(store.document.lock().unwrap().1, 2);
    *store.writes.lock().unwrap() = None;
    let kind = keeper.unstored.expect("it failed").kind;
    assert_eq!(kind, CheckKind::Earlier);

    // Another replica takes the lease: its document stays.
    let other = async {
        tokio::time::sleep(RENEW * 3 / 2).await;
        store.document.lock().unwrap().1 += 1;
    };
    let (ended, ()) = tokio::join!(keeper.check_if_due(), other);
    assert_eq!(ended, Err(KeeperStoreError::Conflict));
    assert_eq!(keeper.unstored.map(|failed| failed.kind), Some(CheckKind::Recent), "the other one");
}

#[tokio::test(start_paused = true)]
async fn failed_check_is_stored_and_the_other_one_is_made() {
    let store = Arc::new(MemoryStore::default());
    let now_ms = clock::broker_now_ms();
    let streams = MemoryStreams::default();
    for (event, age_ms) in [(1, 49 * 3_600_000), (2, 1_000)] {
        let stored_ms = now_ms - age_ms;
        let body = delivery(event, (stored_ms, stored_ms), ("new", "parked"));
        streams.store(MemoryRecord { stored_ms, message_id: String::new(), body });
    }
    // A server has no start of the earlier window yet, and that of the recent one later.
    streams.start_lags.store(3, std::sync::atomic::Ordering::Relaxed);
    let mut keeper = keeper(streams, &store);
    keeper.check_if_due().await.unwrap();
    let earlier = document(&store).earlier;
    assert!(earlier.failed_ms > 0 && earlier.at_ms == 0, "{earlier:?}");
    keeper.check_if_due().await.unwrap();
    let found = document(&store);
    assert!(found.recent.at_ms > 0 && found.recent.gap == 1, "{found:?}");
    assert_eq!(found.gap(), Some(1));
    keeper.check_if_due().await.unwrap();
    assert_eq!(document(&store), found, "neither is tried again at once");
}

#[tokio::test]
async fn window_that_is_too_large_is_checked_in_parts() {
    let due = DueCheck { kind: CheckKind::Earlier, from_ms: 0, until_ms: 4_000, halvings: 0 };
    let asked = Mutex::new(0);
    // A gap for each second, and no more than one second at once.
    let account_of = |part: DueCheck| {
        *asked.lock().unwrap() += 1;
        let seconds = u64::try_from((part.until_ms - part.from_ms) / 1_000).unwrap();
        if seconds > 1 {
            return future::ready(Err(TooLarge::Instances.into()));
        }
        let counts = DeliveryCounts { matched: seconds, gap: seconds, ..<_>::default() };
        let (site, subscription) = ("s".into(), "i/k".into());
        let subscriptions = vec![SubscriptionCounts { site, subscription, counts }];
        future::ready(Ok(Account { subscriptions, ..Account::default() }))
    };
    let found = in_parts(due, &account_of).await.unwrap();
    assert_eq!((found.check.gap, found.check.halvings, *asked.lock().unwrap()), (4, 2, 7));
    let found = in_parts(DueCheck { halvings: 2, ..due }, &account_of).await.unwrap();
    assert_eq!((found.check.gap, found.check.halvings, *asked.lock().unwrap()), (4, 2, 11));
    let found = in_parts(DueCheck { until_ms: 400_000, ..due }, &account_of).await;
    assert_eq!(found.err(), Some(AccountError::TooLarge(TooLarge::Instances)), "it is bounded");
}
