//! Measures explanations of stored events, when many are stored.
//!
//! Starts a broker and a router with an installation at each site, stores events of many sites and
//! entities, then asks the router why events of an entity were not delivered (`POST /admin/v1/explain` with
//! `entity`, the newest 20 of its events). And reads the whole stream twice, in turns: as an explanation
//! searches all sites, and as a bare consumer that only counts messages.
//!
//! Arguments: `--events N` (1,000,000), `--sites N` (1,000), `--entities N` of each site (50),
//! `--samples N` (51), `--rounds N` of the whole stream (3).

mod rig;

use std::time::Duration;

use anyhow::{Context, ensure};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use futures_util::StreamExt;
use hyper::Method;
use serde_json::{Value, json};
use switchyard::bus::{Connections, ReplayStreamReader, Subjects};
use switchyard::clock;
use switchyard::matcher::Matcher;
use switchyard::recovery::explain::{Deadline, EventSearch, find_events};
use switchyard::recovery::replay::EventReader;

use rig::Rig;

/// Events of one explanation.
const EXPLAINED: usize = 20;
/// Longest search of the whole stream.
const SCAN_MAX: Duration = Duration::from_secs(3600);
/// Largest event that the search reads, in bytes.
const EVENT_BYTES_MAX: usize = 1 << 20;
/// Messages that the bare consumer asks for at once.
const PULL_BATCH: usize = 1_000;

struct Plan {
    events: u64,
    sites: u64,
    entities: u64,
    samples: usize,
    rounds: usize,
}

fn main() -> anyhow::Result<()> {
    let plan = Plan::read(&std::env::args().skip(1).collect::<Vec<_>>())?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(plan))
}

async fn run(plan: Plan) -> anyhow::Result<()> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let rig = Rig::start(plan.sites).await?;
    let filled = clock::tick();
    rig.fill(plan.events, |number| place(&plan, number)).await?;
    rig.until_acknowledged().await?;
    let seconds = clock::since(filled).as_secs_f64();
    println!("{} events of {} sites, stored and routed in {seconds:.0} s", plan.events, plan.sites);

    let mut times = Vec::new();
    for sample in 0..plan.samples {
        let (site, entity) = place(&plan, u64::try_from(sample)?.wrapping_mul(7_919) % plan.events);
        let body = json!({ "installation": format!("inst-{site}"), "entity": entity });
        let started = clock::tick();
        let answer = rig.api.send(Method::POST, "/admin/v1/explain", &[], &body).await?;
        times.push(clock::since(started).as_secs_f64() * 1_000.0);
        let events = answer.get("events").and_then(Value::as_array).map_or(0, Vec::len);
        let of_entity = usize::try_from(plan.events / plan.sites / plan.entities)?;
        ensure!(events >= of_entity.min(EXPLAINED), "{events} events of {entity}: {answer}");
    }
    times.sort_by(f64::total_cmp);
    let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
    println!("| explain --entity | p50 ms | p90 ms |");
    println!("|---|---:|---:|");
    println!("| {} questions | {:.1} | {:.1} |", plan.samples, at(50), at(90));

    let connections = rig.connections().await?;
    println!("| whole stream | search, events/s | bare consumer, events/s | ratio |");
    println!("|---|---:|---:|---:|");
    for round in 1..=plan.rounds {
        let (search, bare) =
            (search_all(&connections, plan.events).await?, count_all(&connections).await?);
        println!("| round {round} | {search:.0} | {bare:.0} | {:.2} |", search / bare);
    }
    rig.stop().await
}

/// Site and entity of an event: in no order, the same in each run.
fn place(plan: &Plan, number: u64) -> (String, String) {
    let site = number % plan.sites;
    let entity = number / plan.sites % plan.entities;
    (format!("site-{site}"), format!("OPS-{entity}"))
}

/// Searches an entity that no event is about; returns events a second.
async fn search_all(connections: &Connections, stored: u64) -> anyhow::Result<f64> {
    let subjects = Subjects::new(rig::PREFIX);
    let streams = ReplayStreamReader::new(connections.control.clone(), subjects, true);
    let reader = EventReader::new(Matcher::default().into(), EVENT_BYTES_MAX, false);
    let search = EventSearch { entity: Some("NONE-1".into()), keep: 1, ..EventSearch::default() };
    let started = clock::tick();
    let report =
        find_events((&streams, &reader), search, Deadline::after(SCAN_MAX), &|_| {}).await?;
    ensure!(report.read == stored, "{} of {stored} events are read", report.read);
    rate(report.read, started)
}

/// Counts the messages of the stream by a consumer without acknowledgements; returns messages a second.
async fn count_all(connections: &Connections) -> anyhow::Result<f64> {
    let stream = Subjects::new(rig::PREFIX).events_stream();
    let stream = connections.control.context.get_stream(stream).await?;
    let wanted = stream.cached_info().state.messages;
    let config = pull::Config {
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::None,
        memory_storage: true,
        inactive_threshold: Duration::from_secs(60),
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await?;
    let started = clock::tick();
    let mut messages = consumer.stream().max_messages_per_batch(PULL_BATCH).messages().await?;
    for _ in 0..wanted {
        messages.next().await.context("the consumer ended")??;
    }
    rate(wanted, started)
}

#[expect(clippy::cast_precision_loss, reason = "a number of events")]
fn rate(count: u64, started: std::time::Instant) -> anyhow::Result<f64> {
    let seconds = clock::since(started).as_secs_f64();
    ensure!(count > 0 && seconds > 0.0, "nothing was read");
    Ok(count as f64 / seconds)
}

impl Plan {
    fn read(args: &[String]) -> anyhow::Result<Self> {
        let mut plan =
            Self { events: 1_000_000, sites: 1_000, entities: 50, samples: 51, rounds: 3 };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
            match arg.as_str() {
                // `cargo bench` adds it.
                "--bench" => {}
                "--events" => plan.events = value()?.parse()?,
                "--sites" => plan.sites = value()?.parse()?,
                "--entities" => plan.entities = value()?.parse()?,
                "--samples" => plan.samples = value()?.parse()?,
                "--rounds" => plan.rounds = value()?.parse()?,
                other => anyhow::bail!("unknown argument {other}"),
            }
        }
        ensure!(plan.sites > 0 && plan.entities > 0, "--sites and --entities are at least 1");
        ensure!(plan.events >= plan.sites * plan.entities, "each entity has an event");
        Ok(plan)
    }
}
