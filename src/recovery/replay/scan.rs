//! Reads events forward from a place: the first ones with single reads, which answer at once, and a long way with a
//! reader of its own.

use super::streams::{EventBatch, ForwardReader, ReplayStreams, StartAt};
use crate::domain::CloudId;
use crate::recovery::redrive::ReadError;

/// Events that are read one batch after the other before a reader is opened, which costs the broker a consumer.
const SINGLE_READS: usize = 4_000;

/// Failed readers after which a scan goes on without one: the broker may allow no further consumer.
const FAILURES_MAX: u32 = 3;

/// A scan of the event stream.
pub struct EventScan<'a> {
    streams: &'a dyn ReplayStreams,
    /// Of this site; none for all.
    site: Option<&'a CloudId>,
    from: StartAt,
    read: usize,
    forward: Option<Box<dyn ForwardReader>>,
    /// Readers that could not be opened, or failed.
    failures: u32,
}

impl<'a> EventScan<'a> {
    /// Begins at `from`, with the events of a site, or of all.
    #[must_use]
    pub fn new(streams: &'a dyn ReplayStreams, site: Option<&'a CloudId>, from: StartAt) -> Self {
        Self { streams, site, from, read: 0, forward: None, failures: 0 }
    }

    /// Whether so many events were read that others should not wait for the rest.
    #[must_use]
    pub fn is_long(&self) -> bool {
        self.read >= SINGLE_READS
    }

    /// Where the next read begins.
    #[must_use]
    pub fn from(&self) -> StartAt {
        self.from
    }

    /// Returns the next events, at most `max`. None is the end, at the time of the read.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn next(&mut self, max: usize) -> Result<EventBatch, ReadError> {
        let batch = match self.from {
            StartAt::Sequence(from) if self.is_long() && self.failures < FAILURES_MAX => {
                match self.read_forward(from, max).await {
                    Ok(batch) => batch,
                    // It is not kept: another one is opened where this read began.
                    Err(error) => {
                        tracing::debug!(%error, "a forward reader failed; reading once without it");
                        self.failures += 1;
                        self.read_once(max).await?
                    }
                }
            }
            _ => self.read_once(max).await?,
        };
        self.read = self.read.saturating_add(batch.events.len());
        if let Some(last) = batch.events.last() {
            self.from = StartAt::Sequence(last.sequence.saturating_add(1));
        }
        Ok(batch)
    }

    async fn read_forward(&mut self, from: u64, max: usize) -> Result<EventBatch, ReadError> {
        let mut forward = match self.forward.take() {
            Some(forward) => forward,
            None => self.streams.read_forward(self.site, from).await?,
        };
        let batch = forward.next(max).await?;
        self.forward = Some(forward);
        Ok(batch)
    }

    async fn read_once(&self, max: usize) -> Result<EventBatch, ReadError> {
        match self.site {
            Some(site) => self.streams.read_events(site, self.from, max).await,
            None => self.streams.read_events_of_all(self.from, max).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::super::testing::{MemoryStreams, event};
    use super::*;

    fn streams(events: u64) -> MemoryStreams {
        let streams = MemoryStreams::default();
        (1..=events).for_each(|sequence| {
            let site = if sequence.is_multiple_of(3) { "other" } else { "site" };
            streams.add(event(sequence, site, "avi:jira:created:issue", "{}"));
        });
        streams
    }

    async fn read_all(streams: &MemoryStreams, site: Option<&CloudId>) -> Vec<u64> {
        let mut scan = EventScan::new(streams, site, StartAt::Time(0));
        let mut read = Vec::new();
        loop {
            let batch = scan.next(1_000).await.unwrap();
            read.extend(batch.events.iter().map(|event| event.sequence));
            if !batch.has_more {
                return read;
            }
        }
    }

    #[tokio::test]
    async fn short_scans_open_no_reader_and_long_ones_read_each_event_once() {
        let site = CloudId::from("site");
        let short = streams(4_000);
        assert_eq!(read_all(&short, None).await, (1..=4_000).collect::<Vec<_>>());
        assert_eq!(short.forward_readers.load(Ordering::Relaxed), 0);
        let long = streams(9_001);
        assert_eq!(read_all(&long, None).await, (1..=9_001).collect::<Vec<_>>());
        assert_eq!(long.forward_readers.load(Ordering::Relaxed), 1);
        let of_site = (1..=9_001).filter(|sequence: &u64| !sequence.is_multiple_of(3));
        assert_eq!(read_all(&long, Some(&site)).await, of_site.collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn reader_that_failed_loses_and_repeats_nothing() {
        let streams = streams(9_000);
        streams.forward_failures.store(2, Ordering::Relaxed);
        assert_eq!(read_all(&streams, None).await, (1..=9_000).collect::<Vec<_>>());
        assert_eq!(streams.forward_readers.load(Ordering::Relaxed), 3);
        streams.forward_failures.store(usize::MAX, Ordering::Relaxed);
        streams.forward_readers.store(0, Ordering::Relaxed);
        assert_eq!(read_all(&streams, None).await, (1..=9_000).collect::<Vec<_>>());
        assert_eq!(streams.forward_readers.load(Ordering::Relaxed), 3, "it goes on without one");
    }
}
