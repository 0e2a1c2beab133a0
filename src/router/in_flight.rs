//! Limit on messages in flight.

use std::sync::Arc;

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
