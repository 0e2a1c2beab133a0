//! Ack deadline of messages: extended while a message is in work, until it is acknowledged.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::event::Message;

/// Longest interval between extensions of the ack deadline of a message in work.
const INTERVAL_MAX: Duration = Duration::from_secs(5);

/// Extends the ack deadlines of messages.
pub(super) struct AckDeadline {
    interval: Duration,
    /// Cancels work that outlasts the drain.
    abandon: CancellationToken,
}

impl AckDeadline {
    /// Creates the extension of a deadline of `ack_wait`.
    pub(super) fn new(ack_wait: Duration) -> Self {
        Self { interval: INTERVAL_MAX.min(ack_wait / 3), abandon: CancellationToken::new() }
    }

    /// Cancels all work; its messages are released to the broker.
    pub(super) fn abandon(&self) {
        self.abandon.cancel();
    }

    /// Extends the deadline of a message while `work` runs, then acknowledges it. Returns false if
    /// the work was abandoned: the message is then released to the broker, or left to the replica
    /// that took it over in a pause of this process (`paused`).
    pub(super) async fn settle_then_ack<M: Message>(
        &self,
        message: &M,
        paused: &CancellationToken,
        work: impl Future<Output = ()>,
    ) -> bool {
        tokio::select! {
            biased;
            () = work => {}
            () = self.abandon.cancelled() => {
                message.release().await;
                return false;
            }
            () = paused.cancelled() => return false,
            () = self.extend(message) => {}
        }
        message.ack().await;
        true
    }

    /// Extends the ack deadline of a message periodically; never completes.
    async fn extend<M: Message>(&self, message: &M) {
        loop {
            tokio::time::sleep(self.interval).await;
            message.in_progress().await;
        }
    }
}
