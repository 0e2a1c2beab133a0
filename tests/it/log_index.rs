//! The index of the delivery log: with it, questions have the same answers as without.

use std::collections::HashMap;

use async_nats::jetstream;
use switchyard::bus::{Connections, DeliveryLogStreamReader, LogIndexer, Subjects, streams};
use switchyard::config::Config;
use switchyard::delivery::{
    CHUNK_RECORDS, DeliveryLogReader, EventKey, INDEX_BUCKETS, LogPosition, LogQuery, LogResult,
    OutcomeFilter, bucket,
};

use crate::support::{NatsServer, WAIT_MAX, eventually};

const SITES: u64 = 3;
const ENTITIES: u64 = 200;
/// An entity with more records of a chunk than are read one by one: they are read by subject.
const BUSY: &str = "OPS-BUSY";
/// A full chunk, and part of another one.
const RECORDS: u64 = CHUNK_RECORDS + 500;

/// A record of the log.
struct Record {
    site: String,
    entity: Option<String>,
    event: String,
    is_failed: bool,
}

/// Returns the record that the log has at a sequence. Every tenth one has no entity.
fn record(sequence: u64) -> Record {
    let mixed = sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let entity = match sequence % 20 {
        0 | 10 => None,
        5 => Some(BUSY.to_owned()),
        _ => Some(format!("OPS-{}", mixed / SITES % ENTITIES)),
    };
    Record {
        site: if sequence % 20 == 5 { "site-1".into() } else { format!("site-{}", mixed % SITES) },
        entity,
        event: format!("event-{sequence}"),
        is_failed: sequence.is_multiple_of(7),
    }
}

impl Record {
    fn result(&self) -> LogResult {
        if self.is_failed { LogResult::Failed } else { LogResult::Ok }
    }

    fn body(&self, sequence: u64) -> String {
        let outcome = if self.is_failed { "dead" } else { "delivered" };
        serde_json::json!({
            "v": 1, "router": "r", "started_ms": 1, "source": "event",
            "event": {
                "id": self.event, "site": self.site, "type": "t", "entity": self.entity, "sequence": sequence,
            },
            "deliveries": [{
                "installation": "i", "key": "k", "from": "new", "outcome": outcome, "attempt": 1,
            }],
        })
        .to_string()
    }
}

struct World {
    nats: NatsServer,
    config: Config,
    connections: Connections,
    subjects: Subjects,
    reader: DeliveryLogStreamReader,
    /// The sequences of each site and entity.
    places: HashMap<(String, String), Vec<u64>>,
}

impl World {
    /// Starts a broker with records in its log.
    async fn start() -> Self {
        let (nats, mut config) = (NatsServer::start().await, Config::defaults().unwrap());
        config.nats.url = vec![nats.url()];
        let connections = Connections::open(&config.nats, &[nats.url()]).await.unwrap();
        let subjects = Subjects::new(&config.nats.prefix);
        let (events, delivery) = (&config.events, &config.delivery);
        let control = &connections.control;
        streams::ensure(control, &subjects, &config.nats, events, delivery).await.unwrap();
        let mut places: HashMap<_, Vec<u64>> = HashMap::new();
        for sequence in 1..=RECORDS {
            let one = record(sequence);
            if let Some(entity) = &one.entity {
                places.entry((one.site.clone(), entity.clone())).or_default().push(sequence);
            }
            let bucket = bucket(one.entity.as_deref(), &one.event);
            let subject = subjects.log_record(one.result(), &one.site.as_str().into(), bucket);
            control.client.publish(subject, one.body(sequence).into()).await.unwrap();
            if sequence.is_multiple_of(10_000) {
                control.client.flush().await.unwrap();
            }
        }
        let reader = DeliveryLogStreamReader::new(control.clone(), subjects.clone());
        let world = Self { nats, config, connections, subjects, reader, places };
        world.until_stored("SW_ATTEMPTS", RECORDS).await;
        world
    }

    async fn stream(&self, name: &str) -> Option<jetstream::stream::Stream> {
        self.nats.context().await.get_stream(name).await.ok()
    }

    async fn until_stored(&self, name: &str, messages: u64) {
        eventually(WAIT_MAX, "messages are stored", || async {
            let stored = self.stream(name).await?.cached_info().state.messages;
            (stored >= messages).then_some(())
        })
        .await;
    }

    /// Runs an indexer until the full chunk is indexed.
    async fn index(&self) {
        let control = self.connections.control.clone();
        let indexer = LogIndexer::new(control, self.subjects.clone(), self.config.clone());
        let indexer = tokio::spawn(indexer.without_pauses().run());
        self.until_stored("SW_ATTEMPTS_INDEX", u64::from(INDEX_BUCKETS)).await;
        indexer.abort();
    }

