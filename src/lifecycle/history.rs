//! Samples what this replica does, for the charts of the last hour.

use std::sync::Arc;

use crate::api::health::Health;
use crate::api::history_sample;
use crate::delivery::Shares;
use crate::event::Publisher;
use crate::telemetry::history::{HISTORY_INTERVAL, History};

/// Takes samples until the future is dropped.
pub(super) async fn sample(
    history: Arc<History>,
    publisher: Arc<dyn Publisher>,
    (health, shares): (Arc<Health>, Arc<Shares>),
) {
    let mut interval = tokio::time::interval(HISTORY_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        history.add(history_sample(&*publisher, &health, &shares));
    }
}
