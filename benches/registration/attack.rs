//! Filters that cost as much to index as the language allows, and what registering and switching
//! them costs the registrations of other sites.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use switchyard::clock;
use switchyard::domain::{InstallationId, ModuleKey};
use switchyard::registry::ModuleStatus;

use crate::world::World;

/// Modules of the attacking installation.
const MODULES: usize = 100;

/// A kind of costly filter.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attack {
    /// 480 equalities joined by `||`, each on a name that no other filter reads.
    OwnNames,
    /// 64 equalities of this kind: as many paths as the index takes of a filter.
    OwnNamesWithinBound,
    /// A list of 1,150 constants that no other filter contains.
    LongLists,
}

impl Attack {
    pub(crate) const ALL: [Self; 3] = [Self::OwnNames, Self::OwnNamesWithinBound, Self::LongLists];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OwnNames => "480 equalities on own names",
            Self::OwnNamesWithinBound => "64 equalities on own names",
            Self::LongLists => "lists of 1,150 constants",
        }
    }

    /// Filter number `at`.
    fn filter(self, at: usize) -> String {
        let join = |count: usize, term: &dyn Fn(usize) -> String, by: &str| {
            (at * count..(at + 1) * count).map(term).collect::<Vec<_>>().join(by)
        };
        match self {
            Self::OwnNames => join(480, &|n| format!("event.a{n:05}=='x'"), "||"),
            Self::OwnNamesWithinBound => join(64, &|n| format!("event.b{n:05}=='x'"), "||"),
            Self::LongLists => {
                let list = join(1150, &|n| format!("'{n:05x}'"), ",");
                format!("[{list}].includes(event.issue.key)")
            }
        }
    }

    fn modules(self) -> Vec<Value> {
        let module = |at: usize| {
            json!({"type": "trigger", "key": format!("m{at}"), "data": {"endpoint": "hook",
                "events": ["avi:jira:created:issue"],
                "filter": {"expression": self.filter(at)}}})
        };
        (0..MODULES).map(module).collect()
    }
}

/// What an attack cost.
#[derive(Debug)]
pub(crate) struct Cost {
    /// CPU time of the process, with two replicas, per replica.
    pub(crate) batch_cpu: Duration,
    /// Wall time until the response.
    pub(crate) batch: Duration,
    /// CPU time of one switch per replica.
    pub(crate) toggle_cpu: Duration,
    pub(crate) toggles: usize,
    pub(crate) index_bytes: usize,
    /// Times of registrations of other sites: alone and under the attack.
    pub(crate) quiet: [Vec<Duration>; 2],
    pub(crate) attacked: [Vec<Duration>; 2],
}

/// Runs an attack on `world` and measures `samples` registrations of other sites before and
/// while one module is switched without pause.
pub(crate) async fn run(world: &World, attack: Attack, samples: usize) -> anyhow::Result<Cost> {
    let name = format!("attacker-{attack:?}");
    let token = world.provision_one(&name).await?;
    let quiet = world.registrations(samples).await?;
    let (before, bytes_before) = (cpu_time()?, world.index_bytes());
    let start = clock::tick();
    world.register_items(&token, &attack.modules()).await?;
    let batch = clock::since(start);
    world.wait_until_equal().await?;
    let batch_cpu = (cpu_time()? - before) / 2;
    let index_bytes = world.index_bytes() - bytes_before;
    let installation = InstallationId::from(name);
    let is_done = AtomicBool::new(false);
    let toggles = AtomicUsize::new(0);
    let toggle = async {
        let key = ModuleKey::from("m0");
        let statuses = [ModuleStatus::Paused, ModuleStatus::On];
        for status in statuses.iter().cycle().take_while(|_| !is_done.load(Relaxed)) {
            // Refused while the replica is behind: the next attempt follows at once.
            if world.set_status(&installation, &key, *status).await.is_ok() {
                toggles.fetch_add(1, Relaxed);
            }
        }
    };
    let measured = async {
        let attacked = world.registrations(samples).await;
        is_done.store(true, Relaxed);
        attacked
    };
    let (_, attacked) = tokio::join!(toggle, measured);
    let attacked = attacked?;
    // Alone, since the registrations of others cost CPU time as well.
    world.wait_until_equal().await?;
    let before = cpu_time()?;
    for status in [ModuleStatus::Paused, ModuleStatus::On] {
        world.set_status(&installation, &ModuleKey::from("m0"), status).await?;
    }
    world.wait_until_equal().await?;
    let toggle_cpu = (cpu_time()? - before) / 4;
    let toggles = toggles.load(Relaxed);
    Ok(Cost { batch_cpu, batch, toggle_cpu, toggles, index_bytes, quiet, attacked })
}

/// CPU time of this process so far, in clock ticks of 10 ms.
fn cpu_time() -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("/proc/self/stat")?;
    let fields = stat.rsplit(") ").next().context("fields of stat")?.split(' ');
    let ticks: u64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}
