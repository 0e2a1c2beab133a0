//! Permits for attempts: one of the lane and one of the router.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

/// Permit for one attempt; returned on drop.
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    _lane: SemaphorePermit<'a>,
    _router: SemaphorePermit<'a>,
}

/// Why a delivery got no permit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AdmissionError {
    /// The queue of the lane is full.
    Full,
    /// The permit was not available in time.
    Late,
}

impl<'a> Permit<'a> {
    /// Takes a permit if one is available at once.
    pub(super) fn try_acquire(lane: &'a Semaphore, router: &'a Semaphore) -> Option<Self> {
        let lane = lane.try_acquire().ok()?;
        let router = router.try_acquire().ok()?;
        Some(Self { _lane: lane, _router: router })
    }

    /// Waits at most `timeout` for a permit.
    ///
    /// # Errors
    /// No permit was available in time.
    pub(super) async fn acquire(
        lane: &'a Semaphore,
        router: &'a Semaphore,
        timeout: Duration,
    ) -> Result<Self, AdmissionError> {
        let both = async {
            // Semaphores are never closed; an error would only be a permit that never comes.
            let lane = lane.acquire().await.ok()?;
            let router = router.acquire().await.ok()?;
            Some(Self { _lane: lane, _router: router })
        };
        tokio::time::timeout(timeout, both).await.ok().flatten().ok_or(AdmissionError::Late)
    }
}
