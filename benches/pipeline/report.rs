//! The figures as a table and as a record in `benches/record/`.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use switchyard::clock;

/// Measures time, and processor time of one process or of two.
#[derive(Clone, Copy)]
pub(crate) struct Stopwatch {
    /// `None` is this process.
    pid: Option<u32>,
    /// Counts in addition.
    other: Option<u32>,
    started: Instant,
    started_ticks: u64,
    ticks: u64,
    took: Duration,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self::start_for(None, None)
    }

    /// Measures the processor time of this process and of another one together.
    pub(crate) fn start_with(other: u32) -> Self {
        Self::start_for(None, Some(other))
    }

    /// Measures the processor time of another process.
    pub(crate) fn start_of(pid: u32) -> Self {
        Self::start_for(Some(pid), None)
    }

    fn start_for(pid: Option<u32>, other: Option<u32>) -> Self {
        let (started, ticks, took) = (clock::tick(), 0, Duration::ZERO);
        let watch = Self { pid, other, started, started_ticks: 0, ticks, took };
        Self { started_ticks: watch.ticks_now(), ..watch }
    }

    fn ticks_now(&self) -> u64 {
        cpu_ticks(self.pid) + self.other.map_or(0, |other| cpu_ticks(Some(other)))
    }

    pub(crate) fn stop(self) -> Self {
        Self { took: clock::since(self.started), ..self.with_processor_time_until_now() }
    }

    /// Adds the processor time since the watch was stopped.
    pub(crate) fn with_processor_time_until_now(self) -> Self {
        Self { ticks: self.ticks_now().saturating_sub(self.started_ticks), ..self }
    }
}

/// Hundredths of a second of processor time, user and system, that a process used; 0 if unknown.
fn cpu_ticks(pid: Option<u32>) -> u64 {
    let process = pid.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
    let Ok(text) = std::fs::read_to_string(format!("/proc/{process}/stat")) else { return 0 };
    let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

/// Events/s and processor time per event of one side in one round.
#[derive(Clone, Copy)]
struct Figures {
    rate: f64,
    cpu_us: f64,
}

impl Figures {
    #[expect(clippy::cast_precision_loss, reason = "counts of a bench")]
    fn new(count: usize, watch: Stopwatch) -> Self {
        let count = count as f64;
        let rate = count / watch.took.as_secs_f64();
        Self { rate, cpu_us: watch.ticks as f64 * 10_000.0 / count }
    }
}

/// Two ways to do the same work, measured alternately.
pub(crate) struct Contest {
    name: &'static str,
    unit: &'static str,
    bare_name: &'static str,
    ours_name: &'static str,
    bare: Vec<Figures>,
    ours: Vec<Figures>,
}

impl Contest {
    pub(crate) fn new(
        name: &'static str,
        unit: &'static str,
        bare_name: &'static str,
        ours_name: &'static str,
    ) -> Self {
        Self { name, unit, bare_name, ours_name, bare: Vec::new(), ours: Vec::new() }
    }

    /// Adds one round of both sides.
    pub(crate) fn round(&mut self, count: usize, bare: Stopwatch, ours: Stopwatch) {
        let (bare, ours) = (Figures::new(count, bare), Figures::new(count, ours));
        let (ours_us, bare_us) = (ours.cpu_us, bare.cpu_us);
        eprintln!(
            "{}: {:.0} of {:.0} {}, processor time {ours_us:.0} of {bare_us:.0} us",
            self.name, ours.rate, bare.rate, self.unit
        );
        self.bare.push(bare);
        self.ours.push(ours);
    }

    fn ratios(&self, of: impl Fn(&Figures) -> f64) -> Vec<f64> {
        self.ours.iter().zip(&self.bare).map(|(ours, bare)| of(ours) / of(bare)).collect()
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// All figures of a run.
#[derive(Default)]
pub(crate) struct Report {
    contests: Vec<Contest>,
    notes: Vec<String>,
}

impl Report {
    pub(crate) fn add(&mut self, contest: Contest) {
        self.contests.push(contest);
    }

    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Writes the figures with date and machine.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let day = clock::now().strftime("%Y-%m-%d");
        let text = format!("# Pipeline, {day}\n\n{}\n\n{self}", machine());
        Ok(std::fs::write(path, text)?)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | bare | | ours | | ours/bare | range | CPU/event, ours : bare |")?;
        writeln!(f, "|---|---|---:|---|---:|---:|---|---:|")?;
        for contest in &self.contests {
            let rate = |side: &[Figures]| median(side.iter().map(|side| side.rate).collect());
            let ratios = contest.ratios(|side| side.rate);
            let lowest = ratios.iter().copied().fold(f64::INFINITY, f64::min);
            let highest = ratios.iter().copied().fold(0.0, f64::max);
            writeln!(
                f,
                "| {} ({}) | {} | {:.0} | {} | {:.0} | {:.2} | {lowest:.2}-{highest:.2} | {:.2} |",
                contest.name,
                contest.unit,
                contest.bare_name,
                rate(&contest.bare),
                contest.ours_name,
                rate(&contest.ours),
                median(ratios),
                median(contest.ratios(|side| side.cpu_us)),
            )?;
        }
        for note in &self.notes {
            writeln!(f, "\n{note}.")?;
        }
        Ok(())
    }
}

/// Cores, processor and memory.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_else(|error| error.to_string());
    let value = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':')).map_or("?".into(), |(_, v)| v.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let (processor, memory) =
        (value(&read("/proc/cpuinfo"), "model name"), value(&read("/proc/meminfo"), "MemTotal"));
    format!("{cores} cores, {processor}, {memory} of memory; other processes ran at the same time.")
}
