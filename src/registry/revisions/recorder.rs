//! Writes the revisions of a change that is durable, while the change waits to be applied here.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::timeout;
use tracing::warn;

use super::log::{RevisionLog, RevisionLogError, RevisionWrite};
use super::record::ModuleRevision;
use crate::clock;
use crate::registry::metrics;
use crate::telemetry::LogBudget;

/// Longest wait of a change for the confirmation of its revisions. Shorter than the pause before a comparison.
pub(crate) const RECORD_TIMEOUT: Duration = Duration::from_millis(1_000);
/// Pause of writing after a timeout, in milliseconds, so that changes do not wait for a stream that is away. What is
/// not written is found by comparison. An error is no reason for a pause: it may be about the revisions of one owner.
const TIMEOUT_PAUSE_MS: i64 = 5_000;

/// Writes revisions. Without a stream, as in `check`, it writes none.
#[derive(Default)]
pub(crate) struct RevisionRecorder {
    log: OnceLock<Arc<dyn RevisionLog>>,
    /// Until then nothing is written, in milliseconds of uptime.
    paused_until_ms: AtomicI64,
    log_budget: LogBudget,
}

impl RevisionRecorder {
    /// Sets the stream; a second call changes nothing.
    pub(crate) fn set_log(&self, log: Arc<dyn RevisionLog>) {
        let _ = self.log.set(log);
    }

    /// Returns the stream.
    pub(crate) fn log(&self) -> Option<&Arc<dyn RevisionLog>> {
        self.log.get()
    }

    /// Writes the revisions of a change of the document `key`, within [`RECORD_TIMEOUT`]; returns whether they are
    /// stored. If not, the comparison of the document stores them.
    pub(crate) async fn record(&self, key: &str, revisions: &[ModuleRevision]) -> bool {
        let Some(log) = self.log.get().filter(|_| !revisions.is_empty()) else { return false };
        if clock::uptime_ms() < self.paused_until_ms.load(Relaxed) {
            metrics::revisions_deferred(revisions.len());
            return false;
        }
        let written = match writes(revisions) {
            Ok(writes) => match timeout(RECORD_TIMEOUT, log.append(&writes)).await {
                Ok(appended) => appended.map(|appended| appended.stored),
                Err(_) => {
                    let until_ms = clock::uptime_ms().saturating_add(TIMEOUT_PAUSE_MS);
                    self.paused_until_ms.store(until_ms, Relaxed);
                    Err(RevisionLogError("not confirmed in time".to_owned()))
                }
            },
            Err(error) => Err(RevisionLogError(error.to_string())),
        };
        match written {
            Ok(stored) => {
                metrics::revisions_stored("change", stored);
                true
            }
            Err(error) => {
                metrics::revisions_deferred(revisions.len());
                if let Some(suppressed) = self.log_budget.take() {
                    warn!(key, %error, suppressed, "revisions of modules not stored; they are stored later");
                }
                false
            }
        }
    }
}

fn writes(revisions: &[ModuleRevision]) -> Result<Vec<RevisionWrite>, serde_json::Error> {
    revisions.iter().map(|revision| RevisionWrite::of(revision, None)).collect()
}
