//! Reads dead letters of webhooks, for the apps that list their failed webhooks.

use std::time::Duration;

use async_nats::datetime;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use super::connect::JetStreamClient;
use super::headers::MessageHeaders;
use super::subjects::Subjects;
use crate::delivery::{FailedWebhook, FailedWebhooks};
use crate::domain::{AppId, InstallationId};

/// Maximum number of concurrent reads.
const READING_MAX: usize = 4;
/// Maximum size of a page in bytes.
const PAGE_BYTES_MAX: usize = 8 << 20;
/// Maximum number of letters of one timestamp that exceed the page size.
const ONE_MOMENT_MAX: usize = 1000;
/// Letters of one fetch.
const BATCH: usize = 100;
/// How long the broker keeps a consumer without a reader.
const CONSUMER_LIFE: Duration = Duration::from_secs(30);

/// Reads the dead letters of webhooks.
#[derive(Debug)]
pub struct FailedWebhookStream {
    jetstream_client: JetStreamClient,
    subjects: Subjects,
    reading: Semaphore,
}

impl FailedWebhookStream {
    /// Reads over `jetstream_client`.
    #[must_use]
    pub fn new(jetstream_client: JetStreamClient, subjects: Subjects) -> Self {
        Self { jetstream_client, subjects, reading: Semaphore::new(READING_MAX) }
    }

    async fn read(
        &self,
        subject: String,
        after_ms: i64,
        max: usize,
    ) -> Result<Vec<FailedWebhook>, String> {
        let _turn = self.reading.acquire().await.map_err(|error| error.to_string())?;
        let start = i128::from(after_ms).saturating_mul(1_000_000);
        let start_time = datetime::from_nanos(start).map_err(|error| error.to_string())?;
        let config = pull::Config {
            filter_subject: subject,
            deliver_policy: DeliverPolicy::ByStartTime { start_time },
            ack_policy: AckPolicy::None,
            inactive_threshold: CONSUMER_LIFE,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let stream = self
            .jetstream_client
            .context
            .get_stream_no_info(self.subjects.dead_letter_stream())
            .await;
        let stream = stream.map_err(|error| error.to_string())?;
        let consumer = stream.create_consumer(config).await.map_err(|error| error.to_string())?;
        let page = read_page(&consumer, Page::new(after_ms, max)).await;
        // Otherwise an app that lists often would leave a consumer for each call.
        if let Err(error) = stream.delete_consumer(&consumer.cached_info().name).await {
            tracing::debug!(%error, "consumer of failed webhooks not deleted; it expires");
        }
        page
    }
}

/// Reads letters until the page is full or there are no more.
async fn read_page(consumer: &PullConsumer, mut page: Page) -> Result<Vec<FailedWebhook>, String> {
    while !page.is_full {
        let batch = consumer.fetch().max_messages(BATCH).messages().await;
        let mut batch = batch.map_err(|error| error.to_string())?;
        let mut came = 0;
        while let Some(message) = batch.next().await {
            let message = message.map_err(|error| error.to_string())?;
            came += 1;
            let published = message.info().map_err(|error| error.to_string())?.published;
            let failed_ms = i64::try_from(published.unix_timestamp_nanos() / 1_000_000);
            let headers = MessageHeaders::new(message.headers.clone());
            page.take(&headers, message.payload.clone(), failed_ms.unwrap_or(i64::MAX));
        }
        if came < BATCH {
            break;
        }
    }
    Ok(page.rows)
}

/// A page of letters, oldest first.
struct Page {
    rows: Vec<FailedWebhook>,
    after_ms: i64,
    max: usize,
    bytes: usize,
    is_full: bool,
}

impl Page {
    fn new(after_ms: i64, max: usize) -> Self {
        Self { rows: Vec::new(), after_ms, max, bytes: 0, is_full: max == 0 }
    }

    /// Adds a letter, unless the page is full. Letters of one timestamp are never split over two
    /// pages, since the next page begins after a timestamp.
    fn take(&mut self, headers: &MessageHeaders, body: Bytes, failed_ms: i64) {
        if self.is_full || failed_ms <= self.after_ms {
            return;
        }
        let Some(row) = FailedWebhook::read(headers, body, failed_ms) else { return };
        let enough = self.rows.len() >= self.max || self.bytes >= PAGE_BYTES_MAX;
        let same_moment = self.rows.last().is_some_and(|last| last.failed_ms == failed_ms);
        if (enough && !same_moment) || self.rows.len() >= self.max.saturating_add(ONE_MOMENT_MAX) {
            self.is_full = true;
            return;
        }
        self.bytes += row.body.as_ref().map_or(0, String::len);
        self.rows.push(row);
    }
}

impl FailedWebhooks for FailedWebhookStream {
    fn list<'a>(
        &'a self,
        app: &'a AppId,
        installation: &'a InstallationId,
        after_ms: i64,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<FailedWebhook>, String>> {
        let subject = self.subjects.dead_letter_of_delivery(app, installation);
        Box::pin(self.read(subject, after_ms, max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_nats::HeaderMap;

    fn letter(id: &str) -> MessageHeaders {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("switchyard-delivery-id", id),
            ("switchyard-webhook-url", "https://app.example.com/hook"),
            ("ce-id", "e"),
            ("ce-type", "avi:jira:created:issue"),
            ("ce-cloudid", "site-1"),
        ] {
            headers.insert(name, value);
        }
        MessageHeaders::new(Some(headers))
    }

    fn filled(after_ms: i64, max: usize, times: &[i64]) -> Vec<i64> {
        let mut page = Page::new(after_ms, max);
        for failed_ms in times {
            page.take(&letter("dlv_1"), Bytes::from_static(b"{}"), *failed_ms);
        }
        page.rows.iter().map(|row| row.failed_ms).collect()
    }

    #[test]
    fn page_never_splits_letters_of_one_timestamp() {
        assert_eq!(filled(0, 2, &[1, 2, 3]), [1, 2]);
        assert_eq!(filled(0, 2, &[1, 2, 2, 2, 3]), [1, 2, 2, 2]);
        assert_eq!(filled(2, 2, &[2, 3]), [3]);
        assert_eq!(filled(0, 0, &[1]), [0_i64; 0]);
        assert_eq!(filled(0, 1, &[5; 3000]).len(), 1 + ONE_MOMENT_MAX);
    }

    #[test]
    fn letter_of_another_handler_is_skipped() {
        let mut page = Page::new(0, 10);
        page.take(&MessageHeaders::new(None), Bytes::new(), 1);
        assert!(page.rows.is_empty());
    }
}
