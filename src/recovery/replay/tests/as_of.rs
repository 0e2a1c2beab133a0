//! Replays by the filters of an earlier time.

use super::*;
use crate::recovery::replay::PastSubscriptions;

/// What each subscription was before [`CHANGED_MS`]; counts how often it is asked.
struct Past {
    was: Vec<Arc<Subscription>>,
    asked: std::sync::atomic::AtomicUsize,
}

const CHANGED_MS: i64 = 5_000;

impl PastSubscriptions for Past {
    fn as_of<'a>(
        &'a self,
        id: &'a SubscriptionId,
        at_ms: i64,
    ) -> BoxFuture<'a, Result<Option<Arc<Subscription>>, JobFailure>> {
        self.asked.fetch_add(1, Relaxed);
        let found = match at_ms < CHANGED_MS {
            true => Ok(self.was.iter().find(|one| one.id() == *id).cloned()),
            false => Err(JobFailure::Never("it is not kept".to_owned())),
        };
        Box::pin(std::future::ready(found))
    }
}

fn parts_with(
    streams: &Arc<MemoryStreams>,
    was: Vec<Arc<Subscription>>,
) -> (ReplayParts, Arc<Past>) {
    let past = Arc::new(Past { was, asked: Default::default() });
    let parts = MemoryStreams::shared(streams, directory());
    (ReplayParts { past: Arc::clone(&past) as _, ..parts }, past)
}

fn as_of(at_ms: i64) -> ReplayRequest {
    ReplayRequest { as_of_ms: Some(at_ms), ..request(ReplayMode::All) }
}

#[tokio::test]
async fn events_are_matched_by_the_filters_of_that_time_which_are_compiled_once() {
    let streams = world();
    // `k1` matched nothing then, `k2` all; now it is the other way round.
    let was = vec![
        subscription("inst-1", SITE, "k1", "event.n > 5"),
        subscription("inst-1", SITE, "k2", "event.n == 1"),
    ];
    let (parts, past) = parts_with(&streams, was);
    let request = as_of(1_000);
    let counts = plan(&parts, &request).await.unwrap().counts;
    assert_eq!(counts["matched"], HISTORIES.len() as u64);
    let asked = past.asked.load(Relaxed);
    let counts = run(&parts, &request, 1, false).await;
    assert_eq!(counts["matched"], HISTORIES.len() as u64);
    assert_eq!(past.asked.load(Relaxed), asked + 2, "once for each subscription");
    let all = handed_over(&streams);
    let of_k2 = (0..HISTORIES.len() as u64).map(|number| id(number * 4 + 1, "k2").to_string());
    let of_k2: BTreeSet<_> = of_k2.collect();
    assert!(!all.is_empty() && all.iter().all(|one| of_k2.contains(one)), "{all:?}");
}

#[tokio::test]
async fn what_is_not_known_of_that_time_is_refused() {
    let (parts, _) = parts_with(&world(), Vec::new());
    for (at_ms, expected) in [(CHANGED_MS, "it is not kept"), (0, "no subscription received")] {
        let failure = check_as_of(&parts, &as_of(at_ms)).await.unwrap_err();
        let JobFailure::Never(reason) = failure else { panic!("it never will be") };
        assert!(reason.starts_with(expected), "{reason}");
    }
    check_as_of(&parts, &request(ReplayMode::All)).await.unwrap();
}

#[tokio::test]
async fn subscription_that_was_removed_since_is_not_replayed() {
    let streams = world();
    let was = vec![
        subscription("inst-1", SITE, "k1", "event.n >= 0"),
        subscription("inst-1", SITE, "removed", "event.n >= 0"),
    ];
    let (parts, _) = parts_with(&streams, was);
    let counts = run(&parts, &as_of(1_000), 100, false).await;
    assert_eq!(counts["matched"], HISTORIES.len() as u64, "only those of `k1`");
}
