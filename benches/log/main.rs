//! Measures questions about the delivery log, when it is large.
//!
//! Fills a real broker with records of many sites and entities, one in 50 of them failed, indexes them, then
//! asks through the reader of the API. The records of seven days are stored in minutes, so the time after which
//! an event is over is shorter in the same ratio. Figures are times in milliseconds, and ratios to *one message*: a
//! direct get of one record by its sequence, in the same run. Arguments: `--records N` (10,000,000),
//! `--samples N`, `--sites N`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use async_nats::jetstream::stream::Stream;
use switchyard::bus::{
    Connections, DeliveryLogStreamReader, LogIndexer, ManagedServer, Subjects, streams,
};
use switchyard::clock;
use switchyard::config::Config;
use switchyard::delivery::{
    CHUNK_RECORDS, DeliveryLogReader, EventKey, INDEX_BUCKETS, LogQuery, LogResult, OutcomeFilter,
    bucket,
};
use switchyard::domain::CloudId;

/// Entities of a site.
const ENTITIES: u64 = 5_000;
/// Every so many-th record is a failure.
const FAILED_EVERY: u64 = 50;
/// Answers of a page.
const PAGE: usize = 50;
/// Publishes between two looks at what is stored.
const CHUNK: u64 = 100_000;
/// Size limit of the streams on disk.
const FILE_BYTES_MAX: u64 = 24 << 30;
/// How long the log keeps records, and how long after its last record an event is over: by default.
const LOG_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
const EVENT_OVER_AFTER: Duration = Duration::from_secs(120);
/// Site whose records are at the very beginning of the log.
const OLD_SITE: &str = "site-old";

/// A question for the number of a sample.
type Question = Box<dyn Fn(u64) -> LogQuery>;

struct Plan {
    records: u64,
    samples: usize,
    sites: u64,
}

/// Where one record is.
struct Place {
    site: CloudId,
    entity: String,
    event: String,
    is_failed: bool,
}

fn main() -> anyhow::Result<()> {
    let plan = Plan::read(&std::env::args().skip(1).collect::<Vec<_>>())?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(plan))
}

async fn run(plan: Plan) -> anyhow::Result<()> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut config = Config::defaults()?;
    config.delivery.log_bytes_max = 16 << 30;
    let folder = tempfile::tempdir()?;
    let server = ManagedServer::start(folder.path(), &binaries(), FILE_BYTES_MAX).await?;
    config.nats = server.client_config(&config.nats);
    let connections = Connections::open(&config.nats, &config.nats.url).await?;
    let subjects = Subjects::new(&config.nats.prefix);
    let control = &connections.control;
    streams::ensure(control, &subjects, &config.nats, &config.events, &config.delivery).await?;
    let stream = control.context.get_stream(subjects.log_stream()).await?;
    let filled = clock::tick();
    fill(&plan, &connections, &subjects, &stream).await?;
    let seconds = clock::since(filled).as_secs_f64();
    let state =
        control.context.get_stream(subjects.log_stream()).await?.cached_info().state.clone();
    println!(
        "{} records, {} bytes, {} subjects, stored in {seconds:.0} s",
        state.messages, state.bytes, state.subjects_count
    );

    let over_after = EVENT_OVER_AFTER.mul_f64(seconds / LOG_AGE.as_secs_f64());
    let reader = DeliveryLogStreamReader::new(control.clone(), subjects.clone())
        .with_event_over_after(over_after);
    let filled = clock::tick();
    index(&plan, &connections, &subjects, &config).await?;
    let seconds = clock::since(filled).as_secs_f64();
    let name = subjects.log_index_stream();
    let state = control.context.get_stream(name).await?.cached_info().state.clone();
    println!(
        "index: {} messages, {} bytes, written in {seconds:.0} s",
        state.messages, state.bytes
    );
    let one = measure(plan.samples, async |number| {
        let step = plan.records / u64::try_from(plan.samples)?.max(1);
        let sequence = 1 + (u64::try_from(number)? * step) % plan.records;
        stream.direct_get(sequence).await.map(|_| 1).context("one message")
    })
    .await?;
    println!("| question | p50 ms | p90 ms | p50 / one message | answers | records read |");
    println!("|---|---:|---:|---:|---:|---:|");
    report("one message", &one, one.p50);
    for (name, query) in questions(&plan) {
        let times = measure_query(&reader, &plan, &query).await?;
        report(name, &times, one.p50);
    }
    measure_histories(&plan, &stream, &reader, one.p50).await?;
    server.stop().await;
    Ok(())
}

