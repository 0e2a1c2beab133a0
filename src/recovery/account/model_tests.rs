//! The fold against a model: random schedules of crashes, repetitions, late records, redrives, replays
//! and removals, with and without losses.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::facts::{RecordedOutcome, State};
use super::fold::{Fold, Presence, Scope};
use super::numbers::{RecordNumber, RecordNumbers};
use super::record::{AccountRecord, RecordedDelivery, RecordedEvent};
use super::sheet::Counts;

/// A generator of random numbers.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % sides as u64).unwrap()
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.roll(100) < percent
    }
}

/// A delivery id: event and module; and the replay that repeats it.
type Id = (u64, usize);
type Key = (Id, Option<usize>);

const STORED_MS: i64 = 1_000;

/// A message of the parking stream.
#[derive(Clone)]
struct Parked {
    key: Key,
    /// Letters that it redrives.
    letters: Vec<u64>,
}

/// Work on an event that is not acknowledged yet: what its records will say.
struct OpenHandling {
    event: u64,
    started_ms: i64,
    outcomes: Vec<(Id, RecordedOutcome)>,
}

/// A stored record.
struct Record {
    event: u64,
    started_ms: i64,
    is_new: bool,
    entries: Vec<(Key, RecordedOutcome)>,
}

#[derive(Default)]
struct World {
    unacknowledged: BTreeSet<u64>,
    open: Vec<OpenHandling>,
    log: Vec<Record>,
    parked: Vec<Parked>,
    letters: BTreeMap<u64, Id>,
    last_letter: u64,
    clock_ms: i64,
    /// What records say of each delivery.
    recorded: BTreeMap<Key, BTreeSet<&'static str>>,
}

impl World {
    fn new(events: u64) -> Self {
        Self { unacknowledged: (1..=events).collect(), ..Self::default() }
    }

