//! How many backtests run at once: a few, and one of each site.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::domain::CloudId;

/// Backtests of one router at once.
const RUNNING_MAX: usize = 2;

/// The backtests that run in this router.
#[derive(Debug, Default)]
pub struct BacktestTurns {
    /// The site of each; none for all sites.
    running: Mutex<Vec<Option<CloudId>>>,
    ended: Notify,
}

/// The right to run one backtest. Ends when it is dropped.
#[derive(Debug)]
pub struct BacktestTurn {
    turns: Arc<BacktestTurns>,
    site: Option<CloudId>,
}

impl BacktestTurns {
    /// Waits until a backtest of a site, or of all, may run; none if that takes longer than `max`.
    pub async fn take(
        self: &Arc<Self>,
        site: Option<&CloudId>,
        max: Duration,
    ) -> Option<BacktestTurn> {
        let taken = async {
            loop {
                // What ends after the check is not missed.
                let ended = self.ended.notified();
                if let Some(turn) = self.try_take(site) {
                    return turn;
                }
                ended.await;
            }
        };
        tokio::time::timeout(max, taken).await.ok()
    }

    fn try_take(self: &Arc<Self>, site: Option<&CloudId>) -> Option<BacktestTurn> {
        let mut running = self.lock();
        if running.len() >= RUNNING_MAX || running.iter().any(|one| one.as_ref() == site) {
            return None;
        }
        running.push(site.cloned());
        Some(BacktestTurn { turns: Arc::clone(self), site: site.cloned() })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Option<CloudId>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for BacktestTurn {
    fn drop(&mut self) {
        let mut running = self.turns.lock();
        if let Some(at) = running.iter().position(|one| *one == self.site) {
            running.swap_remove(at);
        }
        drop(running);
        self.turns.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_secs(600);

    #[tokio::test]
    async fn two_run_at_once_and_one_of_each_site() {
        let turns = Arc::new(BacktestTurns::default());
        let site = |name: &str| CloudId::from(name);
        let first = turns.take(Some(&site("a")), SHORT).await.unwrap();
        assert!(turns.take(Some(&site("a")), SHORT).await.is_none(), "one of the site runs");
        let all = turns.take(None, SHORT).await.unwrap();
        assert!(turns.take(Some(&site("b")), SHORT).await.is_none(), "two run");
        drop(all);
        let second = turns.take(Some(&site("b")), SHORT).await.unwrap();
        let waits = Arc::clone(&turns);
        let waiting = tokio::spawn(async move { waits.take(Some(&site("a")), LONG).await });
        tokio::task::yield_now().await;
        drop(second);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "the other one was of another site");
        drop(first);
        assert!(waiting.await.unwrap().is_some());
        assert!(turns.lock().is_empty());
    }
}
