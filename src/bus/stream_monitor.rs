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
        Self { jetstream_client, subjects, bytes_max: config.max_bytes, age_max_s, gate }
    }

    /// Checks the stream until the future is dropped.
    pub async fn run(&self) {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            if let Err(error) = self.check_once().await {
                tracing::debug!(%error, "stream state not available");
            }
        }
    }

    /// Checks the stream once.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn check_once(&self) -> Result<(), async_nats::Error> {
        let stream =
            self.jetstream_client.context.get_stream(self.subjects.events_stream()).await?;
        let state = &stream.cached_info().state;
        let router: PullConsumer = stream.get_consumer(ROUTER_CONSUMER).await?;
        let info = router.cached_info();
        let backlog = Backlog::of(state, info);
        let lag_s = if backlog.messages == 0 {
            0.0
        } else {
            // Without an answer nothing is known: the oldest stored event may have been acknowledged
            // for days.
            let oldest = probe(&stream, info.ack_floor.stream_sequence.saturating_add(1)).await?;
            let stored_ms = oldest.map_or(i64::MAX, |event| event.stored_ms);
            let age_ms = clock::broker_now_ms().saturating_sub(stored_ms);
            f64::from(i32::try_from(age_ms / 1000).unwrap_or(i32::MAX)).max(0.0)
        };
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

/// Converts a number for gauges and ratios.
#[expect(clippy::cast_precision_loss, reason = "a gauge needs no more than 53 bits")]
fn as_f64(number: u64) -> f64 {
    number as f64
}