    fn write(&mut self, record: Record) {
        for (key, outcome) in &record.entries {
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
    fn begin(&mut self, dice: &mut Dice) {
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
    fn end(&mut self, dice: &mut Dice) {
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
                self.write(Record { event, started_ms, is_new: true, entries });
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
        self.write(Record { event, started_ms, is_new: false, entries: vec![(key, outcome)] });
        if dice.chance(10) {
            return;
        }
        if matches!(outcome, RecordedOutcome::Delivered | RecordedOutcome::Dead) {
            letters.iter().for_each(|letter| drop(self.letters.remove(letter)));
        }
        if dice.chance(90) {
            self.parked.remove(at);
        }
    }

    fn letter(&self, dice: &mut Dice) -> Option<(u64, Id)> {
        let letters: Vec<_> = self.letters.iter().map(|(letter, id)| (*letter, *id)).collect();
        letters.get(dice.roll(letters.len().max(1))).copied()
    }

    fn redrive(&mut self, dice: &mut Dice) {
        let Some((letter, id)) = self.letter(dice) else { return };
        self.parked.push(Parked { key: (id, None), letters: vec![letter] });
    }

    /// Deletes a letter as an operator; the record is stored first.
    fn remove(&mut self, dice: &mut Dice) {
        let Some((letter, id)) = self.letter(dice) else { return };
        let entries = vec![((id, None), RecordedOutcome::Removed)];
        self.write(Record { event: id.0, started_ms: 0, is_new: false, entries });
        if dice.chance(90) {
            self.letters.remove(&letter);
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
            is_new: false,
            entries: vec![(key, outcome)],
        });
    }

    fn step(&mut self, dice: &mut Dice) {
        match dice.roll(20) {
            0..5 => self.begin(dice),
            5..9 => self.end(dice),
            9..16 => self.resume(dice),
            16 => self.redrive(dice),
            17 => self.remove(dice),
            18 => self.replay(dice),
            // A router is killed: what it works on is handled again.
            _ => self.open.clear(),
        }
    }

    /// What became of a delivery, by the state of the world.
    fn truth(&self, key: Key) -> State {
        let recorded = &self.recorded[&key];
        let has = |outcome: RecordedOutcome| recorded.contains(outcome.label());
        let has_died = has(RecordedOutcome::Dead) || has(RecordedOutcome::Removed);
        if has(RecordedOutcome::Delivered) {
            State::Delivered
        } else if self.parked.iter().any(|one| one.key.0 == key.0) {
            State::Pending
        } else if has_died && self.has_letter(key.0) {
            State::Dead
        } else if has(RecordedOutcome::Removed) {
            State::Removed
        } else if has(RecordedOutcome::Dropped) && !has(RecordedOutcome::Dead) {
            State::Dropped
        } else {
            State::Gap
        }
    }

    fn truths(&self) -> BTreeMap<Key, State> {
        self.recorded.keys().map(|key| (*key, self.truth(*key))).collect()
    }

    fn counts(&self) -> BTreeMap<String, Counts> {
        let mut counts = BTreeMap::<String, Counts>::new();
        for (key, state) in self.truths() {
            let row = counts.entry(format!("i{}/k", key.0.1)).or_default();
            row.count(state, key.1.is_some(), 1);
        }
        counts
    }
}

fn id_text(id: Id) -> String {
    format!("dlv_{}_{}", id.0, id.1)
}

fn read(record: &Record) -> AccountRecord<'static> {
    let delivery = |(key, outcome): &(Key, RecordedOutcome)| RecordedDelivery {
        installation: format!("i{}", key.0.1).into(),
        key: "k".into(),
        also: Vec::new(),
        id: Some(id_text(key.0)),
        replay: key.1.map(|job| format!("job_{job}")),
        from: if record.is_new { "new" } else { "parked" }.into(),
        outcome: *outcome,
    };
    AccountRecord {
        event: RecordedEvent {
            id: format!("e{}", record.event).into(),
            site: Cow::Borrowed("s"),
            sequence: record.event,
            stored_ms: Some(STORED_MS),
        },
        router: Cow::Borrowed("r"),
        started_ms: record.started_ms,
        delivery_count: 1,
        deliveries: record.entries.iter().map(delivery).collect(),
    }
}

fn fold(world: &World) -> (Fold, Presence) {
    let scope = Scope { from_ms: 0, until_ms: 2_000, site: None, installation: None, key: None };
    let mut fold = Fold::new(scope);
    let take_all = |fold: &mut Fold| {
        for (at, record) in world.log.iter().enumerate() {
            fold.take(at as u64, &read(record)).unwrap();
        }
    };
    take_all(&mut fold);
    if fold.needs_second() {
        fold = fold.second();
        take_all(&mut fold);
    }
    let presence = Presence {
        parked: world.parked.iter().map(|one| fold.id_hash(&id_text(one.key.0))).collect(),
        letters: world.letters.values().map(|id| fold.id_hash(&id_text(*id))).collect(),
        may_have_expired: false,
    };
    (fold, presence)
}

fn folded_counts(world: &World) -> (BTreeMap<String, Counts>, u64) {
    let (fold, presence) = fold(world);
    let counts = fold.counts(&presence, false);
    let suspects = fold.suspects(&presence).number;
    (counts.into_iter().map(|row| (row.subscription.into(), row.counts)).collect(), suspects)
}

/// Lets a world run, and then all that is under way end.
fn played(seed: u64) -> (World, Dice) {
    let mut dice = Dice(seed);
    let mut world = World::new(12);
    let steps = 50 + dice.roll(400);
    for _ in 0..steps {
        world.step(&mut dice);
    }
    while !world.open.is_empty() || !world.unacknowledged.is_empty() {
        world.begin(&mut dice);
        world.end(&mut dice);
    }
    (world, dice)
}

#[test]
fn fold_equals_the_model_over_crashes_and_repetitions() {
    let (mut repeated, mut pending) = (0, 0);
    for seed in 0..2_000 {
        let (world, _) = played(seed);
        let (counts, suspects) = folded_counts(&world);
        assert_eq!(counts, world.counts(), "seed {seed}");
        assert_eq!(suspects, 0, "seed {seed}: nothing is lost");
        repeated += u64::from(world.log.iter().any(|one| one.started_ms > 40));
        pending += counts.values().map(|row| row.pending).sum::<u64>();
        let total = counts.values().fold(Counts::default(), |mut sum, row| {
            sum += *row;
            sum
        });
        let Counts { matched, replayed, delivered, dead, dropped, removed, pending, gap } = total;
        assert_eq!(matched + replayed, delivered + dead + dropped + removed + pending + gap);
    }
    assert!(repeated > 1_000 && pending > 1_000, "the schedules are not trivial");
}

#[test]
fn exactly_what_is_lost_is_a_gap() {
    let mut lost = 0;
    for seed in 0..2_000 {
        let (mut world, mut dice) = played(seed);
        let before = world.truths();
        for _ in 0..3 {
            if dice.chance(50) && !world.parked.is_empty() {
                let at = dice.roll(world.parked.len());
                let id = world.parked[at].key.0;
                world.parked.retain(|one| one.key.0 != id);
            } else if let Some((letter, _)) = world.letter(&mut dice) {
                world.letters.remove(&letter);
            }
        }
        let gaps: BTreeSet<Key> = world
            .truths()
            .into_iter()
            .filter(|(_, now)| *now == State::Gap)
            .map(|(key, _)| key)
            .collect();
        assert!(gaps.iter().all(|key| before[key] != State::Gap), "seed {seed}");
        lost += gaps.len();
        let (fold, presence) = fold(&world);
        let found: BTreeSet<Key> = fold
            .suspects(&presence)
            .some
            .iter()
            .flat_map(|(id, at)| {
                let entries = &world.log[usize::try_from(*at).unwrap()].entries;
                let is_it = |key: &&(Key, RecordedOutcome)| fold.id_hash(&id_text(key.0.0)) == *id;
                entries.iter().filter(is_it).map(|(key, _)| *key).collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(found, gaps, "seed {seed}");
        let (counts, _) = folded_counts(&world);
        assert_eq!(counts, world.counts(), "seed {seed}");
    }
    assert!(lost > 500, "{lost}");
}

/// A process that numbers its records: at most 8 are under way.
#[derive(Default)]
struct Writer {
    next: u64,
    under_way: Vec<RecordNumber>,
    confirmed: BTreeSet<u64>,
}

impl Writer {
    fn floor(&self) -> u64 {
        (0..self.next).find(|number| !self.confirmed.contains(number)).unwrap_or(self.next)
    }

    fn begin(&mut self, name: &str) {
        let (number, floor) = (self.next, self.floor());
        self.under_way.push(RecordNumber { series: name.into(), number, floor });
        self.next += 1;
    }

    fn store(&mut self, at: usize) -> RecordNumber {
        let record = self.under_way.swap_remove(at);
        self.confirmed.insert(record.number);
        record
    }
}

#[test]
fn lost_records_are_missed_and_no_others() {
    let (mut deleted, mut missed) = (0, 0);
    for seed in 0..1_000 {
        let mut dice = Dice(seed);
        let mut log: Vec<RecordNumber> = Vec::new();
        for process in 0..3 {
            let (mut writer, name) = (Writer::default(), format!("p{process}"));
            for _ in 0..300 {
                if writer.under_way.len() < 8 && dice.chance(55) {
                    writer.begin(&name);
                } else if !writer.under_way.is_empty() {
                    let at = dice.roll(writer.under_way.len());
                    log.push(writer.store(at));
                }
            }
            // Killed: what is under way is stored or not.
            while !writer.under_way.is_empty() {
                let record = writer.store(0);
                if dice.chance(50) {
                    log.push(record);
                }
            }
        }
        let start = dice.roll(log.len() / 2);
        let mut lost = BTreeSet::new();
        for _ in 0..dice.roll(5) {
            let at = start + dice.roll(log.len() - start);
            lost.insert((log[at].series.clone(), log[at].number));
        }
        let is_lost = |one: &&RecordNumber| lost.contains(&(one.series.clone(), one.number));
        let mut numbers = RecordNumbers::default();
        for record in log[start..].iter().filter(|one| !is_lost(one)) {
            assert!(numbers.note(record).unwrap());
            assert!(!numbers.note(record).unwrap(), "a repetition is seen");
        }
        let found: BTreeSet<_> = numbers
            .missing()
            .iter()
            .flat_map(|one| (one.first..=one.last).map(|number| (one.series.clone(), number)))
            .collect();
        assert!(found.is_subset(&lost), "seed {seed}: {found:?} of {lost:?}");
        deleted += lost.len();
        missed += found.len();
    }
    // Not those at the edges of what was read.
    assert!(missed * 100 > deleted * 85, "{missed} of {deleted}");
}
