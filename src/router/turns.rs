//! Turns: an event with many deliveries lets other events run after a few of them.
//!
//! All deliveries of an event are polled by one task. Without turns it polls each one that is ready
//! before the runtime runs another task: for 256 deliveries that is some ten milliseconds, for which
//! an event with one delivery waits.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

/// Polls in one turn, each of about 50 µs.
const POLLS_MAX: usize = 8;

/// The turn of a task.
#[derive(Debug, Default)]
pub(super) struct Turn {
    polls: AtomicUsize,
}

impl Turn {
    /// Runs the future that polls the limited ones; each of its polls is a turn.
    pub(super) async fn run<F: Future>(&self, whole: F) -> F::Output {
        let mut whole = pin!(whole);
        poll_fn(|cx| {
            self.polls.store(0, Ordering::Relaxed);
            whole.as_mut().poll(cx)
        })
        .await
    }

    /// Limits a future: once the turn is used up, it continues in the next one.
    pub(super) async fn limit<F: Future>(&self, part: F) -> F::Output {
        let mut part = pin!(part);
        poll_fn(|cx| {
            if self.polls.fetch_add(1, Ordering::Relaxed) >= POLLS_MAX {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            part.as_mut().poll(cx)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::{StreamExt, stream};

    use super::*;

    #[tokio::test]
    async fn other_tasks_run_between_the_turns_of_a_wide_one() {
        let (turn, polled, longest) = (Turn::default(), Cell::new(0), Cell::new(0));
        let parts = stream::iter(0..100).map(|_| {
            turn.limit(async {
                polled.set(polled.get() + 1);
            })
        });
        let whole = turn.run(parts.buffer_unordered(64).for_each(|()| async {}));
        let mut whole = pin!(whole);
        let mut turns = 0;
        while poll_fn(|cx| Poll::Ready(whole.as_mut().poll(cx))).await.is_pending() {
            longest.set(longest.get().max(polled.replace(0)));
            turns += 1;
        }
        assert!(longest.get() <= POLLS_MAX, "{} polls in one turn", longest.get());
        assert!(turns >= 100 / POLLS_MAX, "{turns} turns");
    }
}
