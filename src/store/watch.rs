//! Following the bucket: everything first, then every change, and after a break on from the last.
//!
//! Guarantee: whoever applies what is sent, in its order, holds what the bucket holds, whatever
//! breaks. A break goes on where it was when nothing else can be missing, see [`Start`].
//!
//! The client's own watch is not used: it goes on by itself after a lost connection, after the
//! number of the last message alone, in whatever bucket it finds.

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

use super::KvStore;
use super::kv::DELETION;
use super::place::{Place, Sent, Start};
use crate::registry::WatchEvent;

/// How often a watch began, and how.
const STARTS: &str = "switchyard_registry_watch_starts_total";
/// Pause before watching anew.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// After so long a silence the bucket is asked whether it has more than was heard of.
const LOOK_AFTER: Duration = Duration::from_secs(1);
/// Looks in a row that find more, while nothing comes, until the watch counts as broken.
const BEHIND_MAX: u32 = 2;
/// Messages asked for at once.
const BATCH_MESSAGES: usize = 512;
/// Bytes asked for at once, unless a single message may have more than half of it.
const BATCH_BYTES: usize = 8 << 20;
/// How long the broker holds a pull that finds nothing.
const EXPIRES: Duration = Duration::from_secs(10);
/// How often it says meanwhile that it is still there; twice as long a silence is a break.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long the broker remembers a watch that nobody pulls from.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);

/// Why watching stopped.
enum Stopped {
    /// Nobody listens any more.
    Unheard,
    /// The broker said no more, or something odd.
    Broken(String),
}

/// Sends the bucket and its changes until the receiver is gone.
pub(super) async fn follow(store: &KvStore, changes: mpsc::Sender<WatchEvent>) {
    let mut place = None;
    let mut is_told = false;
    loop {
        let watching = match Watching::open(store, &changes, &mut place).await {
            Ok(watching) => {
                is_told = false;
                watching.run().await
            }
            Err(stopped) => Err(stopped),
        };
        match watching {
            Ok(never) => match never {},
            Err(Stopped::Unheard) => return,
            Err(Stopped::Broken(reason)) if is_told => debug!(reason, "no registry watch yet"),
            Err(Stopped::Broken(reason)) => {
                warn!(bucket = store.name, reason, "registry watch broke");
                is_told = true;
            }
        }
        tokio::select! {
            () = sleep(RETRY_PAUSE) => {}
            () = changes.closed() => return,
        }
    }
}

/// One consumer of the bucket, for as long as nothing breaks.
struct Watching<'f> {
    store: &'f KvStore,
    changes: &'f mpsc::Sender<WatchEvent>,
    place: &'f mut Place,
    stream: Stream,
    messages: pull::Stream,
    /// Connections that were made before.
    connects: u64,
    /// Messages that came.
    received: u64,
    /// Last sequence of the bucket before the consumer was made; none once all up to it came.
    wanted: Option<u64>,
    /// Looks in a row that found more than came.
    behind: u32,
}

impl<'f> Watching<'f> {
    async fn open(
        store: &'f KvStore,
        changes: &'f mpsc::Sender<WatchEvent>,
        place: &'f mut Option<Place>,
    ) -> Result<Self, Stopped> {
        let connects = connects(store);
        let stream = store.context.get_stream(store.stream_name()).await.map_err(broken)?;
        let found = stream.cached_info().clone();
        let start = match place.as_ref() {
            Some(place) => place.start(&stream, &found).await.map_err(broken)?,
            None => Start::Anew,
        };
        let consumer = stream.create_consumer(consumer(start)).await.map_err(broken)?;
        // The consumer is of the bucket that is there now, which may be another one already.
        let now = stream.get_info().await.map_err(broken)?;
        if now.created != found.created || now.state.last_sequence < found.state.last_sequence {
            return Err(Stopped::Broken("the bucket was made anew".into()));
        }
        let bytes = store.context.client().server_info().max_payload.saturating_mul(2);
        let messages = consumer
            .stream()
            .max_messages_per_batch(BATCH_MESSAGES)
            .max_bytes_per_batch(bytes.max(BATCH_BYTES))
            .expires(EXPIRES)
            .heartbeat(HEARTBEAT)
            .messages()
            .await
            .map_err(broken)?;
        let place = begin(changes, place, &found, start).await?;
        let wanted = Some(found.state.last_sequence);
        let is_empty = consumer.cached_info().num_pending == 0;
        let (received, behind) = (0, 0);
        let mut watching =
            Self { store, changes, place, stream, messages, connects, received, wanted, behind };
        if is_empty {
            watching.reached().await?;
        }
        Ok(watching)
    }

