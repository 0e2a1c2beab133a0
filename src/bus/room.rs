//! Requests of refused publishers for space in the event stream.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::trim::NeededSpace;
use crate::clock;

/// How long a refused publish waits for a round of the trimmer.
const ROUND_TIMEOUT: Duration = Duration::from_secs(2);
/// After a round without result, publishers are refused for this long without another round.
const FULL_FOR: Duration = Duration::from_secs(1);
/// Bytes that the broker stores in addition to the body: subject, headers, and its own record.
const OVERHEAD_BYTES: u64 = 4096;

/// What publishers and the trimmer of one replica share.
#[derive(Debug)]
pub struct RoomRequests {
    wake: Notify,
    needed_bytes: AtomicU64,
    storage_full: AtomicBool,
    rounds: watch::Sender<Rounds>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Rounds {
    started: u64,
    completed: u64,
    /// When the last requested round found nothing to delete.
    full_since: Option<Instant>,
}

impl Default for RoomRequests {
    fn default() -> Self {
        Self {
            wake: Notify::new(),
            needed_bytes: AtomicU64::new(0),
            storage_full: AtomicBool::new(false),
            rounds: watch::Sender::new(Rounds::default()),
        }
    }
}

impl RoomRequests {
    /// Wakes the trimmer and waits for a round that began after this call. Returns whether there
    /// may be space now for an event of `body_bytes`. While the stream is known to be full of
    /// unacknowledged events, returns at once.
    pub(super) async fn request(&self, body_bytes: usize, storage_full: bool) -> bool {
        let mut rounds = self.rounds.subscribe();
        let seen = *rounds.borrow();
        if seen.full_since.is_some_and(|at| clock::since(at) < FULL_FOR) {
            return false;
        }
        let body_bytes = u64::try_from(body_bytes).unwrap_or(u64::MAX);
        self.needed_bytes.fetch_max(body_bytes.saturating_add(OVERHEAD_BYTES), Relaxed);
        self.storage_full.fetch_or(storage_full, Relaxed);
        self.wake.notify_one();
        let next = rounds.wait_for(|now| now.completed > seen.started);
        match tokio::time::timeout(ROUND_TIMEOUT, next).await {
            Ok(Ok(now)) => now.full_since.is_none(),
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// Waits for a request.
    pub(super) async fn requested(&self) {
        self.wake.notified().await;
    }

    /// Starts a round of the trimmer; returns what the requests so far need.
    pub(super) fn start_round(&self) -> NeededSpace {
        self.rounds.send_modify(|rounds| rounds.started += 1);
        NeededSpace {
            bytes: self.needed_bytes.swap(0, Relaxed),
            storage_full: self.storage_full.swap(false, Relaxed),
        }
    }

    /// Completes the round; `has_room` is `None` if none was requested.
    pub(super) fn complete_round(&self, has_room: Option<bool>) {
        self.rounds.send_modify(|rounds| {
            rounds.completed = rounds.started;
            match has_room {
                Some(true) => rounds.full_since = None,
                Some(false) => rounds.full_since = Some(clock::tick()),
                None => {}
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    async fn answered(has_room: bool) -> (Arc<RoomRequests>, bool) {
        let room = Arc::new(RoomRequests::default());
        let asking = tokio::spawn({
            let room = Arc::clone(&room);
            async move { room.request(100, false).await }
        });
        room.requested().await;
        let needed = room.start_round();
        assert_eq!(needed, NeededSpace { bytes: 100 + OVERHEAD_BYTES, storage_full: false });
        room.complete_round(Some(has_room));
        (room, asking.await.unwrap())
    }

    #[tokio::test]
    async fn refused_publisher_waits_for_one_round() {
        let (room, has_room) = answered(true).await;
        assert!(has_room);
        assert_eq!(room.start_round(), NeededSpace::default());
    }

    #[tokio::test]
    async fn full_stream_refuses_the_next_publisher_without_a_round() {
        let (room, has_room) = answered(false).await;
        assert!(!has_room);
        assert!(!room.request(100, false).await);
        assert_eq!(room.start_round(), NeededSpace::default(), "no request was queued");
    }
}
