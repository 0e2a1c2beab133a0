//! Background tasks of a router, which end when it stops.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// All tasks of a router, and the token that stops them.
#[derive(Clone, Debug, Default)]
pub(super) struct Background {
    /// Every task.
    pub(super) tasks: TaskTracker,
    /// Cancelled when the router stops.
    pub(super) stop: CancellationToken,
}

impl Background {
    /// Starts a task that is dropped when the router stops.
    pub(super) fn spawn<T>(&self, work: impl Future<Output = T> + Send + 'static)
    where
        T: Send + 'static,
    {
        let stop = self.stop.clone();
        self.tasks.spawn(async move { stop.run_until_cancelled(work).await });
    }
}
