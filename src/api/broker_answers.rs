//! When the broker last answered, and waits that end when it is silent.
//!
//! A request may take long because there is much to read, or because an app is called. It waits in vain once
//! the broker has been silent for [`SILENCE_MAX`]. Silence is measured by the questions that the router asks the broker
//! every second, so a frozen broker counts, which keeps its connections, and so does one that answers and stores nothing.

use std::pin::pin;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use crate::clock;

/// How long a request waits for a silent broker. The response leaves within five seconds.
const SILENCE_MAX: Duration = Duration::from_secs(4);

/// When the broker last answered the questions of the router.
#[derive(Debug, Default)]
pub struct BrokerAnswers {
    answered_ms: AtomicI64,
    stored_ms: AtomicI64,
    event_stored_ms: AtomicI64,
}

/// What a request needs of the broker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum BrokerUse {
    /// Answers to questions.
    Reads,
    /// Confirmed writes.
    Writes,
    /// Confirmed writes into the event stream.
    StoresEvents,
}

/// The broker was silent for too long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BrokerSilent {
    /// How long the request waited.
    pub waited: Duration,
    /// Whether the request may have changed something.
    pub in_doubt: bool,
}

impl BrokerAnswers {
    /// Records an answer: whether it came with a confirmed write, and whether the last events that were published
    /// are confirmed.
    pub fn record(&self, is_stored: bool, are_events_stored: bool) {
        let now_ms = clock::uptime_ms();
        self.answered_ms.store(now_ms, Relaxed);
        if is_stored {
            self.stored_ms.store(now_ms, Relaxed);
        }
        if is_stored && are_events_stored {
            self.event_stored_ms.store(now_ms, Relaxed);
        }
    }

    fn last_ms(&self, needs: BrokerUse) -> i64 {
        let last = match needs {
            BrokerUse::Reads => &self.answered_ms,
            BrokerUse::Writes => &self.stored_ms,
            BrokerUse::StoresEvents => &self.event_stored_ms,
        };
        last.load(Relaxed)
    }

    /// Returns what `work` returns, unless the broker is silent for [`SILENCE_MAX`] while it works.
    pub(super) async fn wait<T>(
        &self,
        needs: BrokerUse,
        work: impl Future<Output = T>,
    ) -> Result<T, BrokerSilent> {
        let (started, started_ms) = (clock::tick(), clock::uptime_ms());
        let mut work = pin!(work);
        loop {
            let silent_ms = clock::uptime_ms() - self.last_ms(needs).max(started_ms);
            let silent = Duration::from_millis(u64::try_from(silent_ms).unwrap_or(0));
            let Some(left) = SILENCE_MAX.checked_sub(silent).filter(|left| !left.is_zero()) else {
                let waited = clock::since(started);
                return Err(BrokerSilent { waited, in_doubt: needs != BrokerUse::Reads });
            };
            if let Ok(done) = tokio::time::timeout(left, &mut work).await {
                return Ok(done);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_ends_with_the_silence_and_not_while_the_broker_answers() {
        let answers = BrokerAnswers::default();
        assert_eq!(answers.wait(BrokerUse::Writes, async { 1 }).await, Ok(1));
        let answering = async {
            loop {
                answers.record(false, false);
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        let slow = tokio::time::sleep(SILENCE_MAX + Duration::from_secs(1));
        let both = async {
            tokio::join!(
                answers.wait(BrokerUse::Reads, slow),
                answers.wait(BrokerUse::Writes, std::future::pending::<()>())
            )
        };
        let (read, written) = tokio::select! {
            both = both => both,
            () = answering => unreachable!(),
        };
        assert_eq!(read, Ok(()));
        let silent = written.unwrap_err();
        assert!(silent.in_doubt && (4..5).contains(&silent.waited.as_secs()), "{silent:?}");
    }
}
