//! The watch of the registry's bucket through faults of the connection, the broker and the bucket.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::jetstream::{self, stream::Stream};
use bytes::Bytes;
use futures_util::TryStreamExt;
use switchyard::bus::Connections;
use switchyard::config::Config;
use switchyard::registry::{Store, WatchEvent};
use switchyard::store::{KvOptions, KvStore};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::support::{NatsServer, Proxy, WAIT_MAX, eventually};

/// Number of documents before the watch starts.
const DOCUMENTS: usize = 200;
/// How long a change may take to be seen after a fault: most of it is the reconnect.
const SEEN_MAX: Duration = WAIT_MAX;

/// The changes that a watch reported.
#[derive(Default)]
struct Seen {
    documents: BTreeMap<String, Bytes>,
    /// Each load: whether it reset the revisions.
    loads: Vec<bool>,
    /// Keys of all changes in order.
    changes: Vec<String>,
    /// All revisions up to this one were reported.
    revision: u64,
    /// Keys not reported since a load began.
    unseen: Option<Vec<String>>,
}

impl Seen {
    fn take(&mut self, change: WatchEvent) {
        match change {
            WatchEvent::LoadStarted { is_reset } => {
                self.loads.push(is_reset);
                self.unseen = Some(self.documents.keys().cloned().collect());
                if is_reset {
                    self.revision = 0;
                }
            }
            WatchEvent::CaughtUp { revision } => {
                for key in self.unseen.take().unwrap_or_default() {
                    self.documents.remove(&key);
                }
                self.revision = self.revision.max(revision);
            }
            WatchEvent::Put { key, value, revision } => {
                self.note(&key, revision);
                self.documents.insert(key, value);
            }
            WatchEvent::Deleted { key, revision } => {
                self.note(&key, revision);
                self.documents.remove(&key);
            }
        }
    }

    fn note(&mut self, key: &str, revision: u64) {
        self.unseen.iter_mut().for_each(|unseen| unseen.retain(|other| other != key));
        self.changes.push(key.to_owned());
        self.revision = self.revision.max(revision);
    }
}

/// A watch over a connection that can be cut, and a writer with its own connection.
struct World {
    nats: NatsServer,
    proxy: Proxy,
    store: KvStore,
    bucket: Stream,
    seen: Arc<Mutex<Seen>>,
    _tasks: JoinSet<()>,
    _connections: [Connections; 2],
}

impl World {
    async fn start() -> Self {
        let nats = NatsServer::start().await;
        let proxy = Proxy::to(&nats.url()).await;
        let (near, store) = open(&nats.url()).await;
        for number in 0..DOCUMENTS {
            store.put(&format!("inst.{number}"), text(number), None).await.expect("room");
        }
        let (far, followed) = open(&proxy.url()).await;
        let (sender, mut changes) = mpsc::channel(16);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { followed.watch(sender).await });
        let taking = Arc::clone(&seen);
        tasks.spawn(async move {
            while let Some(change) = changes.recv().await {
                taking.lock().unwrap().take(change);
            }
        });
        let bucket = near.control.context.get_stream("KV_SW_REG").await.expect("the bucket");
        let world =
            Self { nats, proxy, store, bucket, seen, _tasks: tasks, _connections: [near, far] };
        world.until_seen().await;
        assert_eq!(world.loads(), [true]);
        world
    }

    /// Waits until the watch has reported the state of the bucket.
    async fn until_seen(&self) {
        let last = self.store.last_revision().await.expect("the broker answers");
        eventually(SEEN_MAX, "all changes are seen", || async {
            let seen = self.seen.lock().unwrap();
            (seen.revision >= last && seen.unseen.is_none()).then_some(())
        })
        .await;
        let documents = self.seen.lock().unwrap().documents.clone();
        let mut stored = BTreeMap::new();
        for key in documents.keys().cloned().chain((0..DOCUMENTS).map(|n| format!("inst.{n}"))) {
            if let Some(found) = self.store.get(&key).await.expect("the broker answers") {
                stored.insert(key, found.value);
            }
        }
        let keys = documents.keys().chain(stored.keys());
        let differ: Vec<_> = keys.filter(|key| documents.get(*key) != stored.get(*key)).collect();
        let loads = self.loads();
        assert!(differ.is_empty(), "seen otherwise than stored: {differ:?}; loads: {loads:?}");
    }

    fn loads(&self) -> Vec<bool> {
        self.seen.lock().unwrap().loads.clone()
    }

    /// Keys of the changes seen since the last call.
    fn changes(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap().changes)
    }

    fn context(&self) -> jetstream::Context {
        self._connections[0].control.context.clone()
    }

    async fn change(&self, key: &str, value: &str) {
        let known = self.store.get(key).await.expect("an answer").map(|known| known.revision);
        self.store.put(key, value.to_owned().into(), known).await.expect("written");
    }

    async fn delete(&self, key: &str) {
        let known = self.store.get(key).await.expect("an answer").expect("a document");
        self.store.delete(key, known.revision).await.expect("deleted");
    }

    /// Purges a key with its deletion marker, as the broker does when markers expire.
    async fn purge(&self, key: &str) {
        self.bucket.purge().filter(format!("$KV.SW_REG.{key}")).await.expect("purged");
    }

    /// Deletes the watch's consumers at the broker.
    async fn delete_watch_consumers(&self) {
        let names: Vec<String> = self.bucket.consumer_names().try_collect().await.expect("names");
        for name in names {
            // A consumer without a pull request may expire by itself.
            let _ = self.bucket.delete_consumer(&name).await;
        }
    }

    /// Creates one document, changes one and deletes one.
    async fn three_changes(&self) {
        self.store.put("inst.new", "new".into(), None).await.expect("written");
        self.change("inst.7", "changed").await;
        self.delete("inst.8").await;
    }
}

