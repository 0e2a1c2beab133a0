//! Keeps the counts of [`Shares`] equal to the streams, over all replicas and restarts.
//!
//! The subjects of dead letters name their owner, so the broker counts them. A parked delivery has
//! a subject of its own: each replica counts what it changed, stores its totals in the bucket
//! `SW_STATE` and applies those of the others. At the start, and when the sum of all owners differs
//! from the stream, the headers of all parked records are read once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::kv;
use async_nats::jetstream::stream::State;
use futures_util::StreamExt;

use super::connect::JetStreamClient;
use super::headers::{self, MessageHeaders};
use super::metrics;
use super::parked_growth::ParkedGrowth;
use super::subjects::Subjects;
use crate::clock;
use crate::delivery::{
    Amount, Changes, ChangesDocument, DriftDetector, ReplicaChanges, ShareOwner, Shares,
    SubscriptionDirectory, parked_owner,
};
use crate::event::codec::HeaderLookup;

/// Interval of the checks.
const INTERVAL: Duration = Duration::from_secs(5);
/// Minimum time between two recounts.
const RECOUNT_PAUSE: Duration = Duration::from_secs(60);
/// A recount is repeated at the earliest after this many times its own duration.
const RECOUNT_PAUSE_FACTOR: u32 = 20;
/// Records of one fetch of a recount.
const BATCH: usize = 1_000;
/// How long the broker keeps the consumer of a recount without its reader.
const CONSUMER_LIFE: Duration = Duration::from_secs(30);
/// Acknowledgement deadline of a recount, which acknowledges nothing: longer than any recount.
const ACK_WAIT: Duration = Duration::from_secs(3600);
/// Age at which the document of another replica is deleted, in milliseconds of the broker's clock:
/// the replica has stopped, since a running one stores its document again much earlier.
const DOCUMENT_AGE_MS_MAX: i64 = 3_600_000;
/// Age at which a replica stores its own document again although nothing changed, in milliseconds.
pub(super) const REFRESH_MS: i64 = DOCUMENT_AGE_MS_MAX / 4;
/// First part of the keys of the documents.
pub(super) const KEY_PREFIX: &str = "parked.";
/// Header with the size of a body that is not sent.
const BODY_SIZE: &str = "Nats-Msg-Size";

/// Counts parked deliveries and dead letters by owner.
pub struct ShareCounter {
    jetstream_client: JetStreamClient,
    subjects: Subjects,
    shares: Arc<Shares>,
    directory: Arc<dyn SubscriptionDirectory>,
    key: String,
    others: ReplicaChanges,
    /// When the document of each other replica was seen last.
    seen_ms: HashMap<String, i64>,
    stored: Option<StoredDocument>,
    dead_letters_seen: Option<(u64, u64)>,
    drift: DriftDetector,
    growth: ParkedGrowth,
    /// When the next recount may start, and why one is needed.
    recount_after: Instant,
    recount: Option<&'static str>,
}

/// The document that this replica stored last.
struct StoredDocument {
    changes: Changes,
    at_ms: i64,
}

/// The document of another replica.
struct OtherDocument {
    key: String,
    age_ms: i64,
    changes: Changes,
}

impl ShareCounter {
    /// Creates a counter of `shares` that finds owners in `directory`.
    #[must_use]
    pub fn new(
        jetstream_client: JetStreamClient,
        subjects: Subjects,
        shares: Arc<Shares>,
        directory: Arc<dyn SubscriptionDirectory>,
    ) -> Self {
        let connection = jetstream_client.client.server_info().client_id;
        Self {
            key: format!("{KEY_PREFIX}{}-{connection}", clock::now().as_nanosecond()),
            jetstream_client,
            subjects,
            shares,
            directory,
            others: ReplicaChanges::default(),
            seen_ms: HashMap::new(),
            stored: None,
            dead_letters_seen: None,
            drift: DriftDetector::default(),
            growth: ParkedGrowth::default(),
            recount_after: clock::tick(),
            recount: Some("start"),
        }
    }

