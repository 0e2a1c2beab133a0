//! The registry: loaded, then kept up to date by background tasks.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::mpsc;
use tracing::warn;

use super::app_calls::AppCalls;
use super::background::Background;
use super::broker::Broker;
use super::endpoint_gone::disable_modules_of_removed_endpoints;
use crate::bus::{GoneBroadcast, RevisionStream};
use crate::config::Config;
use crate::delivery::{EndpointGoneReport, HttpSender};
use crate::matcher::Matcher;
use crate::registry::{EncryptionKeys, RegisterError, Registry, Settings};
use crate::store::{KvOptions, KvStore};

/// Longest time that a start waits for the registry to load.
const LOAD_TIMEOUT: Duration = Duration::from_secs(120);
/// Pause between two reports of installations whose events are postponed.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Capacity of the channel of [`EndpointGoneReport`]s; reports beyond it are dropped.
const ENDPOINT_REPORTS_MAX: usize = 256;

/// Opens the registry and returns once it is loaded.
pub(super) async fn open(
    config: &Config,
    (own_url, keys): (&str, EncryptionKeys),
    broker: &Broker,
    matcher: &Arc<Matcher>,
    background: &Background,
) -> anyhow::Result<Arc<Registry>> {
    let options = KvOptions { prefix: config.nats.prefix.clone(), replicas: config.nats.replicas };
    let store = KvStore::open(broker.connections.control.context.clone(), &options).await?;
    let public_url = Some(config.server.public_url.as_str()).filter(|url| !url.is_empty());
    let mut settings = Settings::new(config, public_url.unwrap_or(own_url));
    settings.encryption = keys;
    let registry = Arc::new(Registry::new(Arc::new(store), Arc::clone(matcher), settings));
    let (control, subjects) = (broker.connections.control.clone(), broker.subjects.clone());
    let revisions = RevisionStream::new(control, subjects, (&config.nats, &config.events));
    registry.set_revision_log(Arc::new(revisions));
    let running = Arc::clone(&registry);
    background.spawn(async move { running.run().await });
    tokio::time::timeout(LOAD_TIMEOUT, registry.wait_until_ready())
        .await
        .with_context(|| format!("the registry did not load within {LOAD_TIMEOUT:?}"))?;
    match registry.signing_keys().maintain().await {
        // Only deliveries that need a token of ours wait for the keys.
        Err(error @ RegisterError::Document { .. }) => {
            tracing::error!(%error, "the signing keys cannot be read; deliveries that need them wait");
        }
        maintained => maintained.context("signing keys")?,
    }
    Ok(registry)
}

/// Connects the registry to the caller of apps and starts its background tasks.
pub(super) fn call_apps(
    config: &Config,
    sender: HttpSender,
    registry: &Arc<Registry>,
    background: &Background,
) {
    registry.set_app_caller(Arc::new(AppCalls::new(sender, config.limits.body)));
    let registry = Arc::clone(registry);
    background.spawn(async move { registry.run_background_tasks().await });
}

/// Notifies apps of installations whose events are postponed, until the future is dropped.
pub(super) async fn report_exceeded_shares(registry: Arc<Registry>, matcher: Arc<Matcher>) {
    loop {
        tokio::time::sleep(REPORT_INTERVAL).await;
        for exceeded in matcher.shares().take_reports() {
            if let Err(error) = registry.notify_share_exceeded(&exceeded).await {
                warn!(installation = %exceeded.installation, %error, "app not notified");
            }
        }
    }
}

/// Starts the task that disables modules of removed endpoints; returns where to report them.
pub(super) fn collect_endpoint_reports(
    broker: &Broker,
    registry: &Arc<Registry>,
    background: &Background,
) -> mpsc::Sender<EndpointGoneReport> {
    let broadcast =
        GoneBroadcast::new(broker.connections.outbound.client.clone(), &broker.subjects);
    let (reports, received) = mpsc::channel(ENDPOINT_REPORTS_MAX);
    let registry = Arc::clone(registry);
    background.spawn(disable_modules_of_removed_endpoints(registry, broadcast, received));
    reports
}
