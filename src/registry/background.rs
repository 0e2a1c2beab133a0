//! Background tasks of the registry: what runs by time rather than by request.
//!
//! | what | when | where |
//! |---|---|---|
//! | discovery of the modules of an installation | its stored due time | [`Discovery`] |
//! | warning of webhooks that expire soon | the last tenth of their lifetime | [`Notices`] |
//! | sending of notices and lifecycle callbacks | at once, with retries | [`Notices`] |
//! | rotation of signing keys | every ten minutes, if due | [`SigningKeys`] |
//! | removal of expired webhooks from the matcher | every second | [`watch`](super::replica), since only the writer may |
//! | removal of used requests whose tokens expired | with the next signed request | [`ReplayGuard`](super::model::ReplayGuard) |

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tracing::warn;

use super::commands::{Context, Discovery, DiscoveryMode, Notices, SigningKeys};
use crate::clock;
use crate::domain::InstallationId;

/// Interval at which due installations are polled.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Installations processed concurrently.
const RUNNING_MAX: usize = 8;
/// Pause before a retry after the store was unavailable.
const STORE_PAUSE_MS: i64 = 1_000;
/// Pause before the work of an installation whose document cannot be read is looked at again.
const UNREADABLE_PAUSE_MS: i64 = 60_000;
/// Interval at which the signing keys are checked.
const KEYS_INTERVAL: Duration = Duration::from_secs(600);

/// Runs all background tasks until the future is dropped.
pub(super) async fn run(context: Arc<Context>) {
    tokio::join!(run_due_installations(Arc::clone(&context)), maintain_signing_keys(&context),);
}

/// Runs the due work of installations, as their wakeup timers say.
async fn run_due_installations(context: Arc<Context>) {
    let mut running = JoinSet::new();
    let mut poll = tokio::time::interval(POLL_INTERVAL);
    loop {
        poll.tick().await;
        while running.try_join_next().is_some() {}
        while running.len() < RUNNING_MAX {
            let Some(id) = context.replica.wakeups.pop_due(clock::broker_now_ms()) else { break };
            let context = Arc::clone(&context);
            running.spawn(async move { run_due(&context, &id).await });
        }
    }
}

async fn run_due(context: &Context, id: &InstallationId) {
    if context.state().unreadable().is_waiting(id) {
        // Set again when the document is read.
        let at_ms = clock::broker_now_ms().saturating_add(UNREADABLE_PAUSE_MS);
        context.replica.wakeups.set(id, Some(at_ms));
        return;
    }
    let notices = Notices::new(context);
    let mut done = notices.warn_of_expiring_webhooks(id).await;
    if done.is_ok() {
        done = notices.send_due(id).await;
    }
    if done.is_ok() {
        done = Discovery::new(context).discover(id, DiscoveryMode::WhenDue).await;
    }
    if let Err(error) = done {
        warn!(installation = %id, %error, "background task of the installation failed, retrying");
        let at_ms = clock::broker_now_ms().saturating_add(STORE_PAUSE_MS);
        context.replica.wakeups.set(id, Some(at_ms));
    }
}

async fn maintain_signing_keys(context: &Context) {
    loop {
        tokio::time::sleep(KEYS_INTERVAL).await;
        if let Err(error) = SigningKeys::new(context).maintain().await {
            warn!(%error, "signing keys not maintained, retrying");
        }
    }
}
