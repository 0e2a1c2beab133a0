//! Compares registration through the Forge API with its minimum work: a compare-and-set of the
//! document at the same broker.
//!
//! 1. *one by one*: each installation registers its modules, one request per module.
//! 2. *batch*: the same number of modules, one request per installation.
//! 3. *visible*: with all of them loaded, the time of one more registration until the matcher of
//!    this replica has it (then the response is sent), and until that of another replica has it.
//! 4. *attack*: the same while another site switches a module whose index costs as much as it can.
//!
//! `make bench` runs it. Arguments: `--installations N`, `--modules N`, `--samples N`,
//! `--only-attack`, `--record FILE`.

mod attack;
mod forge_client;
mod world;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use switchyard::clock;

use crate::attack::Attack;
use crate::world::World;

/// Requests at once.
const CLIENTS: usize = 16;
/// Share of the installations for which plain writes are measured: their time does not depend on
/// the number of installations.
const BARE_SHARE: usize = 10;

/// The sizes of the measurements.
#[derive(Clone, Debug)]
struct Plan {
    installations: usize,
    modules: usize,
    samples: usize,
    only_attack: bool,
    record: Option<PathBuf>,
}

impl Plan {
    fn read(args: &[String]) -> anyhow::Result<Self> {
        let value = |name: &str| {
            let at = args.iter().position(|arg| arg == name)?;
            args.get(at + 1).cloned()
        };
        let number = |name: &str, default| match value(name) {
            Some(text) => text.parse().with_context(|| format!("{name} {text}")),
            None => Ok(default),
        };
        Ok(Self {
            installations: number("--installations", 1000)?,
            modules: number("--modules", 100)?,
            samples: number("--samples", 2000)?,
            only_attack: args.iter().any(|arg| arg == "--only-attack"),
            record: value("--record").map(PathBuf::from),
        })
    }
}

fn main() -> anyhow::Result<()> {
    let plan = Plan::read(&std::env::args().skip(1).collect::<Vec<_>>())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let before = load();
    let text = runtime.block_on(measure(&plan))?;
    let load = format!("load average: {before} before, {} at the end", load());
    println!("{load}\n\n{text}");
    match &plan.record {
        Some(path) => {
            let day = clock::now().strftime("%Y-%m-%d");
            let cores = std::thread::available_parallelism().map_or(0, usize::from);
            let head = format!("{cores} cores, {load}; `make bench` repeats it.");
            Ok(std::fs::write(path, format!("# Registration, {day}\n\n{head}\n\n{text}"))?)
        }
        None => Ok(()),
    }
}

/// The one-minute load average of the machine. What this bench does not explain is other work.
fn load() -> String {
    let Ok(text) = std::fs::read_to_string("/proc/loadavg") else { return "unknown".to_owned() };
    text.split(' ').next().unwrap_or_default().to_owned()
}

async fn measure(plan: &Plan) -> anyhow::Result<String> {
    let world = World::start(plan.installations * 2).await?;
    let mut text = match plan.only_attack {
        true => String::new(),
        false => compare_with_writes(&world, plan).await?,
    };
    attacks(&world, plan, &mut text).await?;
    world.stop().await;
    Ok(text)
}

/// Measures what an attack costs the registrations of other sites.
async fn attacks(world: &World, plan: &Plan, text: &mut String) -> anyhow::Result<()> {
    let samples = (plan.samples / 4).max(1);
    writeln!(
        text,
        "\n{samples} registrations of other sites, while one site with 100 costly filters switches \
        a module without pause, ms:\n"
    )?;
    let head = "batch CPU | batch | switch CPU | switches | index MiB";
    writeln!(
        text,
        "| filters | {head} | quiet p50 / p99 | attacked p50 / p99 / longest | at \
        another replica p50 / p99 / longest |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    )?;
    for attack in Attack::ALL {
        let mut cost = attack::run(world, attack, samples).await?;
        let ms = |took: Duration| took.as_secs_f64() * 1e3;
        let [quiet, _] = &mut cost.quiet;
        let [answered, seen] = &mut cost.attacked;
        [&mut *quiet, &mut *answered, &mut *seen].into_iter().for_each(|took| took.sort());
        writeln!(
            text,
            "| {} | {:.0} | {:.0} | {:.1} | {} | {:.1} | {:.1} / {:.1} | {:.1} / {:.1} / {:.1} | \
            {:.1} / {:.1} / {:.1} |",
            attack.name(),
            ms(cost.batch_cpu),
            ms(cost.batch),
            ms(cost.toggle_cpu),
            cost.toggles,
            mebibytes(cost.index_bytes),
            at(quiet, 500),
            at(quiet, 990),
            at(answered, 500),
            at(answered, 990),
            at(answered, 1000),
            at(seen, 500),
            at(seen, 990),
            at(seen, 1000),
        )?;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "bytes of a bench")]
fn mebibytes(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The time of sorted ones that this share of them, in thousandths, does not exceed, in ms.
fn at(took: &[Duration], share: usize) -> f64 {
    let place = (took.len() * share / 1000).min(took.len().saturating_sub(1));
    took.get(place).map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
}

async fn compare_with_writes(world: &World, plan: &Plan) -> anyhow::Result<String> {
    let mut text =
        String::from("| what | bare writes/s | ours/s | ours/bare |\n|---|---:|---:|---:|\n");
    let singles = plan.installations * plan.modules;

    let bare_of = (plan.installations / BARE_SHARE).max(1);
    let one_by_one: Vec<usize> = (1..=plan.modules).collect();
    let bare = rate(bare_of * plan.modules, world.write_bare(bare_of, &one_by_one).await?);
    let ours = rate(singles, world.register(0..plan.installations, plan.modules).await?);
    row(&mut text, &format!("{singles} modules, one by one"), bare, ours)?;

    let batches = plan.installations..plan.installations * 2;
    let bare = rate(bare_of, world.write_bare(bare_of, &[plan.modules]).await?);
    let ours = rate(plan.installations, world.register_batches(batches, plan.modules).await?);
    row(&mut text, &format!("{} batches of {}", plan.installations, plan.modules), bare, ours)?;

    let seen = world.visibility(plan.samples, plan.installations, plan.modules).await?;
    let (loaded, samples) = (singles * 2, plan.samples);
    writeln!(
        text,
        "\nWith {loaded} triggers loaded, {samples} registrations one after the other, ms:\n"
    )?;
    writeln!(text, "| until | median | p99 | longest |\n|---|---:|---:|---:|")?;
    for (name, mut took) in seen {
        took.sort();
        let [median, p99, longest] = [500, 990, 1000].map(|share| at(&took, share));
        writeln!(text, "| {name} | {median:.1} | {p99:.1} | {longest:.1} |")?;
    }
    Ok(text)
}

#[expect(clippy::cast_precision_loss, reason = "counts of a bench")]
fn rate(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

fn row(text: &mut String, name: &str, bare: f64, ours: f64) -> anyhow::Result<()> {
    eprintln!("{name}: {ours:.0} of {bare:.0} a second");
    Ok(writeln!(text, "| {name} | {bare:.0} | {ours:.0} | {:.2} |", ours / bare)?)
}
