//! Counts the stored webhooks of a site that map to no event, for operators.
//!
//! The broker counts messages by subject, and such a webhook has its name in its subject. So the counts
//! are those of all replicas, outlive them, and cost routers no memory.

use std::collections::HashMap;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt, TryStreamExt};
use tokio::sync::Semaphore;

use super::connect::JetStreamClient;
use super::subjects::{Subjects, subject_attributes};
use crate::domain::CloudId;
use crate::event::{UnmappedNames, UnmappedWebhooks, unmapped};

/// Maximum number of concurrent reads.
const READING_MAX: usize = 2;
/// Maximum number of subjects that are read of one site: its event types, of each partition.
const SUBJECTS_MAX: usize = 100_000;

/// Reads the subjects of the event stream.
#[derive(Debug)]
pub struct UnmappedWebhookCounts {
    jetstream_client: JetStreamClient,
    subjects: Subjects,
    reading: Semaphore,
}

impl UnmappedWebhookCounts {
    /// Reads over `jetstream_client`.
    #[must_use]
    pub fn new(jetstream_client: JetStreamClient, subjects: Subjects) -> Self {
        Self { jetstream_client, subjects, reading: Semaphore::new(READING_MAX) }
    }

    async fn read(&self, site: &CloudId, max: usize) -> Result<UnmappedNames, String> {
        let _turn = self.reading.acquire().await.map_err(|error| error.to_string())?;
        let context = &self.jetstream_client.context;
        let stream = context.get_stream_no_info(self.subjects.events_stream()).await;
        let stream = stream.map_err(|error| error.to_string())?;
        let subjects = stream.info_with_subjects(self.subjects.stored_events_of(site)).await;
        let mut subjects = subjects.map_err(|error| error.to_string())?.take(SUBJECTS_MAX);
        let (mut counts, mut read) = (HashMap::<String, u64>::new(), 0);
        while let Some((subject, count)) =
            subjects.try_next().await.map_err(|error| error.to_string())?
        {
            read += 1;
            let event_type = subject_attributes(&subject).event_type.unwrap_or_default();
            if let Some(name) = event_type.strip_prefix(unmapped::PREFIX) {
                let total = counts.entry(name.to_owned()).or_default();
                *total = total.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
            }
        }
        Ok(most_frequent(counts, max, read >= SUBJECTS_MAX))
    }
}

/// Returns the names with the highest counts.
fn most_frequent(counts: HashMap<String, u64>, max: usize, is_partial: bool) -> UnmappedNames {
    let is_cut = is_partial || counts.len() > max;
    let mut names: Vec<(String, u64)> = counts.into_iter().collect();
    names.sort_by(|(left, few), (right, many)| many.cmp(few).then_with(|| left.cmp(right)));
    names.truncate(max);
    UnmappedNames { names, is_cut }
}

impl UnmappedWebhooks for UnmappedWebhookCounts {
    fn list<'a>(
        &'a self,
        site: &'a CloudId,
        max: usize,
    ) -> BoxFuture<'a, Result<UnmappedNames, String>> {
        Box::pin(self.read(site, max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_frequent_names_come_first_and_their_number_is_bounded() {
        let counts = [("a", 1), ("b", 7), ("c", 7), ("d", 2)];
        let counts: HashMap<String, u64> =
            counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
        let found = most_frequent(counts.clone(), 3, false);
        let names: Vec<_> = found.names.iter().map(|(name, count)| (&**name, *count)).collect();
        assert_eq!(names, [("b", 7), ("c", 7), ("d", 2)]);
        assert!(found.is_cut);
        assert!(!most_frequent(counts.clone(), 4, false).is_cut);
        assert!(most_frequent(counts, 4, true).is_cut);
    }
}
