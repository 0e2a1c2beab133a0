//! Decides which redelivered events are examined together, and which are poison. Without I/O.
//!
//! A redelivery says nothing about its cause: the process may have been killed, stopped or out of
//! room while the event waited for a handler. Only a crash *recorded* while an event was decoded or
//! matched counts. Recording costs writes, so events that are delivered for the first time are not
//! recorded at all, and redelivered ones are recorded in batches. Each crash divides the batches of
//! the events concerned by four: 64, 16, 4, 1, 1. So an event that crashes the process is examined
//! alone before its last crash, and its neighbours are spared.

use std::collections::{HashMap, VecDeque};

use crate::event::{CrashRecord, EventPosition};

/// Redelivered events that are examined together if no crash is recorded of any of them.
pub const BATCH_MAX: usize = 64;
/// The logarithm of the divisor of the size of a batch after each crash.
const SHRINK_BITS: u32 = 2;

/// Examines one set of redelivered events. Driven by the router and by simulations.
#[derive(Debug)]
pub struct PoisonCheck {
    /// Recorded crashes that make an event poison.
    crashes_max: u32,
    pulled: Vec<EventPosition>,
    /// Batches that were not examined yet.
    batches: VecDeque<Vec<CrashRecord>>,
    /// What a panic of an event records.
    next_crashes: HashMap<EventPosition, u32>,
}

/// What happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// Redelivered events were pulled.
    Pulled(Vec<EventPosition>),
    /// All records were read.
    Read(&'a [CrashRecord]),
    /// The marked batch was examined.
    Examined,
    /// Decoding or matching an event panicked.
    Panicked(EventPosition),
}

/// What is done next.
#[derive(PartialEq, Eq, Debug)]
pub enum Output {
    /// Read the records of all processes.
    Read,
    /// Mark these events, then examine them.
    Examine(Vec<CrashRecord>),
    /// Clear the mark.
    Clear,
    /// Record a crash that the process survived.
    Record(CrashRecord),
    /// Dead-letter an event of which this many crashes are recorded.
    DeadLetter(EventPosition, u32),
}

impl PoisonCheck {
    /// Creates the check of events that are poison after `crashes_max` recorded crashes.
    #[must_use]
    pub fn new(crashes_max: u32) -> Self {
        Self {
            crashes_max: crashes_max.max(1),
            pulled: Vec::new(),
            batches: VecDeque::new(),
            next_crashes: HashMap::new(),
        }
    }

    /// Returns what is done after `input`, in order.
    pub fn step(&mut self, input: Input<'_>) -> Vec<Output> {
        match input {
            Input::Pulled(events) => {
                self.pulled = events;
                vec![Output::Read]
            }
            Input::Read(records) => {
                let mut outputs = self.plan(records);
                outputs.extend(self.next_batch());
                outputs
            }
            Input::Examined => vec![self.next_batch().unwrap_or(Output::Clear)],
            Input::Panicked(event) => {
                let crashes = self.next_crashes.get(&event).copied().unwrap_or(1);
                vec![Output::Record(CrashRecord { event, crashes })]
            }
        }
    }

    /// Plans the batches; returns the events that are poison.
    fn plan(&mut self, records: &[CrashRecord]) -> Vec<Output> {
        let mut crashes: HashMap<EventPosition, u32> =
            self.pulled.iter().map(|event| (*event, 0)).collect();
        for record in records {
            if let Some(known) = crashes.get_mut(&record.event) {
                *known = record.crashes.max(*known);
            }
        }
        let is_poison = |crashes: u32| crashes >= self.crashes_max;
        let mut poison: Vec<_> =
            crashes.iter().filter(|(_, crashes)| is_poison(**crashes)).collect();
        poison.sort_unstable();
        let letters = poison.into_iter().map(|(event, n)| Output::DeadLetter(*event, *n)).collect();
        let mut suspects: Vec<(u32, EventPosition)> = crashes
            .into_iter()
            .filter(|(_, crashes)| !is_poison(*crashes))
            .map(|(event, crashes)| (crashes, event))
            .collect();
        suspects.sort_unstable();
        for (crashes, event) in suspects {
            let crashes_next = crashes.saturating_add(1);
            let record = CrashRecord { event, crashes: crashes_next };
            self.next_crashes.insert(event, crashes_next);
            let size_max = self.batch_max(crashes);
            match self.batches.back_mut().filter(|batch| batch.len() < size_max) {
                Some(batch) => batch.push(record),
                None => self.batches.push_back(vec![record]),
            }
        }
        letters
    }

    fn next_batch(&mut self) -> Option<Output> {
        self.batches.pop_front().map(Output::Examine)
    }

