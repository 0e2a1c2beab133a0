//! Progress of encrypting stored documents again.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Progress of a rewriting.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rewriting {
    /// Whether it runs.
    pub is_running: bool,
    /// Documents that were to be rewritten when it began.
    pub total: usize,
    /// Documents looked at.
    pub done: usize,
    /// Documents that could not be rewritten.
    pub failed: usize,
    /// The last failure.
    pub error: Option<String>,
}

/// The progress that all callers share.
#[derive(Debug, Default)]
pub(crate) struct RewritingProgress(Mutex<Rewriting>);

impl RewritingProgress {
    /// Returns the progress.
    pub(super) fn lock(&self) -> MutexGuard<'_, Rewriting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a rewriting, unless one runs.
    pub(super) fn begin(&self, total: usize) -> bool {
        let mut progress = self.lock();
        if progress.is_running {
            return false;
        }
        *progress = Rewriting { is_running: true, total, ..Rewriting::default() };
        true
    }
}
