//! Metrics of event input. The handles are kept, since they change with every event.

use metrics::{Counter, Histogram, counter, histogram};

use super::Message;
use crate::clock;
use crate::telemetry::EventTypeCounters;
use crate::telemetry::totals::TOTALS;

/// The input metrics of one worker.
#[derive(Debug)]
pub struct InputMetrics {
    received: EventTypeCounters,
    redelivered: Counter,
    bytes: Counter,
    size: Histogram,
    age: Histogram,
    /// Events without a match.
    pub unmatched: Counter,
    /// Events whose deliveries are all accounted for.
    pub matched: Counter,
    /// Dead-lettered events.
    pub poison: Counter,
}

impl Default for InputMetrics {
    fn default() -> Self {
        let acked = |result| counter!("switchyard_events_acked_total", "result" => result);
        Self {
            received: EventTypeCounters::new("switchyard_events_received_total"),
            redelivered: counter!("switchyard_events_redelivered_total"),
            bytes: counter!("switchyard_events_bytes_total"),
            size: histogram!("switchyard_event_size_bytes"),
            age: histogram!("switchyard_event_age_seconds"),
            unmatched: acked("unmatched"),
            matched: acked("matched"),
            poison: acked("poison"),
        }
    }
}

impl InputMetrics {
    /// Counts a pulled message.
    pub fn count(&self, message: &impl Message) {
        let bytes = u32::try_from(message.payload().len()).unwrap_or(u32::MAX);
        self.bytes.increment(u64::from(bytes));
        self.size.record(bytes);
        let age_ms =
            i32::try_from(clock::broker_now_ms() - message.stored_ms()).unwrap_or(i32::MAX);
        self.age.record(f64::from(age_ms.max(0)) / 1000.0);
        if message.delivery_count() > 1 {
            self.redelivered.increment(1);
        } else {
            TOTALS.count_event();
        }
    }

    /// Counts an event by its type.
    pub fn count_type(&mut self, event_type: &str) {
        self.received.increment(event_type, 1);
    }
}

/// Counts an event that cannot be decoded.
pub fn decode_error(reason: &'static str) {
    counter!("switchyard_event_decode_errors_total", "reason" => reason).increment(1);
}
