//! Supervision of the managed broker: a server that ends by itself is started again with the same data.

use std::time::Duration;

use metrics::counter;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::bus::ManagedServer;
use crate::clock;

/// First pause before a restart; doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(200);
/// Longest pause before a restart.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A server that ran for this long starts with the first pause again.
const STABLE: Duration = Duration::from_secs(60);

/// A managed server and the task that watches it.
pub(super) struct ManagedBroker {
    stop: CancellationToken,
    watching: JoinHandle<ManagedServer>,
}

impl ManagedBroker {
    /// Starts to watch `server`.
    pub(super) fn supervise(server: ManagedServer) -> Self {
        let stop = CancellationToken::new();
        let watching = tokio::spawn(watch(server, stop.clone()));
        Self { stop, watching }
    }

    /// Stops the server and waits until it has ended.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        match self.watching.await {
            Ok(server) => server.stop().await,
            Err(error) => tracing::error!(%error, "supervision of nats-server failed"),
        }
    }
}

async fn watch(mut server: ManagedServer, stop: CancellationToken) -> ManagedServer {
    let mut backoff = RestartBackoff::default();
    while stop.run_until_cancelled(server.until_ended()).await.is_some() {
        let pause = backoff.step(Duration::from_millis(clock::uptime_ms().unsigned_abs()));
        tracing::error!(?pause, "nats-server ended by itself; restarting it with the same data");
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            break;
        }
        counter!("switchyard_managed_broker_restarts_total").increment(1);
        // Not cancelled in between: a server that just started must be known to be stopped.
        if let Err(error) = server.restart().await {
            tracing::error!(%error, "nats-server not restarted");
        }
    }
    server
}

/// The pause before each restart. Pure.
#[derive(Debug, Default)]
struct RestartBackoff {
    /// When the last restart was planned, and after which pause.
    last: Option<(Duration, Duration)>,
}

impl RestartBackoff {
    /// Returns the pause before the restart of a server that ended at `now`.
    fn step(&mut self, now: Duration) -> Duration {
        let pause = match self.last {
            Some((at, pause)) if now.saturating_sub(at) < pause + STABLE => {
                (pause * 2).min(PAUSE_MAX)
            }
            _ => PAUSE_MIN,
        };
        self.last = Some((now, pause));
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_doubles_to_its_bound_while_the_server_keeps_ending() {
        let (mut backoff, mut now) = (RestartBackoff::default(), Duration::ZERO);
        let mut expected = PAUSE_MIN;
        for _ in 0..20 {
            let pause = backoff.step(now);
            assert_eq!(pause, expected);
            expected = (expected * 2).min(PAUSE_MAX);
            now += pause + Duration::from_secs(1);
        }
        assert_eq!(backoff.step(now + STABLE + PAUSE_MAX), PAUSE_MIN, "it ran for a while");
    }
}
