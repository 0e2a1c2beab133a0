//! Parses large bodies outside the async runtime, so that no sender delays the requests of others.

use std::sync::LazyLock;
use std::thread::available_parallelism;

use tokio::sync::Semaphore;

use crate::api::error::ApiError;

/// Bodies up to this size are parsed on the async runtime, in less than a millisecond.
const ON_RUNTIME_BYTES_MAX: usize = 32 * 1024;

/// Large bodies that are parsed concurrently: one per core, however many arrive.
static TURNS: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(available_parallelism().map_or(1, usize::from)));

/// Runs `parse`, which reads a body of `bytes` bytes: on the async runtime if the body is small,
/// else on a thread of its own, when it is its turn.
///
/// # Errors
/// The router is stopping.
pub(super) async fn run<T: Send + 'static>(
    bytes: usize,
    parse: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    if bytes <= ON_RUNTIME_BYTES_MAX {
        return Ok(parse());
    }
    let stopping = |_| ApiError::Unavailable("the router is stopping".into());
    let turn = TURNS.acquire().await.map_err(|_| stopping(()))?;
    // The turn lasts as long as the work, even if the request is cancelled.
    let work = move || {
        let parsed = parse();
        drop(turn);
        parsed
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(parsed) => Ok(parsed),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(stopping(())),
    }
}
