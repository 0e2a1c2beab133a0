//! Shared parts of the tests: a nats-server, a router process, a recording handler, event builders.

mod cluster;
mod collector;
pub(crate) mod nats;
mod proxy;
pub(crate) mod raw;
mod router;
mod sink;
mod small_disk;
mod tokens;

use std::future::Future;
use std::time::Duration;

use serde_json::{Value, json};
use switchyard::clock;

pub(crate) use cluster::NatsCluster;
pub(crate) use collector::{Answer, Collector, ReceivedSpan};
pub(crate) use nats::NatsServer;
pub(crate) use proxy::Proxy;
pub(crate) use router::{ADMIN_TOKEN, RouterProcess, Setup, register};
pub(crate) use sink::{NEVER, Received, Sink};
pub(crate) use small_disk::SmallDisk;
pub(crate) use tokens::app_token;

/// Signing secret of every handler under test: 32 bytes.
pub(crate) const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
/// The longest wait for a condition that holds soon on an idle machine. Generous, because tests also run
/// on machines that are busy with other tests: a test that waits this long fails.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(60);
/// The longest wait for an answer of a busy broker. Shorter than [`WAIT_MAX`], since a request is lost
/// with its connection, and then asked again.
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// Pause between two checks of a condition.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// A JetStream context for tests, which waits for a busy broker.
pub(crate) fn jetstream(client: async_nats::Client) -> async_nats::jetstream::Context {
    async_nats::jetstream::context::ContextBuilder::new().timeout(REQUEST_MAX).build(client)
}

/// Waits until `check` returns a value; fails after `limit` with the name of the condition.
pub(crate) async fn eventually<T, F>(limit: Duration, condition: &str, check: impl Fn() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let waiting = async {
        loop {
            if let Some(found) = check().await {
                return found;
            }
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
    };
    match tokio::time::timeout(limit, waiting).await {
        Ok(found) => found,
        Err(_) => panic!("not within {limit:?}: {condition}"),
    }
}

/// An `updated:issue` body of one project.
pub(crate) fn issue_event(number: u64, project: &str) -> Value {
    json!({
        "eventType": "avi:jira:updated:issue",
        "issue": {
            "id": (10_000 + number).to_string(),
            "key": format!("{project}-{number}"),
            "fields": {
                "summary": format!("Issue number {number}"),
                "project": { "key": project },
                "issuetype": { "name": "Bug" },
                "priority": { "name": "High" },
            },
        },
    })
}

/// Publishes one `updated:issue` event as a producer does: under its own id, repeated until stored.
pub(crate) async fn publish(broker: &async_nats::Client, site: &str, number: u64, project: &str) {
    let body = issue_event(number, project).to_string();
    let id = format!("event-{number}");
    publish_raw(broker, site, "avi:jira:updated:issue", &id, body.into_bytes()).await;
}

/// Returns the subject and the headers that a producer publishes an event with.
pub(crate) fn event_envelope(
    site: &str,
    event_type: &str,
    id: &str,
) -> (String, async_nats::HeaderMap) {
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Msg-Id", format!("{site}/{id}").as_str());
    headers.insert("ce-specversion", "1.0");
    headers.insert("ce-id", id);
    headers.insert("ce-type", event_type);
    headers.insert("ce-cloudid", site);
    headers.insert("ce-source", format!("ari:cloud:jira::site/{site}").as_str());
    (format!("sw.in.{site}.{event_type}.-"), headers)
}

/// Publishes any bytes as an event of a type, repeated under the same id until they are stored.
pub(crate) async fn publish_raw(
    broker: &async_nats::Client,
    site: &str,
    event_type: &str,
    id: &str,
    body: Vec<u8>,
) {
    let mut context = async_nats::jetstream::new(broker.clone());
    context.set_timeout(Duration::from_secs(2));
    let (subject, headers) = event_envelope(site, event_type, id);
    let body = bytes::Bytes::from(body);
    // Until a time, not a number of attempts: a broker without a leader refuses at once.
    let deadline = clock::tick() + WAIT_MAX;
    while clock::tick() < deadline {
        let sent =
            context.publish_with_headers(subject.clone(), headers.clone(), body.clone()).await;
        let stored = match sent {
            Ok(ack) => ack.await.is_ok(),
            Err(_) => false,
        };
        if stored {
            return;
        }
        tokio::time::sleep(CHECK_INTERVAL).await;
    }
    panic!("event {id} could not be stored");
}