    /// Returns the sequences of all answers, read in pages, and how many records were read for them.
    async fn answers(&self, query: &LogQuery, limit: usize) -> (Vec<u64>, u64) {
        let (mut found, mut scanned): (Vec<u64>, u64) = (Vec::new(), 0);
        let mut after: Option<LogPosition> = None;
        loop {
            let page = self.reader.list(query, after, limit).await.unwrap();
            found.extend(page.items.iter().map(|item| item.position.sequence));
            scanned += page.scanned;
            match page.next {
                Some(next) => after = Some(next),
                None => return (found, scanned),
            }
        }
    }

    /// Checks answers about entities of all kinds; returns how many records were read for those that are not
    /// busy.
    async fn check(&self, deleted: &[u64]) -> u64 {
        let mut all_scanned = 0;
        for entity in ["OPS-0", "OPS-57", BUSY, "OPS-NONE"] {
            let site = "site-1";
            for outcome in [None, Some(OutcomeFilter::Failed)] {
                let query = LogQuery {
                    site: Some(site.into()),
                    entity: Some(entity.into()),
                    outcome,
                    ..LogQuery::default()
                };
                let of_entity = self.places.get(&(site.into(), entity.into()));
                let mut expected = of_entity.cloned().unwrap_or_default();
                expected.retain(|sequence| !deleted.contains(sequence));
                expected.retain(|sequence| outcome.is_none() || record(*sequence).is_failed);
                expected.reverse();
                for limit in [40, 1_000] {
                    let (found, scanned) = self.answers(&query, limit).await;
                    assert_eq!(found, expected, "{entity} {outcome:?} {limit}");
                    if entity != BUSY {
                        all_scanned += scanned;
                    }
                }
            }
        }
        all_scanned
    }

    /// Checks that the index of the log says nothing about another one of its name.
    async fn check_another_log(&self) {
        self.nats.context().await.delete_stream("SW_ATTEMPTS").await.expect("it is deleted");
        let Config { nats, events, delivery, .. } = &self.config;
        let control = &self.connections.control;
        let ensured = streams::ensure(control, &self.subjects, nats, events, delivery).await;
        ensured.expect("created again");
        let one = record(1);
        let (site, entity) = (one.site.as_str().into(), one.entity.as_deref().expect("an entity"));
        let bucket = bucket(Some(entity), &one.event);
        let subject = self.subjects.log_record(one.result(), &site, bucket);
        control.client.publish(subject, one.body(1).into()).await.unwrap();
        self.until_stored("SW_ATTEMPTS", 1).await;
        let entity = Some(entity.into());
        let query = LogQuery { site: Some(site), entity, ..LogQuery::default() };
        assert_eq!(self.answers(&query, 10).await.0, [1]);
    }

    /// Checks the histories of some events; returns how many records were read for them.
    async fn check_histories(&self) -> u64 {
        let mut scanned = 0;
        for sequence in [1, 10, 4_001, CHUNK_RECORDS, RECORDS] {
            let one = record(sequence);
            let key = EventKey {
                site: one.site.as_str().into(),
                id: one.event.as_str().into(),
                entity: one.entity.map(Into::into),
                stored_ms: None,
            };
            let history = self.reader.history(&key).await.unwrap();
            let found: Vec<u64> = history.items.iter().map(|item| item.position.sequence).collect();
            assert_eq!((found, history.is_complete), (vec![sequence], true), "{sequence}");
            scanned += history.scanned;
        }
        scanned
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn index_changes_what_is_read_and_no_answer() {
    let world = World::start().await;
    let (read, read_of_histories) = (world.check(&[]).await, world.check_histories().await);
    world.index().await;
    let (with_index, histories_with_index) =
        (world.check(&[]).await, world.check_histories().await);
    assert!(with_index < read / 2, "{with_index} of {read} records");
    assert!(
        histories_with_index < read_of_histories / 2,
        "{histories_with_index} of {read_of_histories}"
    );

    // A record that is deleted, and parts of the index that are.
    let deleted = world.places[&("site-1".into(), "OPS-57".into())][0];
    let log = world.stream("SW_ATTEMPTS").await.expect("the log");
    log.delete_message(deleted).await.expect("it is deleted");
    world.check(&[deleted]).await;
    let index = world.stream("SW_ATTEMPTS_INDEX").await.expect("the index");
    for sequence in (1..=u64::from(INDEX_BUCKETS)).step_by(2) {
        index.delete_message(sequence).await.expect("it is deleted");
    }
    world.check(&[deleted]).await;
    world.nats.context().await.delete_stream("SW_ATTEMPTS_INDEX").await.expect("it is deleted");
    world.check(&[deleted]).await;
    // It is written again.
    world.index().await;
    assert!(world.check(&[deleted]).await < read / 2);
    world.check_another_log().await;
}
