//! Limits of the fair queue, computed from the configuration.

use super::share::Share;
use crate::config::{DeliveryConfig, part_of};

/// Part of an event's share that its deliveries may use as waiting places: so many per permit.
const WAITING_PER_EVENT_PERMIT: usize = 4;
/// Number of the event whose share replays have: the first one that is added, and never removed.
pub(super) const REPLAYS: usize = 0;
/// Part of all permits that the deliveries of replays may hold together.
const REPLAY_SHARE: f64 = 0.2;

/// Whether a request with this event is one of a replay.
pub(super) fn is_replay(event: Option<usize>) -> bool {
    event == Some(REPLAYS)
}

/// How many permits and waiting places each owner may hold.
#[derive(Clone, Debug)]
pub struct FairLimits {
    /// Concurrent attempts.
    pub total: usize,
    /// Of one app.
    pub app: usize,
    /// Of one installation.
    pub installation: usize,
    /// At one host.
    pub host: usize,
    /// Of one app at one host.
    pub app_host: usize,
    /// Of one event.
    pub event: usize,
    /// Of all replays together.
    pub replay: usize,
    /// At one endpoint.
    pub endpoint: usize,
    /// Part of the permits that slow attempts may hold together, 0.0 to 1.0.
    pub slow_share: f64,
    /// Waiting deliveries of one endpoint.
    pub endpoint_waiting: usize,
    /// Waiting deliveries of one app while they are not expected to start soon.
    pub app_waiting: usize,
}

impl FairLimits {
    /// Computes the limits; `permits_max` bounds the concurrent attempts further.
    pub fn new(config: &DeliveryConfig, permits_max: usize) -> Self {
        let total = config.concurrency.min(permits_max).max(1);
        let host = part(total, config.host_share);
        Self {
            total,
            app: part(total, config.app_share),
            installation: part(total, config.installation_share),
            host,
            app_host: part(host, config.app_host_share),
            event: part(total, config.event_share),
            replay: part(total, REPLAY_SHARE),
            endpoint: config.endpoint_concurrency,
            slow_share: config.slow_share,
            endpoint_waiting: config.endpoint_queue_max,
            app_waiting: config.app_queue_max,
        }
    }

    /// Returns how many deliveries of an event may wait that may hold `max` permits.
    pub(super) fn event_waiting(max: usize) -> usize {
        max.saturating_mul(WAITING_PER_EVENT_PERMIT)
    }

    /// Returns an unused share of `max` permits with a reserve for quick attempts.
    pub(super) fn reserving(&self, max: usize) -> Share {
        Share::new(max, part(max, self.slow_share))
    }

    /// Returns an unused share of `max` permits without a reserve.
    pub(super) fn plain(max: usize) -> Share {
        Share::new(max, max)
    }
}

/// Returns a part of `whole`, rounded down; at least one.
fn part(whole: usize, share: f64) -> usize {
    let part = part_of(u64::try_from(whole).unwrap_or(u64::MAX), share);
    usize::try_from(part).unwrap_or(usize::MAX).max(1)
}
