//! The bucket watch: sends all documents, then every change, and resumes after failures.
//!
//! Guarantee: a receiver that applies all changes in order has the content of the bucket, whatever
//! fails. After a failure the watch resumes at its cursor if no other change can be missing, see
//! [`StartPosition`].
//!
//! The client library's own watch is not used: it resumes after a lost connection by sequence
//! number alone, even in another bucket of the same name.
//!
//! Design: `docs/design/registry-watch.md`.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::{Info, Stream};
use async_nats::{HeaderMap, jetstream};
use futures_util::StreamExt;
use metrics::counter;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::bucket::{Bucket, DELETE_MARKER};
use super::cursor::{SentMessage, StartPosition, WatchCursor};
use super::tombstones::{self, Tombstones};
use crate::registry::WatchEvent;

/// Counts how often a watch started, and in which way.
const STARTS: &str = "switchyard_registry_watch_starts_total";
/// Pause before a watch is restarted.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// After this time without messages the bucket is checked for newer ones.
const CHECK_AFTER: Duration = Duration::from_secs(1);
/// Consecutive checks that find newer messages, without any received, before the watch counts as
/// broken.
const BEHIND_MAX: u32 = 2;
/// Messages of one pull request.
const BATCH_MESSAGES: usize = 512;
/// Byte limit of one pull request; larger if a single message may exceed half of it.
const BATCH_BYTES: usize = 8 << 20;
/// How long the broker keeps a pull request open that finds nothing.
const EXPIRES: Duration = Duration::from_secs(10);
/// Interval of the broker's heartbeats; without one for twice this time the watch is broken.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long the broker keeps a consumer that receives no pull requests.
const INACTIVE_THRESHOLD: Duration = Duration::from_secs(30);

/// Why a watch ended.
enum StopReason {
    /// The receiver of changes was dropped.
    ReceiverDropped,
    /// The watch failed.
    Broken(String),
}

/// Watches the bucket until the receiver is dropped.
pub(super) async fn follow(bucket: &Bucket, changes: mpsc::Sender<WatchEvent>) {
    let (tombstones, expiring) = Tombstones::new();
    tokio::select! {
        () = watch(bucket, changes, tombstones) => {}
        () = tombstones::keep(bucket, expiring) => {}
    }
}

async fn watch(bucket: &Bucket, changes: mpsc::Sender<WatchEvent>, mut tombstones: Tombstones) {
    let mut cursor = None;
    let mut is_logged = false;
    loop {
        let opened = BucketWatch::open(bucket, &changes, &mut cursor, &mut tombstones);
        let watch = match opened.await {
            Ok(watch) => {
                is_logged = false;
                watch.run().await
            }
            Err(stopped) => Err(stopped),
        };
        match watch {
            Ok(never) => match never {},
            Err(StopReason::ReceiverDropped) => return,
            Err(StopReason::Broken(reason)) if is_logged => {
                debug!(reason, "registry watch not available yet")
            }
            Err(StopReason::Broken(reason)) => {
                warn!(bucket = bucket.name, reason, "registry watch failed; restarting");
                is_logged = true;
            }
        }
        tokio::select! {
            () = sleep(RETRY_PAUSE) => {}
            () = changes.closed() => return,
        }
    }
}

/// One consumer of the bucket, until it fails.
struct BucketWatch<'f> {
    bucket: &'f Bucket,
    changes: &'f mpsc::Sender<WatchEvent>,
    cursor: &'f mut WatchCursor,
    tombstones: &'f mut Tombstones,
    stream: Stream,
    messages: pull::Stream,
    /// Connections established before it was created.
    connects: u64,
    /// Messages received.
    received: u64,
    /// Last sequence of the bucket when the consumer was created; `None` once it is reached.
    load_target: Option<u64>,
    /// Consecutive checks that found newer messages than received.
    checks_behind: u32,
}

impl<'f> BucketWatch<'f> {
    async fn open(
        bucket: &'f Bucket,
        changes: &'f mpsc::Sender<WatchEvent>,
        cursor: &'f mut Option<WatchCursor>,
        tombstones: &'f mut Tombstones,
    ) -> Result<Self, StopReason> {
        let connects = connects(bucket);
        let stream = bucket.context.get_stream(bucket.stream_name()).await.map_err(broken)?;
        let found = stream.cached_info().clone();
        let start = match cursor.as_ref() {
            Some(cursor) => cursor.start(&stream, &found).await.map_err(broken)?,
            None => StartPosition::Reset,
        };
        let consumer = stream.create_consumer(consumer(start)).await.map_err(broken)?;
        // The consumer belongs to the bucket that exists now, which may be another one.
        let now = stream.get_info().await.map_err(broken)?;
        if now.created != found.created || now.state.last_sequence < found.state.last_sequence {
            return Err(StopReason::Broken("the bucket was created again".into()));
        }
        let bytes = bucket.context.client().server_info().max_payload.saturating_mul(2);
        let messages = consumer
            .stream()
            .max_messages_per_batch(BATCH_MESSAGES)
            .max_bytes_per_batch(bytes.max(BATCH_BYTES))
            .expires(EXPIRES)
            .heartbeat(HEARTBEAT)
            .messages()
            .await
            .map_err(broken)?;
        let cursor = announce_start(changes, cursor, &found, start).await?;
        if cursor.is_loading {
            tombstones.clear();
        }
        let load_target = Some(found.state.last_sequence);
        let is_empty = consumer.cached_info().num_pending == 0;
        let (received, checks_behind) = (0, 0);
        let mut watch = Self {
            bucket,
            changes,
            cursor,
            tombstones,
            stream,
            messages,
            connects,
            received,
            load_target,
            checks_behind,
        };
        if is_empty {
            watch.load_completed().await?;
        }
        Ok(watch)
    }

