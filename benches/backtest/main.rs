//! Measures backtests against a bare consumer of the same events.
//!
//! Stores events of one site, one in ten of another site between them, in a real broker. Then, in turns: a
//! consumer that pulls the events of the site and does nothing with them, and backtests of filters on
//! them through the code of the API. Figures are events a second, the median of the rounds, and
//! the ratio to the bare consumer of the same run. What a backtest does to live events is measured by
//! `benches/isolation` (`--only backtest`). Arguments: `--events N` (1,000,000), `--rounds N` (3).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::stream::Stream;
use futures_util::StreamExt;
use switchyard::bus::{Connections, ManagedServer, ReplayStreamReader, Subjects, streams};
use switchyard::clock;
use switchyard::config::Config;
use switchyard::domain::{AppId, CloudId};
use switchyard::matcher::{EventConditions, EventSubscription, Matcher};
use switchyard::recovery::backtest::{BacktestQuery, BacktestTurns, TestedFilter, backtest};
use switchyard::recovery::explain::{Deadline, OwnedSubscriber};
use switchyard::recovery::replay::{EventReader, StartAt};
use switchyard_expr::{CheckProfile, compile};

const SITE: &str = "site-1";
const EVENT_TYPE: &str = "avi:jira:updated:issue";
/// Every so many-th event is of another site.
const OTHER_EVERY: u64 = 10;
/// Publishes between two looks at what is stored.
const CHUNK: u64 = 20_000;
/// Size limit of the streams on disk.
const FILE_BYTES_MAX: u64 = 24 << 30;
/// Bodies of events, one a line.
const BODIES: &str = include_str!("../data/issues.ndjson");
/// Filters that are tried, with the one that each is compared with, if there is one.
const FILTERS: [(&str, &str, Option<&str>); 3] = [
    ("true for all", "true", None),
    (
        "two fields",
        "event.issue.fields.priority.name == 'High' && event.issue.fields.labels.length > 0",
        None,
    ),
    (
        "two fields, compared",
        "event.issue.fields.priority.name == 'High' && event.issue.fields.labels.length > 0",
        Some("event.issue.fields.priority.name == 'High'"),
    ),
];

struct Plan {
    events: u64,
    rounds: usize,
}

/// What is measured.
struct Rig {
    stream: Stream,
    reader: ReplayStreamReader,
    events: EventReader,
    filter: String,
}

fn main() -> anyhow::Result<()> {
    let plan = Plan::read(&std::env::args().skip(1).collect::<Vec<_>>())?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(plan))
}

async fn run(plan: Plan) -> anyhow::Result<()> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut config = Config::defaults()?;
    config.events.max_bytes = 16 << 30;
    let folder = tempfile::tempdir()?;
    let server = ManagedServer::start(folder.path(), &binaries(), FILE_BYTES_MAX).await?;
    config.nats = server.client_config(&config.nats);
    let connections = Connections::open(&config.nats, &config.nats.url).await?;
    let subjects = Subjects::new(&config.nats.prefix);
    let control = &connections.control;
    streams::ensure(control, &subjects, &config.nats, &config.events, &config.delivery).await?;
    let stream = control.context.get_stream(subjects.events_stream()).await?;
    // A backtest asks where the routers are.
    let router = pull::Config { durable_name: Some("router".to_owned()), ..Default::default() };
    stream.create_consumer(router).await?;
    let wanted = fill(&plan, &connections, &stream).await?;
    eprintln!("{} events stored", plan.events);
    let site = CloudId::from(SITE);
    let rig = Rig {
        filter: subjects.stored_events_of(&site),
        stream,
        reader: ReplayStreamReader::new(control.clone(), subjects, false),
        events: EventReader::new(Arc::new(Matcher::default()), 1 << 20, false),
    };
    let mut bare = Vec::new();
    let mut tried = FILTERS.map(|_| Vec::new());
    for _ in 0..plan.rounds {
        bare.push(consume(&rig, wanted).await?);
        eprintln!("consumed");
        for ((_, filter, current), rates) in FILTERS.iter().zip(&mut tried) {
            rates.push(try_filter(&rig, wanted, filter, *current).await?);
        }
    }
    let bare = median(&mut bare);
    println!("{wanted} events of the site\n");
    println!("| | events a second | to the bare consumer |\n|---|---:|---:|");
    println!("| bare consumer | {bare:.0} | 1.00 |");
    for ((name, ..), mut rates) in FILTERS.iter().zip(tried) {
        let rate = median(&mut rates);
        println!("| {name} | {rate:.0} | {:.2} |", rate / bare);
    }
    server.stop().await;
    Ok(())
}

