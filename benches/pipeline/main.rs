//! Compares the router with the minimum work of any router, in one run.
//!
//! 1. *intake*: a loop that only pulls and acknowledges events, against the router with filters
//!    that do not match.
//! 2. *delivery*: a client that only posts the bodies, against the router with one subscription
//!    to every event.
//! 3. *ingest*: publishing with the memory of ids and its recorder, against publishing without.
//! 4. *webhook*: signed webhooks over HTTP to a router with the memory of ids, against one without;
//!    the processor time is that of the router.
//! 5. *match*: bytes to matches on one thread, and the tape alone, against parsing the same bytes
//!    with `serde_json` into nothing (`IgnoredAny`).
//!
//! Figures of a shared machine vary, so both sides of a ratio are measured alternately, and the
//! ratio is the median over the rounds. `make bench` runs it. Arguments: `--rounds N`, `--events N`,
//! `--deliveries N`, `--webhooks N`, `--only-webhooks`, `--record FILE`.

mod baseline;
mod corpus;
mod matching;
mod report;
mod rig;
mod sink;
mod webhooks;

use std::path::PathBuf;

use anyhow::Context;

use crate::report::{Contest, Report};
use crate::rig::Rig;

/// The sizes of the measurements.
struct Plan {
    rounds: usize,
    events: usize,
    deliveries: usize,
    webhooks: usize,
    only_webhooks: bool,
    record: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == sink::FLAG) {
        return sink::serve();
    }
    let plan = Plan::read(&args)?;
    let mut report = Report::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if !plan.only_webhooks {
        matching::measure(plan.rounds, &mut report)?;
        runtime.block_on(pipeline(&plan, &mut report))?;
    }
    runtime.block_on(webhooks::measure(plan.rounds, plan.webhooks, &mut report))?;
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
            ingest(&rig, plan, report).await?;
            intake(&rig, plan, report).await?;
            delivery(&rig, plan, report).await
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
        let subscription = corpus::subscription_to_all(sink.url("/hook")?);
        let matcher = corpus::matcher_of(&subscription);
        let ours = rig.run_router(matcher, Some((&subscription, plan.deliveries))).await?;
        contest.round(plan.deliveries, bare, ours);
    }
    let parked = rig.parked() - parked_before;
    report.add(contest);
    let all = plan.deliveries * plan.rounds;
    report.note(format!("{parked} of {all} deliveries were parked"));
    sink.stop().await
}

impl Plan {
    fn read(args: &[String]) -> anyhow::Result<Self> {
        let mut plan = Self {
            rounds: 5,
            events: 60_000,
            deliveries: 20_000,
            webhooks: 5_000,
            only_webhooks: false,
            record: None,
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
                "--only-webhooks" => plan.only_webhooks = true,
                "--record" => plan.record = Some(value()?.into()),
                other => anyhow::bail!("unknown argument {other}"),
            }
        }
        Ok(plan)
    }
}
