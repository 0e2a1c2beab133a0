//! Modules whose handlers are gone: counted by all replicas together, then taken out of use.

use std::pin::pin;
use std::sync::Arc;

use futures_util::StreamExt;
use tokio::sync::mpsc;

use crate::bus::GoneNews;
use crate::delivery::Presence;
use crate::registry::Registry;

/// Answers in a row by which a handler says that it is gone until it is believed.
const GONE_MAX: u32 = 3;

/// Takes modules out of use until there is nobody who tells of their handlers.
pub(super) async fn retire(
    registry: Arc<Registry>,
    news: GoneNews,
    mut own: mpsc::Receiver<Presence>,
) {
    let others = news.others().await.inspect_err(|error| {
        tracing::warn!(%error, "handlers that are gone are counted by this replica alone");
    });
    let mut others = pin!(futures_util::stream::iter(others).flatten());
    loop {
        let presence = tokio::select! {
            own = own.recv() => {
                let Some(own) = own else { return };
                news.tell(&own).await;
                own
            }
            Some(other) = others.next() => {
                if let Some(subscription) = registry.subscription(&other.id) {
                    subscription.stats.note_gone(other.is_gone);
                }
                other
            }
        };
        let Some(subscription) = registry.subscription(&presence.id) else { continue };
        if subscription.stats.gone_in_a_row() < GONE_MAX {
            continue;
        }
        subscription.stats.note_gone(false);
        let id = &presence.id;
        if let Err(error) = registry.module_status().disable_after_410(id).await {
            tracing::warn!(%id, %error, "module whose handler is gone not taken out of use");
        }
    }
}
