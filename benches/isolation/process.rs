//! Sockets and memory of the router, and processor time of the machine, as the kernel reports them.

use std::convert::Infallible;
use std::fs;
use std::time::Duration;

use anyhow::{Context, ensure};

/// Pause between two counts of open sockets.
const SAMPLE: Duration = Duration::from_millis(100);

/// Watches the most that a process uses.
pub(crate) struct PeakUsage {
    pid: u32,
    before: Usage,
    sockets_max: usize,
}

/// Sockets and resident memory of a process.
#[derive(Clone, Copy)]
struct Usage {
    sockets: usize,
    memory_kb: u64,
}

/// What a process used before, and at most.
pub(crate) struct Peak {
    pub(crate) sockets_before: usize,
    pub(crate) sockets_max: usize,
    pub(crate) memory_before_kb: u64,
    pub(crate) memory_max_kb: u64,
}

impl PeakUsage {
    /// Starts to watch a process: its peak is now what it uses at this moment.
    pub(crate) fn start(pid: u32) -> anyhow::Result<Self> {
        // 5 resets the peak of the resident memory (proc(5)).
        fs::write(format!("/proc/{pid}/clear_refs"), "5")?;
        let before = Usage { sockets: sockets(pid)?, memory_kb: memory_kb(pid, "VmRSS:")? };
        Ok(Self { pid, before, sockets_max: before.sockets })
    }

    /// Counts sockets until the future is dropped.
    pub(crate) async fn watch(&mut self) -> anyhow::Result<Infallible> {
        loop {
            self.sockets_max = self.sockets_max.max(sockets(self.pid)?);
            tokio::time::sleep(SAMPLE).await;
        }
    }

    pub(crate) fn finish(self) -> anyhow::Result<Peak> {
        Ok(Peak {
            sockets_before: self.before.sockets,
            sockets_max: self.sockets_max,
            memory_before_kb: self.before.memory_kb,
            memory_max_kb: memory_kb(self.pid, "VmHWM:")?,
        })
    }
}

fn sockets(pid: u32) -> anyhow::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        // A descriptor may be closed between the two calls.
        let target = fs::read_link(entry?.path());
        count += usize::from(target.is_ok_and(|target| {
            target.to_str().is_some_and(|target| target.starts_with("socket:"))
        }));
    }
    Ok(count)
}

fn memory_kb(pid: u32, name: &str) -> anyhow::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).context("no such figure")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Processor time of all processes since the machine started, in ticks.
pub(crate) struct MachineTime {
    idle: u64,
    all: u64,
}

impl MachineTime {
    pub(crate) fn read() -> anyhow::Result<Self> {
        let text = fs::read_to_string("/proc/stat")?;
        let ticks: Vec<u64> = text
            .lines()
            .next()
            .into_iter()
            .flat_map(str::split_whitespace)
            .filter_map(|field| field.parse().ok())
            .collect();
        ensure!(ticks.len() >= 5, "/proc/stat has another form");
        // Idle, and waiting for a disk.
        let idle = ticks.iter().skip(3).take(2).sum();
        // Guest time is part of user time.
        Ok(Self { idle, all: ticks.iter().take(8).sum() })
    }

    /// Part of the time that all cores worked.
    #[expect(clippy::cast_precision_loss, reason = "ticks of seconds")]
    pub(crate) fn busy_since(&self, earlier: &Self) -> f64 {
        let (idle, all) = (self.idle - earlier.idle, (self.all - earlier.all).max(1));
        1.0 - idle as f64 / all as f64
    }
}