    /// Counts until the future is dropped.
    pub async fn run(mut self) {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            if let Err(error) = self.check_once().await {
                tracing::debug!(%error, "counts of shares not available");
            }
        }
    }

    /// Brings the counts up to date once.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn check_once(&mut self) -> Result<(), async_nats::Error> {
        let parked = self.state(self.subjects.parked_stream()).await?;
        let dead = self.state(self.subjects.dead_letter_stream()).await?;
        metrics::stored_deliveries(parked.messages, dead.messages);
        self.shares.set_stored(amount(&parked), amount(&dead));
        self.count_dead_letters(&dead).await?;
        let others = self.exchange().await?;
        self.shares.apply(&others);
        let attributed = self.shares.attributed_parked();
        metrics::unattributed(difference(parked.messages, attributed));
        if self.drift.step(attributed, parked.messages) && self.recount.is_none() {
            self.recount = Some("drift");
        }
        self.shares.publish_gauges();
        if let Some(grown) = self.growth.step(parked.messages, clock::uptime_ms()) {
            let (owner, most) = self.shares.most_parked().unwrap_or_default();
            let (parked, installation) = (parked.messages, owner);
            tracing::warn!(
                parked,
                grown,
                installation,
                of_installation = most,
                "more deliveries are parked than a minute ago; the installation has most of them"
            );
        }
        self.recount_if_needed().await;
        Ok(())
    }

    async fn state(&self, stream: String) -> Result<State, async_nats::Error> {
        let stream = self.jetstream_client.context.get_stream(stream).await?;
        Ok(stream.cached_info().state.clone())
    }

    /// Reads the number of dead letters by owner, if any was added or deleted since.
    async fn count_dead_letters(&mut self, state: &State) -> Result<(), async_nats::Error> {
        let seen = Some((state.messages, state.last_sequence));
        if self.dead_letters_seen == seen {
            return Ok(());
        }
        let stream = self.subjects.dead_letter_stream();
        let stream = self.jetstream_client.context.get_stream_no_info(stream).await?;
        let mut subjects = stream.info_with_subjects(self.subjects.dead_letter_pattern()).await?;
        let mut counts = Vec::new();
        while let Some(counted) = subjects.next().await {
            let (subject, messages) = counted?;
            if let Some(owner) = self.subjects.owner_of_dead_letter(&subject) {
                counts.push((owner, u64::try_from(messages).unwrap_or(u64::MAX)));
            }
        }
        let mean_bytes = state.bytes.checked_div(state.messages).unwrap_or(0);
        self.shares.replace_dead_letters(counts, mean_bytes);
        self.dead_letters_seen = seen;
        Ok(())
    }

    /// Stores what this replica changed, and returns what the others changed since the last time.
    async fn exchange(&mut self) -> Result<Changes, async_nats::Error> {
        let context = &self.jetstream_client.context;
        let bucket = context.get_key_value(self.subjects.state_bucket()).await?;
        self.store_own(&bucket).await?;
        // All are read before one is applied: an error in between must not lose a change.
        let documents = self.read_others(&bucket).await?;
        let (mut sum, mut abandoned) = (Changes::new(), Vec::new());
        let now_ms = clock::uptime_ms();
        for OtherDocument { key, age_ms, changes } in documents {
            for (owner, change) in self.others.update(&key, changes) {
                let total = sum.entry(owner).or_default();
                *total = total.plus(change);
            }
            if age_ms > DOCUMENT_AGE_MS_MAX {
                abandoned.push(key);
            } else {
                self.seen_ms.insert(key, now_ms);
            }
        }
        for key in abandoned {
            self.delete(&bucket, &key).await;
        }
        let others = &mut self.others;
        self.seen_ms.retain(|key, seen_ms| {
            let is_known = now_ms.saturating_sub(*seen_ms) <= DOCUMENT_AGE_MS_MAX;
            if !is_known {
                others.forget(key);
            }
            is_known
        });
        Ok(sum)
    }

    /// Stores what this replica changed, if it changed or is stored no longer.
    async fn store_own(&mut self, bucket: &kv::Store) -> Result<(), async_nats::Error> {
        let (changes, now_ms) = (self.shares.own_changes(), clock::uptime_ms());
        let is_stored = self.stored.as_ref().is_some_and(|stored| {
            stored.changes == changes && now_ms.saturating_sub(stored.at_ms) < REFRESH_MS
        });
        if !is_stored {
            let document = ChangesDocument::new(&changes, clock::broker_now_ms());
            bucket.put(&self.key, serde_json::to_vec(&document)?.into()).await?;
            self.stored = Some(StoredDocument { changes, at_ms: now_ms });
        }
        Ok(())
    }

    /// Reads the documents of the other replicas.
    async fn read_others(
        &mut self,
        bucket: &kv::Store,
    ) -> Result<Vec<OtherDocument>, async_nats::Error> {
        let prefix = self.subject("");
        let pattern = self.subject(&format!("{KEY_PREFIX}*"));
        let mut subjects = bucket.stream.info_with_subjects(pattern).await?;
        let (mut documents, mut has_own) = (Vec::new(), false);
        while let Some(found) = subjects.next().await {
            let (subject, _) = found?;
            let Some(key) = subject.strip_prefix(&prefix) else { continue };
            if key == self.key {
                has_own = true;
            } else if let Some(entry) = bucket.entry(key).await? {
                documents.push(read_document(key, &entry));
            }
        }
        if !has_own {
            // Somebody deleted it, or the whole bucket.
            self.stored = None;
        }
        Ok(documents)
    }

    /// Deletes a document; unlike a deletion of the bucket's own, this leaves no marker behind.
    async fn delete(&mut self, bucket: &kv::Store, key: &str) {
        match bucket.stream.purge().filter(self.subject(key)).await {
            Ok(_) => {
                self.seen_ms.remove(key);
                self.others.forget(key);
            }
            Err(error) => tracing::debug!(%error, key, "document of a stopped replica not deleted"),
        }
    }

    fn subject(&self, key: &str) -> String {
        format!("$KV.{}.{key}", self.subjects.state_bucket())
    }

    async fn recount_if_needed(&mut self) {
        let started = clock::tick();
        let Some(reason) = self.recount.filter(|_| started >= self.recount_after) else { return };
        let result = self.count_parked().await;
        let took = clock::since(started);
        self.recount_after =
            clock::tick() + RECOUNT_PAUSE.max(took.saturating_mul(RECOUNT_PAUSE_FACTOR));
        match result {
            Ok(records) => {
                self.recount = None;
                metrics::recounted(reason, "ok");
                tracing::info!(reason, records, ?took, "parked deliveries counted by owner");
            }
            // Only one replica at a time can read a stream with work-queue retention.
            Err(error) => {
                self.recount_after = clock::tick() + INTERVAL;
                metrics::recounted(reason, "failed");
                tracing::debug!(reason, %error, "parked deliveries not counted yet");
            }
        }
    }

    /// Reads the headers of all parked records and replaces the counts; returns their number.
    async fn count_parked(&mut self) -> Result<u64, async_nats::Error> {
        let own_before = self.shares.own_changes();
        let stream = self.subjects.parked_stream();
        let stream = self.jetstream_client.context.get_stream(stream).await?;
        let last = stream.cached_info().state.last_sequence;
        // Without acknowledgements nothing is removed.
        let consumer: PullConsumer = stream
            .create_consumer(pull::Config {
                filter_subject: self.subjects.retry_pattern(),
                ack_policy: AckPolicy::Explicit,
                ack_wait: ACK_WAIT,
                max_ack_pending: -1,
                headers_only: true,
                inactive_threshold: CONSUMER_LIFE,
                ..pull::Config::default()
            })
            .await?;
        let name = consumer.cached_info().name.clone();
        let counted = self.read_owners(&consumer, last).await;
        stream.delete_consumer(&name).await?;
        let counts = counted?;
        let others = self.exchange().await?;
        self.shares.replace_parked(&counts, &own_before, &others);
        Ok(counts.values().map(|amount| amount.messages).sum())
    }

    async fn read_owners(
        &self,
        consumer: &PullConsumer,
        last: u64,
    ) -> Result<HashMap<ShareOwner, Amount>, async_nats::Error> {
        let mut counts: HashMap<ShareOwner, Amount> = HashMap::new();
        loop {
            let mut batch = consumer.fetch().max_messages(BATCH).messages().await?;
            let mut came = 0;
            while let Some(message) = batch.next().await {
                let message = message?;
                came += 1;
                if message.info()?.stream_sequence > last {
                    return Ok(counts);
                }
                let headers = MessageHeaders::new(message.message.headers);
                let body = headers.get(BODY_SIZE).and_then(|size| size.parse().ok()).unwrap_or(0);
                let target = headers.get(headers::SCHEDULE_TARGET).unwrap_or_default();
                let app = target.rsplit('.').next().unwrap_or_default();
                if let Some(owner) = parked_owner(&headers, &*self.directory, app) {
                    let count = counts.entry(owner).or_default();
                    *count = count.plus(Shares::amount_of(body));
                }
            }
            if came < BATCH {
                return Ok(counts);
            }
        }
    }
}

/// Reads the document of another replica; an unreadable one says nothing.
fn read_document(key: &str, entry: &kv::Entry) -> OtherDocument {
    let document = serde_json::from_slice::<ChangesDocument>(&entry.value).inspect_err(|error| {
        tracing::debug!(%error, key, "document of another replica is unreadable");
    });
    let changes = document.ok().and_then(ChangesDocument::into_changes).unwrap_or_default();
    OtherDocument { key: key.to_owned(), age_ms: age_ms(entry), changes }
}

/// Returns the age of an entry by the clock of the broker.
pub(super) fn age_ms(entry: &kv::Entry) -> i64 {
    let created_ms = i64::try_from(entry.created.unix_timestamp_nanos() / 1_000_000);
    clock::broker_now_ms().saturating_sub(created_ms.unwrap_or(i64::MAX))
}

fn amount(state: &State) -> Amount {
    Amount { messages: state.messages, bytes: state.bytes }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge needs no more than 53 bits")]
fn difference(stored: u64, attributed: u64) -> f64 {
    stored as f64 - attributed as f64
}
