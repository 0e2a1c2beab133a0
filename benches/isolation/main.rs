//! Measures what others do to the deliveries of healthy installations.
//!
//! 50 healthy installations receive events at a fixed rate, whatever the router does (open loop).
//! The latency of a delivery is the time from its publication until its handler has received it.
//! Each scenario has a broker and a router of its own: first it is *quiet*, then the culprit starts:
//!
//! 1. *hanging*: the handler of one app, in 100 installations, accepts requests and never answers.
//! 2. *wide-slow*: 5 events match 2,000 installations each, whose handlers take a second.
//! 3. *full*: one tenant has filled the parking stream and the dead-letter stream as far as shares
//!    allow, and its deliveries continue to fail.
//! 4. *wider*: an event every few seconds matches 10,000 installations, whose handlers answer at
//!    once.
//! 5. *costly*: an installation has 100 filters of some 50,000 steps; 800 events of its site at once,
//!    and then 50 a second.
//! 6. *flood*: 10,000 events a second of one site, which no filter matches.
//! 7. *flood-matched*: the same, each with a delivery. That is more than one router on two cores does, so
//!    it measures what a backlog in the stream does to others.
//! 8. *replay*: an installation has a million stored events replayed, at 50 deliveries a second, which is the
//!    default.
//! 9. *replay-fast*: the same at 1,000 a second, the most that a job may have.
//! 10. *backtest*: a filter is tried on a million stored events, again and again.
//! 11. *nothing*: no culprit. Its ratio is the noise of the machine.
//!
//! The figures are ratios of the measured to the quiet part. With each healthy event, a request is
//! sent to the same process without a broker or a router: *direct* is what the machine alone delays,
//! since router, broker, publisher and handlers share its cores. Sockets and memory are those of the
//! router process. `make bench` runs it. Arguments: `--quick` (a smoke test), `--only NAME`,
//! `--record FILE`.

mod culprit;
mod handlers;
mod load;
mod process;
mod report;
mod rig;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use switchyard::clock;

use crate::culprit::Culprit;
use crate::load::HealthyLoad;
use crate::process::PeakUsage;
use crate::report::{Report, Row};
use crate::rig::Rig;

/// Time of the healthy load before the first measurement: connections are made.
const WARM_UP: Duration = Duration::from_secs(2);

/// The sizes of the measurements.
struct Plan {
    /// Length of the quiet part.
    quiet: Duration,
    /// Length of the part with the culprit.
    loaded: Duration,
    /// Divisor of the widths of the culprits.
    divisor: usize,
    only: Option<String>,
    record: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == handlers::FLAG) {
        return handlers::serve();
    }
    let plan = Plan::read(&args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut report = Report::start();
    runtime.block_on(async {
        tokio::select! {
            measured = measure(&plan, &mut report) => measured,
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
        }
    })?;
    println!("{report}");
    match &plan.record {
        Some(path) => report.write(path),
        None => Ok(()),
    }
}

async fn measure(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    for culprit in Culprit::all(plan.divisor) {
        if plan.only.as_ref().is_some_and(|only| only != culprit.name) {
            continue;
        }
        let row = scenario(plan, &culprit).await.context(culprit.name)?;
        eprintln!("{row}");
        report.add(row);
    }
    Ok(())
}

async fn scenario(plan: &Plan, culprit: &Culprit) -> anyhow::Result<Row> {
    let started = clock::tick();
    let rig = Rig::start(culprit).await?;
    let mut load = HealthyLoad::default();
    load.run(&rig, WARM_UP).await?;
    eprintln!("{}: ready after {:.1} s", culprit.name, clock::since(started).as_secs_f64());
    let quiet = load.run(&rig, plan.quiet).await?;
    culprit.prepare(&rig).await?;
    let mut usage = PeakUsage::start(rig.router_pid()?)?;
    let loaded = tokio::select! {
        loaded = load.run(&rig, plan.loaded) => loaded?,
        failed = culprit.run(&rig) => failed.map(|never| match never {})?,
        failed = usage.watch() => failed.map(|never| match never {})?,
    };
    let usage = usage.finish()?;
    let outcomes = rig.outcomes().await?;
    rig.stop().await?;
    Ok(Row { name: culprit.name, quiet, loaded, usage, outcomes })
}

impl Plan {
    fn read(args: &[String]) -> anyhow::Result<Self> {
        let mut plan = Self {
            quiet: Duration::from_secs(10),
            loaded: Duration::from_secs(20),
            divisor: 1,
            only: None,
            record: None,
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
            match arg.as_str() {
                // `cargo bench` adds it.
                "--bench" => {}
                "--quick" => {
                    (plan.quiet, plan.loaded) = (Duration::from_secs(2), Duration::from_secs(3));
                    plan.divisor = 10;
                }
                "--only" => plan.only = Some(value()?.clone()),
                "--record" => plan.record = Some(value()?.into()),
                other => anyhow::bail!("unknown argument {other}"),
            }
        }
        Ok(plan)
    }
}
