//! Long reads of the event stream: each event once, also of more bytes than a read takes, and no consumer is left.

use switchyard::bus::{Connections, ReplayStreamReader, Subjects, streams};
use switchyard::config::Config;
use switchyard::domain::CloudId;
use switchyard::recovery::replay::ReplayStreams;

use crate::support::{NatsServer, WAIT_MAX, event_envelope, eventually, jetstream};

const EVENT_TYPE: &str = "avi:jira:updated:issue";
/// More bytes of one site than the broker sends for one request (8 MiB).
const EVENTS: u64 = 500;
/// Characters of a body.
const BODY: usize = 40_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_events_are_read_once_each_through_one_consumer_that_is_then_deleted() {
    let nats = NatsServer::start().await;
    let mut config = Config::defaults().expect("defaults");
    config.nats.url = vec![nats.url()];
    let connections = Connections::open(&config.nats, &config.nats.url).await.expect("a broker");
    let subjects = Subjects::new(&config.nats.prefix);
    let control = &connections.control;
    streams::ensure(control, &subjects, &config.nats, &config.events, &config.delivery)
        .await
        .expect("streams");
    let context = jetstream(nats.client().await);
    let body = format!("{{\"text\":\"{}\"}}", "x".repeat(BODY));
    for number in 0..EVENTS {
        let site = if number % 10 == 9 { "site-2" } else { "site-1" };
        let (subject, headers) = event_envelope(site, EVENT_TYPE, &format!("e{number}"));
        let sent = context.publish_with_headers(subject, headers, body.clone().into()).await;
        sent.expect("sent").await.expect("stored");
    }

    let stream = subjects.events_stream();
    let reader = ReplayStreamReader::new(control.clone(), subjects, false);
    let consumers = || async {
        let info = context.get_stream(&stream).await.ok()?.get_info().await.ok()?;
        Some(info.state.consumer_count)
    };
    let before = consumers().await.expect("the stream");
    let site = CloudId::from("site-1");
    for (site, wanted) in [(Some(&site), EVENTS / 10 * 9), (None, EVENTS)] {
        let mut forward = reader.read_forward(site, 1).await.expect("a consumer");
        let mut sequences = Vec::new();
        loop {
            let batch = forward.next(1_000).await.expect("events");
            assert!(batch.events.iter().all(|event| event.body.len() > BODY));
            sequences.extend(batch.events.iter().map(|event| event.sequence));
            assert_eq!(batch.has_more, sequences.len() as u64 != wanted, "{}", sequences.len());
            if !batch.has_more {
                break;
            }
        }
        let all = (1..=EVENTS).filter(|sequence| site.is_none() || sequence % 10 != 0);
        assert_eq!(sequences, all.collect::<Vec<_>>());
        assert_eq!(consumers().await, Some(before + 1));
        drop(forward);
        eventually(WAIT_MAX, "the consumer is deleted", || async {
            (consumers().await? == before).then_some(())
        })
        .await;
    }
}
