//! Measures in alternating rounds, returns medians, and counts heap allocations.

#![expect(unsafe_code, reason = "the interface of a global allocator is unsafe")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use switchyard::clock;

/// Counts allocations of the system allocator.
pub(crate) struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        LIVE_BYTES.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller upholds the contract of the system allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller upholds the contract of the system allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

pub(crate) fn allocations() -> u64 {
    ALLOCATIONS.load(Relaxed)
}

pub(crate) fn live_bytes() -> usize {
    LIVE_BYTES.load(Relaxed)
}

/// Rounds of each contender; odd, so that one of them is the median.
const ROUNDS: usize = 9;
/// Minimum duration of a round.
const ROUND_MIN: Duration = Duration::from_millis(40);

/// Returns the median time of one call of `a` and of `b` in nanoseconds, in rounds that alternate.
/// Each is called with rising numbers.
pub(crate) fn compare(mut a: impl FnMut(usize), mut b: impl FnMut(usize)) -> (f64, f64) {
    let (mut of_a, mut of_b) = (Vec::new(), Vec::new());
    round(&mut a);
    round(&mut b);
    for _ in 0..ROUNDS {
        of_a.push(round(&mut a));
        of_b.push(round(&mut b));
    }
    (median(of_a), median(of_b))
}

fn round(call: &mut impl FnMut(usize)) -> f64 {
    let start = clock::tick();
    let mut calls = 0;
    loop {
        for _ in 0..16 {
            call(calls);
            calls += 1;
        }
        let taken = clock::since(start);
        if taken >= ROUND_MIN {
            return taken.as_secs_f64() * 1e9 / calls as f64;
        }
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Returns the word for a goal that is reached or missed.
pub(crate) fn verdict(holds: bool) -> &'static str {
    if holds { "holds" } else { "missed" }
}

/// The measurements of one workload; sums are over all its events.
pub(crate) struct Outcome {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
    pub(crate) matches: usize,
    pub(crate) candidates: usize,
    pub(crate) allocations: u64,
    /// Nanoseconds per event: the check by `serde_json`, and matching.
    pub(crate) v: f64,
    pub(crate) ours: f64,
    /// The ratio to V up to deliveries, if it was measured.
    pub(crate) delivered: Option<f64>,
}

/// Prints the head of the table.
pub(crate) fn print_head() {
    println!(
        "| workload | matches | candidates | V us | us | x V | must | stretch | events/s | MB/s | allocations | x V to deliveries |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
}

impl Outcome {
    /// Prints a row of the table. `goal` has the ratio to V that is required, and the one that
    /// would be excellent.
    pub(crate) fn print(&self, name: &str, goal: Option<(f64, f64)>) {
        let ratio = self.ours / self.v;
        let held = |goal: f64| format!("{goal} {}", verdict(ratio <= goal));
        let (must, stretch) =
            goal.map(|(must, stretch)| (held(must), held(stretch))).unwrap_or_default();
        let each = |sum: f64| sum / self.events as f64;
        println!(
            "| {name} | {:.1} | {:.0} | {:.2} | {:.2} | {ratio:.2} | {must} | {stretch} | {:.0} | {:.0} | {:.1} | {} |",
            each(self.matches as f64),
            each(self.candidates as f64),
            self.v / 1e3,
            self.ours / 1e3,
            1e9 / self.ours,
            each(self.bytes as f64) / self.ours * 1e3,
            each(self.allocations as f64),
            self.delivered.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
        );
    }
}