/// Stores the events; returns how many are of the site.
async fn fill(plan: &Plan, connections: &Connections, stream: &Stream) -> anyhow::Result<u64> {
    let bodies: Vec<&str> = BODIES.lines().filter(|line| !line.is_empty()).collect();
    let client = &connections.control.client;
    let mut wanted = 0;
    for (number, body) in (0..plan.events).zip(bodies.iter().cycle()) {
        let is_other = number.is_multiple_of(OTHER_EVERY);
        let site = if is_other { "site-2" } else { SITE };
        wanted += u64::from(!is_other);
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("ce-specversion", "1.0");
        headers.insert("ce-id", format!("event-{number}").as_str());
        headers.insert("ce-type", EVENT_TYPE);
        headers.insert("ce-cloudid", site);
        let subject = format!("sw.in.{site}.{EVENT_TYPE}.-");
        client.publish_with_headers(subject, headers, (*body).into()).await?;
        if (number + 1).is_multiple_of(CHUNK) || number + 1 == plan.events {
            client.flush().await?;
            until_stored(stream, number + 1).await?;
        }
    }
    Ok(wanted)
}

/// Waits until the stream has `count` events: publishes are not confirmed one by one.
async fn until_stored(stream: &Stream, count: u64) -> anyhow::Result<()> {
    for _ in 0..6_000 {
        if stream.get_info().await?.state.messages >= count {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    anyhow::bail!("the broker does not have {count} events")
}

/// Pulls all events of the site; returns how many a second.
async fn consume(rig: &Rig, wanted: u64) -> anyhow::Result<f64> {
    let bare = pull::Config {
        ack_policy: AckPolicy::None,
        filter_subject: rig.filter.clone(),
        ..Default::default()
    };
    let started = clock::tick();
    let consumer = rig.stream.create_consumer(bare).await?;
    let messages = consumer.stream().max_messages_per_batch(1_000).messages().await?;
    let mut messages = messages.take(usize::try_from(wanted)?);
    let mut seen = 0;
    while let Some(message) = messages.next().await {
        message?;
        seen += 1;
    }
    ensure!(seen == wanted, "the consumer got {seen} of {wanted} events");
    rate(wanted, clock::since(started))
}

/// Runs a backtest on all events of the site; returns how many a second.
async fn try_filter(
    rig: &Rig,
    wanted: u64,
    filter: &str,
    current: Option<&str>,
) -> anyhow::Result<f64> {
    let subscriber = OwnedSubscriber {
        app: AppId::from(""),
        app_account_id: None,
        is_licensed: true,
        permissions: None,
    };
    let query = BacktestQuery {
        site: Some(SITE.into()),
        from: StartAt::Sequence(1),
        until_ms: None,
        events_max: u64::MAX,
        tried: TestedFilter::OfTypes(vec![subscribed(filter)?]),
        current: current.map(|filter| subscribed(filter).map(|one| vec![one])).transpose()?,
        subscriber: Arc::new(subscriber),
    };
    let turns = Arc::new(BacktestTurns::default());
    let turn = turns.take(query.site.as_ref(), Duration::from_secs(1)).await.context("a turn")?;
    let deadline = Deadline::after(Duration::from_secs(3_600));
    let report = backtest((&rig.reader, &rig.events), query, (deadline, turn), &|_| {}).await?;
    ensure!(report.counts.events == wanted, "{} of {wanted} events", report.counts.events);
    ensure!(report.counts.unreadable == 0, "{} events are not readable", report.counts.unreadable);
    rate(wanted, report.took)
}

fn subscribed(filter: &str) -> anyhow::Result<EventSubscription> {
    let compiled = compile(filter, CheckProfile::Filter);
    let compiled = compiled.map_err(|rejected| anyhow::anyhow!("{filter}: {rejected:?}"))?;
    Ok(EventSubscription {
        conditions: Arc::new(EventConditions::unconditional(EVENT_TYPE.into())),
        program: Some(Arc::new(compiled.program)),
    })
}

#[expect(clippy::cast_precision_loss, reason = "counts of which a ratio is shown")]
fn rate(events: u64, took: Duration) -> anyhow::Result<f64> {
    Ok(events as f64 / took.as_secs_f64())
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or(f64::NAN)
}

fn binaries() -> Vec<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "a bench has no configuration")]
    let named = std::env::var("NATS_SERVER").ok().map(PathBuf::from);
    let pinned = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.tools/nats/bin/nats-server"));
    named.into_iter().chain([pinned]).collect()
}

impl Plan {
    fn read(args: &[String]) -> anyhow::Result<Self> {
        let mut plan = Self { events: 1_000_000, rounds: 3 };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
            match arg.as_str() {
                // `cargo bench` adds it.
                "--bench" => {}
                "--events" => plan.events = value()?.parse()?,
                "--rounds" => plan.rounds = value()?.parse()?,
                other => anyhow::bail!("unknown argument {other}"),
            }
        }
        ensure!(plan.events >= 1_000 && plan.rounds > 0, "--events is at least 1000");
        Ok(plan)
    }
}
