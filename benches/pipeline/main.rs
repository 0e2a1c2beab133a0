//! Compares the router with the minimum work of any router, in one run.
//!
//! 1. *intake*: a loop that only pulls and acknowledges events, against the router with filters
//!    that do not match.
//! 2. *delivery*: a client that only posts the bodies, against the router with one subscription
//!    to every event.
//! 3. *log*: the router with the delivery log, against the router without it, for events with one
//!    delivery and with ten; the processor time is that of the router and the broker.
//! 4. *ingest*: publishing with the memory of ids and its recorder, against publishing without.
//! 5. *webhook*: signed webhooks over HTTP to a router with the memory of ids, against one without;
//!    the processor time is that of the router.
//! 6. *observed*: a router that is scraped each second while `tail` and `top` are open, against the same one
//!    alone; the processor time is that of the router.
//! 7. *match*: bytes to matches on one thread, and the tape alone, against parsing the same bytes
//!    with `serde_json` into nothing (`IgnoredAny`).
//!
//! Figures of a shared machine vary, so both sides of a ratio are measured alternately, and the
//! ratio is the median over the rounds. `make bench` runs it. Arguments: `--rounds N`, `--events N`,
//! `--deliveries N`, `--webhooks N`, `--observed N`, `--only-webhooks`, `--only-log`, `--only-observed`,
//! `--record FILE`.

mod baseline;
mod corpus;
mod matching;
mod observed;
mod report;
mod rig;
mod router_process;
mod sink;
mod webhooks;

use std::path::PathBuf;

use anyhow::Context;

use crate::report::{Contest, Report, Stopwatch};
use crate::rig::{Rig, Wanted};

/// The sizes of the measurements.
struct Plan {
    rounds: usize,
    events: usize,
    deliveries: usize,
    webhooks: usize,
    /// Events of a round with observers.
    observed: u64,
    only_webhooks: bool,
    only_observed: bool,
    record: Option<PathBuf>,
    /// Measures the delivery log only.
    only_log: bool,
}

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == sink::FLAG) {
        return sink::serve();
    }
    let plan = Plan::read(&args)?;
    let mut report = Report::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let is_whole = !plan.only_webhooks && !plan.only_log && !plan.only_observed;
    if !plan.only_webhooks && !plan.only_observed {
        if !plan.only_log {
            matching::measure(plan.rounds, &mut report)?;
        }
        runtime.block_on(pipeline(&plan, &mut report))?;
    }
    if is_whole || plan.only_webhooks {
        runtime.block_on(webhooks::measure(plan.rounds, plan.webhooks, &mut report))?;
    }
    if is_whole || plan.only_observed {
        runtime.block_on(observed::measure(plan.rounds, plan.observed, &mut report))?;
    }
    println!("{report}");
    match &plan.record {
        Some(path) => report.write(path),
        None => Ok(()),
    }
}

async fn pipeline(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let rig = Rig::start().await?;
    let measured = tokio::select! {
        measured = async {
            if !plan.only_log {
                ingest(&rig, plan, report).await?;
                intake(&rig, plan, report).await?;
                delivery(&rig, plan, report).await?;
            }
            log(&rig, plan, report, ("log, 1 delivery", 1)).await?;
            log(&rig, plan, report, ("log, 10 deliveries", 10)).await
        } => measured,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    rig.stop().await;
    measured
}

async fn intake(rig: &Rig, plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    rig.publish(plan.events).await?;
    let matcher = corpus::matcher_that_matches_nothing()?;
    let mut contest = Contest::new("intake", "events/s", "pull + ack", "router, 1,000 filters");
    for _ in 0..plan.rounds {
        let bare = baseline::pull_and_ack(rig, plan.events).await?;
        let ours = rig.run_router(matcher.clone(), None).await?;
        contest.round(plan.events, bare, ours);
    }
    report.add(contest);
    Ok(())
}

async fn ingest(rig: &Rig, plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let mut contest = Contest::new("ingest", "events/s", "publish", "publish, ids remembered");
    for _ in 0..plan.rounds {
        let bare = rig.publish_forgotten(plan.events).await?;
        let ours = rig.publish_remembered(plan.events).await?;
        contest.round(plan.events, bare, ours);
    }
    report.add(contest);
    Ok(())
}

async fn delivery(rig: &Rig, plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    rig.publish(plan.deliveries).await?;
    let sink = sink::Process::start().await?;
    let mut contest = Contest::new("delivery", "posts/s", "post", "router, one subscription");
    let parked_before = rig.parked();
    for _ in 0..plan.rounds {
        let bare = baseline::post(rig, &sink, plan.deliveries).await?;
        let subscriptions = [corpus::subscription_to_all(1, sink.url("/hook")?)];
        let (events, subscriptions) = (plan.deliveries, &subscriptions);
        let (has_log, counts_broker) = (false, false);
        let wanted = Wanted { subscriptions, events, has_log, counts_broker };
        let ours = run_with(rig, wanted).await?;
        contest.round(plan.deliveries, bare, ours);
    }
    let parked = rig.parked() - parked_before;
    report.add(contest);
    let all = plan.deliveries * plan.rounds;
    report.note(format!("{parked} of {all} deliveries were parked"));
    sink.stop().await
}

/// Measures what the delivery log costs at so many deliveries of an event.
async fn log(
    rig: &Rig,
    plan: &Plan,
    report: &mut Report,
    (name, matches): (&'static str, usize),
) -> anyhow::Result<()> {
    let events = plan.deliveries / matches;
    rig.publish(events).await?;
    let sink = sink::Process::start().await?;
    let mut contest = Contest::new(name, "events/s", "router, log off", "router, log on");
    for round in 0..plan.rounds {
        let run = async |has_log| {
            let subscriptions = (1..=matches)
                .map(|number| Ok(corpus::subscription_to_all(number, sink.url("/hook")?)))
                .collect::<anyhow::Result<Vec<_>>>()?;
            let subscriptions = &subscriptions;
            run_with(rig, Wanted { subscriptions, events, has_log, counts_broker: true }).await
        };
        // In turns, since the second of two may find a warmer or a busier machine.
        let (off, on) = match round % 2 {
            0 => (run(false).await?, run(true).await?),
            _ => {
                let on = run(true).await?;
                (run(false).await?, on)
            }
        };
        contest.round(events, off, on);
    }
    report.add(contest);
    sink.stop().await
}

async fn run_with(rig: &Rig, wanted: Wanted<'_>) -> anyhow::Result<Stopwatch> {
    rig.run_router(corpus::matcher_of(wanted.subscriptions), Some(wanted)).await
}

impl Plan {
    fn read(args: &[String]) -> anyhow::Result<Self> {
        let mut plan = Self {
            rounds: 5,
            events: 60_000,
            deliveries: 20_000,
            webhooks: 5_000,
            observed: 40_000,
            only_webhooks: false,
            only_observed: false,
            record: None,
            only_log: false,
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
            match arg.as_str() {
                // `cargo bench` adds it.
                "--bench" => {}
                "--rounds" => plan.rounds = value()?.parse()?,
                "--events" => plan.events = value()?.parse()?,
                "--deliveries" => plan.deliveries = value()?.parse()?,
                "--webhooks" => plan.webhooks = value()?.parse()?,
                "--observed" => plan.observed = value()?.parse()?,
                "--only-observed" => plan.only_observed = true,
                "--only-webhooks" => plan.only_webhooks = true,
                "--only-log" => plan.only_log = true,
                "--record" => plan.record = Some(value()?.into()),
                other => anyhow::bail!("unknown argument {other}"),
            }
        }
        Ok(plan)
    }
}
