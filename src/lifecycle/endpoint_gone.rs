//! Disables modules whose endpoint keeps answering HTTP 410; all replicas count together.

use std::pin::pin;
use std::sync::Arc;

use futures_util::StreamExt;
use tokio::sync::mpsc;

use crate::bus::GoneBroadcast;
use crate::delivery::EndpointGoneReport;
use crate::registry::Registry;

/// Consecutive 410 responses after which the module is disabled.
const CONSECUTIVE_410_MAX: u32 = 3;

/// Counts the reports of this replica and of the others, and disables modules, until the senders of
/// reports are dropped.
pub(super) async fn disable_modules_of_removed_endpoints(
    registry: Arc<Registry>,
    broadcast: GoneBroadcast,
    mut own: mpsc::Receiver<EndpointGoneReport>,
) {
    let others = broadcast.subscribe().await.inspect_err(|error| {
        tracing::warn!(%error, "subscription to HTTP 410 reports failed; counting on this replica alone");
    });
    let mut others = pin!(futures_util::stream::iter(others).flatten());
    loop {
        let report = tokio::select! {
            own = own.recv() => {
                let Some(own) = own else { return };
                broadcast.publish(&own).await;
                own
            }
            Some(other) = others.next() => {
                if let Some(subscription) = registry.subscription(&other.id) {
                    subscription.stats.record_endpoint_gone(other.is_gone);
                }
                other
            }
        };
        let Some(subscription) = registry.subscription(&report.id) else { continue };
        if subscription.stats.consecutive_endpoint_gone() < CONSECUTIVE_410_MAX {
            continue;
        }
        subscription.stats.record_endpoint_gone(false);
        let id = &report.id;
        if let Err(error) = registry.module_status().disable_after_410(id).await {
            tracing::warn!(%id, %error, "endpoint returned 410 repeatedly, but its module could not be disabled");
        }
    }
}
