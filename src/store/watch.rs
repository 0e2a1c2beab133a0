//! Following the bucket: everything first, then every change, and everything anew after a gap.

use std::time::Duration;

use async_nats::jetstream::kv::{Entry, Operation, Watch};
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::KvStore;
use crate::registry::Change;

/// Pause before watching anew.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// A load that hears nothing for this long looks again whether there is anything to load.
const LOAD_SILENCE_MAX: Duration = Duration::from_secs(2);

/// Why watching stopped.
enum Stopped {
    /// Nobody listens any more.
    Unheard,
    /// The broker said no more, or something odd.
    Broken(String),
}

/// Sends the bucket and its changes until the receiver is gone.
pub(super) async fn follow(store: &KvStore, changes: mpsc::Sender<Change>) {
    loop {
        match watch(store, &changes).await {
            Stopped::Unheard => return,
            Stopped::Broken(reason) => {
                warn!(bucket = store.name, reason, "registry watch broke, loading anew");
                sleep(RETRY_PAUSE).await;
            }
        }
        if changes.is_closed() {
            return;
        }
    }
}

async fn watch(store: &KvStore, changes: &mpsc::Sender<Change>) -> Stopped {
    match load_and_follow(store, changes).await {
        Ok(()) => Stopped::Broken("the watch ended".into()),
        Err(stopped) => stopped,
    }
}

async fn load_and_follow(store: &KvStore, changes: &mpsc::Sender<Change>) -> Result<(), Stopped> {
    let (mut watch, stored, revision) = open(store).await?;
    send(changes, Change::Loading).await?;
    // An empty bucket never yields an entry that could tell the load to be complete.
    let mut loaded = stored == 0;
    if loaded {
        send(changes, Change::Loaded { revision }).await?;
    }
    loop {
        let next = if loaded {
            watch.next().await
        } else {
            match timeout(LOAD_SILENCE_MAX, watch.next()).await {
                Ok(next) => next,
                Err(_) => return Err(Stopped::Broken("nothing came while loading".into())),
            }
        };
        let Some(entry) = next else { return Ok(()) };
        let entry = entry.map_err(broken)?;
        let complete = entry.delta == 0;
        send(changes, change(entry)).await?;
        if complete && !loaded {
            loaded = true;
            send(changes, Change::Loaded { revision }).await?;
        }
    }
}

/// A watch from the start, how many entries the bucket had before, and its last revision then.
async fn open(store: &KvStore) -> Result<(Watch, u64, u64), Stopped> {
    let bucket = store.context.get_key_value(&store.name).await.map_err(broken)?;
    let state = bucket.stream.get_info().await.map_err(broken)?.state;
    let watch = bucket.watch_with_history(">").await.map_err(broken)?;
    Ok((watch, state.messages, state.last_sequence))
}

fn change(entry: Entry) -> Change {
    let Entry { key, value, revision, operation, .. } = entry;
    match operation {
        Operation::Put => Change::Put { key, value, revision },
        Operation::Delete | Operation::Purge => Change::Deleted { key, revision },
    }
}

async fn send(changes: &mpsc::Sender<Change>, change: Change) -> Result<(), Stopped> {
    changes.send(change).await.map_err(|_| Stopped::Unheard)
}

fn broken(error: impl std::fmt::Display) -> Stopped {
    Stopped::Broken(error.to_string())
}