    /// Sends changes until the watch fails.
    async fn run(mut self) -> Result<Infallible, StopReason> {
        let stream = self.stream.clone();
        let next_check = async || {
            sleep(CHECK_AFTER).await;
            stream.get_info().await
        };
        let mut check = pin!(next_check());
        loop {
            tokio::select! {
                biased;
                message = self.messages.next() => {
                    let ended = || StopReason::Broken("the message stream ended".into());
                    self.take(message.ok_or_else(ended)?.map_err(broken)?).await?;
                }
                found = &mut check => self.compare(&found.map_err(broken)?)?,
            }
            check.set(next_check());
        }
    }

    async fn take(&mut self, message: jetstream::Message) -> Result<(), StopReason> {
        let info = message.info().map_err(broken)?;
        self.received += 1;
        self.checks_behind = 0;
        if info.consumer_sequence != self.received {
            return Err(StopReason::Broken(format!(
                "messages lost after message {}",
                self.received - 1
            )));
        }
        let (sequence, is_last) = (info.stream_sequence, info.pending == 0);
        let written_ns = info.published.unix_timestamp_nanos();
        let marker = message.headers.as_ref().filter(|headers| is_deletion(headers));
        self.tombstones.note(&message.subject, sequence, marker);
        if self.load_target.is_none() {
            self.tombstones.count();
        }
        if let Some(change) = self.change(&message, sequence) {
            send(self.changes, change).await?;
        }
        let subject = message.message.subject;
        self.cursor.note(SentMessage { subject, sequence, written_ns });
        if is_last { self.load_completed().await } else { Ok(()) }
    }

    /// Reports, once, that the initial load is complete.
    async fn load_completed(&mut self) -> Result<(), StopReason> {
        let Some(load_target) = self.load_target.take() else { return Ok(()) };
        self.tombstones.count();
        self.cursor.sent_up_to = self.cursor.sent_up_to.max(load_target);
        send(self.changes, WatchEvent::CaughtUp { revision: self.cursor.sent_up_to }).await?;
        self.cursor.is_loading = false;
        Ok(())
    }

    /// Compares the cursor with the state of the bucket.
    fn compare(&mut self, found: &Info) -> Result<(), StopReason> {
        // Messages in flight on the old connection are lost.
        if connects(self.bucket) != self.connects {
            return Err(StopReason::Broken("the connection was lost".into()));
        }
        if found.created.unix_timestamp_nanos() != self.cursor.created_ns {
            return Err(StopReason::Broken("the bucket was created again".into()));
        }
        if self.load_target.is_none() && found.state.last_sequence == self.cursor.sent_up_to {
            self.checks_behind = 0;
            return Ok(());
        }
        self.checks_behind += 1;
        if self.checks_behind > BEHIND_MAX {
            return Err(StopReason::Broken(
                "no messages arrive, though the bucket has newer ones".into(),
            ));
        }
        Ok(())
    }

    fn change(&self, message: &jetstream::Message, revision: u64) -> Option<WatchEvent> {
        let key = message.subject.strip_prefix("$KV.")?.strip_prefix(self.bucket.name.as_str())?;
        let key = key.strip_prefix('.')?.to_owned();
        Some(match message.headers.as_ref().is_some_and(is_deletion) {
            true => WatchEvent::Deleted { key, revision },
            false => WatchEvent::Put { key, value: message.payload.clone(), revision },
        })
    }
}

/// Reports how the watch starts and returns the cursor it starts at.
async fn announce_start<'p>(
    changes: &mpsc::Sender<WatchEvent>,
    cursor: &'p mut Option<WatchCursor>,
    found: &Info,
    start: StartPosition,
) -> Result<&'p mut WatchCursor, StopReason> {
    if start == StartPosition::Reset {
        *cursor = None;
    }
    let cursor =
        cursor.get_or_insert_with(|| WatchCursor::front(found.created.unix_timestamp_nanos()));
    let label = if let StartPosition::Resume(revision) = start {
        info!(revision, last = found.state.last_sequence, "registry watch resumed");
        "resume"
    } else {
        cursor.is_loading = true;
        send(changes, WatchEvent::LoadStarted { is_reset: start == StartPosition::Reset }).await?;
        "load"
    };
    counter!(STARTS, "kind" => label).increment(1);
    Ok(cursor)
}

fn consumer(start: StartPosition) -> pull::Config {
    let deliver_policy = match start {
        StartPosition::Resume(sequence) => {
            DeliverPolicy::ByStartSequence { start_sequence: sequence + 1 }
        }
        StartPosition::Reload | StartPosition::Reset => DeliverPolicy::All,
    };
    pull::Config {
        deliver_policy,
        ack_policy: AckPolicy::None,
        inactive_threshold: INACTIVE_THRESHOLD,
        memory_storage: true,
        num_replicas: 1,
        ..pull::Config::default()
    }
}

/// Returns how many connections to the broker were established so far.
fn connects(bucket: &Bucket) -> u64 {
    bucket.context.client().statistics().connects.load(Relaxed)
}

/// Whether a message is a deletion marker of a client or of the broker.
fn is_deletion(headers: &HeaderMap) -> bool {
    let (operation, _) = DELETE_MARKER;
    headers.get(operation).is_some_and(|operation| operation.as_str() != "PUT")
        || headers.get(async_nats::header::NATS_MARKER_REASON).is_some()
}

async fn send(changes: &mpsc::Sender<WatchEvent>, change: WatchEvent) -> Result<(), StopReason> {
    changes.send(change).await.map_err(|_| StopReason::ReceiverDropped)
}

fn broken(error: impl std::fmt::Display) -> StopReason {
    StopReason::Broken(error.to_string())
}
