//! Looks at the streams every few seconds: how much waits, and whether there is room for more.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{self, PullConsumer};
use async_nats::jetstream::stream::State;

use super::connect::Jet;
use super::metrics;
use super::parking::Room;
use super::publish::Gate;
use super::subjects::{ROUTER_CONSUMER, Subjects};
use crate::clock;
use crate::config;

/// Between two looks; stream and consumer info is never asked for on the path of an event.
const INTERVAL: Duration = Duration::from_secs(5);
/// Doors refuse events while unacknowledged ones fill more of the stream than this.
const BACKLOG_BYTES_SHARE_MAX: f64 = 0.8;
/// Or while the oldest has used up more of its time in the stream than this.
const BACKLOG_AGE_SHARE_MAX: f64 = 0.5;
/// What refused doors tell their callers, seconds.
const RETRY_AFTER_S: u64 = 30;

/// Watches the streams.
#[derive(Debug)]
pub struct Watch {
    jet: Jet,
    subjects: Subjects,
    bytes_max: i64,
    age_max_s: u64,
    gate: Arc<Gate>,
    room: Arc<Room>,
}

impl Watch {
    /// A watch that works the `gate` of the doors and the `room` of the parking stream.
    #[must_use]
    pub fn new(
        jet: Jet,
        subjects: Subjects,
        config: &config::EventsConfig,
        gate: Arc<Gate>,
        room: Arc<Room>,
    ) -> Self {
        let age_max_s = config.max_age_h.saturating_mul(3600);
        Self { jet, subjects, bytes_max: config.max_bytes, age_max_s, gate, room }
    }

    /// Watches until it is dropped.
    pub async fn run(&self) {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            if let Err(error) = self.look().await {
                tracing::debug!(%error, "streams cannot be looked at");
            }
        }
    }

    /// Looks once.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn look(&self) -> Result<(), async_nats::Error> {
        let parked = self.messages_in(&self.subjects.parked_stream()).await?;
        self.room.set_parked(parked);
        metrics::parked(lossy(parked));
        metrics::dead_letters(lossy(self.messages_in(&self.subjects.dead_stream()).await?));

        let stream = self.jet.context.get_stream(self.subjects.events_stream()).await?;
        let state = &stream.cached_info().state;
        let router: PullConsumer = stream.get_consumer(ROUTER_CONSUMER).await?;
        let info = router.cached_info();
        let backlog = Backlog::of(state, info);
        let lag_s = if backlog.messages == 0 {
            0.0
        } else {
            let oldest = state.first_sequence.max(info.ack_floor.stream_sequence.saturating_add(1));
            let stored = stream.direct_get(oldest).await.map_or(state.first_timestamp, |m| m.time);
            let age_ms = i128::from(clock::now_ms()) - stored.unix_timestamp_nanos() / 1_000_000;
            f64::from(i32::try_from(age_ms / 1000).unwrap_or(i32::MAX)).max(0.0)
        };
        let share = backlog.bytes / lossy(u64::try_from(self.bytes_max).unwrap_or(u64::MAX));
        metrics::input(
            lossy(info.num_pending),
            lossy(u64::try_from(info.num_ack_pending).unwrap_or(u64::MAX)),
            lag_s,
            share,
        );
        self.work_gate(share, lag_s / lossy(self.age_max_s));
        Ok(())
    }

    fn work_gate(&self, bytes_share: f64, age_share: f64) {
        let full = bytes_share > BACKLOG_BYTES_SHARE_MAX || age_share > BACKLOG_AGE_SHARE_MAX;
        if full != self.gate.refuse_for_s().is_some() {
            tracing::warn!(full, bytes_share, age_share, "backlog of the event stream");
        }
        self.gate.set_refuse_for_s(if full { RETRY_AFTER_S } else { 0 });
    }

    async fn messages_in(&self, stream: &str) -> Result<u64, async_nats::Error> {
        Ok(self.jet.context.get_stream(stream).await?.cached_info().state.messages)
    }
}

/// What of a stream is not acknowledged yet.
struct Backlog {
    messages: u64,
    /// Estimated from the mean size of a message.
    bytes: f64,
}

impl Backlog {
    fn of(state: &State, info: &consumer::Info) -> Self {
        let ack_pending = u64::try_from(info.num_ack_pending).unwrap_or(u64::MAX);
        let messages = info.num_pending.saturating_add(ack_pending).min(state.messages);
        let share = if state.messages == 0 { 0.0 } else { lossy(messages) / lossy(state.messages) };
        Self { messages, bytes: share * lossy(state.bytes) }
    }
}

/// For gauges and shares, which need no more precision.
#[expect(clippy::cast_precision_loss, reason = "a gauge needs no more than 53 bits")]
fn lossy(number: u64) -> f64 {
    number as f64
}
