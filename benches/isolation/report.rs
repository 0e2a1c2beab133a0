//! The figures as a table and as a record in `benches/record/`.

use std::fmt;
use std::path::Path;

use switchyard::clock;

use crate::load::Part;
use crate::process::Peak;

/// The figures of one scenario.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) quiet: Part,
    pub(crate) loaded: Part,
    pub(crate) usage: Peak,
    pub(crate) outcomes: String,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (quiet, loaded, usage) = (&self.quiet, &self.loaded, &self.usage);
        write!(f, "| {} | {} |", self.name, loaded.count())?;
        for share in [500, 990] {
            let (before, now) = (quiet.latency_ms(share), loaded.latency_ms(share));
            write!(f, " {before:.1} | {now:.1} | {:.2} |", now / before)?;
        }
        write!(f, " {:.0} | {} |", loaded.latency_ms(1_000), loaded.missing)?;
        let (before, now) = (quiet.direct_ms(990), loaded.direct_ms(990));
        write!(f, " {before:.1} | {now:.1} | {:.2} |", now / before)?;
        write!(f, " {:.0} % | {:.0} % |", quiet.busy * 100.0, loaded.busy * 100.0)?;
        write!(f, " {} | {} |", usage.sockets_before, usage.sockets_max)?;
        let mb = |kb: u64| kb.div_ceil(1_024);
        write!(f, " {} | {} |", mb(usage.memory_before_kb), mb(usage.memory_max_kb))
    }
}

/// All figures of a run.
pub(crate) struct Report {
    load_before: String,
    rows: Vec<Row>,
}

impl Report {
    pub(crate) fn start() -> Self {
        Self { load_before: load_average(), rows: Vec::new() }
    }

    pub(crate) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Writes the figures with date and machine.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let day = clock::now().strftime("%Y-%m-%d");
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let head = format!(
            "{cores} cores, load average {} before, {} at the end.",
            self.load_before,
            load_average()
        );
        Ok(std::fs::write(path, format!("# Isolation, {day}\n\n{head}\n\n{self}"))?)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| next to | deliveries | p50, quiet | p50 | ratio | p99, quiet | p99 | ratio | longest \
             | missing | direct p99, quiet | direct p99 | ratio | machine busy, quiet | busy | sockets before | most | MB before | most |"
        )?;
        writeln!(f, "|---|{}", "---:|".repeat(18))?;
        for row in &self.rows {
            writeln!(f, "{row}")?;
        }
        writeln!(f, "\nDeliveries of each scenario, those of the healthy included:\n")?;
        for row in &self.rows {
            writeln!(f, "- {}: {}.", row.name, row.outcomes)?;
        }
        let parts = || self.rows.iter().flat_map(|row| [&row.quiet, &row.loaded]);
        let repeats: usize = parts().map(|part| part.repeats).sum();
        let late = parts().map(|part| part.publisher_late_us).max().unwrap_or(0);
        writeln!(
            f,
            "\n{repeats} healthy deliveries came twice. The publisher of the bench was at most \
             {late} µs late in 99 % of its events."
        )
    }
}

/// The one-minute load average of the machine. What this bench does not explain is other work.
fn load_average() -> String {
    let Ok(text) = std::fs::read_to_string("/proc/loadavg") else { return "unknown".to_owned() };
    text.split(' ').next().unwrap_or_default().to_owned()
}