async fn open(url: &str) -> (Connections, KvStore) {
    let config = Config::defaults().expect("defaults");
    let connections = Connections::open(&config.nats, &[url.to_owned()]).await.expect("a broker");
    let options = KvOptions { prefix: "sw".into(), replicas: 1 };
    let store = KvStore::open(connections.control.context.clone(), &options).await;
    (connections, store.expect("a bucket"))
}

fn text(number: usize) -> Bytes {
    format!("document {number}").into()
}

const THREE: [&str; 3] = ["inst.new", "inst.7", "inst.8"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watch_resumes_after_the_connection_was_lost() {
    let world = World::start().await;
    world.changes();
    world.proxy.cut();
    world.three_changes().await;
    world.proxy.restore();
    world.until_seen().await;
    assert_eq!(world.changes(), THREE);
    assert_eq!(world.loads(), [true], "nothing was reloaded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watch_resumes_after_the_broker_was_killed() {
    let mut world = World::start().await;
    world.changes();
    for round in 0..3 {
        world.nats.kill_and_restart().await;
        world.change("inst.9", &format!("round {round}")).await;
        world.until_seen().await;
        assert_eq!(world.changes(), ["inst.9"]);
    }
    assert_eq!(world.loads(), [true], "nothing was reloaded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watch_resumes_after_the_broker_was_frozen() {
    let world = World::start().await;
    world.changes();
    world.nats.freeze();
    tokio::time::sleep(Duration::from_secs(5)).await;
    world.nats.thaw();
    world.three_changes().await;
    world.until_seen().await;
    assert_eq!(world.changes(), THREE);
    assert_eq!(world.loads(), [true], "nothing was reloaded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watch_resumes_when_the_broker_lost_its_consumer() {
    let world = World::start().await;
    world.changes();
    world.delete_watch_consumers().await;
    world.three_changes().await;
    world.until_seen().await;
    assert_eq!(world.changes(), THREE);
    assert_eq!(world.loads(), [true], "nothing was reloaded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recreated_bucket_is_reloaded_and_missing_documents_are_removed() {
    let world = World::start().await;
    world.proxy.cut();
    world.context().delete_key_value("SW_REG").await.expect("deleted");
    let (_connections, store) = open(&world.nats.url()).await;
    // More documents than the old bucket had, so that its length does not reveal the change.
    for round in 0..2 * DOCUMENTS {
        let key = format!("inst.{}", round % 20);
        let known = store.get(&key).await.expect("an answer").map(|known| known.revision);
        store.put(&key, format!("round {round}").into(), known).await.expect("written");
    }
    world.proxy.restore();
    world.until_seen().await;
    assert_eq!(world.seen.lock().unwrap().documents.len(), 20);
    assert_eq!(world.loads(), [true, true]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_a_crashed_broker_lost_are_reverted() {
    let mut world = World::start().await;
    let before = world.nats.copy_of_data();
    world.three_changes().await;
    world.until_seen().await;
    world.proxy.cut();
    world.nats.restart_on(&before).await;
    // One write more than were lost: the sequence continues as if none had been lost.
    for number in 0..4 {
        let at = format!("inst.{}", 100 + number);
        eventually(SEEN_MAX, "the broker takes writes", || async {
            let known = world.store.get(&at).await.ok()??;
            world.store.put(&at, "after".into(), Some(known.revision)).await.ok()
        })
        .await;
    }
    world.proxy.restore();
    world.until_seen().await;
    assert!(!world.seen.lock().unwrap().documents.contains_key("inst.new"));
    assert_eq!(world.loads(), [true, true]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purged_document_is_removed_when_the_last_change_seen_was_purged_too() {
    let world = World::start().await;
    world.three_changes().await;
    world.until_seen().await;
    world.proxy.cut();
    world.delete_watch_consumers().await;
    // The deletion of inst.8 was the last change seen.
    world.purge("inst.8").await;
    world.purge("inst.9").await;
    world.change("inst.10", "later").await;
    let revision = world.seen.lock().unwrap().revision;
    world.proxy.restore();
    world.until_seen().await;
    assert!(!world.seen.lock().unwrap().documents.contains_key("inst.9"));
    assert_eq!(world.loads(), [true, false], "the bucket is the same, so revisions continue");
    assert!(world.seen.lock().unwrap().revision > revision);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn document_that_the_broker_expired_is_removed() {
    use async_nats::jetstream::message::PublishMessage;
    let world = World::start().await;
    world.changes();
    let short = PublishMessage::build().payload("short".into()).ttl(Duration::from_secs(1));
    let context = world.context();
    let sent = context.send_publish("$KV.SW_REG.inst.short", short).await.expect("sent");
    sent.await.expect("stored");
    // The third is the deletion that stays.
    eventually(SEEN_MAX, "it came and left", || async {
        let seen = world.seen.lock().unwrap();
        (seen.changes == ["inst.short", "inst.short", "inst.short"]).then_some(())
    })
    .await;
    assert!(!world.seen.lock().unwrap().documents.contains_key("inst.short"));
    world.until_seen().await;
    assert_eq!(world.loads(), [true]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletions_do_not_expire_and_those_of_an_earlier_release_are_kept() {
    use async_nats::jetstream::message::PublishMessage;
    let world = World::start().await;
    world.delete("inst.8").await;
    // As earlier releases delete.
    let expiring = PublishMessage::build().header("KV-Operation", "DEL");
    let expiring = expiring.ttl(Duration::from_secs(86_400));
    let sent = world.context().send_publish("$KV.SW_REG.inst.9", expiring).await.expect("sent");
    sent.await.expect("stored");
    for key in ["inst.8", "inst.9"] {
        let subject = format!("$KV.SW_REG.{key}");
        eventually(SEEN_MAX, "the deletion has no time-to-live", || async {
            let last = world.bucket.get_last_raw_message_by_subject(&subject).await.ok()?;
            let header = |name: &str| last.headers.get(name).map(|value| value.as_str());
            assert_eq!(header("KV-Operation"), Some("DEL"));
            header("Nats-TTL").is_none().then_some(())
        })
        .await;
    }
    world.until_seen().await;
}

/// **Source:** nats-server issue 8505.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_document_stays_deleted_when_the_broker_reads_its_files_again() {
    let mut world = World::start().await;
    for round in 0..4 {
        world.change("inst.8", &format!("round {round}")).await;
    }
    world.delete("inst.8").await;
    world.until_seen().await;
    world.nats.kill_and_lose_index().await;
    world.change("inst.9", "later").await;
    world.until_seen().await;
    assert!(world.store.get("inst.8").await.expect("an answer").is_none());
    let (_connections, restarted) = open(&world.nats.url()).await;
    let (sender, mut changes) = mpsc::channel(1024);
    let watching = tokio::spawn(async move { restarted.watch(sender).await });
    let mut loaded = Seen::default();
    while loaded.unseen.is_some() || loaded.loads.is_empty() {
        loaded.take(changes.recv().await.expect("a load"));
    }
    watching.abort();
    assert!(!loaded.documents.contains_key("inst.8"), "a replica that starts loads it not");
    assert_eq!(loaded.documents.len(), DOCUMENTS - 1);
    // A new document under the key replaces the deletion.
    world.store.put("inst.8", "created again".into(), None).await.expect("written");
    world.until_seen().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_change_is_lost_under_any_fault_while_documents_change() {
    let mut world = World::start().await;
    let stop = Arc::new(AtomicBool::new(false));
    let (store, stopped) = (world.store.clone(), Arc::clone(&stop));
    let writing = tokio::spawn(async move {
        let mut written = 0_usize;
        while !stopped.load(Relaxed) {
            // Some keys change all the time, others are deleted and created again.
            let key = format!("inst.{}", written * 7 % 50);
            let Ok(known) = store.get(&key).await else { continue };
            let done = match known {
                Some(known) if written.is_multiple_of(3) => {
                    store.delete(&key, known.revision).await
                }
                known => {
                    let revision = known.map(|known| known.revision);
                    store.put(&key, format!("write {written}").into(), revision).await
                }
            };
            written += usize::from(done.is_ok());
        }
        written
    });
    for round in 0..12 {
        let before = world.seen.lock().unwrap().revision;
        match round % 4 {
            0 => {
                world.proxy.cut();
                tokio::time::sleep(Duration::from_millis(300)).await;
                world.proxy.restore();
            }
            1 => world.delete_watch_consumers().await,
            2 => {
                world.nats.freeze();
                tokio::time::sleep(Duration::from_millis(300)).await;
                world.nats.thaw();
            }
            _ => world.nats.kill_and_restart().await,
        }
        eventually(SEEN_MAX, "changes flow again", || async {
            (world.seen.lock().unwrap().revision > before).then_some(())
        })
        .await;
    }
    stop.store(true, Relaxed);
    let written = writing.await.expect("the writer ends");
    world.until_seen().await;
    let loads = world.loads();
    assert!(
        loads.iter().skip(1).all(|is_reset| !is_reset),
        "it was one bucket all the time: {loads:?}"
    );
    eprintln!("{written} writes, loads: {loads:?}");
}
