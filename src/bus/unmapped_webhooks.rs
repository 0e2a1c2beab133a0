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

    /// Reads the names of a site with the numbers of their events.
    pub(super) async fn stored_names(&self, site: &CloudId) -> Result<StoredNames, String> {
        let _turn = self.reading.acquire().await.map_err(|error| error.to_string())?;
        let context = &self.jetstream_client.context;
        let stream = context.get_stream_no_info(self.subjects.events_stream()).await;
        let stream = stream.map_err(|error| error.to_string())?;
        let subjects = stream.info_with_subjects(self.subjects.stored_events_of(site)).await;
        let mut subjects = subjects.map_err(|error| error.to_string())?.take(SUBJECTS_MAX);
        let mut stored = StoredNames::default();
        let mut read = 0;
        while let Some((subject, count)) =
            subjects.try_next().await.map_err(|error| error.to_string())?
        {
            read += 1;
            let event_type = subject_attributes(&subject).event_type.unwrap_or_default();
            stored.add(event_type, u64::try_from(count).unwrap_or(u64::MAX));
        }
        stored.is_partial = read >= SUBJECTS_MAX;
        Ok(stored)
    }
}

/// The names of a site that have a subject of their own.
#[derive(Clone, Debug, Default)]
pub(super) struct StoredNames {
    /// Each with the number of its events.
    pub(super) names: HashMap<String, u64>,
    /// Events of further names, see [`unmapped::OTHER`].
    other: u64,
    is_partial: bool,
}

impl StoredNames {
    /// Adds the events of a subject; one name has a subject in each partition.
    fn add(&mut self, event_type: &str, count: u64) {
        let Some(name) = event_type.strip_prefix(unmapped::PREFIX) else { return };
        let total = match event_type {
            unmapped::OTHER => &mut self.other,
            _ => self.names.entry(name.to_owned()).or_default(),
        };
        *total = total.saturating_add(count);
    }
}

/// Returns the names with the highest counts.
fn most_frequent(stored: StoredNames, max: usize) -> UnmappedNames {
    let StoredNames { names, other, is_partial } = stored;
    let is_cut = is_partial || names.len() > max;
    let mut names: Vec<(String, u64)> = names.into_iter().collect();
    names.sort_by(|(left, few), (right, many)| many.cmp(few).then_with(|| left.cmp(right)));
    names.truncate(max);
    UnmappedNames { names, other, is_cut }
}

impl UnmappedWebhooks for UnmappedWebhookCounts {
    fn list<'a>(
        &'a self,
        site: &'a CloudId,
        max: usize,
    ) -> BoxFuture<'a, Result<UnmappedNames, String>> {
        Box::pin(async move { Ok(most_frequent(self.stored_names(site).await?, max)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(counts: &[(&str, u64)]) -> StoredNames {
        let mut stored = StoredNames::default();
        for (event_type, count) in counts {
            stored.add(event_type, *count);
        }
        stored
    }

    #[test]
    fn most_frequent_names_come_first_and_their_number_is_bounded() {
        let counts = [("webhook:a", 1), ("webhook:b", 7), ("webhook:c", 7), ("webhook:d", 2)];
        let found = most_frequent(stored(&counts), 3);
        let names: Vec<_> = found.names.iter().map(|(name, count)| (&**name, *count)).collect();
        assert_eq!(names, [("b", 7), ("c", 7), ("d", 2)]);
        assert!(found.is_cut);
        assert!(!most_frequent(stored(&counts), 4).is_cut);
        let partial = StoredNames { is_partial: true, ..stored(&counts) };
        assert!(most_frequent(partial, 4).is_cut);
    }

    #[test]
    fn partitions_are_added_and_other_names_counted_apart() {
        let counts = [
            ("webhook:a", 1),
            ("webhook:other", 4),
            ("avi:jira:created:issue", 9),
            ("webhook:a", 2),
        ];
        let found = most_frequent(stored(&counts), 9);
        assert_eq!(found.names, [("a".to_owned(), 3)]);
        assert_eq!(found.other, 4);
    }
}
