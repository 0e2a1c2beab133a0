//! The stream monitor: checks the backlog of the event stream every few seconds.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{self, PullConsumer};
use async_nats::jetstream::stream::State;

use super::connect::JetStreamClient;
use super::event_publisher::BackpressureGate;
use super::metrics;
use super::subjects::{ROUTER_CONSUMER, Subjects};
use super::trimmer::probe;
use crate::clock;
use crate::config;
use crate::event::InputBacklog;

/// Interval of the checks; stream and consumer info is never requested while an event is processed.
const INTERVAL: Duration = Duration::from_secs(5);
/// Time limit of a check, after which the broker does not answer.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);
/// The APIs refuse events while the unacknowledged ones fill more than this share of the stream: an
/// early warning, before the broker refuses them.
const BACKLOG_BYTES_SHARE_MAX: f64 = 0.8;
/// Or while the oldest has waited longer than this share of `events.max_age_h`.
const BACKLOG_AGE_SHARE_MAX: f64 = 0.5;
/// `Retry-After` of refused requests, in seconds.
const RETRY_AFTER_S: u64 = 30;

/// Monitors the event stream.
#[derive(Debug)]
pub struct StreamMonitor {
    jetstream_client: JetStreamClient,
    subjects: Subjects,
    bytes_max: i64,
    age_max_s: u64,
    gate: Arc<BackpressureGate>,
    lag: LagWatch,
}

/// What is known of the oldest unacknowledged event while the broker does not answer.
#[derive(Clone, Copy, Debug, Default)]
struct LagWatch {
    /// When the broker answered last, in milliseconds of its clock; none if it never did.
    answered_ms: Option<i64>,
    /// When the oldest event that was not acknowledged then was stored; none if all were.
    oldest_ms: Option<i64>,
}

impl LagWatch {
    /// Returns the least age that is certain at `now_ms`, in milliseconds: that of the event, which
    /// no router can acknowledge without the broker. If there was none, those that came since are not
    /// known: the time since the last answer. 0 before the first answer.
    fn lag_ms(self, now_ms: i64) -> i64 {
        let since = self.oldest_ms.or(self.answered_ms);
        since.map_or(0, |since_ms| now_ms.saturating_sub(since_ms).max(0))
    }
}

impl StreamMonitor {
    /// Returns a monitor that sets the `gate` of the APIs.
    #[must_use]
    pub fn new(
        jetstream_client: JetStreamClient,
        subjects: Subjects,
        config: &config::EventsConfig,
        gate: Arc<BackpressureGate>,
    ) -> Self {
        let age_max_s = config.max_age_h.saturating_mul(3600);
        let (bytes_max, lag) = (config.max_bytes, LagWatch::default());
        Self { jetstream_client, subjects, bytes_max, age_max_s, gate, lag }
    }

    /// Checks the stream until the future is dropped.
    pub async fn run(mut self) {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let checked = tokio::time::timeout(CHECK_TIMEOUT, self.check_once()).await;
            let error = match checked {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error,
                Err(late) => late.into(),
            };
            metrics::input_lag(seconds(self.lag.lag_ms(clock::broker_now_ms())));
            tracing::debug!(%error, "stream state not available");
        }
    }

    /// Checks the stream once.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn check_once(&mut self) -> Result<(), async_nats::Error> {
        let stream =
            self.jetstream_client.context.get_stream(self.subjects.events_stream()).await?;
        let state = &stream.cached_info().state;
        let router: PullConsumer = stream.get_consumer(ROUTER_CONSUMER).await?;
        let info = router.cached_info();
        let backlog = Backlog::of(state, info);
        let oldest_ms = if backlog.messages == 0 {
            None
        } else {
            // Without an answer nothing is known: the oldest stored event may have been acknowledged
            // for days.
            let oldest = probe(&stream, info.ack_floor.stream_sequence.saturating_add(1)).await?;
            oldest.map(|event| event.stored_ms)
        };
        let now_ms = clock::broker_now_ms();
        self.lag = LagWatch { answered_ms: Some(now_ms), oldest_ms };
        let lag_s = seconds(self.lag.lag_ms(now_ms));
        let share = backlog.bytes / as_f64(u64::try_from(self.bytes_max).unwrap_or(u64::MAX));
        metrics::input(
            as_f64(info.num_pending),
            as_f64(u64::try_from(info.num_ack_pending).unwrap_or(u64::MAX)),
            lag_s,
            share,
        );
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole seconds, not negative, below 2^31"
        )]
        self.gate.set_backlog(InputBacklog {
            pending: info.num_pending,
            unacknowledged: u64::try_from(info.num_ack_pending).unwrap_or(u64::MAX),
            lag_s: lag_s as u64,
            measured_ms: clock::uptime_ms(),
        });
        let age_share = if self.age_max_s == 0 { 0.0 } else { lag_s / as_f64(self.age_max_s) };
        self.update_gate(share, age_share);
        Ok(())
    }

    fn update_gate(&self, bytes_share: f64, age_share: f64) {
        let full = bytes_share > BACKLOG_BYTES_SHARE_MAX || age_share > BACKLOG_AGE_SHARE_MAX;
        if full != self.gate.refuse_for_s().is_some() {
            tracing::warn!(
                full,
                bytes_share,
                age_share,
                "event stream backlog changed the backpressure gate"
            );
        }
        self.gate.set_refuse_for_s(if full { RETRY_AFTER_S } else { 0 });
    }
}

/// The unacknowledged part of a stream.
struct Backlog {
    messages: u64,
    /// Estimated from the mean message size.
    bytes: f64,
}

impl Backlog {
    fn of(state: &State, info: &consumer::Info) -> Self {
        let ack_pending = u64::try_from(info.num_ack_pending).unwrap_or(u64::MAX);
        let messages = info.num_pending.saturating_add(ack_pending).min(state.messages);
        let share =
            if state.messages == 0 { 0.0 } else { as_f64(messages) / as_f64(state.messages) };
        Self { messages, bytes: share * as_f64(state.bytes) }
    }
}

/// Returns whole seconds, for gauges.
fn seconds(ms: i64) -> f64 {
    f64::from(i32::try_from(ms / 1000).unwrap_or(i32::MAX)).max(0.0)
}

/// Converts a number for gauges and ratios.
#[expect(clippy::cast_precision_loss, reason = "a gauge needs no more than 53 bits")]
fn as_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_grows_while_the_broker_is_away() {
        let nothing = LagWatch::default();
        assert_eq!(nothing.lag_ms(5_000), 0);
        let waiting = LagWatch { answered_ms: Some(10_000), oldest_ms: Some(4_000) };
        assert_eq!((waiting.lag_ms(10_000), waiting.lag_ms(70_000)), (6_000, 66_000));
        let empty = LagWatch { answered_ms: Some(10_000), oldest_ms: None };
        assert_eq!((empty.lag_ms(10_000), empty.lag_ms(70_000)), (0, 60_000));
    }
}
