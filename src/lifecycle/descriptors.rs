//! Descriptors of the process: raises their limit and computes the budget of sockets.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::DeliveryConfig;
use crate::delivery::SocketBudget;

/// Divisor of the limit; the quotient is reserved for the broker, the listener and files.
const RESERVE_PART: u64 = 4;
/// Bounds of that reserve.
const RESERVE_MIN: u64 = 32;
const RESERVE_MAX: u64 = 4096;
/// Fewest connections that the listener may have.
const CONNECTIONS_MIN: u64 = 16;

/// Raises the limit of descriptors to the most that is allowed, and returns the budget of sockets
/// to handlers below it.
pub(super) fn socket_budget(config: &DeliveryConfig) -> SocketBudget {
    let limit = raise_limit();
    let wanted = match config.sockets_max {
        0 => config.concurrency.saturating_add(config.idle_sockets_max),
        most => most,
    };
    let most = usize::try_from(sockets_below(limit)).unwrap_or(usize::MAX);
    if most < config.concurrency {
        tracing::warn!(
            limit,
            attempts = most,
            wanted = config.concurrency,
            "the limit of descriptors allows fewer concurrent attempts than configured"
        );
    }
    SocketBudget::new(wanted.min(most), config.idle_sockets_max)
}

/// Returns how many connections the listener may have, at most `wanted`.
pub(super) fn connections_max(wanted: usize) -> usize {
    let limit = raise_limit();
    let most = usize::try_from(connections_below(limit)).unwrap_or(usize::MAX);
    if most < wanted {
        tracing::warn!(
            limit,
            connections = most,
            wanted,
            "the limit of descriptors allows fewer connections to the listener than configured"
        );
    }
    wanted.min(most)
}

/// Raises the soft limit to the hard one, as the runtime of Go does, and returns it.
fn raise_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum || (limit.current.is_some() && limit.maximum.is_none()) {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "cannot raise the limit of descriptors");
        }
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Returns how many of `limit` descriptors may be sockets to handlers.
fn sockets_below(limit: u64) -> u64 {
    limit.saturating_sub(reserve(limit)).max(1)
}

/// Returns how many of `limit` descriptors may be connections of the listener: of the reserve, what the
/// broker and files leave.
fn connections_below(limit: u64) -> u64 {
    (reserve(limit) - RESERVE_MIN).max(CONNECTIONS_MIN)
}

fn reserve(limit: u64) -> u64 {
    (limit / RESERVE_PART).clamp(RESERVE_MIN, RESERVE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_reserved_at_every_limit() {
        assert_eq!(sockets_below(16), 1);
        assert_eq!(sockets_below(64), 32);
        assert_eq!(sockets_below(1024), 768);
        assert_eq!(sockets_below(1 << 20), (1 << 20) - 4096);
        assert_eq!(connections_below(64), 16);
        assert_eq!(connections_below(1024), 224);
        assert_eq!(connections_below(1 << 20), 4064);
    }
}