    /// Sends what comes until something breaks.
    async fn run(mut self) -> Result<Infallible, Stopped> {
        let stream = self.stream.clone();
        let look = async || {
            sleep(LOOK_AFTER).await;
            stream.get_info().await
        };
        let mut looking = pin!(look());
        loop {
            tokio::select! {
                biased;
                message = self.messages.next() => {
                    let ended = || Stopped::Broken("the watch ended".into());
                    self.take(message.ok_or_else(ended)?.map_err(broken)?).await?;
                }
                found = &mut looking => self.compare(&found.map_err(broken)?)?,
            }
            looking.set(look());
        }
    }

    async fn take(&mut self, message: jetstream::Message) -> Result<(), Stopped> {
        let info = message.info().map_err(broken)?;
        self.received += 1;
        self.behind = 0;
        if info.consumer_sequence != self.received {
            return Err(Stopped::Broken(format!("lost after message {}", self.received - 1)));
        }
        let (sequence, is_last) = (info.stream_sequence, info.pending == 0);
        let written_ns = info.published.unix_timestamp_nanos();
        if let Some(change) = self.change(&message, sequence) {
            send(self.changes, change).await?;
        }
        let subject = message.message.subject;
        self.place.note(Sent { subject, sequence, written_ns });
        if is_last { self.reached().await } else { Ok(()) }
    }

    /// Tells, once, that all came that was there when the watch began.
    async fn reached(&mut self) -> Result<(), Stopped> {
        let Some(wanted) = self.wanted.take() else { return Ok(()) };
        self.place.covered = self.place.covered.max(wanted);
        send(self.changes, WatchEvent::CaughtUp { revision: self.place.covered }).await?;
        self.place.is_loading = false;
        Ok(())
    }

    /// Holds what came against what the bucket has.
    fn compare(&mut self, found: &Info) -> Result<(), Stopped> {
        // What was under way to the old connection came nowhere.
        if connects(self.store) != self.connects {
            return Err(Stopped::Broken("the connection was lost".into()));
        }
        if found.created.unix_timestamp_nanos() != self.place.made_ns {
            return Err(Stopped::Broken("the bucket was made anew".into()));
        }
        if self.wanted.is_none() && found.state.last_sequence == self.place.covered {
            self.behind = 0;
            return Ok(());
        }
        self.behind += 1;
        if self.behind > BEHIND_MAX {
            return Err(Stopped::Broken("nothing came, though there is more".into()));
        }
        Ok(())
    }

    fn change(&self, message: &jetstream::Message, revision: u64) -> Option<WatchEvent> {
        let key = message.subject.strip_prefix("$KV.")?.strip_prefix(self.store.name.as_str())?;
        let key = key.strip_prefix('.')?.to_owned();
        Some(match message.headers.as_ref().is_some_and(is_deletion) {
            true => WatchEvent::Deleted { key, revision },
            false => WatchEvent::Put { key, value: message.payload.clone(), revision },
        })
    }
}

/// Tells how the watch begins; the place it begins at.
async fn begin<'p>(
    changes: &mpsc::Sender<WatchEvent>,
    place: &'p mut Option<Place>,
    found: &Info,
    start: Start,
) -> Result<&'p mut Place, Stopped> {
    if start == Start::Anew {
        *place = None;
    }
    let place = place.get_or_insert_with(|| Place::front(found.created.unix_timestamp_nanos()));
    let label = if let Start::After(revision) = start {
        info!(revision, last = found.state.last_sequence, "registry watch goes on");
        "resume"
    } else {
        place.is_loading = true;
        send(changes, WatchEvent::LoadStarted { is_reset: start == Start::Anew }).await?;
        "load"
    };
    counter!(STARTS, "kind" => label).increment(1);
    Ok(place)
}

fn consumer(start: Start) -> pull::Config {
    let deliver_policy = match start {
        Start::After(sequence) => DeliverPolicy::ByStartSequence { start_sequence: sequence + 1 },
        Start::Again | Start::Anew => DeliverPolicy::All,
    };
    pull::Config {
        deliver_policy,
        ack_policy: AckPolicy::None,
        inactive_threshold: FORGOTTEN_AFTER,
        memory_storage: true,
        num_replicas: 1,
        ..pull::Config::default()
    }
}

/// Connections to the broker that were made so far.
fn connects(store: &KvStore) -> u64 {
    store.context.client().statistics().connects.load(Relaxed)
}

/// Whether a message marks the end of a key, by a client or by the broker itself.
fn is_deletion(headers: &HeaderMap) -> bool {
    let (operation, _) = DELETION;
    headers.get(operation).is_some_and(|operation| operation.as_str() != "PUT")
        || headers.get(async_nats::header::NATS_MARKER_REASON).is_some()
}

async fn send(changes: &mpsc::Sender<WatchEvent>, change: WatchEvent) -> Result<(), Stopped> {
    changes.send(change).await.map_err(|_| Stopped::Unheard)
}

fn broken(error: impl std::fmt::Display) -> Stopped {
    Stopped::Broken(error.to_string())
}
