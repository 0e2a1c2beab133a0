//! A model of routers and streams for tests: random schedules of crashes, repetitions, late records,
//! redrives, replays and removals.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::{RecordedOutcome, State};
use super::sheet::DeliveryCounts;

/// A generator of random numbers.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % sides as u64).unwrap()
    }

    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.roll(100) < percent
    }
}

/// A delivery id: event and module; and the replay that repeats it.
pub(super) type Id = (u64, usize);
pub(super) type Key = (Id, Option<usize>);

/// A message of the parking stream.
#[derive(Clone)]
pub(super) struct Parked {
    pub(super) key: Key,
    /// Letters that it redrives.
    letters: Vec<u64>,
}

/// Work on an event that is not acknowledged yet: what its records will say.
pub(super) struct OpenHandling {
    event: u64,
    started_ms: i64,
    outcomes: Vec<(Id, RecordedOutcome)>,
}

/// A stored record.
pub(super) struct Record {
    pub(super) event: u64,
    pub(super) started_ms: i64,
    pub(super) from: &'static str,
    pub(super) entries: Vec<(Key, RecordedOutcome)>,
}

#[derive(Default)]
pub(super) struct World {
    pub(super) unacknowledged: BTreeSet<u64>,
    pub(super) open: Vec<OpenHandling>,
    pub(super) log: Vec<Record>,
    pub(super) parked: Vec<Parked>,
    pub(super) letters: BTreeMap<u64, Id>,
    last_letter: u64,
    clock_ms: i64,
    /// Deliveries with a letter that was deleted on purpose.
    removed_letters: BTreeSet<Id>,
    /// Deliveries that were removed on purpose while they were parked.
    removed_parked: BTreeSet<Id>,
    /// Deliveries that were delivered after they were parked.
    resumed: BTreeSet<Id>,
    /// What records say of each delivery.
    recorded: BTreeMap<Key, BTreeSet<&'static str>>,
}

impl World {
    pub(super) fn new(events: u64) -> Self {
        Self { unacknowledged: (1..=events).collect(), ..Self::default() }
    }

    fn write(&mut self, record: Record) {
        for (key, outcome) in &record.entries {
            match (*outcome, record.from) {
                (RecordedOutcome::Removed, "dead") => {
                    self.removed_letters.insert(key.0);
                    continue;
                }
                (RecordedOutcome::Removed, _) => {
                    self.removed_parked.insert(key.0);
                }
                (RecordedOutcome::Delivered, "parked") => {
                    self.resumed.insert(key.0);
                }
                _ => {}
            }
            self.recorded.entry(*key).or_default().insert(outcome.label());
        }
        self.log.push(record);
    }

    /// Makes an outcome durable.
    fn perform(&mut self, dice: &mut Dice, key: Key, outcome: RecordedOutcome, is_redriven: bool) {
        match outcome {
            RecordedOutcome::Parked => self.parked.push(Parked { key, letters: Vec::new() }),
            // The broker discards a repeated letter, but not that of a redrive, which has an id of its own.
            RecordedOutcome::Dead if !is_redriven && self.has_letter(key.0) && dice.chance(50) => {}
            RecordedOutcome::Dead => {
                self.last_letter += 1;
                self.letters.insert(self.last_letter, key.0);
            }
            _ => {}
        }
    }

    fn has_letter(&self, id: Id) -> bool {
        self.letters.values().any(|one| *one == id)
    }

    fn outcome(dice: &mut Dice) -> RecordedOutcome {
        match dice.roll(10) {
            0..5 => RecordedOutcome::Delivered,
            5..8 => RecordedOutcome::Parked,
            8 => RecordedOutcome::Dead,
            _ => RecordedOutcome::Dropped,
        }
    }

    /// Begins to handle an event that is not acknowledged.
    pub(super) fn begin(&mut self, dice: &mut Dice) {
        let events: Vec<u64> = self.unacknowledged.iter().copied().collect();
        let Some(event) = events.get(dice.roll(events.len().max(1))).copied() else { return };
        if self.open.iter().any(|open| open.event == event) {
            return;
        }
        self.clock_ms += 1;
        let modules = usize::try_from(event % 4).unwrap();
        let mut outcomes = Vec::new();
        for module in 0..modules {
            let (id, outcome) = ((event, module), Self::outcome(dice));
            self.perform(dice, (id, None), outcome, false);
            outcomes.push((id, outcome));
        }
        self.open.push(OpenHandling { event, started_ms: self.clock_ms, outcomes });
    }

    /// Ends a handling: stores its records, unless the router is killed in between.
    pub(super) fn end(&mut self, dice: &mut Dice) {
        if self.open.is_empty() {
            return;
        }
        let OpenHandling { event, started_ms, outcomes } =
            self.open.swap_remove(dice.roll(self.open.len()));
        let (ok, failed): (Vec<_>, Vec<_>) =
            outcomes.into_iter().partition(|(_, outcome)| *outcome == RecordedOutcome::Delivered);
        let mut parts: Vec<Vec<_>> =
            [failed, ok].into_iter().filter(|part| !part.is_empty()).collect();
        if dice.chance(50) {
            parts.reverse();
        }
        for part in parts {
            if dice.chance(15) {
                return;
            }
            // A full record and the rest.
            let at = if dice.chance(30) { dice.roll(part.len()) } else { 0 };
            let entries: Vec<_> =
                part.into_iter().map(|(id, outcome)| ((id, None), outcome)).collect();
            let (first, second) = entries.split_at(at);
            for entries in [first, second].into_iter().filter(|entries| !entries.is_empty()) {
                let entries = entries.to_vec();
                self.write(Record { event, started_ms, from: "new", entries });
            }
        }
        if dice.chance(90) {
            self.unacknowledged.remove(&event);
        }
    }

