//! Compares the matcher with other matchers: the same filters, translated to the language of each,
//! the same events, one run with alternating rounds, and every result compared with ours.
//! `make bench-peers` prints the table, writes it with machine and date, and draws the plot.

mod a_tree;
mod cel;
mod facts;
mod javascript;
#[path = "../../matcher/measure.rs"]
#[allow(dead_code, reason = "the bench of the matcher uses the rest")]
mod measure;
mod ours;
mod plot;
mod report;
mod wirefilter;
#[path = "../../matcher/workload.rs"]
#[allow(dead_code, reason = "the bench of the matcher uses the rest")]
mod workload;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use switchyard::clock;

use measure::{live_bytes, median};
use report::{Cell, Report};
use workload::{FilterSpec, Random, event, projects};

#[global_allocator]
static ALLOCATOR: measure::Counting = measure::Counting;

/// A matcher: finds which of its filters match an event.
trait Peer {
    /// The timed call: appends the numbers of the matching filters in any order, or produces the
    /// same result in its own form.
    fn matches(&mut self, event: &'static [u8], found: &mut Vec<u32>);

    /// The compared call: as `matches`, but always with numbers.
    fn answers(&mut self, event: &'static [u8], found: &mut Vec<u32>) {
        self.matches(event, found);
    }

    /// Bytes that it allocates outside of the counted heap.
    fn foreign_bytes(&self) -> usize {
        0
    }
}

/// A peer and how to construct it.
struct Contender {
    name: &'static str,
    /// Filters that it cannot express are left out, which makes it faster.
    expresses: fn(FilterSpec) -> bool,
    /// Limit of filters: more take minutes.
    most: usize,
    build: fn(&[(u32, FilterSpec)]) -> Box<dyn Peer>,
}

const CONTENDERS: [Contender; 6] = [
    Contender {
        name: "switchyard",
        expresses: |_| true,
        most: 1_000_000,
        build: |filters| Box::new(ours::Ours::new(filters, false)),
    },
    Contender {
        name: "switchyard, to deliveries",
        expresses: |_| true,
        most: 1_000_000,
        build: |filters| Box::new(ours::Ours::new(filters, true)),
    },
    Contender {
        name: "a-tree",
        expresses: |spec| !matches!(spec, FilterSpec::Word(_)),
        most: 100_000,
        build: |filters| Box::new(a_tree::Tree::new(filters)),
    },
    Contender {
        name: "wirefilter, evaluate all",
        expresses: |spec| !matches!(spec, FilterSpec::Moved { .. }),
        most: 100_000,
        build: |filters| Box::new(wirefilter::All::new(filters)),
    },
    Contender {
        name: "QuickJS, evaluate all",
        expresses: |_| true,
        most: 100_000,
        build: |filters| Box::new(javascript::All::new(filters)),
    },
    Contender {
        name: "cel, evaluate all",
        expresses: |_| true,
        most: 100_000,
        build: |filters| Box::new(cel::All::new(filters)),
    },
];

/// Different events of one size.
const EVENTS: usize = 1_000;
/// Rounds of each contender; odd, so that one of them is the median.
const ROUNDS: usize = 7;
/// Minimum duration of a round.
const ROUND_MIN: Duration = Duration::from_millis(30);
/// Time for comparing the answers of one contender at one size.
const COMPARED: Duration = Duration::from_secs(2);

const USAGE: &str = "\
make bench-peers [PEERS=\"[--most N] [--record FILE] [--plot FILE]\"]

  --most N       the most filters, 100 to 1000000 (1000000)
  --record FILE  also write the table there
  --plot FILE    also draw time against filters there, as SVG";

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (mut most, mut record, mut plot) = (1_000_000, None, None);
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), arguments.next()) {
            ("--most", Some(n)) => most = n.parse().expect("a number"),
            ("--record", file @ Some(_)) => record = file,
            ("--plot", file @ Some(_)) => plot = file,
            _ => return println!("{USAGE}"),
        }
    }
    let sizes: Vec<usize> = (2..=6).map(|power| 10_usize.pow(power)).collect();
    let sizes: Vec<usize> = sizes.into_iter().filter(|size| *size <= most).collect();
    let mut report = Report::new(CONTENDERS.map(|contender| contender.name).to_vec());
    for size in sizes {
        measure_size(size, &mut report);
    }
    let text = report.to_string();
    println!("{text}");
    if let Some(file) = record {
        std::fs::write(&file, text).expect("a file to write to");
    }
    if let Some(file) = plot {
        std::fs::write(&file, plot::draw(&report)).expect("a file to write to");
    }
}

