//! The healthy load: events at a fixed rate to installations in turn, and when they arrived.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use switchyard::clock;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::handlers::read_receipts;
use crate::process::MachineTime;
use crate::rig::Rig;

/// Healthy installations.
pub(crate) const INSTALLATIONS: usize = 50;
/// Events a second, of all healthy installations.
const RATE: u32 = 200;
/// Longest wait for the last event after all were published. What is missing then counts as late.
const GRACE: Duration = Duration::from_secs(20);
/// Pause between two looks at what arrived.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Site of a healthy installation.
pub(crate) fn site(installation: usize) -> String {
    format!("site-{installation}")
}

/// Publishes healthy events with numbers that never repeat.
#[derive(Default)]
pub(crate) struct HealthyLoad {
    next: u64,
}

/// What became of the healthy events of one part of a measurement.
pub(crate) struct Part {
    /// Ascending; an event that did not arrive counts as [`GRACE`].
    latencies_us: Vec<u64>,
    pub(crate) missing: usize,
    pub(crate) repeats: usize,
    /// 99th percentile of how late this program published.
    pub(crate) publisher_late_us: u64,
    /// Ascending; times of requests without a broker or a router.
    direct_us: Vec<u64>,
    /// Part of the processor time of the machine in use, of all processes.
    pub(crate) busy: f64,
}

impl HealthyLoad {
    /// Publishes for `length` and waits until all events have arrived.
    pub(crate) async fn run(&mut self, rig: &Rig, length: Duration) -> anyhow::Result<Part> {
        let count = length.as_secs() * u64::from(RATE);
        let numbers = self.next..self.next + count;
        self.next = numbers.end;
        let machine = MachineTime::read()?;
        let (mut late, mut direct_us) = publish(rig, numbers.clone()).await?;
        let busy = MachineTime::read()?.busy_since(&machine);
        late.sort_unstable();
        direct_us.sort_unstable();

        let (mut first, mut repeats) = (BTreeMap::new(), 0);
        let published = clock::tick();
        while first.len() < late.len() && clock::since(published) < GRACE {
            for receipt in read_receipts(&rig.take_receipts().await?)? {
                ensure!(numbers.contains(&receipt.number), "an event of an earlier part arrived");
                match first.entry(receipt.number) {
                    std::collections::btree_map::Entry::Occupied(_) => repeats += 1,
                    std::collections::btree_map::Entry::Vacant(entry) => {
                        entry.insert(receipt.latency_us);
                    }
                }
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let missing = late.len() - first.len();
        let mut latencies_us: Vec<u64> = first.into_values().collect();
        latencies_us.resize(late.len(), u64::try_from(GRACE.as_micros())?);
        latencies_us.sort_unstable();
        let publisher_late_us = percentile(&late, 990);
        Ok(Part { latencies_us, missing, repeats, publisher_late_us, direct_us, busy })
    }
}

impl Part {
    /// Latency in ms below which `per_mille` of the deliveries are.
    pub(crate) fn latency_ms(&self, per_mille: usize) -> f64 {
        Duration::from_micros(percentile(&self.latencies_us, per_mille)).as_secs_f64() * 1e3
    }

    /// As [`Part::latency_ms`], of requests without a broker or a router.
    pub(crate) fn direct_ms(&self, per_mille: usize) -> f64 {
        Duration::from_micros(percentile(&self.direct_us, per_mille)).as_secs_f64() * 1e3
    }

    pub(crate) fn count(&self) -> usize {
        self.latencies_us.len()
    }
}

fn percentile(ascending: &[u64], per_mille: usize) -> u64 {
    let place = (ascending.len() * per_mille / 1_000).min(ascending.len().saturating_sub(1));
    ascending.get(place).copied().unwrap_or(0)
}

/// Publishes at the fixed rate, and sends a direct request with each event. Returns how late each
/// event was, and how long each request took, in microseconds.
async fn publish(rig: &Rig, numbers: std::ops::Range<u64>) -> anyhow::Result<(Vec<u64>, Vec<u64>)> {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE);
    // What the machine delays is published at once, as independent publishers would.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut late, mut stored, mut direct) = (Vec::new(), JoinSet::new(), JoinSet::new());
    for number in numbers {
        let due = ticks.tick().await;
        late.push(u64::try_from(due.elapsed().as_micros())?);
        let installation = usize::try_from(number)? % INSTALLATIONS;
        stored.spawn(rig.publish(&site(installation), &format!("healthy-{number}"), number));
        direct.spawn(rig.direct());
    }
    while let Some(stored) = stored.join_next().await {
        stored?.context("a healthy event was refused")?;
    }
    let mut took_us = Vec::new();
    while let Some(took) = direct.join_next().await {
        took_us.push(took?.context("a direct request failed")?);
    }
    Ok((late, took_us))
}