    /// Resumes a parked delivery; a kill may leave its message.
    fn resume(&mut self, dice: &mut Dice) {
        if self.parked.is_empty() {
            return;
        }
        let at = dice.roll(self.parked.len());
        let Parked { key, letters } = self.parked[at].clone();
        let outcome = Self::outcome(dice);
        if dice.chance(10) {
            return;
        }
        self.perform(dice, key, outcome, !letters.is_empty());
        if outcome == RecordedOutcome::Parked {
            self.parked.last_mut().unwrap().letters.clone_from(&letters);
        }
        if dice.chance(10) {
            return;
        }
        self.clock_ms += 1;
        let (event, started_ms) = (key.0.0, self.clock_ms);
        self.write(Record { event, started_ms, from: "parked", entries: vec![(key, outcome)] });
        if dice.chance(10) {
            return;
        }
        if matches!(outcome, RecordedOutcome::Delivered | RecordedOutcome::Dead) {
            self.letters.retain(|letter, _| !letters.contains(letter));
        }
        if dice.chance(90) {
            self.parked.remove(at);
        }
    }

    pub(super) fn letter(&self, dice: &mut Dice) -> Option<(u64, Id)> {
        let letters: Vec<_> = self.letters.iter().map(|(letter, id)| (*letter, *id)).collect();
        letters.get(dice.roll(letters.len().max(1))).copied()
    }

    /// Redrives a letter unless its schedule finds another record; a kill may leave it without a record in the log.
    fn redrive(&mut self, dice: &mut Dice) {
        let Some((letter, id)) = self.letter(dice) else { return };
        let key = (id, None);
        // What is due already is not found.
        if self.parked.iter().any(|one| one.key.0 == id) && dice.chance(70) {
            return;
        }
        self.parked.push(Parked { key, letters: vec![letter] });
        if dice.chance(15) {
            return;
        }
        // It begins when the position of the job was saved: before work that ended since, perhaps.
        let started_ms = self.clock_ms.saturating_sub(i64::try_from(dice.roll(5)).unwrap());
        let entries = vec![(key, RecordedOutcome::Parked)];
        self.write(Record { event: id.0, started_ms, from: "dead", entries });
    }

    /// Deletes a letter as an operator; the record is stored first.
    fn remove(&mut self, dice: &mut Dice) {
        let Some((letter, id)) = self.letter(dice) else { return };
        let entries = vec![((id, None), RecordedOutcome::Removed)];
        self.write(Record { event: id.0, started_ms: 0, from: "dead", entries });
        if dice.chance(90) {
            self.letters.remove(&letter);
        }
    }

    /// Removes a parked delivery as an erasure: the record is stored first. What it redrives stays.
    fn erase(&mut self, dice: &mut Dice) {
        if self.parked.is_empty() {
            return;
        }
        let at = dice.roll(self.parked.len());
        let key = self.parked[at].key;
        let entries = vec![(key, RecordedOutcome::Removed)];
        self.write(Record { event: key.0.0, started_ms: 0, from: "parked", entries });
        if dice.chance(90) {
            self.parked.remove(at);
        }
    }

    /// Repeats a recorded delivery by a replay.
    fn replay(&mut self, dice: &mut Dice) {
        let keys: Vec<Key> = self.recorded.keys().copied().collect();
        let Some((id, _)) = keys.get(dice.roll(keys.len().max(1))).copied() else { return };
        let key = (id, Some(dice.roll(2)));
        let outcome = [RecordedOutcome::Delivered, RecordedOutcome::Parked][dice.roll(2)];
        self.perform(dice, key, outcome, false);
        self.clock_ms += 1;
        let started_ms = self.clock_ms;
        self.write(Record {
            event: id.0,
            started_ms,
            from: "parked",
            entries: vec![(key, outcome)],
        });
    }

    pub(super) fn step(&mut self, dice: &mut Dice) {
        match dice.roll(21) {
            0..5 => self.begin(dice),
            5..9 => self.end(dice),
            9..16 => self.resume(dice),
            16 => self.redrive(dice),
            17 => self.remove(dice),
            18 => self.replay(dice),
            19 => self.erase(dice),
            // A router is killed: what it works on is handled again.
            _ => self.open.clear(),
        }
    }

    /// What became of a delivery, by the state of the world.
    fn truth(&self, key: Key) -> State {
        let recorded = &self.recorded[&key];
        let has = |outcome: RecordedOutcome| recorded.contains(outcome.label());
        if has(RecordedOutcome::Delivered) {
            State::Delivered
        } else if self.parked.iter().any(|one| one.key.0 == key.0) {
            State::Pending
        } else if has(RecordedOutcome::Dead) && self.has_letter(key.0) {
            State::Dead
        } else if has(RecordedOutcome::Dropped) && !has(RecordedOutcome::Dead) {
            State::Dropped
        } else if match has(RecordedOutcome::Dead) {
            true => self.removed_letters.contains(&key.0),
            false => has(RecordedOutcome::Removed),
        } {
            State::Removed
        } else if self.resumed.contains(&key.0) {
            State::Delivered
        } else if self.removed_parked.contains(&key.0) && !has(RecordedOutcome::Dead) {
            State::Removed
        } else {
            State::Gap
        }
    }

    pub(super) fn truths(&self) -> BTreeMap<Key, State> {
        self.recorded.keys().map(|key| (*key, self.truth(*key))).collect()
    }

    pub(super) fn counts(&self) -> BTreeMap<String, DeliveryCounts> {
        let mut counts = BTreeMap::<String, DeliveryCounts>::new();
        for (key, state) in self.truths() {
            let row = counts.entry(format!("i{}/k", key.0.1)).or_default();
            row.count(state, key.1.is_some(), 1);
        }
        counts
    }
}
