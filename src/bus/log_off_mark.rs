//! Until when a router stored no records of the delivery log, in the key-value bucket of the router's state.
//!
//! A log that is off leaves no trace in its stream: what was delivered then looks as if it never was. So
//! a router whose log is off says so before it takes its first event, and again and again. The time is in
//! the future, so that it also holds for a router that is killed.

use std::time::Duration;

use async_nats::jetstream::stream::LastRawMessageErrorKind;

use super::connect::JetStreamClient;
use super::subjects::Subjects;
use crate::clock;

/// Key of the mark: milliseconds since the epoch, by the broker's clock.
const KEY: &str = "log-off";
/// Interval of the marks.
const INTERVAL: Duration = Duration::from_secs(20);
/// How far ahead a mark is, in milliseconds: a router whose next mark is not stored settles no delivery
/// for longer, since the broker confirms nothing.
const AHEAD_MS: i64 = 60_000;

/// The mark of all routers.
#[derive(Clone, Debug)]
pub struct LogOffMark {
    jetstream_client: JetStreamClient,
    subjects: Subjects,
}

impl LogOffMark {
    /// Opens the mark; nothing is sent before the first use.
    #[must_use]
    pub fn new(jetstream_client: JetStreamClient, subjects: Subjects) -> Self {
        Self { jetstream_client, subjects }
    }

    /// Says that this router stores no records from now on.
    ///
    /// # Errors
    /// The broker does not confirm it.
    pub async fn set(&self) -> Result<(), async_nats::Error> {
        let until_ms = clock::broker_now_ms().saturating_add(AHEAD_MS);
        let value = until_ms.to_string().into();
        self.jetstream_client.context.publish(self.subject(), value).await?.await?;
        Ok(())
    }

    /// Sets the mark until the future is dropped.
    pub async fn run(self) {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            if let Err(error) = self.set().await {
                tracing::debug!(%error, "mark of the delivery log that is off not stored yet");
            }
        }
    }

    /// Returns until when a router stored no records; none if that never happened.
    pub(super) async fn until_ms(&self) -> Result<Option<i64>, String> {
        let context = &self.jetstream_client.context;
        let stream = context.get_stream_no_info(self.subjects.state_stream()).await;
        let stream = stream.map_err(|error| error.to_string())?;
        match stream.get_last_raw_message_by_subject(&self.subject()).await {
            Ok(message) => Ok(read(&message.payload)),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    fn subject(&self) -> String {
        format!("$KV.{}.{KEY}", self.subjects.state_bucket())
    }
}

/// Reads a mark. One that cannot be read says that nothing is proven.
fn read(value: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(value).ok();
    Some(text.and_then(|text| text.parse().ok()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mark_that_cannot_be_read_proves_nothing() {
        assert_eq!(read(b"1700000000000"), Some(1_700_000_000_000));
        assert_eq!(read(b"soon"), Some(i64::MAX));
    }
}
