//! Lists stored events, newest first: in windows of sequences, for a bounded time, and from a cursor on.

use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::batched_get::{DirectReader, ReadMessage, StartAt};
use super::connect::JetStreamClient;
use super::headers::MessageHeaders;
use super::log_windows::Windows;
use super::subjects::{Subjects, subject_attributes};
use crate::clock;
use crate::event::{EventListPage, EventListQuery, EventSelector, Listing};

/// Lists that are read at once. Bodies are read, since the broker has no direct get of headers alone.
const READING_MAX: usize = 2;
/// Time after which a page ends with what it found.
const READ_TIME_MAX: Duration = Duration::from_secs(2);

/// Lists the events of the event stream.
#[derive(Debug)]
pub(super) struct EventLister {
    reader: DirectReader,
    subjects: Subjects,
    event_bytes_max: usize,
    reading: Semaphore,
}

impl EventLister {
    /// Reads over `jetstream_client` events of up to `event_bytes_max` bytes.
    pub(super) fn new(
        jetstream_client: JetStreamClient,
        subjects: Subjects,
        event_bytes_max: usize,
    ) -> Self {
        let reader = DirectReader::new(jetstream_client, subjects.events_stream());
        Self { reader, subjects, event_bytes_max, reading: Semaphore::new(READING_MAX) }
    }

    /// Returns at most `limit` events below the sequence `below`, see
    /// [`crate::event::EventArchive::list`].
    pub(super) async fn page(
        &self,
        query: &EventListQuery,
        below: Option<u64>,
        limit: usize,
    ) -> Result<EventListPage, String> {
        let _turn = self.reading.acquire().await.map_err(|error| error.to_string())?;
        let started = clock::tick();
        let filter = match &query.site {
            Some(site) => self.subjects.stored_events_of(site),
            None => self.subjects.stored_events(),
        };
        let stream = self.reader.stream_bounds().await?;
        let page = EventListPage {
            first: stream.first.max(1),
            first_ms: stream.first_ms,
            last: stream.last,
            ..EventListPage::default()
        };
        let range = self.range(query, below, (page.first, page.last), &filter).await?;
        let Some(range) = range else { return Ok(page) };
        let mut windows = Windows::new(&self.reader, &filter, range);
        let selector = EventSelector::new(query, self.event_bytes_max);
        let mut builder = PageBuilder { selector, limit, page };
        while let Some(events) = windows.next().await? {
            for message in events.into_iter().rev() {
                if builder.take(message) {
                    return Ok(builder.finish_full());
                }
            }
            if is_over(started) && windows.has_more() {
                return Ok(builder.finish(Some(windows.continue_at().sequence)));
            }
            tokio::task::yield_now().await;
        }
        Ok(builder.finish(None))
    }

    /// Returns the lowest and the highest sequence that can fit; none if there is none.
    async fn range(
        &self,
        query: &EventListQuery,
        below: Option<u64>,
        (mut first, mut last): (u64, u64),
        filter: &str,
    ) -> Result<Option<(u64, u64)>, String> {
        if let Some(below) = below {
            last = last.min(below.saturating_sub(1));
        }
        let at = async |ms| {
            let found = self.reader.batch(StartAt::Time(ms), filter, 1).await?;
            Ok::<_, String>(found.messages.first().map(|message| message.sequence))
        };
        if let Some(until_ms) = query.until_ms
            && let Some(sequence) = at(until_ms).await?
        {
            last = last.min(sequence.saturating_sub(1));
        }
        if let Some(since_ms) = query.since_ms {
            match at(since_ms).await? {
                Some(sequence) => first = first.max(sequence),
                None => return Ok(None),
            }
        }
        Ok((first <= last).then_some((first, last)))
    }
}

fn is_over(started: Instant) -> bool {
    clock::since(started) >= READ_TIME_MAX
}

/// Collects a page, newest first.
struct PageBuilder<'q> {
    selector: EventSelector<'q>,
    limit: usize,
    page: EventListPage,
}

impl PageBuilder<'_> {
    /// Takes a message if it fits; returns whether there are more than fit the page.
    fn take(&mut self, message: ReadMessage) -> bool {
        let ReadMessage { subject, sequence, stored_ms, headers, payload } = message;
        let headers = MessageHeaders::new(Some(headers));
        let from = (&headers, subject_attributes(&subject));
        match self.selector.select(from, payload, (sequence, stored_ms)) {
            Listing::Fits(_) if self.page.items.len() >= self.limit => return true,
            Listing::Fits(found) => self.page.items.push(found),
            Listing::Other => {}
            Listing::Unknown => self.page.unreadable += 1,
        }
        self.page.scanned += 1;
        self.page.examined_until_ms = Some(stored_ms);
        false
    }

    fn finish(self, next: Option<u64>) -> EventListPage {
        EventListPage { next, ..self.page }
    }

    /// Finishes a page that others follow.
    fn finish_full(self) -> EventListPage {
        let next = self.page.items.last().map(crate::event::ListedMessage::sequence);
        self.finish(next)
    }
}