    /// Returns the largest batch for an event of which `crashes` are recorded.
    fn batch_max(&self, crashes: u32) -> usize {
        if crashes.saturating_add(1) >= self.crashes_max {
            return 1;
        }
        BATCH_MAX.checked_shr(crashes.saturating_mul(SHRINK_BITS)).unwrap_or_default().max(1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn event(sequence: u64) -> EventPosition {
        EventPosition { sequence, stored_ms: 7 }
    }

    fn record(sequence: u64, crashes: u32) -> CrashRecord {
        CrashRecord { event: event(sequence), crashes }
    }

    /// Processes that examine `events` until none is left, with the records they leave.
    #[derive(Default)]
    struct Simulation {
        records: Vec<CrashRecord>,
        left: Vec<EventPosition>,
        letters: Vec<(EventPosition, u32)>,
        crashes: u32,
    }

    impl Simulation {
        fn of(events: std::ops::Range<u64>) -> Self {
            Self { left: events.map(event).collect(), ..Self::default() }
        }

        /// Runs one process until `crashes` says that it crashes on an event, or panics on it.
        /// `killed_after` kills it after that many outputs.
        fn run(&mut self, crashes: &dyn Fn(u64) -> bool, killed_after: usize) {
            let mut pulled = self.left.clone();
            pulled.truncate(BATCH_MAX);
            let mut check = PoisonCheck::new(5);
            let mut outputs = VecDeque::from(check.step(Input::Pulled(pulled)));
            let mut mark = Vec::new();
            for _ in 0..killed_after {
                match outputs.pop_front() {
                    Some(Output::Read) => {
                        outputs.extend(check.step(Input::Read(&self.records)));
                    }
                    Some(Output::Examine(batch)) => {
                        mark.clone_from(&batch);
                        assert!(batch.len() <= BATCH_MAX);
                        if batch.iter().any(|one| crashes(one.event.sequence)) {
                            self.records.extend(mark);
                            self.crashes += 1;
                            return;
                        }
                        self.left.retain(|left| batch.iter().all(|one| one.event != *left));
                        outputs.extend(check.step(Input::Examined));
                    }
                    Some(Output::Clear) => mark.clear(),
                    Some(Output::DeadLetter(event, n)) => {
                        self.left.retain(|left| *left != event);
                        self.letters.push((event, n));
                    }
                    Some(Output::Record(one)) => self.records.push(one),
                    None => return,
                }
            }
            self.records.extend(mark);
        }
    }

    #[test]
    fn culprit_is_poison_after_five_crashes_and_its_neighbours_are_examined() {
        for (count, culprit) in [(1, 0), (2, 1), (10, 3), (64, 63), (200, 77)] {
            let mut simulation = Simulation::of(0..count);
            for _ in 0..100 {
                simulation.run(&|sequence| sequence == culprit, usize::MAX);
            }
            assert_eq!(simulation.letters, [(event(culprit), 5)], "{count} events");
            assert_eq!((simulation.left.len(), simulation.crashes), (0, 5));
        }
    }

    #[test]
    fn two_culprits_of_one_batch_are_both_found() {
        let mut simulation = Simulation::of(0..64);
        for _ in 0..100 {
            simulation.run(&|sequence| sequence == 5 || sequence == 6, usize::MAX);
        }
        assert_eq!(simulation.letters, [(event(5), 5), (event(6), 5)]);
        assert_eq!(simulation.left.len(), 0);
    }

    #[test]
    fn kills_while_events_wait_for_their_handlers_record_nothing() {
        let mut simulation = Simulation::of(0..64);
        let events = simulation.left.clone();
        for _ in 0..50 {
            simulation.run(&|_| false, usize::MAX);
            // The process is killed before any delivery ends: all events are redelivered.
            simulation.left.clone_from(&events);
        }
        assert_eq!((simulation.letters.len(), simulation.records.len()), (0, 0));
    }

    #[test]
    fn healthy_event_is_alone_before_kills_make_it_poison() {
        let mut simulation = Simulation::of(0..64);
        // Killed at the worst moment: while the first batch is marked.
        let mut sizes = Vec::new();
        for _ in 0..4 {
            let before = simulation.records.len();
            simulation.run(&|_| false, 2);
            simulation.left = (0..64).map(event).collect();
            sizes.push(simulation.records.len() - before);
        }
        assert!(sizes.iter().all(|size| *size <= BATCH_MAX));
        let mut by_event = BTreeMap::new();
        for one in &simulation.records {
            by_event
                .entry(one.event)
                .and_modify(|n: &mut u32| *n = one.crashes.max(*n))
                .or_insert(one.crashes);
        }
        let worst = by_event.values().filter(|crashes| **crashes > 3).count();
        assert!(worst <= 1, "{worst} events have more than three crashes");
        assert!(simulation.letters.is_empty());
    }

    #[test]
    fn panic_is_recorded_like_a_crash() {
        let mut check = PoisonCheck::new(5);
        assert_eq!(check.step(Input::Panicked(event(1))), [Output::Record(record(1, 1))]);
        check.step(Input::Pulled(vec![event(1)]));
        let outputs = check.step(Input::Read(&[record(1, 3), record(1, 2), record(2, 9)]));
        assert_eq!(outputs, [Output::Examine(vec![record(1, 4)])]);
        assert_eq!(check.step(Input::Panicked(event(1))), [Output::Record(record(1, 4))]);
        assert_eq!(check.step(Input::Examined), [Output::Clear]);
    }

    #[test]
    fn record_of_another_stream_does_not_count() {
        let mut check = PoisonCheck::new(5);
        check.step(Input::Pulled(vec![event(1)]));
        let other = EventPosition { sequence: 1, stored_ms: 8 };
        let outputs = check.step(Input::Read(&[CrashRecord { event: other, crashes: 9 }]));
        assert_eq!(outputs, [Output::Examine(vec![record(1, 1)])]);
    }
}
