//! Background tasks of the registry: what runs by time rather than by request.
//!
//! | what | when | where |
//! |---|---|---|
//! | discovery of the modules of an installation | its stored due time | [`Discovery`] |
//! | warning of webhooks that expire soon | the last tenth of their lifetime | [`Notices`] |
//! | sending of notices and lifecycle callbacks | at once, with retries | [`Notices`] |
//! | rotation of signing keys | every ten minutes, if due | [`SigningKeys`] |
//! | comparison of documents with the revisions of their modules | seconds after a change, at the start | [`revisions`] |
//! | removal of expired webhooks from the matcher | every second | [`watch`](super::replica), since only the writer may |
//! | removal of used requests whose tokens expired | with the next signed request | [`ReplayGuard`](super::model::ReplayGuard) |

mod places;
mod revisions;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{self, JoinError, JoinSet};
use tracing::{error, warn};

use places::{PLACES, Places};

use super::commands::{Context, Discovery, DiscoveryMode, Notices, SigningKeys};
use super::metrics;
use crate::clock;
use crate::domain::{AppId, InstallationId};

/// Interval at which due installations are polled.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Installations of which work starts per interval, which bounds the writes to the store.
const STARTS_MAX: usize = PLACES;
/// Pause before a retry after the store was unavailable.
const STORE_PAUSE_MS: i64 = 1_000;
/// Pause before the work of an installation whose document cannot be read is looked at again.
const UNREADABLE_PAUSE_MS: i64 = 60_000;
/// Interval at which the signing keys are checked.
const KEYS_INTERVAL: Duration = Duration::from_secs(600);

/// Runs all background tasks until the future is dropped.
pub(super) async fn run(context: Arc<Context>) {
    tokio::join!(
        run_due_installations(Arc::clone(&context)),
        maintain_signing_keys(&context),
        revisions::run(&context),
    );
}

/// Runs the due work of installations, as their wakeup timers say.
async fn run_due_installations(context: Arc<Context>) {
    let mut places = Places::default();
    let (mut running, mut apps) = (JoinSet::new(), HashMap::new());
    let mut poll = tokio::time::interval(POLL_INTERVAL);
    let mut starts_left = 0;
    loop {
        tokio::select! {
            _ = poll.tick() => {
                starts_left = STARTS_MAX;
                collect_due(&context, &mut places);
            }
            Some(done) = running.join_next_with_id() => free_place(&done, &mut apps, &mut places),
        }
        while starts_left > 0
            && let Some((app, id)) = places.take()
        {
            starts_left -= 1;
            let context = Arc::clone(&context);
            let task = running.spawn(async move { run_due(&context, &id).await });
            apps.insert(task.id(), app);
        }
        metrics::background_waiting(places.waiting());
    }
}

/// Lets all installations wait whose timers are due.
fn collect_due(context: &Context, places: &mut Places) {
    let now_ms = clock::broker_now_ms();
    while let Some(id) = context.replica.wakeups.pop_due(now_ms) {
        let known = context.state().installation(id.as_str());
        // Nothing is sent for an installation that is not known.
        let app = known.map_or_else(|| AppId::from(""), |known| known.record.app.clone());
        places.push(app, id);
    }
}

fn free_place(
    done: &Result<(task::Id, ()), JoinError>,
    apps: &mut HashMap<task::Id, AppId>,
    places: &mut Places,
) {
    let task = match done {
        Ok((task, ())) => *task,
        Err(failed) => {
            error!(%failed, "background task of an installation stopped");
            failed.id()
        }
    };
    if let Some(app) = apps.remove(&task) {
        places.free(app);
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