/// Asks for the histories of single events, new and old.
async fn measure_histories(
    plan: &Plan,
    stream: &Stream,
    reader: &DeliveryLogStreamReader,
    one_ms: f64,
) -> anyhow::Result<()> {
    for (name, age) in
        [("history of a new event", 0), ("history of an old event", plan.records / 2)]
    {
        let times = measure(plan.samples, async |number| {
            let number = plan.records - 1 - age - u64::try_from(number)? * 7;
            let place = place(number, plan.sites);
            let stored = stream.direct_get(number + 1).await?.time;
            let stored_ms = i64::try_from(stored.unix_timestamp_nanos() / 1_000_000)?;
            let key = EventKey {
                site: place.site,
                id: place.event.as_str().into(),
                entity: Some(place.entity.into()),
                stored_ms: Some(stored_ms - 5),
            };
            let history = reader.history(&key).await?;
            ensure!(
                history.items.len() == 1,
                "{} deliveries of event {number}",
                history.items.len()
            );
            Ok(history.scanned)
        })
        .await?;
        report(name, &times, one_ms);
    }
    Ok(())
}

/// Indexes all full chunks of the log.
async fn index(
    plan: &Plan,
    connections: &Connections,
    subjects: &Subjects,
    config: &Config,
) -> anyhow::Result<()> {
    let control = connections.control.clone();
    let indexer = LogIndexer::new(control.clone(), subjects.clone(), config.clone());
    let indexer = tokio::spawn(indexer.without_pauses().run());
    // The last chunk is full once there is a record after it.
    let wanted = plan.records / CHUNK_RECORDS * u64::from(INDEX_BUCKETS);
    loop {
        let found = control.context.get_stream(subjects.log_index_stream()).await;
        if found.is_ok_and(|stream| stream.cached_info().state.messages >= wanted) {
            break;
        }
        ensure!(!indexer.is_finished(), "the indexer ended");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    indexer.abort();
    Ok(())
}

/// The questions, each for a number: samples ask for different sites and entities.
fn questions(plan: &Plan) -> Vec<(&'static str, Question)> {
    let (records, sites) = (plan.records, plan.sites);
    let recent = move |number: u64| place(records - 1 - number * 13, sites);
    vec![
        ("newest of all", Box::new(|_| LogQuery::default())),
        (
            "a site",
            Box::new(move |n| LogQuery { site: Some(recent(n).site), ..LogQuery::default() }),
        ),
        (
            "an entity",
            Box::new(move |n| {
                let place = recent(n);
                let entity = Some(place.entity.into());
                LogQuery { site: Some(place.site), entity, ..LogQuery::default() }
            }),
        ),
        (
            "an event",
            Box::new(move |n| {
                let place = recent(n);
                let (entity, event) =
                    (Some(place.entity.into()), Some(place.event.as_str().into()));
                LogQuery { site: Some(place.site), entity, event, ..LogQuery::default() }
            }),
        ),
        (
            "failures",
            Box::new(|_| LogQuery { outcome: Some(OutcomeFilter::Failed), ..LogQuery::default() }),
        ),
        (
            "failures of a site",
            Box::new(move |n| LogQuery {
                site: Some(recent(n).site),
                outcome: Some(OutcomeFilter::Failed),
                ..LogQuery::default()
            }),
        ),
        (
            "a site without new records",
            Box::new(|_| LogQuery { site: Some(OLD_SITE.into()), ..LogQuery::default() }),
        ),
        (
            "an entity without new records",
            Box::new(|_| LogQuery {
                site: Some(OLD_SITE.into()),
                entity: Some("OLD-1".into()),
                ..LogQuery::default()
            }),
        ),
        (
            "a site without any",
            Box::new(|_| LogQuery { site: Some("site-none".into()), ..LogQuery::default() }),
        ),
    ]
}

/// Where record `number` is: sites and entities in no order, the same in each run.
fn place(number: u64, sites: u64) -> Place {
    if number < 10 {
        let (site, entity) = (OLD_SITE.into(), "OLD-1".to_owned());
        return Place { site, entity, event: format!("event-{number}"), is_failed: false };
    }
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    Place {
        site: format!("site-{}", mixed % sites).as_str().into(),
        entity: format!("OPS-{}", mixed / sites % ENTITIES),
        event: format!("event-{number}"),
        is_failed: number.is_multiple_of(FAILED_EVERY),
    }
}

async fn fill(
    plan: &Plan,
    connections: &Connections,
    subjects: &Subjects,
    stream: &Stream,
) -> anyhow::Result<()> {
    let client = &connections.control.client;
    for number in 0..plan.records {
        let place = place(number, plan.sites);
        let Place { site, entity, event, is_failed } = &place;
        let result = if *is_failed { LogResult::Failed } else { LogResult::Ok };
        let outcome = if *is_failed {
            r#""outcome":"dead","why":"rejected_4xx","attempt":1,"class":"4xx","status":404,"blame":"receiver","took_ms":12.3"#
        } else {
            r#""outcome":"delivered","attempt":1,"class":"2xx","status":204,"took_ms":12.3,"phases_ms":{"queue":0.1,"first_byte":11.9}"#
        };
        let body = format!(
            r#"{{"v":1,"event":{{"id":"{event}","site":"{}","type":"avi:jira:updated:issue","entity":"{entity}","sequence":{number},"stored_ms":1790000000000}},"router":"0123456789ab","started_ms":1790000000000,"source":"event","deliveries":[{{"installation":"installation-{}","key":"trigger","revision":7,"from":"new",{outcome}}}]}}"#,
            site.as_str(),
            site.as_str(),
        );
        let subject = subjects.log_record(result, site, bucket(Some(entity), event));
        client.publish(subject, body.into()).await?;
        if (number + 1).is_multiple_of(CHUNK) || number + 1 == plan.records {
            client.flush().await?;
            until_stored(stream, number + 1).await?;
        }
    }
    Ok(())
}

/// Waits until the stream has `count` records: publishes are not confirmed one by one.
async fn until_stored(stream: &Stream, count: u64) -> anyhow::Result<()> {
    for _ in 0..6_000 {
        if stream.get_info().await?.state.messages >= count {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    anyhow::bail!("the broker does not have {count} records")
}

#[derive(Debug)]
struct Times {
    p50: f64,
    p90: f64,
    answers: usize,
    read: u64,
}

async fn measure_query(
    reader: &DeliveryLogStreamReader,
    plan: &Plan,
    query: &dyn Fn(u64) -> LogQuery,
) -> anyhow::Result<Times> {
    let mut answers = 0;
    let times = measure(plan.samples, async |number| {
        let page = reader.list(&query(u64::try_from(number)?), None, PAGE).await?;
        answers = answers.max(page.items.len());
        Ok(page.scanned)
    })
    .await?;
    Ok(Times { answers, ..times })
}

async fn measure(
    samples: usize,
    mut ask: impl AsyncFnMut(usize) -> anyhow::Result<u64>,
) -> anyhow::Result<Times> {
    let mut times = Vec::new();
    let mut read = 0;
    for number in 0..samples {
        let start = clock::tick();
        read = read.max(ask(number).await?);
        times.push(clock::since(start).as_secs_f64() * 1_000.0);
    }
    times.sort_by(f64::total_cmp);
    let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
    Ok(Times { p50: at(50), p90: at(90), answers: 1, read })
}

fn report(name: &str, times: &Times, one: f64) {
    let Times { p50, p90, answers, read } = times;
    println!("| {name} | {p50:.2} | {p90:.2} | {:.0} | {answers} | {read} |", p50 / one);
}

fn binaries() -> Vec<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "a bench has no configuration")]
    let named = std::env::var("NATS_SERVER").ok().map(PathBuf::from);
    let pinned = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.tools/nats/bin/nats-server"));
    named.into_iter().chain([pinned]).collect()
}

impl Plan {
    fn read(args: &[String]) -> anyhow::Result<Self> {
        let mut plan = Self { records: 10_000_000, samples: 21, sites: 200 };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
            match arg.as_str() {
                // `cargo bench` adds it.
                "--bench" => {}
                "--records" => plan.records = value()?.parse()?,
                "--samples" => plan.samples = value()?.parse()?,
                "--sites" => plan.sites = value()?.parse()?,
                other => anyhow::bail!("unknown argument {other}"),
            }
        }
        ensure!(plan.records >= 10_000, "--records is at least 10000");
        Ok(plan)
    }
}