/// Measures all contenders that support `size` filters.
fn measure_size(size: usize, report: &mut Report) {
    let filters = filters(size);
    let events = events(size);
    let mut peers: Vec<(usize, Box<dyn Peer>, Cell)> = Vec::new();
    for (at, contender) in CONTENDERS.iter().enumerate().filter(|(_, c)| size <= c.most) {
        let own: Vec<_> =
            filters.iter().copied().filter(|(_, spec)| (contender.expresses)(*spec)).collect();
        let (before, start) = (live_bytes(), clock::tick());
        let peer = (contender.build)(&own);
        let build = clock::since(start);
        let bytes = live_bytes().saturating_sub(before) + peer.foreign_bytes();
        let share = own.len() as f64 / size as f64;
        eprintln!("{size} filters: {} built in {build:.1?}", contender.name);
        peers.push((
            at,
            peer,
            Cell { share, bytes: bytes as f64 / own.len() as f64, ..Cell::default() },
        ));
    }
    compare_answers(&filters, &events, &mut peers);
    let mut times = vec![Vec::new(); peers.len()];
    let mut validation = Vec::new();
    let mut found = Vec::new();
    for _ in 0..ROUNDS {
        validation.push(round(&events, |event| {
            black_box(serde_json::from_slice::<serde::de::IgnoredAny>(event).is_ok());
        }));
        for ((_, peer, _), times) in peers.iter_mut().zip(&mut times) {
            times.push(round(&events, |event| {
                found.clear();
                peer.matches(event, &mut found);
                black_box(&found);
            }));
        }
    }
    let bytes = events.iter().map(|event| event.len()).sum::<usize>() as f64 / events.len() as f64;
    report.size(size, median(validation), bytes);
    for ((at, _, cell), times) in peers.into_iter().zip(times) {
        report.cell(size, at, Cell { nanoseconds: median(times), ..cell });
    }
}

/// The filters with their numbers.
fn filters(size: usize) -> Vec<(u32, FilterSpec)> {
    let mut random = Random(1);
    (0..size as u32)
        .map(|number| (number, FilterSpec::random(&mut random, projects(size))))
        .collect()
}

/// Events of the filters' projects. They live as long as the program, since some peers tie the
/// lifetime of an event's values to that of their filters.
fn events(size: usize) -> Vec<&'static [u8]> {
    let mut random = Random(7);
    let projects = projects(size);
    let one = |_| {
        let project = format!("P{}", random.below(projects));
        let body = event(&mut random, &project, projects * 4, 0);
        &*Box::leak(body.to_vec().into_boxed_slice())
    };
    (0..EVENTS).map(one).collect()
}

/// Panics unless each contender matches the same filters as the first, of those it can express.
fn compare_answers(
    filters: &[(u32, FilterSpec)],
    events: &[&'static [u8]],
    peers: &mut [(usize, Box<dyn Peer>, Cell)],
) {
    let Some(((_, ours, _), others)) = peers.split_first_mut() else { return };
    let specs: Arc<[FilterSpec]> = filters.iter().map(|(_, spec)| *spec).collect();
    for (at, peer, cell) in others {
        let contender = &CONTENDERS[*at];
        let start = clock::tick();
        for event in events {
            let (mut expected, mut found) = (Vec::new(), Vec::new());
            ours.answers(event, &mut expected);
            expected.retain(|number| (contender.expresses)(specs[*number as usize]));
            peer.answers(event, &mut found);
            expected.sort_unstable();
            found.sort_unstable();
            assert_eq!(
                expected,
                found,
                "{} differs on {}",
                contender.name,
                String::from_utf8_lossy(event)
            );
            cell.compared += 1;
            if clock::since(start) > COMPARED {
                break;
            }
        }
    }
}

/// Nanoseconds per call over one round.
fn round(events: &[&'static [u8]], mut call: impl FnMut(&'static [u8])) -> f64 {
    let start = clock::tick();
    for (calls, event) in events.iter().cycle().enumerate() {
        call(event);
        let taken = clock::since(start);
        if taken >= ROUND_MIN {
            return taken.as_secs_f64() * 1e9 / (calls + 1) as f64;
        }
    }
    unreachable!("there are events")
}
