//! The table: microseconds per event by peer and number of filters, with derived figures.

use std::collections::BTreeMap;
use std::fmt;

/// The measurements of one peer at one size.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cell {
    /// Number of filters that it can express.
    pub(crate) share: f64,
    /// Per event.
    pub(crate) nanoseconds: f64,
    /// Live bytes per filter.
    pub(crate) bytes: f64,
    /// Events whose results were compared with ours.
    pub(crate) compared: usize,
}

/// All measurements.
pub(crate) struct Report {
    names: Vec<&'static str>,
    /// By number of filters.
    sizes: BTreeMap<usize, Size>,
}

struct Size {
    /// V: nanoseconds that `serde_json` takes to check that an event is JSON.
    validation: f64,
    /// Bytes of an event.
    bytes: f64,
    /// By peer.
    cells: BTreeMap<usize, Cell>,
}

impl Report {
    pub(crate) fn new(names: Vec<&'static str>) -> Self {
        Self { names, sizes: BTreeMap::new() }
    }

    pub(crate) fn size(&mut self, filters: usize, validation: f64, bytes: f64) {
        self.sizes.insert(filters, Size { validation, bytes, cells: BTreeMap::new() });
    }

    pub(crate) fn cell(&mut self, filters: usize, peer: usize, cell: Cell) {
        if let Some(size) = self.sizes.get_mut(&filters) {
            size.cells.insert(peer, cell);
        }
    }

    /// Name, and number of filters with nanoseconds per event, of V and of each peer.
    pub(crate) fn curves(&self) -> Vec<(&'static str, Vec<(f64, f64)>)> {
        let validation = self.sizes.iter().map(|(n, size)| (*n as f64, size.validation)).collect();
        let of = |peer: usize| {
            let cells = self.sizes.iter().filter_map(|(n, s)| Some((*n, s.cells.get(&peer)?)));
            cells.map(|(n, cell)| (n as f64, cell.nanoseconds)).collect()
        };
        let peers = self.names.iter().enumerate().map(|(peer, name)| (*name, of(peer)));
        peers.chain([("V: is it JSON? (serde_json)", validation)]).collect()
    }

    fn row(
        &self,
        f: &mut fmt::Formatter<'_>,
        name: &str,
        cell: impl Fn(&Size) -> Option<String>,
    ) -> fmt::Result {
        write!(f, "| {name} |")?;
        for size in self.sizes.values() {
            write!(f, " {} |", cell(size).as_deref().unwrap_or("-"))?;
        }
        writeln!(f)
    }

    fn head(&self, f: &mut fmt::Formatter<'_>, title: &str) -> fmt::Result {
        writeln!(f)?;
        write!(f, "| {title} |")?;
        for filters in self.sizes.keys() {
            write!(f, " {filters} |")?;
        }
        writeln!(f, "\n|---|{}", "--:|".repeat(self.sizes.len()))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# The matcher and others of its kind\n")?;
        writeln!(f, "{}. `make bench-peers` repeats it.\n", machine())?;
        writeln!(
            f,
            "One thread, from the bytes of a JSON event to its matches; medians of rounds that \
             alternate in one run. Peers are used through their public interfaces with default \
             settings; filters that they cannot express are left out."
        )?;
        self.head(f, "us per event, by filters")?;
        for (peer, name) in self.names.iter().enumerate() {
            self.row(f, name, |size| {
                Some(format!("{:.1}", size.cells.get(&peer)?.nanoseconds / 1e3))
            })?;
        }
        self.row(f, "V", |size| Some(format!("{:.2}", size.validation / 1e3)))?;
        self.head(f, "times V")?;
        for (peer, name) in self.names.iter().enumerate() {
            self.row(f, name, |size| {
                Some(figure(size.cells.get(&peer)?.nanoseconds / size.validation))
            })?;
        }
        self.head(f, "times switchyard")?;
        for (peer, name) in self.names.iter().enumerate().skip(1) {
            self.row(f, name, |size| {
                Some(figure(size.cells.get(&peer)?.nanoseconds / size.cells.get(&0)?.nanoseconds))
            })?;
        }
        self.head(f, "events/s of one core (MB/s)")?;
        for (peer, name) in self.names.iter().enumerate() {
            self.row(f, name, |size| {
                let time = size.cells.get(&peer)?.nanoseconds;
                Some(format!("{:.0} ({})", 1e9 / time, figure(size.bytes / time * 1e3)))
            })?;
        }
        self.head(f, "live bytes per filter")?;
        for (peer, name) in self.names.iter().enumerate() {
            self.row(f, name, |size| Some(format!("{:.0}", size.cells.get(&peer)?.bytes)))?;
        }
        self.head(f, "% of the filters expressed; events compared")?;
        for (peer, name) in self.names.iter().enumerate() {
            self.row(f, name, |size| {
                let cell = size.cells.get(&peer)?;
                Some(format!("{:.0}; {}", cell.share * 100.0, cell.compared))
            })?;
        }
        self.goals(f)
    }
}

impl Report {
    /// The targets of the matcher against its peers.
    fn goals(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        let goals =
            [("a-tree", 1_000, 3.0), ("a-tree", 100_000, 150.0), ("wirefilter", 100_000, 500.0)];
        for (peer, filters, goal) in goals {
            let ratio = || {
                let at = self.names.iter().position(|name| name.starts_with(peer))?;
                let cells = &self.sizes.get(&filters)?.cells;
                Some(cells.get(&at)?.nanoseconds / cells.get(&0)?.nanoseconds)
            };
            if let Some(ratio) = ratio() {
                let verdict = if ratio >= goal { "holds" } else { "missed" };
                writeln!(
                    f,
                    "- {peer} at {filters} filters: {} times as long (must {goal}: {verdict})",
                    figure(ratio)
                )?;
            }
        }
        Ok(())
    }
}

/// Two significant digits.
fn figure(value: f64) -> String {
    if value < 10.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}

/// Date, processor and load.
fn machine() -> String {
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let model =
        processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or("?").to_owned();
    let day = switchyard::clock::now().to_string();
    format!("{}, {model}, {cores} cores, load {load}", day.get(..10).unwrap_or_default())
}
