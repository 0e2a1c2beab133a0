//! Limit on messages in flight, and how many of them each site has.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Limit on messages in flight, by number and by size.
pub(super) struct InFlightLimit {
    messages: Arc<Semaphore>,
    kib: Arc<Semaphore>,
    kib_max: u32,
}

/// A share of an [`InFlightLimit`]; returned on drop.
pub(super) struct InFlightPermit {
    _message: OwnedSemaphorePermit,
    _kib: OwnedSemaphorePermit,
}

impl InFlightLimit {
    /// Creates a limit of `messages` messages and `bytes` bytes.
    pub(super) fn new(messages: usize, bytes: usize) -> Self {
        let kib_max = u32::try_from(bytes / 1024).unwrap_or(u32::MAX).max(1);
        Self {
            messages: Arc::new(Semaphore::new(messages.max(1))),
            kib: Arc::new(Semaphore::new(usize::try_from(kib_max).unwrap_or(1))),
            kib_max,
        }
    }

    /// Takes the share of a message of `bytes` bytes if it is free.
    pub(super) fn try_take(&self, bytes: usize) -> Option<InFlightPermit> {
        let message = Arc::clone(&self.messages).try_acquire_owned().ok()?;
        let kib = Arc::clone(&self.kib).try_acquire_many_owned(self.kib_for(bytes)).ok()?;
        Some(InFlightPermit { _message: message, _kib: kib })
    }

    /// Waits for the share of a message of `bytes` bytes.
    pub(super) async fn take(&self, bytes: usize) -> Option<InFlightPermit> {
        let message = Arc::clone(&self.messages).acquire_owned().await.ok()?;
        let kib = Arc::clone(&self.kib).acquire_many_owned(self.kib_for(bytes)).await.ok()?;
        Some(InFlightPermit { _message: message, _kib: kib })
    }

    /// Returns the share of a message; a message larger than the limit takes all of it.
    fn kib_for(&self, bytes: usize) -> u32 {
        u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX).min(self.kib_max)
    }
}

/// Counters that sites are spread over. Sites that share one are crowded together.
const SITE_COUNTERS: u64 = 1024;
/// Part of the limit that one site may have while others have messages: a half.
const SITE_PART: usize = 2;
/// For how long a site counts as one of several after the last message of another, in milliseconds.
const OTHERS_MS: i64 = 60_000;

/// The messages in flight of each site.
pub(super) struct SiteLoads {
    counters: Box<[SiteCounter]>,
    hasher: RandomState,
    messages_max: usize,
    kib_max: usize,
    /// The site of the last message, as its hash, and when it changed last.
    last_site: AtomicU64,
    changed_ms: AtomicI64,
}

#[derive(Default)]
struct SiteCounter {
    messages: AtomicUsize,
    kib: AtomicUsize,
}

/// One message in flight of a site; counted until it is dropped.
pub(super) struct SiteLoad {
    loads: Arc<SiteLoads>,
    counter: usize,
    kib: usize,
    /// Whether the site has more in flight than it may have while others have messages.
    pub(super) is_crowded: bool,
}

impl SiteLoads {
    /// Creates the counters for a limit of `messages` messages and `bytes` bytes.
    pub(super) fn new(messages: usize, bytes: usize) -> Self {
        Self {
            counters: (0..SITE_COUNTERS).map(|_| SiteCounter::default()).collect(),
            hasher: RandomState::new(),
            messages_max: (messages / SITE_PART).max(1),
            kib_max: (bytes / 1024 / SITE_PART).max(1),
            last_site: AtomicU64::new(0),
            changed_ms: AtomicI64::new(i64::MIN),
        }
    }

    /// Counts a message of a site.
    pub(super) fn enter(self: &Arc<Self>, site: &str, bytes: usize, now_ms: i64) -> SiteLoad {
        let hash = self.hasher.hash_one(site);
        if self.last_site.load(Relaxed) != hash {
            self.last_site.store(hash, Relaxed);
            self.changed_ms.store(now_ms, Relaxed);
        }
        let counter = usize::from(u16::try_from(hash % SITE_COUNTERS).unwrap_or(0));
        let kib = bytes / 1024 + 1;
        let is_over = self.counters.get(counter).is_some_and(|counter| {
            let messages = counter.messages.fetch_add(1, Relaxed);
            let kib = counter.kib.fetch_add(kib, Relaxed);
            messages >= self.messages_max || kib >= self.kib_max
        });
        let are_others = now_ms.saturating_sub(self.changed_ms.load(Relaxed)) < OTHERS_MS;
        SiteLoad { loads: Arc::clone(self), counter, kib, is_crowded: is_over && are_others }
    }
}

impl Drop for SiteLoad {
    fn drop(&mut self) {
        if let Some(counter) = self.loads.counters.get(self.counter) {
            counter.messages.fetch_sub(1, Relaxed);
            counter.kib.fetch_sub(self.kib, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn site_is_crowded_beyond_half_while_others_have_messages() {
        let loads = Arc::new(SiteLoads::new(8, 1 << 20));
        let mut held: Vec<_> = (0..8).map(|_| loads.enter("flood", 1, 0)).collect();
        // The first message of a process counts as a change.
        let alone_ms = 2 * OTHERS_MS;
        held.extend((0..2).map(|_| loads.enter("flood", 1, alone_ms)));
        assert!(held.iter().skip(8).all(|one| !one.is_crowded), "it is alone");
        assert!(!loads.enter("other", 1, alone_ms + 10).is_crowded);
        assert!(loads.enter("flood", 1, alone_ms + 20).is_crowded);
        drop(held);
        assert!(!loads.enter("flood", 1, alone_ms + 30).is_crowded);
    }

    #[test]
    fn bytes_count_as_messages_do() {
        let loads = Arc::new(SiteLoads::new(100, 64 << 10));
        let _other = loads.enter("other", 1, 0);
        let first = loads.enter("flood", 40 << 10, 0);
        assert!(!first.is_crowded && loads.enter("flood", 1, 0).is_crowded);
    }
}
